"""The addresses beside Streamlit's own: upload, images, downloads, and the components' script files.

Each names a case by its token and is answered to its owner only; anybody else gets "not found".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from app.change_task import PAGE_CHANGE
from app.edits import BYTES, EDITABLE, FOLDER, keep
from app.hub import Hub
from app.images import LAYERS, META
from app.readings import EDITED, READER_FILE
from app.store import Case
from lnn_med.errors import Code
from lnn_med.io.result_files import OWNED
from lnn_med.io.volumetry_pdf import PAGE

BASE = "/lnn"
FOLDERS = ("viewer_component", "upload_component", "render_component", "vendor")
SCRIPTS = {folder: Path(__file__).parent / folder for folder in FOLDERS}
KINDS = {".js": "text/javascript", ".css": "text/css"}
UPLOAD_HEADER = "x-lnn-med"  # a form of another site cannot set it, so its uploads are refused
IMAGES = ("scan", *(name for name, _ in LAYERS.values()))
PRIVATE = {
    "Cache-Control": "no-store",
    "Content-Encoding": "identity",
}  # raw: packing costs more than sending
OF_CASE = (PAGE, READER_FILE, *EDITED)  # the others lie in the folder of the result
DOWNLOADS = (*OWNED, *OF_CASE)

Answer = Callable[[Request], Awaitable[Response]]


def make_routes(hub: Hub) -> list[BaseRoute]:
    """The routes of one server."""
    return [
        Route(f"{BASE}/script/{{folder}}/{{name}}", _script),
        Route(f"{BASE}/case/{{token}}/{{image}}", _owned(hub, _image)),
        Route(f"{BASE}/file/{{token}}/{{name}}", _owned(hub, _file)),
        Route(f"{BASE}/edit/{{token}}/{{name}}", _owned(hub, _edit), methods=["GET", "PUT"]),
        Route(f"{BASE}/upload/{{token}}/{{number:int}}", _owned(hub, _upload(hub)), methods=["PUT"]),
    ]


def _owned(hub: Hub, answer: Callable[[Request, Case], Awaitable[Response]]) -> Answer:
    async def respond(request: Request) -> Response:
        owner = hub.owner(request.cookies, request.headers)
        case = hub.store.find(request.path_params["token"], owner) if owner else None
        return await answer(request, case) if case else _not_found()

    return respond


def _not_found() -> Response:
    return Response("Not found.", status_code=404, headers=PRIVATE, media_type="text/plain")


async def _script(request: Request) -> Response:
    folder, name = SCRIPTS.get(request.path_params["folder"]), Path(request.path_params["name"])
    path = folder / name.name if folder and name.suffix in KINDS else None
    if path is None or not path.is_file():
        return _not_found()
    return FileResponse(path, media_type=KINDS[name.suffix], headers={"Cache-Control": "no-cache"})


async def _image(request: Request, case: Case) -> Response:
    name = request.path_params["image"]
    if name == "meta":
        path, kind = case.view / META, "application/json"
    elif name in IMAGES:
        path, kind = case.view / f"{name}.bin", "application/octet-stream"
    else:
        return _not_found()
    return FileResponse(path, media_type=kind, headers=PRIVATE) if path.is_file() else _not_found()


async def _file(request: Request, case: Case) -> Response:
    name = request.path_params["name"]
    change = PAGE_CHANGE.fullmatch(name) is not None
    folder = case.folder if change or name in OF_CASE else case.out
    if not (change or name in DOWNLOADS) or not case.result or not (folder / name).is_file():
        return _not_found()
    return FileResponse(folder / name, filename=name, media_type="application/octet-stream", headers=PRIVATE)


async def _edit(request: Request, case: Case) -> Response:
    """The reader's edit of a label map that waits to be stored: given, or taken."""
    name = request.path_params["name"]
    image = case.view / f"{name}.bin"
    if name not in EDITABLE or not case.result or not image.is_file():
        return _not_found()
    if request.method == "GET":
        path = case.folder / FOLDER / name
        found = path.read_bytes() if path.is_file() else b""
        return Response(found, 200 if found else 204, PRIVATE, "application/octet-stream")
    if request.headers.get(UPLOAD_HEADER) != "edit":
        return _not_found()
    message = b""
    async for chunk in request.stream():
        message += chunk
        if len(message) > BYTES * image.stat().st_size:
            return _too_much("The edit has more voxels than the image.")
    keep(message, name, case.folder)
    return JSONResponse({"voxels": len(message) // BYTES}, headers=PRIVATE)


def _upload(hub: Hub) -> Callable[[Request, Case], Awaitable[Response]]:
    limits = hub.settings

    async def receive(request: Request, case: Case) -> Response:
        if request.headers.get(UPLOAD_HEADER) != "upload" or case.job is not None or case.result:
            return _not_found()
        case.uploaded_files += 1
        if case.uploaded_files > limits.upload_files:
            return _too_much(f"More than {limits.upload_files:,} files were given.")
        target = case.upload / f"{request.path_params['number']:06d}"  # its own name is never used
        if target.exists():
            return _too_much("The same file was sent twice.")
        written = 0
        try:
            with open(target, "xb") as file:
                async for chunk in request.stream():
                    written += len(chunk)
                    case.uploaded_bytes += len(chunk)
                    if written > limits.upload_file_bytes:
                        raise _TooLargeError(f"A file has more than {limits.upload_file_bytes:,} bytes.")
                    if case.uploaded_bytes > limits.upload_total_bytes:
                        raise _TooLargeError(f"The files have more than {limits.upload_total_bytes:,} bytes.")
                    file.write(chunk)
        except _TooLargeError as error:
            hub.store.drop(case)
            return _too_much(str(error))
        except (ClientDisconnect, OSError):
            target.unlink(missing_ok=True)
            raise
        return JSONResponse({"bytes": written}, headers=PRIVATE)

    return receive


class _TooLargeError(Exception):
    pass


def _too_much(message: str) -> Response:
    error = {"code": Code.SIZE.value, "message": message, "remedy": "Give only the series to be measured."}
    return JSONResponse({"error": error}, status_code=413, headers=PRIVATE)
