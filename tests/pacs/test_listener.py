"""What our receiver is sent: the wrong is refused with its status, the good is taken right afterwards."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, build_context
from pynetdicom.dsutils import encode

from lnn_med.errors import ConfigError
from lnn_med.pacs.inbox import MR_CLASSES, Inbox
from lnn_med.pacs.listener import NO_ROOM, NOT_UNDERSTOOD, SUCCESS, WRONG_CLASS, Listener
from lnn_med.pacs.settings import Limits
from lnn_med.pacs.uids import shown
from tests.pacs.senders import (
    CT,
    IMPLICIT,
    MR,
    PATIENT_S,
    THEM,
    US,
    good_store_works,
    image,
    listening,
    send,
)
from tests.pacs.stand_ins import SEG_CLASS, SR_CLASS


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
