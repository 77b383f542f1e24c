"""Doors that stay closed, by plain HTTP calls against the routes and the guard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("streamlit")
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from app.auth import Access
from app.hub import COOKIE, Hub
from app.routes import make_routes
from app.security import Guard
from app.settings import Settings
from app.store import Store, owner_of

LIMIT = 1000


def client_of(tmp_path: Path, auth: str = "none") -> tuple[TestClient, Hub]:
    access = tmp_path / "access.yaml"
    access.write_text("users: {ann: {role: reader}}\n")
    settings = Settings(
        auth=auth, access=access, upload_file_bytes=LIMIT, upload_total_bytes=2 * LIMIT, upload_files=3
    )
    none: Any = SimpleNamespace()
    hub = Hub(settings, Store(tmp_path, 60), none, none, Access.read(access))
    app = Starlette(routes=make_routes(hub), middleware=[Middleware(Guard, hub=hub)])
    return TestClient(app, base_url="http://localhost:8501"), hub


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[TestClient, Hub]]:
    client, hub = client_of(tmp_path)
    yield client, hub
    hub.store.close()


def put(client: TestClient, token: str, number: int, content: bytes, cookie: str = "ann") -> int:
    client.cookies.set(COOKIE, cookie)
    headers = {"x-lnn-med": "upload"}
    return client.put(f"/lnn/upload/{token}/{number}", content=content, headers=headers).status_code


def test_uploads_are_counted_in_bytes_and_files(served: tuple[TestClient, Hub]) -> None:
    client, hub = served
    case = hub.store.new(owner_of("ann"))
    assert put(client, case.token, 0, b"x" * LIMIT) == 200
    assert (case.upload / "000000").read_bytes() == b"x" * LIMIT
    assert put(client, case.token, 0, b"again") == 413
    assert put(client, case.token, 1, b"x" * (LIMIT + 1)) == 413
    assert not case.folder.exists()  # too much: nothing of it stays
    case = hub.store.new(owner_of("ann"))
    assert [put(client, case.token, number, b"x") for number in range(4)] == [200, 200, 200, 413]


def test_the_total_is_limited_too(served: tuple[TestClient, Hub]) -> None:
    client, hub = served
    case = hub.store.new(owner_of("ann"))
    sizes = [put(client, case.token, number, b"x" * (LIMIT - 100)) for number in range(3)]
    assert sizes == [200, 200, 413]


def test_another_cookie_or_none_or_a_finished_case_takes_no_upload(served: tuple[TestClient, Hub]) -> None:
    client, hub = served
    case = hub.store.new(owner_of("ann"))
    assert put(client, case.token, 0, b"x", cookie="bob") == 404
    client.cookies.clear()
    assert (
        client.put(f"/lnn/upload/{case.token}/0", content=b"x", headers={"x-lnn-med": "upload"}).status_code
        == 404
    )
    case.job = "sent off"
    assert put(client, case.token, 0, b"x") == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8501", 404), ("127.0.0.1", 404), ("[::1]:8501", 404), ("evil.example", 400), ("", 400)],
)
def test_only_local_names_lead_here(served: tuple[TestClient, Hub], host: str, status: int) -> None:
    client, _ = served
    assert client.get("/lnn/case/x/scan", headers={"host": host}).status_code == status


def test_the_proxy_s_user_must_be_known(tmp_path: Path) -> None:
    client, hub = client_of(tmp_path, "proxy")
    assert client.get("/lnn/case/x/scan").status_code == 401
    assert client.get("/lnn/case/x/scan", headers={"X-Forwarded-User": "eve"}).status_code == 401
    assert client.get("/lnn/case/x/scan", headers={"X-Forwarded-User": "Ann"}).status_code == 404
    assert client.get("/_stcore/health").status_code == 404  # reaches the app, which has no such page here
    hub.store.close()


@pytest.mark.parametrize(
    "path", ["/_stcore/upload_file/a/b", "/_stcore/metrics", "/_stcore/agent/openapi.json"]
)
def test_streamlit_s_own_back_doors_are_closed(served: tuple[TestClient, Hub], path: str) -> None:
    client, _ = served
    assert client.put(path, content=b"x").status_code == 404
    assert "default-src 'none'" in client.get(path).headers["content-security-policy"]


def test_an_edit_is_taken_from_its_owner_alone_and_given_back(served: tuple[TestClient, Hub]) -> None:
    client, hub = served
    case = hub.store.new(owner_of("ann"))
    case.result = True
    case.view.mkdir()
    (case.view / "segmentation.bin").write_bytes(bytes(10))
    address = f"/lnn/edit/{case.token}/segmentation"

    def put(content: bytes, cookie: str = "ann", header: str = "edit", name: str = "segmentation") -> int:
        client.cookies.set(COOKIE, cookie)
        place = f"/lnn/edit/{case.token}/{name}"
        return client.put(place, content=content, headers={"x-lnn-med": header}).status_code

    assert client.get(address, cookies={COOKIE: "ann"}).status_code == 204
    assert put(b"12345") == 200
    assert client.get(address).content == b"12345"
    assert put(b"12345", cookie="bob") == 404
    assert put(b"12345", header="upload") == 404
    assert put(b"12345", name="depth") == 404
    assert put(bytes(51)) == 413  # more than the 10 voxels of the image
    assert put(b"") == 200
    assert client.get(address).status_code == 204
