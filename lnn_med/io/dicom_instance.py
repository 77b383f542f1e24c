"""One DICOM file as the reader needs it: facts, pixel format, slices and what is wrong with it.

The header itself is dropped, so that a folder of a hundred thousand files can be listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID

from lnn_med.errors import Code, InputError
from lnn_med.io.dicom_enhanced import PER_FRAME, SHARED, enhanced_frames, is_enhanced
from lnn_med.io.dicom_facts import KEYWORDS, Facts, FactsPool
from lnn_med.io.dicom_files import (
    COMPRESSED,
    DICOMDIR_CLASS,
    BrokenFileError,
    OpenedFile,
    PixelPlace,
    check_syntax,
    open_dicom,
)
from lnn_med.io.dicom_frames import Frame, PixelFormat, classic_frame, pixel_format
from lnn_med.io.dicom_mosaic import CSA_TAGS, is_mosaic, mosaic_frames
from lnn_med.io.dicom_values import silent_pydicom, text, values

_PIXEL_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    SHARED,
    PER_FRAME,
    "DirectoryRecordSequence",
)
_TAGS = [int(tag_for_keyword(keyword) or 0) for keyword in (*KEYWORDS, *_PIXEL_KEYWORDS)] + CSA_TAGS
_PLACE_KEYWORDS = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")


@dataclass(frozen=True, slots=True)
class Instance:
    """One file. With a `problem` it can only be listed; without `frames` it is no image in patient space."""

    path: Path
    series_uid: str | None  # None when the file broke before it said so
    sop_uid: str = ""
    facts: Facts | None = None
    pixels: PixelFormat | None = None
    place: PixelPlace | None = None
    frames: tuple[Frame, ...] = ()
    nonconformant: bool = False
    problem: InputError | None = None
    is_directory: bool = False  # a DICOMDIR


def read_instance(path: Path, lenient: bool = False, pool: FactsPool | None = None) -> Instance:
    """Read one file; what is wrong with a DICOM file becomes its `problem`.

    Facts that are already in `pool` are shared instead of kept again.

    Raises:
        InputError: when it is no DICOM file (E_NOTDICOM, E_EMPTY, E_NOTFOUND, E_SIZE, E_FORMAT).
    """
    with silent_pydicom():
        try:
            opened = open_dicom(path, _TAGS, lenient)
        except BrokenFileError as broken:
            return Instance(path, broken.series_uid, problem=broken.error)
        return _interpret(opened, pool or FactsPool())


def _interpret(opened: OpenedFile, pool: FactsPool) -> Instance:
    header, path = opened.header, opened.path
    facts = pool.read(header, opened.sop_class, opened.syntax)
    uid, sop_uid = facts.series_uid or None, text(header, "SOPInstanceUID")
    if opened.sop_class == DICOMDIR_CLASS:
        return Instance(path, uid, problem=_directory_problem(header), is_directory=True)
    try:
        pixels, frames = _image(opened, facts)
    except InputError as problem:
        return Instance(path, uid, sop_uid, facts, problem=problem)
    nonconformant = opened.layout.nonconformant
    return Instance(path, uid, sop_uid, facts, pixels, opened.pixels, frames, nonconformant)


def _image(opened: OpenedFile, facts: Facts) -> tuple[PixelFormat | None, tuple[Frame, ...]]:
    """Pixel format and slices of an image; nothing for a report, a presentation state or a document."""
    header = opened.header
    if opened.pixels is None:
        if "Rows" in header or not opened.sop_class or UID(opened.sop_class).name.endswith("Image Storage"):
            raise InputError(Code.TRUNCATED, "The file ends before its pixel data.")
        return None, ()
    check_syntax(opened.syntax)
    if opened.layout.float_pixels:
        raise InputError(Code.PIXELFMT, "A pixel is a floating-point number.")
    pixels = pixel_format(header)
    if opened.syntax not in COMPRESSED and opened.pixels.count < pixels.native_bytes:
        raise InputError(
            Code.TRUNCATED, f"PixelData has {opened.pixels.count:,} of {pixels.native_bytes:,} bytes."
        )
    if not facts.series_uid:
        raise InputError(Code.VR, "The image has no SeriesInstanceUID.")
    return pixels, _frames(header, pixels, facts)


def _frames(header: Dataset, pixels: PixelFormat, facts: Facts) -> tuple[Frame, ...]:
    if is_enhanced(header):
        return enhanced_frames(header, pixels) if facts.is_mr else ()
    if not facts.is_mr and not all(keyword in header for keyword in _PLACE_KEYWORDS):
        return ()
    if is_mosaic(header):
        return mosaic_frames(header, pixels)
    return (classic_frame(header, pixels),)


def _directory_problem(header: Dataset) -> InputError | None:
    """A DICOMDIR may only name files below its own folder (PS3.3 section F.3.2.2)."""
    for record in values(header, "DirectoryRecordSequence"):
        for component in values(record, "ReferencedFileID"):
            name = str(component).strip()
            if name in ("", ".", "..") or any(mark in name for mark in "/\\:"):
                return InputError(Code.PATH, "The DICOMDIR names a file outside its own folder.")
    return None
