"""Slices of an enhanced multi-frame file: each frame has its own place (PS3.3 section C.7.6.16)."""

from __future__ import annotations

from pydicom.dataset import Dataset

from lnn_med.errors import Code, InputError
from lnn_med.io.dicom_frames import Frame, PixelFormat, make_frame, rescale
from lnn_med.io.dicom_values import numbers

SHARED = "SharedFunctionalGroupsSequence"
PER_FRAME = "PerFrameFunctionalGroupsSequence"


def is_enhanced(header: Dataset) -> bool:
    """Whether the header describes its frames in functional groups."""
    return PER_FRAME in header


def enhanced_frames(header: Dataset, pixels: PixelFormat) -> tuple[Frame, ...]:
    """All frames of the file, in its order.

    Raises:
        InputError: E_GEOMETRY when a frame cannot be placed.
    """
    per_frame = header[PER_FRAME].value
    if len(per_frame) != pixels.frames:
        raise InputError(
            Code.GEOMETRY, f"The file has {pixels.frames} frames and describes {len(per_frame)} of them."
        )
    shared = first_item(header, SHARED)
    return tuple(_frame(index, groups, shared, pixels) for index, groups in enumerate(per_frame))


def first_item(header: Dataset, keyword: str) -> Dataset:
    """First item of a sequence; an empty data set when there is none."""
    try:
        return header[keyword].value[0]
    except (KeyError, IndexError, TypeError):
        return Dataset()


def _frame(index: int, groups: Dataset, shared: Dataset, pixels: PixelFormat) -> Frame:
    def macro(keyword: str) -> Dataset:
        return first_item(groups if keyword in groups else shared, keyword)

    return make_frame(
        index,
        (pixels.rows, pixels.columns),
        numbers(macro("PlanePositionSequence"), "ImagePositionPatient", 3),
        numbers(macro("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        numbers(macro("PixelMeasuresSequence"), "PixelSpacing", 2),
        rescale(macro("PixelValueTransformationSequence")),
    )
