"""Archives that lie to us over HTTP and DIMSE: what they say becomes no path, no hang and no endless read."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from lnn_med.errors import InputError
from lnn_med.pacs.archive import Series, Study, find, open_archive, outgoing
from lnn_med.pacs.inbox import Inbox
from lnn_med.pacs.settings import Limits, PacsConfig
from tests import dicom_factory as factory

LIMITS = Limits(free_bytes=1, matches=5, answer_bytes=200_000, instance_bytes=50_000, transfer_s=3)
SERIES = Series(factory.SERIES_UID, factory.STUDY_UID, images=12)
JSON = "application/dicom+json"
BOUNDARY = 'multipart/related; type="application/dicom"; boundary=B'

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def web(answer: Answer) -> Iterator[PacsConfig]:
    """An HTTP server on loopback that answers every request in one way."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer(self)

        def log_message(self, *arguments: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):  # we hang up on it, which is the point
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield PacsConfig(url=f"http://127.0.0.1:{server.server_port}/web", limits=LIMITS, timeout_s=2)
    finally:
        server.shutdown()
        server.server_close()


def answering(content: bytes, kind: str = JSON, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def endless(handler: BaseHTTPRequestHandler, pause_s: float = 0.0, kind: str = JSON) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.end_headers()
    ends = time.monotonic() + 15
    while time.monotonic() < ends:
        handler.wfile.write(b" " * (1 if pause_s else 10_000))
        time.sleep(pause_s)


def silent(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(5)


def dripping(handler: BaseHTTPRequestHandler) -> None:
    endless(handler, pause_s=0.3)


def listed(**values: str) -> bytes:
    tags = {"study": "0020000D", "series": "0020000E"}
    return json.dumps(
        [{tags[name]: {"vr": "UI", "Value": [value]} for name, value in values.items()}]
    ).encode()


QUERIES: list[tuple[str, Answer, str]] = [
    ("a page of HTML", answering(b"<html>login</html>", "text/html"), "not DICOMweb"),
    ("JSON that is cut", answering(b'[{"0020'), "E_NETWORK"),
    ("JSON of other shape", answering(b'"text"'), "E_NETWORK"),
    ("JSON nested 100,000 deep", answering(b"[" * 100_000), "E_NETWORK"),
    (
        "more studies than asked for",
        answering(json.dumps(json.loads(listed(study="1.2")) * 9).encode()),
        "E_SIZE",
    ),
    ("an answer of 300 kB", answering(b" " * 300_000), "E_SIZE"),
    ("an answer without end", endless, "E_SIZE"),
    ("an answer that drips", dripping, "E_NETWORK"),
    ("no answer", silent, "E_NETWORK"),
    ("a redirect to elsewhere", answering(b"", status=302, Location="http://127.0.0.1:9/"), "not followed"),
    ("compressed content", answering(gzip.compress(b" " * 10**7), Content_Encoding="gzip"), "compressed"),
    ("a wrong password", answering(b"", status=401), "HTTP status 401"),
    ("a server error", answering(b"secret trace", status=500), "HTTP status 500"),
]


@pytest.mark.parametrize(("what", "answer", "words"), QUERIES, ids=[row[0] for row in QUERIES])
def test_a_query_that_is_answered_badly_is_an_error_that_repeats_nothing(
    what: str, answer: Answer, words: str
) -> None:
    with web(answer) as config:
        began = time.monotonic()
        with pytest.raises(InputError, match=words) as refusal:
            open_archive(config).studies({})
        assert time.monotonic() - began < 12  # the server would go on for 15 s
    for secret in ("127.0.0.1", "passwd", "secret"):
        assert secret not in str(refusal.value)


def encoded(tmp_path: Path, **attributes: Any) -> bytes:
    header = factory.slices(factory.small_phantom(), **attributes)[0]
    return factory.save(header, tmp_path / "made.dcm").read_bytes()


def multipart(*bodies: bytes) -> bytes:
    return (
        b"".join(b"--B\r\nContent-Type: application/dicom\r\n\r\n" + body + b"\r\n" for body in bodies)
        + b"--B--"
    )


IMAGES: list[tuple[str, Callable[[Path], Answer], str]] = [
    ("an image of another study", lambda path: _images(encoded(path, StudyInstanceUID="1.2.9")), "asked for"),
    (
        "an image of another series",
        lambda path: _images(encoded(path, SeriesInstanceUID="1.2.9")),
        "asked for",
    ),
    ("an image with a path as UID", lambda path: _images(encoded(path, SOPInstanceUID="1.2./etc")), "no UID"),
    ("fewer images than listed", lambda path: _images(encoded(path)), "1 images came; the archive lists 12"),
    ("no image", lambda path: _images(), "E_NETWORK"),
    ("a page instead of an image", lambda path: _images(b"<html>" * 50), "E_NOTDICOM"),
    ("an image beyond the limit", lambda path: _images(b"x" * 60_000), "E_SIZE"),
    (
        "a stream that is cut",
        lambda path: answering(multipart(encoded(path))[:-3], BOUNDARY),
        "in the middle",
    ),
    ("a page as answer", lambda path: answering(b"<html>", "text/html"), "not DICOMweb"),
    ("JSON as answer", lambda path: answering(b"[]"), "not DICOMweb"),
    ("a part without end", lambda path: lambda h: endless(h, kind=BOUNDARY), "E_SIZE"),
]


def _images(*bodies: bytes) -> Answer:
    return answering(multipart(*bodies), BOUNDARY)


@pytest.mark.filterwarnings("ignore:Invalid value")
@pytest.mark.parametrize(("what", "make", "words"), IMAGES, ids=[row[0] for row in IMAGES])
def test_images_that_are_not_what_was_asked_for_are_refused(
    what: str, make: Callable[[Path], Answer], words: str, tmp_path: Path
) -> None:
    answer = make(tmp_path)
    with web(answer) as config, pytest.raises(InputError, match=words):
        open_archive(config).fetch(SERIES, Inbox(tmp_path / "inbox", config.limits))
    assert {path.name for path in tmp_path.iterdir()} <= {"inbox", "made.dcm"}


STORED = [
    ("nothing", answering(b""), "did not confirm"),
    ("a list of failures", answering(b'{"00081198": {"Value": [{}]}}'), "did not store"),
    (
        "another instance",
        answering(b'{"00081199": {"Value": [{"00081155": {"Value": ["1.2"]}}]}}'),
        "did not store",
    ),
    ("a conflict", answering(b"", status=409), "HTTP status 409"),
    ("XML, which can inflate", answering(b"<x/>", "application/dicom+xml"), "not DICOMweb"),
]


@pytest.mark.parametrize(("what", "answer", "words"), STORED, ids=[row[0] for row in STORED])
def test_a_file_counts_as_sent_only_when_the_archive_names_it(
    what: str, answer: Answer, words: str, tmp_path: Path
) -> None:
    encoded(tmp_path)
    with web(answer) as config, pytest.raises(InputError, match=words):
        open_archive(config).send([outgoing(tmp_path / "made.dcm")])


def test_series_that_were_not_asked_for_are_dropped() -> None:
    with web(answering(listed(study="1.2.3", series="1.2.4"))) as config:
        archive = open_archive(config)
        assert find(archive, {"StudyInstanceUID": "1.2.99"}, 5) == ([], 0)
        assert find(archive, {"SeriesInstanceUID": "1.2.99"}, 5) == ([], 0)
        assert len(find(archive, {}, 5)[0]) == 1


@contextmanager
def dimse(on_find: Callable[[evt.Event], Iterator[tuple[int, Dataset | None]]]) -> Iterator[PacsConfig]:
    """An archive of pynetdicom that answers C-FIND as told."""
    ae = AE(ae_title="EVIL")
    ae.supported_contexts = [build_context("1.2.840.10008.5.1.4.1.2.2.1")]
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, on_find)])
    try:
        yield PacsConfig(
            host="127.0.0.1", port=server.server_address[1], ae_title="EVIL", limits=LIMITS, timeout_s=5
        )
    finally:
        server.shutdown()


def answers(*values: str, status: int = 0) -> Callable[[evt.Event], Iterator[tuple[int, Dataset | None]]]:
    def on_find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for value in values:
            answer = Dataset()
            answer.add_new(0x0020000D, "UI", value)
            yield 0xFF00, answer
        yield status, None

    return on_find


FOUND = [
    ("more than asked for", answers(*["1.2"] * 50), "E_SIZE"),
    ("a refusal", answers(status=0xA700), "status A700"),
]


@pytest.mark.filterwarnings("ignore:Invalid value")
@pytest.mark.parametrize(("what", "on_find", "words"), FOUND, ids=[row[0] for row in FOUND])
def test_a_dimse_query_that_is_answered_badly_is_an_error(what: str, on_find: Any, words: str) -> None:
    with dimse(on_find) as config, pytest.raises(InputError, match=words):
        open_archive(config).studies({})


ACCEPT_NOTHING = struct.pack(">BBLBBBB", 3, 0, 4, 0, 1, 1, 1)
RAW = [
    ("a PDU of 4 GiB", struct.pack(">BBL", 2, 0, 0xFFFFFFFF) + b"x" * 1000),
    ("half a PDU", b"\x02\0\0\0\x10"),
    ("silence", b""),
    ("a page", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    ("a refusal", ACCEPT_NOTHING),
]


@pytest.mark.parametrize(("what", "content"), RAW, ids=[row[0] for row in RAW])
def test_a_peer_that_does_not_speak_dicom_is_an_error_in_time(what: str, content: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def serve() -> None:
            connection, _ = server.accept()
            held.append(connection)
            connection.recv(4096)
            connection.sendall(content)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        config = PacsConfig(host="127.0.0.1", port=server.getsockname()[1], limits=LIMITS, timeout_s=1)
        began = time.monotonic()
        with pytest.raises(InputError, match="E_NETWORK"):
            open_archive(config).series(Study("1.2"), {})
        assert time.monotonic() - began < 20
        for connection in held:
            connection.close()


def test_a_port_where_nobody_listens_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for config in (PacsConfig(host="127.0.0.1", port=port), PacsConfig(url=f"http://127.0.0.1:{port}/x")):
        with pytest.raises(InputError, match="E_NETWORK"):
            open_archive(replace(config, timeout_s=2)).studies({})
