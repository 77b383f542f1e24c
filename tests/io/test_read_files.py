"""Odd things in folders (A05 to A07): nothing hangs, nothing is lost silently, nothing changes unseen."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from pathlib import Path
from typing import BinaryIO

import pytest

from lnn_med.errors import Code, InputError, WarningCode
from lnn_med.io import files
from lnn_med.io.files import open_regular, regular_files, sha256_of, unchanged, write_whole


def test_hash_of_one_file_is_that_of_sha256sum(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(content)

    assert sha256_of([tmp_path / "a"]) == hashlib.sha256(content).hexdigest()


def test_hash_of_several_files_covers_their_bytes_in_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / "b").write_bytes(b"second")

    assert sha256_of([tmp_path / "a", tmp_path / "b"]) == hashlib.sha256(b"firstsecond").hexdigest()


def _overwrite(path: Path) -> None:
    path.write_bytes(b"other")


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


def _grow_and_fail(path: Path) -> None:
    """A file that is still being copied: the parser meets its end too early."""
    _append(path)
    raise InputError(Code.TRUNCATED, "cut short")


# (remark, what happens while the file is read, code)
CHANGES = [
    ("A07 overwritten", _overwrite, Code.CHANGED),
    ("A07 grows", _append, Code.CHANGED),
    ("A07 vanishes", Path.unlink, Code.CHANGED),
    ("A07 still being copied, so that parsing failed", _grow_and_fail, Code.CHANGED),
]


@pytest.mark.parametrize(
    ("change", "code"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES]
)
def test_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, change: object, code: Code) -> None:
    path = tmp_path / "scan"
    path.write_bytes(b"scan")

    with pytest.raises(InputError) as refusal, unchanged([path]):
        change(path)  # type: ignore[operator]

    assert refusal.value.code is code


def test_other_failures_pass_when_nothing_changed(tmp_path: Path) -> None:
    path = tmp_path / "scan"
    path.write_bytes(b"scan")

    with pytest.raises(InputError) as refusal, unchanged([path]):
        raise InputError(Code.HEADER, "wrong")
    assert refusal.value.code is Code.HEADER

    with pytest.raises(InputError, match="Input/output error") as refusal, unchanged([path]):
        raise OSError(errno.EIO, "Input/output error")
    assert refusal.value.code is Code.NOTFOUND


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # relative: socket names have at most 107 bytes


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def _broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


def _link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _link_to_parent(path: Path) -> None:
    path.symlink_to(path.parent, target_is_directory=True)


# (remark, what to put into the folder, words in the finding)
ODD = [
    ("A05 pipe", _pipe, "pipe"),
    ("A05 socket", _socket, "socket"),
    ("A05 link to itself", _link_to_itself, "circular link"),
    ("A05 broken link", _broken_link, "broken"),
    ("A05 link to a device", _link_to_device, "device"),
    ("A05 link to the folder itself", _link_to_parent, "twice"),
]


@pytest.mark.parametrize(("make", "words"), [case[1:] for case in ODD], ids=[case[0] for case in ODD])
def test_odd_entry_of_a_folder_is_skipped_with_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: object, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.nii").write_bytes(b"scan")
    make(tmp_path / "ZZCANARY.nii")  # type: ignore[operator]

    found, findings = regular_files(tmp_path)

    assert [path.name for path in found] == ["scan.nii"]
    assert [finding.code for finding in findings] == [WarningCode.FILETYPE]
    assert words in findings[0].message
    assert "1 x" in findings[0].message
    assert "ZZCANARY" not in findings[0].message


def test_unreadable_file_is_skipped_with_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A05. The question is answered for us here, because root may read everything."""
    (tmp_path / "scan").write_bytes(b"scan")
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)

    found, findings = regular_files(tmp_path)

    assert found == []
    assert "unreadable file" in findings[0].message


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (_pipe, Code.FORMAT),
        (_socket, Code.NOTFOUND),
        (_link_to_itself, Code.NOTFOUND),
        (_link_to_device, Code.FORMAT),
    ],
)
def test_odd_thing_given_as_the_scan_is_refused_without_hanging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: object, code: Code
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "scan.nii")  # type: ignore[operator]

    with pytest.raises(InputError) as refusal:
        open_regular(tmp_path / "scan.nii")

    assert refusal.value.code is code


def test_strange_names_are_listed_in_a_fixed_order(tmp_path: Path) -> None:
    """A06"""
    names = [b"x" * 255, b"line\nbreak", b"-rf", "🧠".encode(), b"\xff\xfe", b"folder/scan"]
    for name in names:
        path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"scan")

    found, findings = regular_files(tmp_path)

    listed = [os.fsencode(path.relative_to(tmp_path)) for path in found]
    assert listed == [*sorted(names[:-1]), b"folder/scan"]
    assert findings == ()


def test_links_to_folders_are_followed_and_hidden_entries_left_out(tmp_path: Path) -> None:
    """Data sets keep their files behind links; macOS adds hidden twins of every file."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "scan.nii").write_bytes(b"scan")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "set" / "._scan.nii").write_bytes(b"junk")
    (tmp_path / "set" / "__MACOSX").mkdir()
    (tmp_path / "set" / "__MACOSX" / "scan.nii").write_bytes(b"junk")

    found, findings = regular_files(tmp_path / "set")

    assert [path.relative_to(tmp_path / "set").as_posix() for path in found] == ["link/scan.nii"]
    assert findings == ()


def test_file_above_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan"
    with path.open("wb") as file:
        file.truncate(files.LIMITS.file_bytes + 1)  # sparse: takes no space

    with pytest.raises(InputError) as refusal:
        open_regular(path)

    assert refusal.value.code is Code.SIZE


def test_interrupted_writing_leaves_nothing(tmp_path: Path) -> None:
    def write_and_stop(file: BinaryIO) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), write_whole(tmp_path / "result") as file:
        write_and_stop(file)

    assert list(tmp_path.iterdir()) == []
