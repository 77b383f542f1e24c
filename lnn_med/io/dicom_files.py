"""Opens one DICOM file: what it claims to be, how it is encoded, its header without the pixels.

File format: PS3.10 section 7.1. Nothing is parsed by pydicom before `dicom_stream.walk` has passed it.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from lnn_med.errors import Code, InputError
from lnn_med.io.dicom_stream import Encoding, Layout, walk
from lnn_med.io.files import LIMITS, open_regular

PREAMBLE_BYTES = 128
DEFLATE_FREE_BYTES = 16 << 20  # below this much inflated data the ratio is not looked at
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
# Transfer syntax -> whether it may lose information. JPEG extended (.51) is missing: none of the codecs that
# pydicom finds reads its 12 bits.
COMPRESSED = {
    "1.2.840.10008.1.2.4.50": True,  # JPEG baseline
    "1.2.840.10008.1.2.4.57": False,  # JPEG lossless
    "1.2.840.10008.1.2.4.70": False,  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": False,  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": True,  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": False,  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": True,  # JPEG 2000
    "1.2.840.10008.1.2.5": False,  # RLE
}
_NATIVE = (IMPLICIT_LE, EXPLICIT_LE, DEFLATED_LE, EXPLICIT_BE)

# A preamble may hold anything, and TIFF is in use (PS3.10 section 7.1); a program or page there is an attack.
_PROGRAMS = (
    b"MZ",
    b"\x7fELF",
    b"\xfe\xed\xfa",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
    b"#!",
    b"%PDF",
    b"PK\x03\x04",
    b"<",
)


@dataclass(frozen=True)
class Stamp:
    """Tells whether a file on disk is still the one that was looked at."""

    inode: int
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class PixelPlace:
    """Where the value of PixelData lies: native pixels, or fragments with their item tags."""

    path: Path
    stamp: Stamp
    syntax: str
    data_start: int  # of the data set in the file
    offset: int  # of the value in the file, or in the inflated data set
    count: int  # bytes

    def read(self) -> bytes:
        """The bytes of the value.

        Raises:
            InputError: E_CHANGED when the file is not the one that was looked at.
        """
        with open_regular(self.path) as file:
            if stamp_of(file) != self.stamp:
                raise InputError(Code.CHANGED, "A file of the series changed while it was being read.")
            stream = _inflated(file, self.data_start) if self.syntax == DEFLATED_LE else file
            stream.seek(self.offset)
            return stream.read(self.count)


@dataclass(frozen=True)
class OpenedFile:
    """One DICOM file after the walk over its structure; `header` lacks the pixel data."""

    path: Path
    syntax: str
    sop_class: str
    header: Dataset
    layout: Layout
    pixels: PixelPlace | None


class BrokenFileError(Exception):
    """A DICOM file that is refused, with the series it belongs to when that is known."""

    def __init__(self, error: InputError, series_uid: str | None) -> None:
        super().__init__(str(error))
        self.error, self.series_uid = error, series_uid


def is_dicom(path: Path) -> bool:
    """Whether the file has the DICM mark after its preamble."""
    try:
        with open_regular(path) as file:
            return file.read(PREAMBLE_BYTES + 4)[PREAMBLE_BYTES:] == b"DICM"
    except InputError:
        return False


def stamp_of(file: BinaryIO) -> Stamp:
    """The stamp of an open file."""
    status = os.fstat(file.fileno())
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns)


def open_dicom(path: Path, tags: list[int], lenient: bool = False) -> OpenedFile:
    """Check the structure of a DICOM file and read the `tags` of its header.

    With `lenient`, a file without preamble and meta information is tried as implicit little endian.

    Raises:
        InputError: E_NOTDICOM, E_EMPTY, E_NOTFOUND or E_SIZE; the file is then no DICOM file.
        BrokenFileError: for a DICOM file that cannot be trusted.
    """
    with open_regular(path) as file:
        beginning = file.read(PREAMBLE_BYTES + 4)
        marked = beginning[PREAMBLE_BYTES:] == b"DICM"
        if not marked and not (lenient and _looks_implicit(beginning)):
            raise InputError(Code.NOTDICOM, "The file has no DICOM mark after its preamble.")
        layout = Layout()
        try:
            if marked and beginning.startswith(_PROGRAMS):
                raise InputError(
                    Code.POLYGLOT, "The file begins like a program or a page and goes on as DICOM."
                )
            meta = _read_meta(file) if marked else _Meta(0, IMPLICIT_LE, "")
            return _open_data_set(path, file, meta, layout, tags)
        except InputError as error:
            raise BrokenFileError(error, layout.series_uid) from None


def encoding_of(syntax: str) -> Encoding:
    """How elements are written in a transfer syntax; unknown ones are explicit little endian (PS3.5 A.4)."""
    return Encoding(
        explicit=syntax != IMPLICIT_LE,
        little_endian=syntax != EXPLICIT_BE,
        encapsulated=syntax not in _NATIVE,
    )


def check_syntax(syntax: str) -> None:
    """Refuse a transfer syntax that this package does not decode."""
    if syntax not in _NATIVE and syntax not in COMPRESSED:
        known = pydicom.uid.UID_dictionary.get(syntax)
        name = known[0] if known else "an unknown one"
        raise InputError(Code.SYNTAX, f"The transfer syntax is {name}.")


@dataclass(frozen=True)
class _Meta:
    data_start: int
    syntax: str
    sop_class: str


def _read_meta(file: BinaryIO) -> _Meta:
    """File meta information: the elements of group 0002, always explicit little endian."""
    position, values = PREAMBLE_BYTES + 4, {}
    size = stamp_of(file).size
    while position < size:
        file.seek(position)
        raw = file.read(12)
        if len(raw) < 8:
            raise InputError(Code.TRUNCATED, "The file ends inside its meta information.")
        group, number, vr, length = struct.unpack_from("<HH2sH", raw)
        if group != 0x0002:
            break
        position += 8
        if vr in (b"OB", b"UN"):
            length = struct.unpack_from("<L", raw.ljust(12, b"\0"), 8)[0]
            position += 4
        if position + length > size:
            raise InputError(Code.TRUNCATED, "The file ends inside its meta information.")
        if number in (0x0002, 0x0010):
            file.seek(position)
            values[number] = file.read(length).decode("ascii", "replace").strip("\0 ")
        position += length
    if position >= size:
        raise InputError(Code.TRUNCATED, "The file ends after its meta information.")
    if not values.get(0x0010):
        raise InputError(Code.SYNTAX, "The file does not say its transfer syntax.")
    return _Meta(position, values[0x0010], values.get(0x0002, ""))


def _open_data_set(path: Path, file: BinaryIO, meta: _Meta, layout: Layout, tags: list[int]) -> OpenedFile:
    stamp = stamp_of(file)
    stream, start, size = file, meta.data_start, stamp.size
    if meta.syntax == DEFLATED_LE:
        stream = _inflated(file, meta.data_start)
        start, size = 0, stream.seek(0, io.SEEK_END)
    encoding = encoding_of(meta.syntax)
    try:
        walk(stream, start, size, encoding, layout)
        stream.seek(start)
        header = _parse(stream, encoding, tags)
    except (InputError, BrokenFileError):
        check_syntax(meta.syntax)  # an unknown syntax explains why the structure looks wrong
        raise
    place = None
    if layout.pixel_offset is not None:
        place = PixelPlace(path, stamp, meta.syntax, meta.data_start, layout.pixel_offset, layout.pixel_bytes)
    return OpenedFile(
        path, meta.syntax, str(header.get("SOPClassUID") or meta.sop_class), header, layout, place
    )


def _parse(stream: BinaryIO, encoding: Encoding, tags: list[int]) -> Dataset:
    """The `tags` before the pixel data. Values are converted when they are used, by `dicom_values`."""
    try:
        return read_dataset(
            stream,
            is_implicit_VR=not encoding.explicit,
            is_little_endian=encoding.little_endian,
            stop_when=lambda tag, vr, length: tag >= 0x7FE00000,
            specific_tags=tags,
        )
    except Exception as error:  # pydicom raises what its parts raise
        raise InputError(Code.VR, f"The header cannot be parsed ({type(error).__name__}).") from None


def _inflated(file: BinaryIO, start: int) -> io.BytesIO:
    """The data set of a deflated file (PS3.5 A.5), inflated piece by piece within the limits."""
    file.seek(start)
    deflated_bytes = stamp_of(file).size - start
    allowed = min(LIMITS.file_bytes, max(DEFLATE_FREE_BYTES, LIMITS.inflate_ratio * deflated_bytes))
    engine, out = zlib.decompressobj(-zlib.MAX_WBITS), io.BytesIO()
    try:
        while not engine.eof:
            piece = engine.unconsumed_tail or file.read(1 << 16)
            inflated = engine.decompress(piece, 1 << 20)
            if not piece and not inflated:
                raise InputError(Code.TRUNCATED, "The deflated data set has no end.")
            out.write(inflated)
            if out.tell() > allowed:
                raise InputError(Code.BOMB, f"The deflated data set inflates beyond {allowed:,} bytes.")
    except zlib.error:
        raise InputError(Code.DECODE, "The deflated data set cannot be inflated.") from None
    return out


def _looks_implicit(beginning: bytes) -> bool:
    """Whether a file without preamble begins with an element of group 0008 and a short length."""
    if len(beginning) < 8:
        return False
    group, _, length = struct.unpack_from("<HHL", beginning)
    return group == 0x0008 and length <= 1024
