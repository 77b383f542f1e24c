"""`read` chooses the reader by content, takes folders and zips, and never guesses between two scans."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lnn_med.errors import Code, InputError, WarningCode
from lnn_med.io import nifti, read, scan
from lnn_med.volume import Volume
from tests.io.nifti_factory import nifti_bytes, voxels
from tests.phantoms import phantom

SCAN = nifti_bytes()
DICOM = bytes(128) + b"DICM" + bytes(200)
NO_PREAMBLE = b"\x08\x00\x05\x00CS" + bytes(200)


def _zip(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    return buffer.getvalue()


@pytest.fixture
def dicom_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str | None, bool]]:
    """Stands for the DICOM reader, which has its own tests: records how it is called."""
    calls: list[tuple[Path, str | None, bool]] = []

    def record(path: Path, series: str | None, lenient: bool) -> Volume:
        calls.append((path, series, lenient))
        return phantom()

    monkeypatch.setattr(scan, "_read_dicom", record)
    return calls


# (remark, file name, content)
AS_NIFTI = [
    ("plain", "scan.nii", SCAN),
    ("gzip", "scan.nii.gz", gzip.compress(SCAN)),
    ("no ending", "scan", SCAN),
    ("no ending, gzip", "scan", gzip.compress(SCAN)),
    ("misleading ending", "scan.dcm", SCAN),
    ("capital ending", "SCAN.NII", SCAN),
    ("NIfTI-2 without ending", "scan", nifti_bytes(version=2)),
    ("big endian without ending", "scan", nifti_bytes(order=">")),
    ("zip", "scan.zip", _zip({"a/scan.nii": SCAN})),
    ("zip without ending", "scan", _zip({"scan.nii.gz": gzip.compress(SCAN)})),
    ("zip with other files", "scan.zip", _zip({"a.json": b"{}", "scan.nii": SCAN, "notes.txt": b"seen"})),
    ("zip made by macOS", "scan.zip", _zip({"scan.nii": SCAN, "__MACOSX/._scan.nii": b"junk"})),
]


@pytest.mark.parametrize(
    ("name", "content"), [case[1:] for case in AS_NIFTI], ids=[case[0] for case in AS_NIFTI]
)
def test_nifti_is_found_by_content(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    volume = read(tmp_path / name)

    np.testing.assert_array_equal(volume.data, voxels())
    assert volume.source is not None
    assert volume.source.name == name
    assert volume.findings == ()


def test_same_scan_has_one_hash_however_it_is_packed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "scan.nii").write_bytes(SCAN)
    (tmp_path / "scan.zip").write_bytes(_zip({"scan.nii": SCAN}))

    hashes = {read(tmp_path / name).source.sha256 for name in ("folder", "folder/scan.nii", "scan.zip")}

    assert hashes == {hashlib.sha256(SCAN).hexdigest()}


def test_folder_named_like_a_file_is_read_as_a_folder(tmp_path: Path) -> None:
    """A05"""
    folder = tmp_path / "scan.nii"
    folder.mkdir()
    (folder / "inside.nii").write_bytes(SCAN)

    volume = read(folder)

    assert volume.source is not None
    assert volume.source.name == "scan.nii"


def test_pipe_beside_the_scan_is_reported_not_opened(tmp_path: Path) -> None:
    """A05"""
    (tmp_path / "scan.nii").write_bytes(SCAN)
    os.mkfifo(tmp_path / "pipe.nii")

    assert [finding.code for finding in read(tmp_path).findings] == [WarningCode.FILETYPE]


# (remark, entries of the folder, code)
FOLDERS: list[tuple[str, dict[str, bytes], Code]] = [
    ("two NIfTI files", {"a.nii": SCAN, "b.nii": SCAN}, Code.MIXED),
    ("NIfTI and DICOM", {"a.nii": SCAN, "b": DICOM}, Code.MIXED),
    ("NIfTI and a broken NIfTI", {"a.nii": SCAN, "b.nii.gz": b""}, Code.MIXED),
    ("one empty NIfTI", {"a.nii": b""}, Code.EMPTY),
    ("nothing", {}, Code.FORMAT),
    ("hidden files only", {".DS_Store": b"junk"}, Code.FORMAT),
]


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize(
    ("entries", "code"), [case[1:] for case in FOLDERS], ids=[case[0] for case in FOLDERS]
)
def test_unclear_folder_is_refused(
    tmp_path: Path, entries: dict[str, bytes], code: Code, packed: bool
) -> None:
    path = tmp_path / "ZZCANARY"
    if packed:
        path.write_bytes(_zip(entries))
    else:
        path.mkdir()
        for name, content in entries.items():
            (path / name).write_bytes(content)

    with pytest.raises(InputError) as refusal:
        read(path)

    assert refusal.value.code is code
    assert "ZZCANARY" not in str(refusal.value)


# (remark, file name, content, code)
FILES: list[tuple[str, str, bytes | Callable[[], bytes], Code]] = [
    ("empty", "scan", b"", Code.EMPTY),
    ("picture", "scan.png", b"\x89PNG\r\n\x1a\n" + bytes(100), Code.FORMAT),
    ("text", "scan.txt", b"hello", Code.FORMAT),
    ("gzip of text", "scan.gz", gzip.compress(b"hello" * 1000), Code.FORMAT),
    ("broken gzip without ending", "scan", b"\x1f\x8b" + bytes(100), Code.FORMAT),
    ("A02 tar with a link", "scan.tar", _tar, Code.ARCHIVE),
    ("A02 tar.gz with a link", "scan.tar.gz", lambda: gzip.compress(_tar()), Code.ARCHIVE),
    ("A01 zip that leads outside", "scan.zip", _zip({"../evil.nii": SCAN}), Code.ARCHIVE),
    ("text named like a scan", "scan.nii", b"hello" * 100, Code.HEADER),
    ("Analyze header", "scan.hdr", nifti_bytes(magic=b""), Code.HEADER),
]


@pytest.mark.parametrize(
    ("name", "content", "code"), [case[1:] for case in FILES], ids=[case[0] for case in FILES]
)
def test_what_is_no_scan_is_refused(
    tmp_path: Path, name: str, content: bytes | Callable[[], bytes], code: Code
) -> None:
    (tmp_path / name).write_bytes(content() if callable(content) else content)

    with pytest.raises(InputError) as refusal:
        read(tmp_path / name)

    assert refusal.value.code is code


def test_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        read(tmp_path / "none")
    assert refusal.value.code is Code.NOTFOUND


# (remark, file name, content, lenient)
AS_DICOM = [
    ("preamble", "IM0001", DICOM, False),
    ("preamble under another ending", "scan.txt", DICOM, False),
    ("no preamble: its reader says so", "IM0001", NO_PREAMBLE, False),
    ("text named dcm: its reader says so", "scan.dcm", b"hello", False),
    ("anything, leniently", "IM0001", b"\x00\x00", True),
]


@pytest.mark.parametrize(
    ("name", "content", "lenient"), [case[1:] for case in AS_DICOM], ids=[case[0] for case in AS_DICOM]
)
def test_dicom_file_goes_to_its_reader(
    tmp_path: Path, dicom_calls: list[object], name: str, content: bytes, lenient: bool
) -> None:
    (tmp_path / name).write_bytes(content)

    read(tmp_path / name, lenient=lenient)

    assert dicom_calls == [(tmp_path / name, None, lenient)]


def test_folder_without_nifti_and_a_named_series_go_to_dicom(
    tmp_path: Path, dicom_calls: list[object]
) -> None:
    (tmp_path / "IM0001").write_bytes(DICOM)
    read(tmp_path)
    (tmp_path / "scan.nii").write_bytes(SCAN)
    read(tmp_path, series="1.2.3", lenient=True)

    assert dicom_calls == [(tmp_path, None, False), (tmp_path, "1.2.3", True)]


def test_zip_is_unpacked_outside_its_folder_and_removed(
    tmp_path: Path, dicom_calls: list[tuple[Path, str | None, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "in" / "scan.zip").write_bytes(_zip({"IM0001": DICOM}))

    read(tmp_path / "in" / "scan.zip")

    assert dicom_calls[0][0].parent == tmp_path / "temporary"
    assert list((tmp_path / "temporary").iterdir()) == []
    assert [child.name for child in (tmp_path / "in").iterdir()] == ["scan.zip"]


def test_thick_slices_are_reported(tmp_path: Path) -> None:
    """N25: they are read; whether they suffice is for quality control to say."""
    (tmp_path / "thick.nii").write_bytes(nifti_bytes(srow_z=(0, 0, 5, 0)))
    (tmp_path / "thin.nii").write_bytes(nifti_bytes(srow_z=(0, 0, 3, 0)))

    assert WarningCode.RESOLUTION in {finding.code for finding in read(tmp_path / "thick.nii").findings}
    assert WarningCode.RESOLUTION not in {finding.code for finding in read(tmp_path / "thin.nii").findings}


def test_scan_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A07"""
    path = tmp_path / "scan.nii"
    path.write_bytes(SCAN)
    parse = nifti.parse_header

    def parse_and_change(prefix: bytes) -> object:
        path.write_bytes(SCAN[:-1] + b"x")
        return parse(prefix)

    monkeypatch.setattr(nifti, "parse_header", parse_and_change)
    with pytest.raises(InputError) as refusal:
        read(path)

    assert refusal.value.code is Code.CHANGED


@pytest.mark.parametrize(
    "name", [b"x" * 251 + b".nii", b"a\nb.nii", b"-rf.nii", "🧠.nii".encode(), b"\xff.nii"]
)
def test_strange_names_are_read(tmp_path: Path, name: bytes) -> None:
    """A06"""
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
    path.write_bytes(SCAN)

    np.testing.assert_array_equal(read(path).data, voxels())


def test_importing_the_package_loads_no_reader() -> None:
    """The command line must answer --help in half a second."""
    code = "import sys, lnn_med.io; print(*{'numpy', 'nibabel', 'pydicom', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
