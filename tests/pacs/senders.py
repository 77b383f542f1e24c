"""A running receiver of ours, and senders to it: good ones, and raw connections of bad ones."""

from __future__ import annotations

import socket
import struct
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

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

from lnn_med.pacs.inbox import Inbox
from lnn_med.pacs.listener import SUCCESS, Listener
from lnn_med.pacs.settings import Limits, Listen
from tests import dicom_factory as factory

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


TRANSIENT = b"\x03\x00\x00\x00\x00\x04\x00\x02"  # A-ASSOCIATE-RJ, rejected for the moment (PS3.8, 9.3.4)


def associated(port: int) -> socket.socket:
    """An accepted association.

    While the threads of a test before still end, they count among the associations that are allowed: then
    the listener refuses for the moment, as it must, and is asked again. No other refusal is.
    """
    for _ in range(10):
        connection = connected(port)
        connection.sendall(associate_request())
        answer = connection.recv(4096)
        if not answer.startswith(TRANSIENT):
            assert answer[:1] == b"\x02"  # A-ASSOCIATE-AC
            return connection
        connection.close()
        time.sleep(0.5)
    raise AssertionError("Ten times refused for the moment.")


def p_data(content: bytes, control: int) -> bytes:
    value = struct.pack(">LBB", len(content) + 2, 1, control) + content
    return struct.pack(">BBL", 4, 0, len(value)) + value
