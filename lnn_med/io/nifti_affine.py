"""From the two geometries that a NIfTI header can hold to one affine in RAS mm.

The rule: sform if its code is above 0, else qform if its code is above 0, else the file is refused,
because without either nobody knows left from right.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from lnn_med import geometry
from lnn_med.errors import Code, Finding, InputError, WarningCode
from lnn_med.io.nifti_header import NiftiHeader
from lnn_med.volume import Affine

CONFLICT_MM = 0.1  # half the finest spacing that can be read; storing as float32 costs < 1e-4 mm
QUATERNION_TOLERANCE = 1e-4  # excess of b² + c² + d² over 1 that rounding explains
PIXDIM_TOLERANCE = 0.01  # relative


def read_affine(header: NiftiHeader) -> tuple[Affine, tuple[Finding, ...]]:
    """The affine (voxel index to RAS mm) by the rule above, checked, with findings on contradictions.

    Raises:
        InputError: E_GEOMETRY, or E_UNITS when only another unit would give a possible voxel size.
    """
    with np.errstate(all="ignore"):  # absurd numbers overflow; infinite spacing is refused like any other
        return _chosen(header)


def _chosen(header: NiftiHeader) -> tuple[Affine, tuple[Finding, ...]]:
    _check_pixdim(header)
    qform = _qform(header) if header.qform_code > 0 else None
    sform = _sform(header) if header.sform_code > 0 else None
    affine = sform if sform is not None else qform
    if affine is None:
        raise InputError(Code.GEOMETRY, "Neither qform nor sform is set: the orientation is unknown.")
    _check_units(affine, header.mm_per_unit)
    geometry.check_affine(affine)
    if sform is None:
        return affine, ()
    if qform is None:
        return affine, _pixdim_finding(affine, header)
    return affine, _conflict_finding(sform, qform, header.shape)


def largest_distance_mm(first: Affine, second: Affine, shape: tuple[int, int, int]) -> float:
    """How far apart two affines put the same voxel, at most, anywhere in the image.

    The distance is a convex function of the index, so that its maximum lies in a corner.
    """
    corners = np.array(list(product(*((0, size - 1) for size in shape))))
    apart = geometry.voxel_to_mm(first, corners) - geometry.voxel_to_mm(second, corners)
    return float(np.linalg.norm(apart, axis=1).max())


def _check_pixdim(header: NiftiHeader) -> None:
    """pixdim must be positive; 0 passes where an sform alone gives the geometry."""
    spacing = header.pixdim[1:4]
    needed = header.sform_code <= 0 or header.qform_code > 0
    too_low = (spacing <= 0).any() if needed else (spacing < 0).any()
    if not np.isfinite(spacing).all() or too_low:
        found = " x ".join(f"{value:g}" for value in spacing)
        raise InputError(Code.GEOMETRY, f"pixdim states a voxel spacing of {found}.")


def _sform(header: NiftiHeader) -> Affine:
    if not np.isfinite(header.srow).all():
        raise InputError(Code.GEOMETRY, "The sform holds values that are not finite numbers.")
    return np.vstack([header.srow * header.mm_per_unit, (0.0, 0.0, 0.0, 1.0)])


def _qform(header: NiftiHeader) -> Affine:
    """Affine of the quaternion (method 2 of nifti1.h); qfac, the sign of pixdim[0], flips the third axis."""
    if not np.isfinite(header.quaternion).all() or not np.isfinite(header.pixdim[0]):
        raise InputError(Code.GEOMETRY, "The qform holds values that are not finite numbers.")
    steps = header.pixdim[1:4] * (1, 1, -1 if header.pixdim[0] < 0 else 1)
    affine = np.eye(4)
    affine[:3, :3] = _rotation(header.quaternion[:3]) * steps
    affine[:3, 3] = header.quaternion[3:]
    affine[:3] *= header.mm_per_unit
    return affine


def _rotation(bcd: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrix of the unit quaternion a + bi + cj + dk, a = √(1 − b² − c² − d²)."""
    squared = float(bcd @ bcd)
    if squared > 1 + QUATERNION_TOLERANCE:
        raise InputError(Code.GEOMETRY, f"The qform's quaternion has b² + c² + d² = {squared:.6g}, above 1.")
    b, c, d = bcd / np.sqrt(max(squared, 1.0))
    a = np.sqrt(max(0.0, 1.0 - squared))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def _check_units(affine: Affine, mm_per_unit: float) -> None:
    """A file that states metres but writes millimetres is refused as such, not as a giant."""
    if mm_per_unit == 1.0 or _possible(geometry.spacing_mm(affine)):
        return
    as_written = np.array(geometry.spacing_mm(affine)) / mm_per_unit
    if _possible(tuple(as_written)):
        found = " x ".join(f"{value:.4g}" for value in as_written)
        raise InputError(
            Code.UNITS, f"The voxel spacing {found} is stated in another unit, but looks like mm."
        )


def _possible(spacing_mm: tuple[float, ...]) -> bool:
    return all(geometry.MIN_SPACING_MM <= value <= geometry.MAX_SPACING_MM for value in spacing_mm)


def _pixdim_finding(affine: Affine, header: NiftiHeader) -> tuple[Finding, ...]:
    """Tools that resample sometimes forget pixdim; the sform is what other readers follow."""
    stated = header.pixdim[1:4] * header.mm_per_unit
    if np.allclose(stated, geometry.spacing_mm(affine), rtol=PIXDIM_TOLERANCE, atol=0):
        return ()
    return (Finding(WarningCode.HEADER, "pixdim and sform give different spacings; the sform was used."),)


def _conflict_finding(sform: Affine, qform: Affine, shape: tuple[int, int, int]) -> tuple[Finding, ...]:
    apart_mm = largest_distance_mm(sform, qform, shape)
    if apart_mm <= CONFLICT_MM:
        return ()
    text = f"qform and sform put voxels up to {apart_mm:.4g} mm apart; the sform was used."
    ratio = abs(np.linalg.det(sform[:3, :3]) / np.linalg.det(qform[:3, :3]))
    if abs(ratio - 1) > PIXDIM_TOLERANCE:
        text += f" By the sform a voxel is {ratio:.3g} times as large: volumes depend on this choice."
    return (Finding(WarningCode.AFFINE_CONFLICT, text),)
