"""Breaks DICOM files on purpose, one function a case of the list of bad inputs in the documentation."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from lnn_med.io.dicom_values import silent_pydicom
from tests.dicom_factory import COMPRESSED, STUDY_UID, base_header, save, transcode

PIXEL_TAG = b"\xe0\x7f\x10\x00"
ITEM, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
UNDEFINED = b"\xff\xff\xff\xff"


def change(path: Path, **attributes: Any) -> None:
    """Set attributes without any check of their values."""
    header = dcmread(path)
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    header.save_as(path)


def insert(path: Path, raw: bytes, before: bytes = PIXEL_TAG) -> None:
    """Insert the bytes of an element before another one."""
    content = path.read_bytes()
    at = content.rindex(before)
    path.write_bytes(content[:at] + raw + content[at:])


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """An explicit little-endian element, with a false length if one is given."""
    length = len(value) if length is None else length
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return struct.pack("<HH2sHL", group, number, vr, 0, length) + value
    return struct.pack("<HH2sH", group, number, vr, length) + value


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut_in_header(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\x28\x00\x10\x00US")])  # just before Rows


def cut_in_meta(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def cut_in_pixels(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def huge_image(path: Path) -> None:
    content = path.read_bytes()
    at = content.rindex(PIXEL_TAG)
    path.write_bytes(content[:at] + element(0x7FE0, 0x0010, b"OW", b"\0" * 128))
    change(path, Rows=65535, Columns=65535)


def huge_frames(path: Path) -> None:
    change(path, NumberOfFrames=2**31 - 1)


def huge_element(path: Path) -> None:
    insert(path, element(0x0029, 0x1010, b"OB", b"", 0xFFFFFFF0))


def undefined_native_pixels(path: Path) -> None:
    content = path.read_bytes()
    at = content.rindex(PIXEL_TAG)
    path.write_bytes(content[: at + 8] + UNDEFINED + content[at + 12 :])


def nested(levels: int, defined: bool = False) -> Any:
    """A case with sequences inside sequences."""

    def deep(path: Path) -> None:
        raw = b""
        opening = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + ITEM + UNDEFINED
        closing = b"\xfe\xff\x0d\xe0" + b"\0" * 4 + SEQUENCE_END + b"\0" * 4
        if defined:
            for _ in range(levels):
                raw = element(0x0040, 0xA730, b"SQ", ITEM + struct.pack("<L", len(raw)) + raw)
        else:
            raw = opening * levels + closing * levels
        insert(path, raw)

    return deep


def preamble(start: bytes) -> Any:
    """A case whose preamble begins like another kind of file."""

    def disguise(path: Path) -> None:
        path.write_bytes(start.ljust(128, b"\0") + path.read_bytes()[128:])

    return disguise


def no_preamble(path: Path) -> None:
    header = dcmread(path)
    save(header, path, ImplicitVRLittleEndian)
    content = path.read_bytes()
    path.write_bytes(content[content.index(b"\x08\x00\x05\x00") :])


def long_rows(path: Path) -> None:
    content = path.read_bytes()
    at = content.index(b"\x28\x00\x10\x00US")
    wrong = element(0x0028, 0x0010, b"UL", struct.pack("<L", 2**31))
    path.write_bytes(content[:at] + wrong + content[at + 10 :])


def odd_bits(path: Path) -> None:
    change(path, BitsAllocated=3, BitsStored=3, HighBit=2)


def colour(path: Path) -> None:
    change(path, SamplesPerPixel=3, PhotometricInterpretation="RGB")


def spacing(text: str) -> Any:
    """A case with another PixelSpacing, put in as bytes: pydicom would not write it."""

    def respace(path: Path) -> None:
        content = path.read_bytes()
        at = content.index(b"\x28\x00\x30\x00DS")
        (length,) = struct.unpack_from("<H", content, at + 6)
        value = text.encode() + b" " * (len(text) % 2)
        path.write_bytes(content[:at] + element(0x0028, 0x0030, b"DS", value) + content[at + 8 + length :])

    return respace


def flat_orientation(path: Path) -> None:
    change(path, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])


def no_position(path: Path) -> None:
    header = dcmread(path)
    del header.ImagePositionPatient
    header.save_as(path)


def deflate_bomb(path: Path) -> None:
    header = base_header()
    save(header, path, DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    # the deflated data set follows the meta information, whose length its first element holds
    start = 132 + 12 + struct.unpack_from("<L", content, 140)[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(element(0x0009, 0x1010, b"OB", b"", 100 << 20))
    for _ in range(100):
        bomb += packer.compress(b"\0" * (1 << 20))
    path.write_bytes(content[:start] + bomb + packer.flush())


def bad_deflate(path: Path) -> None:
    save(base_header(), path, DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    start = 132 + 12 + struct.unpack_from("<L", content, 140)[0]
    path.write_bytes(content[:start] + b"\xff" * 64)


def bad_rle(path: Path) -> None:
    alone = path.parent / "alone"
    alone.mkdir()
    path.rename(alone / path.name)
    transcode(alone, COMPRESSED["RLE"])
    (alone / path.name).rename(path)
    alone.rmdir()
    content = bytearray(path.read_bytes())
    at = _first_fragment(content)
    content[at + 4 : at + 12] = struct.pack("<2L", 0x00FFFFFF, 0x7FFFFFFF)  # offsets of its segments
    path.write_bytes(content)


def bad_j2k(path: Path) -> None:
    """Garbage where JPEG 2000 should be, in a fragment of the right length."""
    header = dcmread(path)
    garbage = np.random.default_rng(0).bytes(500)
    header.save_as(path)
    content = path.read_bytes()
    syntax = b"1.2.840.10008.1.2.1\0"
    content = _replace_syntax(content, syntax, b"1.2.840.10008.1.2.4.90")
    at = content.rindex(PIXEL_TAG)
    fragments = ITEM + b"\0" * 4 + ITEM + struct.pack("<L", len(garbage)) + garbage + SEQUENCE_END + b"\0" * 4
    path.write_bytes(content[:at] + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + fragments)


def text_file(path: Path) -> None:
    path.write_text("This is no image.\n" * 40)


def unknown_vr(path: Path) -> None:
    insert(path, struct.pack("<HH2sH", 0x0029, 0x1001, b"ZZ", 4) + b"abcd")


def unknown_syntax(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(_replace_syntax(content, b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"))


def video_syntax(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(_replace_syntax(content, b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.102\0"))


def zero_slope(path: Path) -> None:
    change(path, RescaleSlope="0", RescaleIntercept="0")


def tags_out_of_order(path: Path) -> None:
    """W_NONCONFORMANT: InstanceNumber after the pixel description."""
    insert(path, element(0x0008, 0x0080, b"LO", b"HOSPITAL"))


def dicomdir(path: Path, *components: str) -> Path:
    """A DICOMDIR with one record that names a file."""
    with silent_pydicom():
        record = Dataset()
        record.OffsetOfTheNextDirectoryRecord, record.RecordInUseFlag = 0, 0xFFFF
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", list(components)
        header = Dataset()
        header.FileSetID, header.StudyInstanceUID = "SET", STUDY_UID
        header.DirectoryRecordSequence = [record]
        header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.1.3.10", "1.2.3.9"
        return save(header, path)


def _first_fragment(content: bytes | bytearray) -> int:
    """Start of the first fragment after the offset table."""
    at = content.rindex(PIXEL_TAG) + 12
    (table,) = struct.unpack_from("<L", content, at + 4)
    return at + 8 + table + 8


def _replace_syntax(content: bytes, old: bytes, new: bytes) -> bytes:
    at = content.index(element(0x0002, 0x0010, b"UI", old))
    end = at + 8 + len(old)
    (group_length,) = struct.unpack_from("<L", content, 140)
    content = content[:140] + struct.pack("<L", group_length + len(new) - len(old)) + content[144:]
    return content[:at] + element(0x0002, 0x0010, b"UI", new) + content[end:]
