"""Walks the elements of a DICOM data set without trusting a length, a depth or a type.

A parser that believes a header allocates what a length asks for and recurses as deep as its sequences go.
This walk is iterative, allocates nothing and runs first; what it passes can be given to pydicom.
Structure of a data set: PS3.5 section 7, https://dicom.nema.org/medical/dicom/current/output/html/part05.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from pydicom.datadict import dictionary_VR

from lnn_med.errors import Code, InputError
from lnn_med.io.files import LIMITS

MAX_ELEMENTS = 1_000_000  # in one file; an enhanced file of 4,096 frames holds about 600,000 small ones
UNDEFINED = 0xFFFFFFFF

PIXEL_DATA = 0x7FE00010
_FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)
_SERIES_UID = 0x0020000E
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # four bytes of length
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())

# Values that decide how pixels are read: a wrong type here is refused, elsewhere it is only noted.
_DECISIVE = {
    0x00280002: ("SamplesPerPixel", b"US"),
    0x00280008: ("NumberOfFrames", b"IS"),
    0x00280010: ("Rows", b"US"),
    0x00280011: ("Columns", b"US"),
    0x00280030: ("PixelSpacing", b"DS"),
    0x00280100: ("BitsAllocated", b"US"),
    0x00280101: ("BitsStored", b"US"),
    0x00280102: ("HighBit", b"US"),
    0x00280103: ("PixelRepresentation", b"US"),
    0x00281052: ("RescaleIntercept", b"DS"),
    0x00281053: ("RescaleSlope", b"DS"),
    0x00200032: ("ImagePositionPatient", b"DS"),
    0x00200037: ("ImageOrientationPatient", b"DS"),
}


@dataclass(frozen=True)
class Encoding:
    """How the elements of a data set are written."""

    explicit: bool = True
    little_endian: bool = True
    encapsulated: bool = False  # compressed pixel data, in fragments


@dataclass
class Layout:
    """What the walk found; filled as it goes, so that a refused file may still say its series."""

    series_uid: str | None = None
    pixel_offset: int | None = None  # first byte of the value of PixelData
    pixel_bytes: int = 0
    float_pixels: bool = False
    nonconformant: bool = False  # tags out of order, or a type that is not the dictionary's


@dataclass
class _Level:
    """A data set, an item or a sequence that the walk is inside of."""

    end: int  # no element may pass it
    is_sequence: bool
    delimited: bool  # ends with a delimiter instead of at `end`
    explicit: bool
    depth: int  # sequences around it
    last_tag: int = -1
    elements: int = 0


@dataclass(frozen=True)
class _Element:
    tag: int
    vr: bytes  # empty in implicit encoding
    length: int
    value: int  # offset of the value

    @property
    def end(self) -> int:
        return self.value + self.length


def walk(stream: BinaryIO, start: int, size: int, encoding: Encoding, layout: Layout) -> None:
    """Check the structure of the data set in `stream[start:size]` up to the end of its pixel data.

    Raises:
        InputError: E_TRUNCATED, E_LENGTH, E_NESTING, E_VR or E_SIZE.
    """
    _Walk(stream, size, encoding, layout).run(start)


class _Walk:
    """The state of one walk: a stack of levels instead of recursion."""

    def __init__(self, stream: BinaryIO, size: int, encoding: Encoding, layout: Layout) -> None:
        self.stream, self.size, self.encoding, self.layout = stream, size, encoding, layout
        order = "<" if encoding.little_endian else ">"
        self.tag_format = struct.Struct(order + "HH")
        self.short, self.long = struct.Struct(order + "H"), struct.Struct(order + "L")
        self.elements = 0

    def run(self, start: int) -> None:
        position = start
        levels = [_Level(self.size, False, False, self.encoding.explicit, depth=0)]
        while levels:
            level = levels[-1]
            if position >= level.end:
                if level.delimited:
                    raise self._past_end(level, "A sequence has no end.")
                levels.pop()
                continue
            element = self._header(position, level)
            self._count(level)
            if element.tag in (_ITEM_END, _SEQUENCE_END):
                if (
                    not level.delimited
                    or element.length
                    or level.is_sequence != (element.tag == _SEQUENCE_END)
                ):
                    raise InputError(Code.LENGTH, "A sequence ends at an unexpected place.")
                levels.pop()
                position = element.value
                continue
            if level.is_sequence != (element.tag == _ITEM):
                raise InputError(Code.LENGTH, "A sequence and its items do not fit together.")
            if len(levels) == 1 and element.tag in (PIXEL_DATA, *_FLOAT_PIXELS):
                return self._pixels(element, level)
            if not level.is_sequence:
                self._check(element, level)
            position = self._enter_or_pass(element, levels)

    def _count(self, level: _Level) -> None:
        level.elements += 1
        self.elements += 1
        if level.elements > LIMITS.tags or self.elements > MAX_ELEMENTS:
            raise InputError(Code.SIZE, f"The header has more than {LIMITS.tags:,} elements on one level.")

    def _header(self, position: int, level: _Level) -> _Element:
        raw = self._take(position, 8, level)
        group, number = self.tag_format.unpack_from(raw)
        tag = group << 16 | number
        if group == 0xFFFE or not level.explicit:
            return _Element(tag, b"", self.long.unpack_from(raw, 4)[0], position + 8)
        vr = raw[4:6]
        if vr in _SHORT_VRS:
            return _Element(tag, vr, self.short.unpack_from(raw, 6)[0], position + 8)
        if vr in _LONG_VRS:
            return _Element(tag, vr, self.long.unpack(self._take(position + 8, 4, level))[0], position + 12)
        raise InputError(
            Code.VR, f"Element ({group:04X},{number:04X}) has a value type that DICOM does not know."
        )

    def _take(self, position: int, count: int, level: _Level) -> bytes:
        if position + count > level.end:
            raise self._past_end(level, "An element begins in the last bytes and has no room.")
        self.stream.seek(position)
        raw = self.stream.read(count)
        if len(raw) < count:
            raise InputError(Code.TRUNCATED, "The file ends inside an element.")
        return raw

    def _past_end(self, level: _Level, message: str) -> InputError:
        return InputError(Code.TRUNCATED if level.end >= self.size else Code.LENGTH, message)

    def _check(self, element: _Element, level: _Level) -> None:
        if element.tag <= level.last_tag:
            self.layout.nonconformant = True
        level.last_tag = element.tag
        decisive = _DECISIVE.get(element.tag)
        if decisive:
            name, vr = decisive
            if (element.vr not in (b"", b"UN", vr)) or (vr == b"US" and element.length not in (0, 2)):
                raise InputError(Code.VR, f"{name} is not of type {vr.decode()}.")
        elif element.vr and not self.layout.nonconformant:
            expected = _dictionary_vr(element.tag)
            if expected and element.vr != b"UN" and element.vr.decode() not in expected:
                self.layout.nonconformant = True
        if element.tag == _SERIES_UID and level.depth == 0 and element.length <= 64:
            self.layout.series_uid = self._text(element, level)

    def _text(self, element: _Element, level: _Level) -> str:
        return self._take(element.value, element.length, level).decode("ascii", "replace").strip("\0 ")

    def _enter_or_pass(self, element: _Element, levels: list[_Level]) -> int:
        """Push the level that the element opens, if any; return where the walk goes on."""
        level = levels[-1]
        undefined = element.length == UNDEFINED
        if not undefined:
            self._check_length(element, level)
        end = level.end if undefined else element.end
        if level.is_sequence:  # an item
            levels.append(_Level(end, False, undefined, level.explicit, level.depth))
        elif (
            element.vr == b"SQ"
            or _dictionary_vr(element.tag) == "SQ"
            or (undefined and element.vr in (b"", b"UN"))
        ):
            if level.depth == LIMITS.sequence_depth:
                raise InputError(
                    Code.NESTING, f"Sequences are nested deeper than {LIMITS.sequence_depth} levels."
                )
            # a sequence written as UN holds implicit elements (PS3.5 section 6.2.2)
            explicit = level.explicit and element.vr == b"SQ"
            levels.append(_Level(end, True, undefined, explicit, level.depth + 1))
        elif not undefined:
            return element.end
        elif element.tag == PIXEL_DATA and self.encoding.encapsulated:  # of an icon
            return self._fragments_end(element.value, level)
        else:
            raise InputError(Code.LENGTH, "An element that is no sequence has an undefined length.")
        return element.value

    def _check_length(self, element: _Element, level: _Level) -> None:
        if element.length > LIMITS.element_bytes:
            raise InputError(
                Code.LENGTH, f"An element declares {element.length:,} bytes; 1 GiB is the limit."
            )
        if element.end > level.end:
            raise self._past_end(
                level, f"An element declares {element.length:,} bytes, more than there are left."
            )

    def _pixels(self, element: _Element, level: _Level) -> None:
        self.layout.pixel_offset = element.value
        self.layout.float_pixels = element.tag != PIXEL_DATA
        if self.encoding.encapsulated != (element.length == UNDEFINED):
            raise InputError(Code.LENGTH, "The length of PixelData does not fit the transfer syntax.")
        if self.encoding.encapsulated:
            self.layout.pixel_bytes = self._fragments_end(element.value, level) - element.value
            return
        if element.length > LIMITS.element_bytes:
            raise InputError(Code.LENGTH, f"PixelData declares {element.length:,} bytes; 1 GiB is the limit.")
        if element.end > self.size:
            raise InputError(Code.TRUNCATED, f"PixelData lacks its last {element.end - self.size:,} bytes.")
        self.layout.pixel_bytes = element.length

    def _fragments_end(self, position: int, level: _Level) -> int:
        """First byte after the fragments that begin at `position`, their end mark included."""
        while True:
            raw = self._take(position, 8, level)
            tag = self.tag_format.unpack_from(raw)
            length = self.long.unpack_from(raw, 4)[0]
            position += 8
            if tag == (0xFFFE, 0xE0DD):
                return position
            if tag != (0xFFFE, 0xE000) or length > LIMITS.element_bytes:
                raise InputError(Code.LENGTH, "The fragments of PixelData are not in order.")
            if position + length > level.end:
                raise InputError(Code.TRUNCATED, "PixelData ends inside a compressed fragment.")
            position += length


@lru_cache(maxsize=8192)
def _dictionary_vr(tag: int) -> str:
    """Value type of a public element, for example "US or SS"; empty when it is private or unknown."""
    if tag >> 16 & 1:
        return ""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""
