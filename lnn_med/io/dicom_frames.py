"""One plane of pixels with its place in the patient, and how it is found in a classic single-frame file.

Enhanced multi-frame and mosaic files give the same `Frame`, so that everything after is written once.
Positions and directions are LPS (x to the left, y to the back), mm, as in DICOM: PS3.3 section C.7.6.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lnn_med.errors import Code, InputError
from lnn_med.io.dicom_values import integer, numbers, text, values
from lnn_med.io.files import LIMITS

COSINE_TOLERANCE = 5e-3  # of length and right angle; two-digit cosines stay below, wrong ones do not
Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the pixels of one file are stored (PS3.3 section C.7.6.3)."""

    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    inverted: bool  # MONOCHROME1: the lowest value is white
    padding: tuple[int, int] | None  # stored values from, to, that mean "no image here"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a stored pixel, little endian."""
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.bits_allocated // 8}")

    @property
    def native_bytes(self) -> int:
        """Size of the uncompressed pixels."""
        return self.rows * self.columns * self.frames * self.bits_allocated // 8


@dataclass(frozen=True, slots=True)
class Frame:
    """One slice: which pixels, where in the patient, how stored values become intensities."""

    index: int  # of the frame in its file
    corner: tuple[int, int]  # first (row, column) of the slice in the frame; not 0, 0 in a mosaic
    shape: tuple[int, int]  # (rows, columns)
    position_mm: Vector  # LPS, centre of the first pixel
    row_direction: Vector  # LPS, along a row, with growing column
    column_direction: Vector  # LPS, down a column, with growing row
    spacing_mm: tuple[float, float]  # (between rows, between columns) as in PixelSpacing
    slope: float
    intercept: float

    @property
    def normal(self) -> NDArray[np.float64]:
        """LPS direction at right angles to the slice."""
        return np.cross(self.row_direction, self.column_direction)


def pixel_format(header: Dataset) -> PixelFormat:
    """How pixels are stored.

    Raises:
        InputError: E_SIZE beyond the limits, E_PIXELFMT for what is no grey image of 8 or 16 bits.
    """
    rows, columns = integer(header, "Rows"), integer(header, "Columns")
    frames = integer(header, "NumberOfFrames", default=1)
    if rows < 1 or columns < 1 or frames < 1:
        raise InputError(Code.SIZE, f"The header declares {columns} x {rows} pixels and {frames} frames.")
    if frames > LIMITS.frames or rows * columns * frames > LIMITS.voxels:
        raise InputError(
            Code.SIZE,
            f"The header declares {columns:,} x {rows:,} pixels and {frames:,} frames; "
            f"{LIMITS.frames:,} frames and {LIMITS.voxels:,} voxels are the limits.",
        )
    allocated = integer(header, "BitsAllocated")
    stored = integer(header, "BitsStored", default=allocated)
    high = integer(header, "HighBit", default=stored - 1)
    samples = integer(header, "SamplesPerPixel", default=1)
    photometric = text(header, "PhotometricInterpretation") or "MONOCHROME2"
    if allocated not in (8, 16) or not 1 <= stored <= allocated or high != stored - 1:
        raise InputError(Code.PIXELFMT, f"A pixel has {stored} of {allocated} bits, highest bit {high}.")
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(
            Code.PIXELFMT, f"A pixel has {samples} samples; grey images have one, MONOCHROME1 or 2."
        )
    signed = integer(header, "PixelRepresentation", default=0) == 1
    inverted = photometric == "MONOCHROME1"
    return PixelFormat(
        rows, columns, frames, allocated, stored, signed, inverted, _padding(header, signed, allocated)
    )


def classic_frame(header: Dataset, pixels: PixelFormat) -> Frame:
    """The slice of a single-frame file.

    Raises:
        InputError: E_GEOMETRY when it cannot be placed.
    """
    if pixels.frames != 1:
        raise InputError(Code.GEOMETRY, f"The file has {pixels.frames} frames without a position for each.")
    return make_frame(
        0,
        (pixels.rows, pixels.columns),
        numbers(header, "ImagePositionPatient", 3),
        numbers(header, "ImageOrientationPatient", 6),
        numbers(header, "PixelSpacing", 2),
        rescale(header),
    )


def make_frame(
    index: int,
    shape: tuple[int, int],
    position: tuple[float, ...],
    cosines: tuple[float, ...],
    spacing: tuple[float, ...],
    scaling: tuple[float, float],
) -> Frame:
    """A frame from the values of the header.

    Raises:
        InputError: E_GEOMETRY for spacing that is not positive, or directions that are not at right angles.
    """
    if min(spacing) <= 0:
        raise InputError(Code.GEOMETRY, f"PixelSpacing is {spacing[0]:g} x {spacing[1]:g} mm.")
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > COSINE_TOLERANCE or abs(row @ column) > COSINE_TOLERANCE:
        raise InputError(
            Code.GEOMETRY, "ImageOrientationPatient does not hold two unit vectors at right angles."
        )
    x, y, z = position
    return Frame(
        index,
        (0, 0),
        shape,
        (x, y, z),
        _vector(row / lengths[0]),
        _vector(column / lengths[1]),
        (spacing[0], spacing[1]),
        *scaling,
    )


def rescale(header: Dataset) -> tuple[float, float]:
    """(slope, intercept) from stored value to intensity.

    Raises:
        InputError: E_VR for values that are not finite, or a slope of 0.
    """
    slope = _scale(header, "RescaleSlope", 1.0)
    if slope == 0:
        raise InputError(Code.VR, "RescaleSlope is 0.")
    return slope, _scale(header, "RescaleIntercept", 0.0)


def _scale(header: Dataset, keyword: str, default: float) -> float:
    if keyword not in header or header[keyword].is_empty:
        return default
    try:
        value = float(values(header, keyword)[0])
    except (IndexError, TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(Code.VR, f"{keyword} is not a finite number.")
    return value


def _padding(header: Dataset, signed: bool, bits: int) -> tuple[int, int] | None:
    """PixelPaddingValue up to PixelPaddingRangeLimit as stored values; writers mix up their sign."""
    ends = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        found = values(header, keyword)
        if found and isinstance(found[0], int):
            wrapped = found[0] % (1 << bits)
            ends.append(wrapped - (1 << bits) if signed and wrapped >= 1 << (bits - 1) else wrapped)
    return (min(ends), max(ends)) if ends else None


def _vector(array: NDArray[np.float64]) -> Vector:
    x, y, z = array.tolist()
    return x, y, z
