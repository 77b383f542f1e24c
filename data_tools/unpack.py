"""Taking one folder out of a downloaded archive, without trusting the archive."""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.io import archive as safe_zip
from lnn_med.io.files import LIMITS

JUNK = re.compile(r"(^|/)(\._[^/]*|\.DS_Store)$|(^|/)__MACOSX(/|$)")  # what macOS leaves in archives


def unpack(archive: Path, into: Path, inside: str = ".") -> int:
    """Write the content of the archive's folder `inside` ("." for all) into the folder `into`.

    Returns:
        The number of files written.

    Raises:
        InputError: E_ARCHIVE (a path that leads outside, a link, a device, a name twice, not an archive,
            nothing found), E_BOMB (more entries or bytes than `LIMITS` allow). Files written before stay.
    """
    into.mkdir(parents=True, exist_ok=True)
    if zipfile.is_zipfile(archive):
        count = _unpack_zip(archive, into, inside)
    else:
        count = _unpack_tar(archive, into, inside)
    if count == 0:
        raise InputError(Code.ARCHIVE, f"{archive.name} holds no file in the folder {inside!r}.")
    return count


def _unpack_tar(archive: Path, into: Path, inside: str) -> int:
    if not hasattr(tarfile, "data_filter"):
        raise ConfigError("Unpacking safely needs Python 3.11.4 or newer.")
    seen: set[str] = set()
    count = 0
    try:
        with tarfile.open(archive) as tar:
            for member in _limited(tar, archive):
                relative = _relative(member.name, inside)
                if relative is None:
                    continue
                if not (member.isreg() or member.isdir()):
                    raise InputError(Code.ARCHIVE, f"{archive.name} holds a link or device, {relative}.")
                if member.isreg():
                    _check_new(relative, seen, archive)
                    count += 1
                tar.extract(member.replace(name=relative, deep=False), into, filter="data")
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise InputError(Code.ARCHIVE, f"{archive.name} is broken or no archive ({error}).") from error
    return count


def _limited(tar: tarfile.TarFile, archive: Path) -> Iterator[tarfile.TarInfo]:
    """The members one by one, as long as entries, bytes and ratio stay within the limits."""
    total = 0
    packed = archive.stat().st_size
    for number, member in enumerate(tar, start=1):
        total += member.size
        if number > LIMITS.archive_entries:
            raise InputError(Code.BOMB, f"{archive.name} has more than {LIMITS.archive_entries:,} entries.")
        if total > LIMITS.archive_total_bytes:
            raise InputError(
                Code.BOMB, f"{archive.name} holds more than {LIMITS.archive_total_bytes:,} bytes."
            )
        if total > LIMITS.zip_free_bytes and total > LIMITS.inflate_ratio * packed:
            raise InputError(Code.BOMB, f"{archive.name} inflates by more than {LIMITS.inflate_ratio} to 1.")
        _check_name(member.name, archive)
        yield member


def _check_name(name: str, archive: Path) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or re.match(r"[A-Za-z]:", name):
        raise InputError(Code.ARCHIVE, f"{archive.name} holds a path that leads outside, {name!r}.")


def _check_new(relative: str, seen: set[str], archive: Path) -> None:
    key = relative.casefold()  # on macOS and Windows two spellings are one file
    if key in seen:
        raise InputError(Code.ARCHIVE, f"{archive.name} holds {relative} twice.")
    seen.add(key)


def _relative(name: str, inside: str) -> str | None:
    """The member's path below `inside`; None when it is not there or is junk."""
    path, folder = PurePosixPath(name), PurePosixPath(inside)
    if not path.is_relative_to(folder) or path == folder or JUNK.search(name):
        return None
    return str(path.relative_to(folder))


def _unpack_zip(archive: Path, into: Path, inside: str) -> int:
    """Through the reader's own safe unpacking, then only the wanted folder is moved."""
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=".unzip-") as folder:
        everything = Path(folder)
        safe_zip.unpack(archive, everything)
        count = 0
        for path in sorted(everything.rglob("*")):
            relative = _relative(path.relative_to(everything).as_posix(), inside)
            if relative is None or not path.is_file():
                continue
            target = into / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
            count += 1
    return count
