"""Unpack a zip that nobody trusts: everything its directory says is checked before a byte is written."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lnn_med.errors import Code, InputError
from lnn_med.io.files import LIMITS, open_regular

ZIP_MAGIC = b"PK\x03\x04"
EMPTY_ZIP_MAGIC = b"PK\x05\x06"
CHUNK_BYTES = 1 << 20

_ENCRYPTED_FLAGS = 0x1 | 0x40 | 0x2000  # password, strong encryption, masked directory (APPNOTE 4.4.4)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what every tool writes; LZMA can ask for gigabytes
_LOCAL_HEADER_BYTES = 30
_DIRECTORY_ENTRY_BYTES = 46
_MEAN_NAME_BYTES = 256  # generous: allows LIMITS.archive_entries names and extra fields of this length
_END_RECORD_BYTES = 22
_MAX_COMMENT_BYTES = 65_535
_ZIP64_BYTES = 56 + 20  # ZIP64 end record and its locator, right before the end record
_ZIP64_RECORD_MAGIC = b"PK\x06\x06"

_BROKEN_ZIP = (
    zipfile.BadZipFile, zlib.error, EOFError, struct.error, UnicodeDecodeError, NotImplementedError,
)  # fmt: skip


def unpack(zip_path: Path, into: Path) -> None:
    """Unpack a zip into the folder `into`, which must be empty or missing; all of it or nothing.

    Raises:
        InputError: E_ARCHIVE for paths that lead outside, links, passwords, colliding names or a broken zip;
            E_BOMB for too many entries, too much data, nested or overlapping entries; E_STORAGE when `into`
            cannot be written; E_EMPTY, E_SIZE, E_NOTFOUND as for every file.
    """
    with open_regular(Path(zip_path)) as file:
        _check_directory_size(file)
        try:
            with _opened(file) as archive:
                zip_bytes = os.fstat(file.fileno()).st_size
                entries = _checked_entries(archive, zip_bytes)
                _write(archive, entries, Path(into), zip_bytes)
        except _BROKEN_ZIP as error:
            raise InputError(Code.ARCHIVE, f"The zip is broken ({type(error).__name__}).") from error


def looks_like_zip(prefix: bytes) -> bool:
    """Whether a file that starts with these bytes is a zip."""
    return prefix.startswith((ZIP_MAGIC, EMPTY_ZIP_MAGIC))


def _check_directory_size(file: BinaryIO) -> None:
    """Refuse a directory that could hold too many entries, before zipfile makes an object of each."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _MAX_COMMENT_BYTES - _END_RECORD_BYTES - _ZIP64_BYTES))
    tail = file.read()
    file.seek(0)
    at = tail.rfind(EMPTY_ZIP_MAGIC)
    if at < 0 or at + _END_RECORD_BYTES > len(tail):
        raise InputError(Code.ARCHIVE, "The zip has no end record; it is cut short.")
    directory_bytes = struct.unpack_from("<I", tail, at + 12)[0]
    zip64 = at - _ZIP64_BYTES
    if zip64 >= 0 and tail.startswith(_ZIP64_RECORD_MAGIC, zip64):
        # zipfile follows this record whenever it is there, whatever the older one says.
        directory_bytes = struct.unpack_from("<Q", tail, zip64 + 40)[0]
    if directory_bytes > LIMITS.archive_entries * (_DIRECTORY_ENTRY_BYTES + _MEAN_NAME_BYTES):
        raise InputError(Code.BOMB, f"The zip's directory has {directory_bytes:,} bytes.")


def _opened(file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except ValueError as error:  # offsets that lead to before the file
        raise zipfile.BadZipFile from error


def _checked_entries(archive: zipfile.ZipFile, zip_bytes: int) -> list[zipfile.ZipInfo]:
    """The files of the archive, after all checks that need only its directory."""
    entries = archive.infolist()
    if len(entries) > LIMITS.archive_entries:
        raise InputError(
            Code.BOMB, f"The zip has {len(entries):,} entries; {LIMITS.archive_entries:,} are allowed."
        )
    for entry in entries:
        _check_entry(entry)
    _check_collisions(entries)
    _check_overlap(entries, archive.start_dir)
    _check_total(sum(entry.file_size for entry in entries), zip_bytes)
    return [entry for entry in entries if not entry.is_dir()]


def _check_entry(entry: zipfile.ZipInfo) -> None:
    # orig_filename: zipfile itself cuts a name at a zero byte and turns nothing else on POSIX.
    name = entry.orig_filename
    outside = name.startswith("/") or ".." in PurePosixPath(name).parts or name[1:2] == ":"
    if outside or "\\" in name or "\0" in name or not name:
        raise InputError(Code.ARCHIVE, "The zip holds a path that may lead outside its folder.")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError(Code.ARCHIVE, "The zip holds a link or a device.")
    if entry.flag_bits & _ENCRYPTED_FLAGS:
        raise InputError(Code.ARCHIVE, "The zip is protected by a password.")
    if entry.compress_type not in _METHODS:
        raise InputError(Code.ARCHIVE, f"The zip uses compression method {entry.compress_type}, not deflate.")
    if entry.file_size > LIMITS.file_bytes:
        raise InputError(Code.BOMB, f"The zip holds a file of {entry.file_size:,} bytes.")


def _check_collisions(entries: list[zipfile.ZipInfo]) -> None:
    """Refuse names that some file system takes for the same: one of the two would be lost or replaced."""
    files: set[str] = set()
    folders: set[str] = set()
    for entry in entries:
        path = PurePosixPath(unicodedata.normalize("NFKC", entry.filename).casefold())
        folders.update(str(parent) for parent in path.parents)
        if entry.is_dir():
            folders.add(str(path))
        elif str(path) in files:
            raise InputError(Code.ARCHIVE, "The zip holds two files of the same name.")
        else:
            files.add(str(path))
    if files & folders:
        raise InputError(Code.ARCHIVE, "The zip holds a file and a folder of the same name.")


def _check_overlap(entries: list[zipfile.ZipInfo], directory_start: int) -> None:
    """Refuse entries that share bytes: the trick by which a small zip unpacks to petabytes."""
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    free_from = 0
    for entry in ordered:
        if entry.header_offset < free_from:
            raise InputError(Code.BOMB, "The zip holds entries that overlap.")
        free_from = entry.header_offset + _LOCAL_HEADER_BYTES + entry.compress_size
    if free_from > directory_start:
        raise InputError(Code.ARCHIVE, "The zip holds an entry that runs into its directory.")


def _check_total(inflated_bytes: int, zip_bytes: int) -> None:
    if inflated_bytes > LIMITS.archive_total_bytes:
        raise InputError(
            Code.BOMB,
            f"The zip unpacks to {inflated_bytes:,} bytes; {LIMITS.archive_total_bytes:,} are allowed.",
        )
    if inflated_bytes > max(LIMITS.zip_free_bytes, LIMITS.inflate_ratio * zip_bytes):
        raise InputError(Code.BOMB, f"The zip unpacks to over {LIMITS.inflate_ratio} times its size.")


def _write(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], into: Path, zip_bytes: int) -> None:
    try:
        into.mkdir(parents=True, exist_ok=True)
        if any(into.iterdir()):
            raise InputError(Code.STORAGE, "The folder to unpack into is not empty.")
        try:
            total = 0
            for entry in entries:
                total = _write_entry(archive, entry, into, total, zip_bytes)
        except BaseException:
            for child in into.iterdir():
                shutil.rmtree(child) if child.is_dir() else child.unlink()
            raise
    except OSError as error:
        # ENAMETOOLONG is the zip's fault and would come back anywhere; the rest is the disk's.
        code = Code.ARCHIVE if error.errno == errno.ENAMETOOLONG else Code.STORAGE
        raise InputError(code, f"The zip cannot be unpacked ({error.strerror}).") from error


def _write_entry(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, into: Path, total: int, zip_bytes: int
) -> int:
    """Write one file and return the running total; the sizes are counted, not believed."""
    target = into / entry.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as packed, open(target, "xb") as file:
        chunk = packed.read(CHUNK_BYTES)
        if looks_like_zip(chunk):
            raise InputError(Code.BOMB, "The zip holds another zip.")
        while chunk:
            total += len(chunk)
            _check_total(total, zip_bytes)
            file.write(chunk)
            chunk = packed.read(CHUNK_BYTES)
    return total
