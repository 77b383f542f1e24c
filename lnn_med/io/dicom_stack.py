"""Sorts slices along their normal and checks that they are one regular block of voxels.

The array of a series has the indices (column, row, slice), slices ordered along the normal of the plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnn_med import geometry
from lnn_med.errors import Code, InputError
from lnn_med.io.dicom_frames import Frame
from lnn_med.io.files import LIMITS

SLICE_SPACING_TOLERANCE = 0.01  # relative; table motion and rounding of positions stay below
PIXEL_SPACING_TOLERANCE = 0.01  # relative, between the slices of a series
ORIENTATION_TOLERANCE = 1e-3  # cosine, 0.06 degrees; rounding to four digits stays below
IN_PLANE_TOLERANCE_MM = 0.1  # a slice beside the line through the first and the last one
SAME_POSITION_MM = 0.01  # two slices nearer than this are the same slice twice
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Stack:
    """The order of the slices, and the affine of their block of voxels."""

    order: tuple[int, ...]  # indices into the frames that were given
    affine: NDArray[np.float64]  # (column, row, slice) -> RAS mm
    shape: tuple[int, int, int]  # (columns, rows, slices)


def stack(frames: Sequence[Frame]) -> Stack:
    """Order the slices of one series.

    Raises:
        InputError: E_SHAPE for a single slice, E_MIXED for different sizes or the same position twice,
            E_GAP for a missing slice, E_GEOMETRY for several orientations or a tilted gantry, E_SIZE beyond
            the limits.
    """
    first = frames[0]
    _check_alike(frames)
    if len(frames) == 1:
        raise InputError(
            Code.SHAPE, "There is one slice; the folder with all slices of its series is needed."
        )
    rows, columns = first.shape
    if rows * columns * len(frames) > LIMITS.voxels:
        raise InputError(Code.SIZE, f"The series has {columns} x {rows} x {len(frames)} voxels.")
    positions = np.array([frame.position_mm for frame in frames])
    along = positions @ first.normal
    order = np.argsort(along, kind="stable")
    _check_spacing(along[order])
    step = (positions[order[-1]] - positions[order[0]]) / (len(frames) - 1)
    _check_straight(positions[order], step, first.normal)
    affine = _affine(first, positions[order[0]], step)
    geometry.check_affine(affine)
    return Stack(tuple(order.tolist()), affine, (columns, rows, len(frames)))


def _check_alike(frames: Sequence[Frame]) -> None:
    first = frames[0]
    directions = np.array([(*frame.row_direction, *frame.column_direction) for frame in frames])
    if np.abs(directions - directions[0]).max() > ORIENTATION_TOLERANCE:
        kinds = len(np.unique(np.round(directions / ORIENTATION_TOLERANCE), axis=0))
        raise InputError(Code.GEOMETRY, f"The slices of the series have {kinds} orientations.")
    if any(frame.shape != first.shape for frame in frames):
        sizes = sorted({f"{columns} x {rows}" for rows, columns in (frame.shape for frame in frames)})
        raise InputError(Code.MIXED, f"The series has images of {len(sizes)} sizes: {', '.join(sizes[:4])}.")
    spacings = np.array([frame.spacing_mm for frame in frames])
    if np.abs(spacings / spacings[0] - 1).max() > PIXEL_SPACING_TOLERANCE:
        raise InputError(Code.GEOMETRY, "The slices of the series have different PixelSpacing.")


def _check_spacing(along_mm: NDArray[np.float64]) -> None:
    """`along_mm`: sorted positions along the normal."""
    gaps = np.diff(along_mm)
    twice = int((gaps < SAME_POSITION_MM).sum())
    if twice:
        raise InputError(
            Code.MIXED,
            f"{twice} of {len(along_mm)} slices lie where another one lies: copies, or several images "
            "(echoes, times, contrasts) under one SeriesInstanceUID.",
        )
    usual = float(np.median(gaps))
    worst = int(np.argmax(np.abs(gaps - usual)))
    if abs(gaps[worst] - usual) > SLICE_SPACING_TOLERANCE * usual:
        raise InputError(
            Code.GAP,
            f"Slices {worst + 1} and {worst + 2} of {len(along_mm)} are {gaps[worst]:.4g} mm apart, "
            f"others {usual:.4g} mm.",
        )


def _check_straight(
    sorted_mm: NDArray[np.float64], step: NDArray[np.float64], normal: NDArray[np.float64]
) -> None:
    spacing = float(np.linalg.norm(step))
    sine = float(np.linalg.norm(np.cross(step, normal))) / spacing
    if sine > geometry.SHEAR_TOLERANCE:
        degrees = np.degrees(np.arcsin(min(sine, 1.0)))
        raise InputError(
            Code.GEOMETRY, f"The slices are stacked at {degrees:.1f} degrees to their normal (tilt)."
        )
    beside = sorted_mm - sorted_mm[0] - np.arange(len(sorted_mm))[:, None] * step
    beside -= np.outer(beside @ normal, normal)  # along the normal, `_check_spacing` has judged
    offset = float(np.linalg.norm(beside, axis=1).max())
    if offset > IN_PLANE_TOLERANCE_MM:
        raise InputError(Code.GEOMETRY, f"A slice lies {offset:.3g} mm beside the line of the others.")


def _affine(first: Frame, origin: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
    row_mm, column_mm = first.spacing_mm  # between rows, between columns
    affine = np.eye(4)
    affine[:3, 0] = LPS_TO_RAS @ first.row_direction * column_mm
    affine[:3, 1] = LPS_TO_RAS @ first.column_direction * row_mm
    affine[:3, 2] = LPS_TO_RAS @ step
    affine[:3, 3] = LPS_TO_RAS @ origin
    return affine
