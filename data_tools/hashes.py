"""The list of file hashes beside a data set, as `sha256sum` writes it: made once, checked at any time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lnn_med.errors import Code, InputError
from lnn_med.io.files import regular_files, write_whole

SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Verification:
    """What differs from the list; paths relative to the folder, in order."""

    checked: int
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    extra: tuple[str, ...]  # not in the list: no damage, but not part of the data set

    @property
    def is_intact(self) -> bool:
        """Whether every listed file is there, unchanged."""
        return not self.missing and not self.changed


def write_sums(folder: Path) -> int:
    """Write the hashes of all files below `folder` into its SHA256SUMS; returns their number."""
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in _names(folder)]
    with write_whole(folder / SUMS) as file:
        file.write("".join(lines).encode())
    return len(lines)


def check_sums(folder: Path) -> Verification:
    """Compare the files below `folder` with its SHA256SUMS.

    Raises:
        InputError: E_NOTFOUND (no folder or no list), E_FORMAT (a line of the list is not a hash and a name).
    """
    listed = _read(folder)
    present = {name: digest for name, digest in listed.items() if (folder / name).is_file()}
    missing = [name for name in listed if name not in present]
    changed = [name for name, digest in present.items() if _sha256(folder / name) != digest]
    extra = [name for name in _names(folder) if name not in listed]
    return Verification(len(listed), tuple(missing), tuple(changed), tuple(extra))


def _read(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    if not path.is_file():
        message = f"{folder.name} has no {SUMS}. For files from elsewhere: lnn-data verify FOLDER --record."
        raise InputError(Code.NOTFOUND, message)
    listed: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(Code.FORMAT, f"Line {number} of {SUMS} is not 'hash  relative path'.")
        listed[name] = digest
    return listed


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise InputError(Code.NOTFOUND, f"{folder.name} is no folder.")
    files, _ = regular_files(folder)
    names = sorted(path.relative_to(folder).as_posix() for path in files)
    broken = [name for name in names if len(name.splitlines()) != 1]
    if broken:
        raise InputError(Code.PATH, f"A file name holds a line break, {broken[0]!r}; rename it.")
    return [name for name in names if name != SUMS]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
