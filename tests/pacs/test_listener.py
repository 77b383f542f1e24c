"""Hostile peers of our receiver: each is refused, and a good image is taken right afterwards."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.config import IGNORE
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_context
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from lnn_med.errors import ConfigError
from lnn_med.pacs.inbox import MR_CLASSES, Inbox
from lnn_med.pacs.listener import NO_ROOM, NOT_UNDERSTOOD, SUCCESS, WRONG_CLASS, Listener
from lnn_med.pacs.settings import Limits, Listen, Tls
from lnn_med.pacs.uids import shown
from tests import dicom_factory as factory
from tests.pacs.stand_ins import SEG_CLASS, SR_CLASS

US, THEM = "LNNMED", "SENDER"
IDLE_S, PATIENT_S = 1.0, 20.0  # where silence is waited for, and where a loaded machine must not fail
LIMITS = Limits(free_bytes=1, instance_bytes=200_000, disk_bytes=1 << 20)
MR, CT = factory.MR_IMAGE, "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"


@contextmanager
def listening(folder: Path, limits: Limits = LIMITS, **options: Any) -> Iterator[tuple[int, Inbox, Listener]]:
    listen = Listen((THEM,), **{"port": 0, "idle_s": PATIENT_S, "associations": 2, **options})
    inbox = Inbox(folder / "incoming", limits, folder / "quarantine")
    listener = Listener(listen, US, limits, inbox.keep)
    with listener.running() as port:
        yield port, inbox, listener


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Inbox, Listener]]:
    with listening(tmp_path_factory.mktemp("listener")) as started:
        yield started


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Inbox, Listener]]:
    with listening(tmp_path_factory.mktemp("impatient"), idle_s=IDLE_S) as started:
        yield started


def image(**attributes: Any) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a value is wrong is meant
        header = factory.slices(factory.small_phantom(), **attributes)[0]
    header.file_meta = Dataset()
    header.file_meta.TransferSyntaxUID = IMPLICIT
    return header


def send(
    port: int,
    header: Dataset,
    sop_class: str = MR,
    us: str = US,
    them: str = THEM,
    raw: bytes | None = None,
    affected: str | None = None,
    **options: Any,
) -> int | str:
    """Store one image; the status of the answer, or how the association ended."""
    ae = AE(ae_title=them)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    association = ae.associate(
        "127.0.0.1", port, contexts=[build_context(sop_class, IMPLICIT)], ae_title=us, **options
    )
    if not association.is_established:
        return "rejected" if association.is_rejected else "aborted"
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID = UID(sop_class)
    # Set past the checks of pynetdicom, which would keep us from being hostile.
    request._AffectedSOPInstanceUID = UID(affected or header.SOPInstanceUID, validation_mode=IGNORE)
    request.DataSet = BytesIO(raw if raw is not None else encode(header, True, True))
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.001)
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    if association.is_established:
        association.release()
    return "aborted" if response is None else int(response.Status)


def good_store_works(port: int, inbox: Inbox) -> None:
    """The receiver lives: a new image is taken and lies there as it was sent."""
    header = image()
    before = set(inbox.folder.rglob("*.dcm"))
    ends = time.monotonic() + 15
    while (status := send(port, header)) != SUCCESS:
        assert time.monotonic() < ends, f"the receiver takes nothing any more: {status}"
        time.sleep(0.2)
    (path,) = set(inbox.folder.rglob("*.dcm")) - before
    assert dcmread(path).SOPInstanceUID == header.SOPInstanceUID
    assert dcmread(path).PixelData == header.PixelData


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def is_closed(connection: socket.socket, seconds: float = 15) -> bool:
    """Whether the other side ends the connection in time, whatever it says before."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def associate_request() -> bytes:
    """The bytes of a good A-ASSOCIATE-RQ."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = THEM, US
    context = build_context(MR, IMPLICIT)
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = 16382, "1.2.3"
    primitive.user_information = [length, implementation]
    return bytes(A_ASSOCIATE_RQ(primitive).encode())


def associated(port: int) -> socket.socket:
    connection = connected(port)
    connection.sendall(associate_request())
    assert connection.recv(4096)[:1] == b"\x02"  # A-ASSOCIATE-AC
    return connection


def p_data(content: bytes, control: int) -> bytes:
    value = struct.pack(">LBB", len(content) + 2, 1, control) + content
    return struct.pack(">BBL", 4, 0, len(value)) + value


def nested_command() -> bytes:
    """A command set whose sequences are nested deeper than Python recurses."""
    opening = struct.pack("<HHL", 0x0008, 0x1140, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return opening * 5000


def truncated() -> bytes:
    return bytes(encode(image(), True, True))[:-100]


STATUSES = [
    # what is wrong, what is sent, the status
    ("a UID like a path", {"header": {"SeriesInstanceUID": "../../etc/passwd"}}, WRONG_CLASS),
    ("an absolute path as study", {"header": {"StudyInstanceUID": "/etc/cron.d/x"}}, WRONG_CLASS),
    ("a UID of 65 digits", {"header": {"StudyInstanceUID": "1." + "2" * 63}}, WRONG_CLASS),
    (
        "a UID of 2,000 digits",
        {"header": {"SOPInstanceUID": "1." + "2" * 2000}, "affected": "1.2.3"},
        WRONG_CLASS,
    ),
    ("a UID with a zero before", {"header": {"StudyInstanceUID": "1.02.3"}}, WRONG_CLASS),
    ("no study UID", {"header": {"StudyInstanceUID": ""}}, WRONG_CLASS),
    ("another instance than announced", {"affected": "1.2.3.4"}, WRONG_CLASS),
    ("a path as announced instance", {"affected": "../x"}, WRONG_CLASS),
    ("a CT in a context for MR", {"header": {"SOPClassUID": CT}}, WRONG_CLASS),
    ("a data set cut in its pixels", {"raw": truncated}, NOT_UNDERSTOOD),
    ("a data set cut in its header", {"raw": lambda: truncated()[:300]}, NOT_UNDERSTOOD),
    ("no DICOM at all", {"raw": lambda: b"<html>" * 50}, NOT_UNDERSTOOD),
    (
        "an element of 4 GiB",
        {"raw": lambda: struct.pack("<HHL", 8, 5, 0xFFFFFFF0) + b"x" * 50},
        NOT_UNDERSTOOD,
    ),
    ("a wrong called AE title", {"us": "OTHER"}, "rejected"),
    ("a wrong calling AE title", {"them": "STRANGER"}, "rejected"),
    ("an image beyond the limit", {"raw": lambda: b"\0" * 300_000}, "aborted"),
]


@pytest.mark.filterwarnings("ignore:Invalid value")
@pytest.mark.parametrize(("what", "options", "expected"), STATUSES, ids=[row[0] for row in STATUSES])
def test_what_is_wrong_is_refused_with_its_status_and_a_good_image_is_taken_afterwards(
    what: str, options: dict[str, Any], expected: int | str, receiver: tuple[int, Inbox, Listener]
) -> None:
    port, inbox, _ = receiver
    before = set(inbox.folder.rglob("*"))
    options = dict(options)
    header = image(**options.pop("header", {}))
    raw = options.pop("raw", None)
    assert send(port, header, raw=raw() if raw else None, **options) == expected
    assert set(inbox.folder.rglob("*")) == before
    good_store_works(port, inbox)


def _oversize_pdu(port: int) -> socket.socket:
    connection = associated(port)
    connection.sendall(struct.pack(">BBL", 4, 0, 0xFFFFFFFF) + b"x" * 1000)
    return connection


def _pdu_beyond_the_agreed_length(port: int) -> socket.socket:
    connection = associated(port)  # shorter than an image may be, so that only the length of the PDU is wrong
    connection.sendall(struct.pack(">BBL", 4, 0, 150_000) + b"x" * 1000)
    return connection


def _oversize_request(port: int) -> socket.socket:
    connection = connected(port)
    connection.sendall(struct.pack(">BBL", 1, 0, 0xFFFFFFF0))
    return connection


def _nothing(port: int) -> socket.socket:
    return connected(port)


def _half_a_header(port: int) -> socket.socket:
    connection = connected(port)
    connection.sendall(b"\x01\0\0")
    return connection


def _half_a_request(port: int) -> socket.socket:
    connection = connected(port)
    connection.sendall(associate_request()[:60])
    return connection


def _silent_association(port: int) -> socket.socket:
    return associated(port)


def _half_a_message(port: int) -> socket.socket:
    connection = associated(port)
    connection.sendall(struct.pack(">BBL", 4, 0, 1000) + b"x")
    return connection


def _no_pdu(port: int) -> socket.socket:
    connection = connected(port)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection


def _endless_command(port: int) -> socket.socket:
    connection = associated(port)
    for _ in range(40):  # 400 kB in good PDUs that never come to an end
        try:
            connection.sendall(p_data(b"\0" * 10_000, control=1))
        except OSError:
            break
    return connection


def _nested_command(port: int) -> socket.socket:
    connection = associated(port)
    connection.sendall(p_data(nested_command(), control=3))
    return connection


# Refused for what they are, long before the time for a PDU is over; pynetdicom alone would wait and read.
AT_ONCE = [_oversize_pdu, _pdu_beyond_the_agreed_length, _oversize_request, _endless_command]
IN_TIME = [
    _nothing,
    _half_a_header,
    _half_a_request,
    _silent_association,
    _half_a_message,
    _no_pdu,
    _nested_command,
]


def _names(attacks: list[Callable[[int], socket.socket]]) -> list[str]:
    return [attack.__name__.strip("_") for attack in attacks]


def _is_left_alone(listener: Listener) -> None:
    ends = time.monotonic() + 25
    while listener.associations:
        assert time.monotonic() < ends, "an association is left over"
        time.sleep(0.05)


@pytest.mark.parametrize("attack", AT_ONCE, ids=_names(AT_ONCE))
def test_a_connection_that_asks_for_too_much_is_ended_at_once_and_a_good_image_is_taken_afterwards(
    attack: Callable[[int], socket.socket], receiver: tuple[int, Inbox, Listener]
) -> None:
    port, inbox, _ = receiver
    with attack(port) as connection:
        assert is_closed(connection, PATIENT_S / 2)
    good_store_works(port, inbox)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("attack", IN_TIME, ids=_names(IN_TIME))
def test_a_connection_that_falls_silent_is_ended_and_a_good_image_is_taken_afterwards(
    attack: Callable[[int], socket.socket], impatient: tuple[int, Inbox, Listener]
) -> None:
    port, inbox, listener = impatient
    with attack(port) as connection:
        assert is_closed(connection)
    good_store_works(port, inbox)
    _is_left_alone(listener)


def test_a_hundred_half_open_connections_do_not_keep_a_good_sender_out_for_long(
    impatient: tuple[int, Inbox, Listener],
) -> None:
    port, inbox, listener = impatient
    before = threading.active_count()
    connections = []
    for _ in range(100):
        connections.append(connected(port))
    assert listener.associations <= 2 + 4
    assert threading.active_count() - before <= 3 * (2 + 4)
    good_store_works(port, inbox)
    for connection in connections:
        connection.close()


def test_a_foreign_address_is_not_even_read(tmp_path: Path) -> None:
    with listening(tmp_path, addresses=("192.0.2.0/24",)) as (port, inbox, _):
        assert send(port, image()) == "aborted"
        assert not list(inbox.folder.rglob("*.dcm"))


def test_a_full_disk_limit_is_told_to_the_sender_and_ends_when_room_is_made(tmp_path: Path) -> None:
    size = len(encode(image(), True, True)) + 400  # with preamble and meta information
    with listening(tmp_path, Limits(free_bytes=1, disk_bytes=5 * size // 2)) as (port, inbox, _):
        assert [send(port, image()) for _ in range(3)] == [SUCCESS, SUCCESS, NO_ROOM]
        for path in inbox.folder.rglob("*.dcm"):
            path.unlink()
        inbox.recount()
        good_store_works(port, inbox)


def test_two_associations_are_taken_and_a_third_is_told_that_there_are_too_many(tmp_path: Path) -> None:
    with listening(tmp_path, idle_s=10.0) as (port, inbox, _):
        held = [associated(port) for _ in range(2)]
        assert send(port, image()) == "rejected"
        for connection in held:
            connection.close()
        good_store_works(port, inbox)


def test_only_contexts_for_mr_images_are_accepted(receiver: tuple[int, Inbox, Listener]) -> None:
    kinds = [*MR_CLASSES, CT, SEG_CLASS, SR_CLASS, "1.2.840.10008.5.1.4.1.2.2.1"]  # the last one is C-FIND
    contexts = [build_context(kind, IMPLICIT) for kind in kinds]
    association = AE(ae_title=THEM).associate("127.0.0.1", receiver[0], contexts=contexts, ae_title=US)
    assert {context.abstract_syntax for context in association.accepted_contexts} == set(MR_CLASSES)
    association.release()


def test_an_echo_is_answered(receiver: tuple[int, Inbox, Listener]) -> None:
    association = AE(ae_title=THEM).associate(
        "127.0.0.1", receiver[0], contexts=[build_context("1.2.840.10008.1.1", IMPLICIT)], ae_title=US
    )
    assert association.send_c_echo().Status == 0
    association.release()


def test_stopping_does_not_wait_for_a_silent_peer(tmp_path: Path) -> None:
    with listening(tmp_path, idle_s=60.0) as (port, _, _):
        connection = associated(port)
        connection.sendall(b"\x04\0\0\0\x10")  # a header that never becomes whole
        time.sleep(0.2)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert is_closed(connection, 1)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A certificate for localhost that signs itself."""
    folder = tmp_path_factory.mktemp("tls")
    paths = [str(folder / name) for name in ("cert.pem", "key.pem")]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = ["openssl", "req", "-x509", *kind, *names, "-out", paths[0], "-keyout", paths[1]]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return Tls(ca_file=paths[0], certificate=paths[0], key=paths[1])


def test_over_tls_only_a_sender_with_a_certificate_is_taken_and_a_silent_one_holds_nobody_up(
    certificate: Tls, tmp_path: Path
) -> None:
    with listening(tmp_path, tls=certificate, idle_s=3.0) as (port, inbox, _):
        silent = connected(port)  # never begins the handshake
        client = ssl.create_default_context(cafile=certificate.ca_file)
        began = time.monotonic()
        assert send(port, image(), tls_args=(client, "localhost")) == "aborted"  # shows no certificate
        assert send(port, image()) == "aborted"  # no TLS
        assert not list(inbox.folder.rglob("*.dcm"))
        client.load_cert_chain(str(certificate.certificate), str(certificate.key))
        assert send(port, image(), tls_args=(client, "localhost")) == SUCCESS
        assert time.monotonic() - began < 20
        assert is_closed(silent)


def test_a_study_is_growing_as_long_as_its_sender_is_connected_and_sends_no_other(tmp_path: Path) -> None:
    with listening(tmp_path, idle_s=PATIENT_S) as (port, _, listener):
        association = AE(ae_title=THEM).associate(
            "127.0.0.1", port, contexts=[build_context(MR, IMPLICIT)], ae_title=US
        )
        for study in ("1.2.3", "1.2.4"):
            header = image(StudyInstanceUID=study)
            header.set_original_encoding(True, True)
            assert association.send_c_store(header).Status == SUCCESS
            assert listener.open_studies() == {shown(study)}
        association.release()
        ends = time.monotonic() + 15
        while listener.open_studies():
            assert time.monotonic() < ends, "the study never comes to rest"
            time.sleep(0.05)


def test_an_address_that_cannot_be_listened_on_is_a_wrong_configuration(
    receiver: tuple[int, Inbox, Listener], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="cannot be listened on"), listening(tmp_path, address="192.0.2.1"):
        pass
