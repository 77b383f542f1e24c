"""Zips that nobody should trust (A01 to A04): refused with their code, nothing written anywhere."""

from __future__ import annotations

import io
import random
import stat
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lnn_med.errors import Code, InputError
from lnn_med.io import archive
from lnn_med.io.archive import unpack
from lnn_med.io.files import LIMITS

PAYLOAD = b"payload"


def _zip(*names: str, content: bytes = PAYLOAD, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as packed:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.filename = name  # ZipInfo cuts at zero bytes; attackers do not
            packed.writestr(info, content, method)
    return buffer.getvalue()


def _zip_of_kind(kind: int) -> bytes:
    """One entry with this Unix file type, as Info-ZIP writes links and devices."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        info = zipfile.ZipInfo("entry")
        info.create_system = 3
        info.external_attr = (kind | 0o644) << 16
        packed.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def _patched(content: bytes, local_at: int, central_at: int, form: str, value: int) -> bytes:
    """The same field changed in the first local header and in the first directory entry."""
    changed = bytearray(content)
    struct.pack_into(form, changed, content.index(b"PK\x03\x04") + local_at, value)
    struct.pack_into(form, changed, content.index(b"PK\x01\x02") + central_at, value)
    return bytes(changed)


def _encrypted() -> bytes:
    return _patched(_zip("a"), 6, 8, "<H", 0x1)


def _strange_method() -> bytes:
    return _patched(_zip("a"), 8, 10, "<H", 99)


def _same_name_twice() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return _zip("a", "a")


def _bomb() -> bytes:
    """16 MiB of zeros at about 1000:1."""
    return _zip("zeros.dcm", content=bytes(16 << 20))


def _lying_bomb() -> bytes:
    """The same, with a directory that declares a harmless size."""
    return _patched(_bomb(), 22, 24, "<I", 1000)


def _overlapping() -> bytes:
    """Two directory entries that point to the same bytes, as in the 46 MB bomb of 4.5 PB."""
    content = bytearray(_zip("a", "b", content=random.Random(0).randbytes(5000), method=zipfile.ZIP_STORED))
    second = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)
    struct.pack_into("<I", content, second + 42, 0)
    return bytes(content)


def _cut() -> bytes:
    return _zip("a", content=bytes(range(256)) * 100)[:-40]


def _wrong_checksum() -> bytes:
    content = _zip("a")
    return content.replace(struct.pack("<I", zlib.crc32(PAYLOAD)), struct.pack("<I", 1))


def _name_not_utf8() -> bytes:
    content = _patched(_zip("abc"), 6, 8, "<H", 0x800)
    return content.replace(b"abc", b"a\xff\xfe")


def _directory(size: int, start: int) -> bytes:
    """A zip whose end record gives another size and place of the directory."""
    content = bytearray(_zip("a"))
    struct.pack_into("<II", content, content.index(b"PK\x05\x06") + 12, size, start)
    return bytes(content)


def _entry_into_directory() -> bytes:
    return _patched(_zip("a", method=zipfile.ZIP_STORED), 18, 20, "<I", 500)


# (remark, content, code)
CASES: list[tuple[str, bytes | Callable[[], bytes], Code]] = [
    ("A01 parent folder", _zip("../evil"), Code.ARCHIVE),
    ("A01 parent folder in the middle", _zip("a/../../evil"), Code.ARCHIVE),
    ("A01 after a good file", _zip("good", "../evil"), Code.ARCHIVE),
    ("A01 absolute", _zip("/tmp/evil"), Code.ARCHIVE),
    ("A01 backslashes", _zip("..\\evil"), Code.ARCHIVE),
    ("A01 drive", _zip("C:/evil"), Code.ARCHIVE),
    ("A01 zero byte in the name", _zip("good\0../evil"), Code.ARCHIVE),
    ("A01 name of 300 bytes", _zip("x" * 300), Code.ARCHIVE),
    ("A02 symbolic link", _zip_of_kind(stat.S_IFLNK), Code.ARCHIVE),
    ("A02 character device", _zip_of_kind(stat.S_IFCHR), Code.ARCHIVE),
    ("A02 block device", _zip_of_kind(stat.S_IFBLK), Code.ARCHIVE),
    ("A02 pipe", _zip_of_kind(stat.S_IFIFO), Code.ARCHIVE),
    ("A02 socket", _zip_of_kind(stat.S_IFSOCK), Code.ARCHIVE),
    ("A03 zeros at 1000:1", _bomb, Code.BOMB),
    ("A03 same, with a lying directory", _lying_bomb, Code.ARCHIVE),
    ("A03 zip in a zip", _zip("inner.zip", content=_zip("a"), method=zipfile.ZIP_STORED), Code.BOMB),
    ("A03 zip in a zip under another name", _zip("scan.dcm", content=_zip("a")), Code.BOMB),
    ("A03 entries that overlap", _overlapping, Code.BOMB),
    ("A04 password", _encrypted, Code.ARCHIVE),
    ("A04 duplicate names", _same_name_twice, Code.ARCHIVE),
    ("A04 names that differ in case", _zip("scan.dcm", "SCAN.dcm"), Code.ARCHIVE),
    ("A04 names that differ in Unicode form", _zip("\u00e9.dcm", "e\u0301.dcm"), Code.ARCHIVE),
    ("A04 a file and a folder of one name", _zip("a", "a/b"), Code.ARCHIVE),
    ("unknown compression", _strange_method, Code.ARCHIVE),
    ("LZMA, which can ask for gigabytes", _zip("a", method=zipfile.ZIP_LZMA), Code.ARCHIVE),
    ("cut short", _cut, Code.ARCHIVE),
    ("checksum wrong", _wrong_checksum, Code.ARCHIVE),
    ("name is not the UTF-8 it claims", _name_not_utf8, Code.ARCHIVE),
    ("directory of 2 GiB", _directory(2**31, 0), Code.BOMB),
    ("directory before the file", _directory(10_000, 10_000), Code.ARCHIVE),
    ("directory after the file", _directory(50, 10_000), Code.ARCHIVE),
    ("entry that runs into the directory", _entry_into_directory, Code.ARCHIVE),
    ("no zip at all", b"PK\x03\x04" + bytes(100), Code.ARCHIVE),
    ("no bytes", b"", Code.EMPTY),
]  # fmt: skip


@pytest.mark.parametrize(("content", "code"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_bad_zip_is_refused_and_leaves_nothing(
    tmp_path: Path, content: bytes | Callable[[], bytes], code: Code
) -> None:
    path = tmp_path / "in" / "scan.zip"
    path.parent.mkdir()
    path.write_bytes(content() if callable(content) else content)

    with pytest.raises(InputError) as refusal:
        unpack(path, tmp_path / "deep" / "out")

    assert refusal.value.code is code
    assert "evil" not in str(refusal.value)
    left = {child.relative_to(tmp_path).as_posix() for child in tmp_path.rglob("*")}
    assert left <= {"in", "in/scan.zip", "deep", "deep/out"}
    assert not Path("/tmp/evil").exists()


def test_a_million_entries_are_refused_before_each_costs_memory(tmp_path: Path) -> None:
    """A03"""
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * 1_000_000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)
    path = tmp_path / "many.zip"
    path.write_bytes(b"PK\x03\x04" + directory + end)

    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(InputError) as refusal:
        unpack(path, tmp_path / "out")
    seconds = time.process_time() - start
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert refusal.value.code is Code.BOMB
    assert peak_bytes < 16 << 20
    assert seconds < 5


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        pytest.param("archive_entries", 2, id="A03 entries"),
        pytest.param("archive_total_bytes", 20, id="A03 total size"),
        pytest.param("file_bytes", 200, id="A03 size of one file"),
    ],
)
def test_each_limit_of_archives_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    content = bytes(300) if limit == "file_bytes" else PAYLOAD
    path = tmp_path / "scan.zip"
    path.write_bytes(_zip("a", "b", "c", content=content))
    unpack(path, tmp_path / "first")

    monkeypatch.setattr(archive, "LIMITS", replace(LIMITS, **{limit: value}))
    with pytest.raises(InputError) as refusal:
        unpack(path, tmp_path / "second")

    assert refusal.value.code is Code.BOMB


def test_total_is_counted_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if every declared size were a lie that zipfile believes, the running total stops it."""
    path = tmp_path / "scan.zip"
    path.write_bytes(_zip("a", "b", content=bytes(range(256)) * 40))
    monkeypatch.setattr(archive, "_checked_entries", lambda packed, size: packed.infolist())
    monkeypatch.setattr(archive, "LIMITS", replace(LIMITS, archive_total_bytes=15_000))

    with pytest.raises(InputError) as refusal:
        unpack(path, tmp_path / "out")

    assert refusal.value.code is Code.BOMB
    assert list((tmp_path / "out").iterdir()) == []


def test_good_zip_is_unpacked_with_its_folders(tmp_path: Path) -> None:
    """A06: strange names are legal names."""
    names = ["a/b/scan.dcm", "-rf", "🧠.dcm", "line\nbreak", "x" * 250, "..hidden", "a/ leading space"]
    path = tmp_path / "scan.zip"
    path.write_bytes(_zip("folder/", *names))

    unpack(path, tmp_path / "out")

    found = {child.relative_to(tmp_path / "out").as_posix() for child in (tmp_path / "out").rglob("*")}
    assert found == {*names, "a", "a/b"}
    assert (tmp_path / "out" / "a/b/scan.dcm").read_bytes() == PAYLOAD


def test_zip_with_a_comment_and_something_before_it_is_unpacked(tmp_path: Path) -> None:
    buffer = io.BytesIO(b"prefix" * 10)
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a") as packed:
        packed.writestr("a", PAYLOAD)
        packed.comment = b"c" * 65_535
    (tmp_path / "scan.zip").write_bytes(buffer.getvalue())

    unpack(tmp_path / "scan.zip", tmp_path / "out")

    assert (tmp_path / "out" / "a").read_bytes() == PAYLOAD


def test_zip64_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "scan.zip"
    with zipfile.ZipFile(path, "w") as packed, packed.open("a", "w", force_zip64=True) as entry:
        entry.write(PAYLOAD)

    unpack(path, tmp_path / "out")

    assert (tmp_path / "out" / "a").read_bytes() == PAYLOAD


def test_empty_zip_is_unpacked_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "scan.zip").write_bytes(_zip())

    unpack(tmp_path / "scan.zip", tmp_path / "out")

    assert list((tmp_path / "out").iterdir()) == []


def test_folder_that_is_not_empty_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(b"kept")
    (tmp_path / "scan.zip").write_bytes(_zip("a"))

    with pytest.raises(InputError) as refusal:
        unpack(tmp_path / "scan.zip", tmp_path / "out")

    assert refusal.value.code is Code.STORAGE
    assert [child.name for child in (tmp_path / "out").iterdir()] == ["mine"]
