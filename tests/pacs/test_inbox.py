"""What the inbox takes, refuses and sets aside, and that UIDs never become names."""

from __future__ import annotations

import itertools
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from lnn_med.errors import Code, InputError
from lnn_med.pacs.inbox import KEPT_REFUSED, Claim, Inbox
from lnn_med.pacs.settings import Limits
from lnn_med.pacs.uids import check_uid, is_uid, shown
from tests import dicom_factory as factory

LIMITS = Limits(free_bytes=1)

UIDS = [
    ("1.2.840.10008.1.1", True, "a real one"),
    ("0.0", True, "zeros alone"),
    ("1." + "2" * 62, True, "64 letters"),
    ("1." + "2" * 63, False, "65 letters"),
    ("", False, "nothing"),
    ("1..2", False, "an empty number"),
    ("1.2.", False, "ends with a dot"),
    (".1.2", False, "begins with a dot"),
    ("1.02", False, "a leading zero"),
    ("1.2\n", False, "a line end, which $ would let pass"),
    ("1.2 ", False, "a space"),
    ("1.２", False, "a digit that is not ASCII"),
    ("../../etc/passwd", False, "a path"),
    ("..", False, "dots alone"),
    ("1/2", False, "a slash"),
    ("1.2\0", False, "a zero byte"),
    ("1.2\\1.3", False, "two values"),
]


@pytest.mark.parametrize(("text", "good", "remark"), UIDS, ids=[row[2] for row in UIDS])
def test_uids_follow_the_standard(text: str, good: bool, remark: str) -> None:
    assert is_uid(text) is good
    if good:
        assert check_uid(text, "StudyInstanceUID") == text
        return
    with pytest.raises(InputError) as refusal:
        check_uid(text, "StudyInstanceUID")
    assert "StudyInstanceUID" in refusal.value.detail
    assert not text.strip() or text not in refusal.value.detail


def image(**attributes: Any) -> Dataset:
    return factory.slices(factory.small_phantom(), **attributes)[0]


def encoded(header: Dataset, tmp_path: Path, syntax: str = ExplicitVRLittleEndian) -> bytes:
    path = factory.save(header, tmp_path / "made.dcm", syntax)
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "incoming", LIMITS, tmp_path / "quarantine")


def test_an_image_lies_under_hashes_of_its_uids_byte_for_byte(inbox: Inbox, tmp_path: Path) -> None:
    header = image()
    content = encoded(header, tmp_path)
    arrived = inbox.keep(content)
    names = [shown(uid) for uid in (factory.STUDY_UID, factory.SERIES_UID, header.SOPInstanceUID)]
    assert arrived.path == inbox.folder / names[0] / names[1] / (names[2] + ".dcm")
    assert arrived.path.read_bytes() == content
    assert arrived.new
    assert inbox.used_bytes == len(content)


def test_the_same_image_twice_is_kept_once_and_another_under_its_uid_is_refused(
    inbox: Inbox, tmp_path: Path
) -> None:
    header = image()
    content = encoded(header, tmp_path)
    inbox.keep(content)
    assert not inbox.keep(content).new
    assert inbox.used_bytes == len(content)
    header.PixelData = bytes(len(header.PixelData))
    with pytest.raises(InputError) as refusal:
        inbox.keep(encoded(header, tmp_path))
    assert refusal.value.code is Code.UID_CONFLICT
    (kept,) = inbox.folder.rglob("*.dcm")
    assert kept.read_bytes() == content


WRONG = [
    ("a CT image", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, Code.FORMAT),
    ("a structured report", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, Code.FORMAT),
    ("no class", {"SOPClassUID": None}, Code.UID),
    ("no series", {"SeriesInstanceUID": None}, Code.UID),
    ("two study UIDs", {"StudyInstanceUID": ["1.2.3", "1.2.4"]}, Code.UID),
    (
        "a study UID that is 64 good letters and more",
        {"StudyInstanceUID": "1." + "2" * 70},
        Code.UID,
    ),
    ("a path as series UID", {"SeriesInstanceUID": "../../../tmp/x"}, Code.UID),
]


@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length")
@pytest.mark.parametrize(("what", "attributes", "code"), WRONG, ids=[row[0] for row in WRONG])
def test_what_is_not_accepted_is_set_aside_under_a_random_name(
    what: str, attributes: dict[str, Any], code: Code, inbox: Inbox, tmp_path: Path
) -> None:
    header = image(**{name: value for name, value in attributes.items() if value is not None})
    for name, value in attributes.items():
        if value is None:
            del header[name]
    header.file_meta = Dataset()
    content = BytesIO()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.save_as(content, implicit_vr=False, little_endian=True)
    made = encoded(image(), tmp_path)  # preamble and meta information of a good one
    whole = made[: made.index(b"\x08\x00\x05\x00CS")] + content.getvalue()[_start(content.getvalue()) :]
    with pytest.raises(InputError) as refusal:
        inbox.keep(whole)
    assert refusal.value.code is code
    assert not list(inbox.folder.rglob("*"))
    (aside,) = (tmp_path / "quarantine").iterdir()
    assert aside.read_bytes() == whole
    assert inbox.used_bytes == 0
    assert {path.name for path in tmp_path.iterdir()} <= {"incoming", "quarantine"}


def _start(content: bytes) -> int:
    return content.index(b"\x08\x00\x05\x00CS")


SYNTAXES = [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=["deflated", "big endian"])
def test_syntaxes_that_inflate_or_are_retired_are_refused(syntax: str, inbox: Inbox, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="E_SYNTAX"):
        inbox.keep(encoded(image(), tmp_path, syntax))


def test_what_was_claimed_must_be_what_came(inbox: Inbox, tmp_path: Path) -> None:
    header = image()
    content = encoded(header, tmp_path)
    good = Claim(factory.MR_IMAGE, header.SOPInstanceUID, factory.STUDY_UID, factory.SERIES_UID)
    for field in ("sop_class", "sop_instance", "study", "series"):
        with pytest.raises(InputError, match="asked for"):
            inbox.keep(content, Claim(**{**vars(good), field: "1.2.3.4.5.6"}))
    assert inbox.keep(content, good).new


def test_limits_of_image_study_and_disk(tmp_path: Path) -> None:
    numbers = itertools.count(100)  # UIDs of one length, so that all files have one size

    def made() -> bytes:
        return encoded(image(SOPInstanceUID=f"1.2.3.{next(numbers)}"), tmp_path)

    size = len(made())
    table = [
        (Limits(free_bytes=1, instance_bytes=size - 1), 0, Code.SIZE),
        (Limits(free_bytes=1, instances=2), 2, Code.STORAGE),
        (Limits(free_bytes=1, disk_bytes=3 * size), 3, Code.STORAGE),
        (Limits(free_bytes=1 << 60), 0, Code.STORAGE),
    ]
    for number, (limits, fit, code) in enumerate(table):
        inbox = Inbox(tmp_path / str(number), limits)
        for _ in range(fit):
            inbox.keep(made())
        for _ in range(2):  # a refused one takes no room
            with pytest.raises(InputError) as refusal:
                inbox.keep(made())
            assert refusal.value.code is code
        again = Inbox(tmp_path / str(number), limits)  # a restart counts what is there
        assert again.used_bytes == inbox.used_bytes == fit * size


def test_the_quarantine_does_not_fill_the_disk(inbox: Inbox, tmp_path: Path) -> None:
    for _ in range(KEPT_REFUSED + 5):
        with pytest.raises(InputError, match="E_NOTDICOM"):
            inbox.keep(b"x" * 200)
    assert len(list((tmp_path / "quarantine").iterdir())) == KEPT_REFUSED


def test_a_restart_drops_what_was_half_written(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, LIMITS)
    (tmp_path / ".0123456789abcdef.part").write_bytes(b"half")
    inbox = Inbox(tmp_path, LIMITS)
    assert inbox.used_bytes == 0
    assert not list(tmp_path.iterdir())
