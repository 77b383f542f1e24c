"""Files on disk, handled so that odd ones cannot hang, change unseen or be left half written."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lnn_med.errors import Code, Finding, InputError, WarningCode

HASH_CHUNK_BYTES = 1 << 20
JUNK_FOLDERS = frozenset({"__MACOSX"})  # resource forks that macOS puts into every zip


@dataclass(frozen=True)
class Limits:
    """What is refused for its size alone; printed in the documentation.

    Limits of voxel spacing are in `geometry`, where affines are checked.
    """

    file_bytes: int = 2 << 30
    archive_entries: int = 50_000
    archive_total_bytes: int = 20 << 30
    inflate_ratio: int = 100  # the 483 scans of the training sets stay below 5:1; zeros reach 1029:1
    zip_free_bytes: int = 8 << 20  # below this much inflated data the ratio is not looked at
    gzip_free_bytes: int = 128 << 20  # more than for zip: label maps reach 173:1 honestly (MSD Task04)
    gzip_trailing_bytes: int = 1 << 20  # after the declared voxels
    header_bytes: int = 64 << 20  # NIfTI extensions before the voxels
    voxels: int = 600**3
    frames: int = 4096
    sequence_depth: int = 32
    tags: int = 50_000
    element_bytes: int = 1 << 30


LIMITS = Limits()


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file (or a link to one) for reading, without waiting on pipes and devices.

    Raises:
        InputError: E_NOTFOUND, E_FORMAT (a folder, pipe, device or socket), E_EMPTY, E_SIZE.
    """
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or "impossible name"
        raise InputError(Code.NOTFOUND, f"The file cannot be opened ({reason}).") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(Code.FORMAT, f"The path leads to a {_kind(status.st_mode)}, not to a file.")
        if status.st_size == 0:
            raise InputError(Code.EMPTY, "The file has 0 bytes.")
        if status.st_size > LIMITS.file_bytes:
            found, allowed = status.st_size, LIMITS.file_bytes
            raise InputError(Code.SIZE, f"The file has {found:,} bytes; {allowed:,} are allowed.")
    except InputError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def sha256_of(paths: Sequence[Path]) -> str:
    """Hash over the bytes of the files, one after the other in the order given, as hex digits.

    For one file it equals what `sha256sum` prints.
    """
    digest = hashlib.sha256()
    for path in paths:
        with open_regular(path) as file:
            while chunk := file.read(HASH_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def unchanged(paths: Sequence[Path]) -> Iterator[str]:
    """Yield the hash of the files; refuse with E_CHANGED if it is another one when the block ends.

    A file that is still being copied often fails to parse: then E_CHANGED is the better answer too.
    """
    before = sha256_of(paths)
    try:
        yield before
    except (InputError, OSError) as error:
        if _hash_or_none(paths) != before:
            raise _changed() from error
        if isinstance(error, InputError):
            raise
        raise InputError(Code.NOTFOUND, f"The file cannot be read ({error.strerror}).") from error
    if _hash_or_none(paths) != before:
        raise _changed()


def regular_files(folder: Path) -> tuple[list[Path], tuple[Finding, ...]]:
    """All files below a folder in a fixed order; what is no readable file is counted in a finding.

    Links to folders are followed, each folder is visited once. Hidden entries are left out silently.
    """
    files: list[Path] = []
    skipped: Counter[str] = Counter()
    visited: set[tuple[int, int]] = set()
    stack = [folder]
    while stack:
        current = stack.pop()
        subfolders = []
        for path in _entries(current, skipped, visited):
            try:
                mode = path.stat().st_mode
            except OSError:
                skipped["broken or circular link"] += 1
                continue
            if stat.S_ISDIR(mode):
                subfolders.append(path)
            elif not stat.S_ISREG(mode):
                skipped[_kind(mode)] += 1
            elif not os.access(path, os.R_OK):
                skipped["unreadable file"] += 1
            else:
                files.append(path)
        stack.extend(reversed(subfolders))
    return files, _skipped_finding(skipped)


@contextmanager
def write_whole(path: Path) -> Iterator[BinaryIO]:
    """Write a file under a temporary name beside it, then rename: it is there whole or not at all.

    Raises:
        InputError: E_STORAGE when the folder is read-only or full.
    """
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"  # not made from `path`: it may be 255 bytes long
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise InputError(Code.STORAGE, f"The output cannot be written ({reason}).") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _entries(folder: Path, skipped: Counter[str], visited: set[tuple[int, int]]) -> list[Path]:
    """Visible entries of a folder sorted by bytes of the name; empty when it was seen before."""
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:
            skipped["folder met twice through links"] += 1
            return []
        visited.add((status.st_dev, status.st_ino))
        names = sorted(os.listdir(folder), key=os.fsencode)
    except OSError:
        skipped["unreadable folder"] += 1
        return []
    return [folder / name for name in names if not name.startswith(".") and name not in JUNK_FOLDERS]


def _skipped_finding(skipped: Counter[str]) -> tuple[Finding, ...]:
    if not skipped:
        return ()
    parts = ", ".join(f"{count} x {kind}" for kind, count in sorted(skipped.items()))
    return (Finding(WarningCode.FILETYPE, f"Skipped, because they are no readable files: {parts}."),)


def _kind(mode: int) -> str:
    names = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return names.get(stat.S_IFMT(mode), "device")


def _hash_or_none(paths: Sequence[Path]) -> str | None:
    try:
        return sha256_of(paths)
    except (InputError, OSError):
        return None


def _changed() -> InputError:
    return InputError(Code.CHANGED, "The input changed or vanished while it was being read.")
