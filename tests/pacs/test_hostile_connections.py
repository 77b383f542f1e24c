"""Peers that ask for too much or fall silent: their connections end in time, and a good image is taken."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lnn_med.pacs.inbox import Inbox
from lnn_med.pacs.listener import SUCCESS, Listener
from lnn_med.pacs.settings import Tls
from tests.pacs.senders import (
    IDLE_S,
    PATIENT_S,
    associate_request,
    associated,
    connected,
    good_store_works,
    image,
    is_closed,
    listening,
    p_data,
    send,
)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Inbox, Listener]]:
    with listening(tmp_path_factory.mktemp("impatient"), idle_s=IDLE_S) as started:
        yield started


def nested_command() -> bytes:
    """A command set whose sequences are nested deeper than Python recurses."""
    opening = struct.pack("<HHL", 0x0008, 0x1140, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return opening * 5000


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


def test_two_associations_are_taken_and_a_third_is_told_that_there_are_too_many(tmp_path: Path) -> None:
    with listening(tmp_path, idle_s=10.0) as (port, inbox, _):
        held = [associated(port) for _ in range(2)]
        assert send(port, image()) == "rejected"
        for connection in held:
            connection.close()
        good_store_works(port, inbox)


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
