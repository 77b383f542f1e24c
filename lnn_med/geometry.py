"""Space as small pure functions: affines, orientations, spacing. Words as in `volume.py`."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
from nibabel.orientations import aff2axcodes, axcodes2ornt, io_orientation
from numpy.typing import ArrayLike, NDArray

from lnn_med.errors import Code, InputError

SHEAR_TOLERANCE = 0.01  # cosine between axes; gantry tilt of 0.6 degrees, scanners write < 1e-5
MIN_SPACING_MM = 0.2  # finest research head scans
MAX_SPACING_MM = 8.0  # thickest clinical slices with their gaps
MIN_VOXEL_MM3 = 0.05
MAX_VOXEL_MM3 = 100.0  # 4 mm research voxels (64) are read; whether they suffice is judged by QC


def spacing_mm(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Length of one index step along each array axis, mm."""
    i, j, k = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return float(i), float(j), float(k)


def axis_codes(affine: NDArray[np.float64]) -> str:
    """Nearest anatomical direction of each array axis, for example "RAS"."""
    return "".join(aff2axcodes(affine))


def check_affine(affine: NDArray[np.float64]) -> None:
    """Refuse an affine that cannot place voxels in a patient.

    Raises:
        InputError: E_GEOMETRY for non-finite, singular, sheared affines or impossible voxel sizes.
    """
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise InputError(Code.GEOMETRY, "The affine holds values that are not finite numbers.")
    if not np.allclose(affine[3], (0, 0, 0, 1)):
        raise InputError(Code.GEOMETRY, "The last row of the affine is not 0 0 0 1.")
    lengths = np.array(spacing_mm(affine))
    if (lengths < MIN_SPACING_MM).any() or (lengths > MAX_SPACING_MM).any():
        found = " x ".join(f"{value:.4g}" for value in lengths)
        raise InputError(
            Code.GEOMETRY,
            f"Voxel spacing is {found} mm; {MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm can be read.",
        )
    directions = affine[:3, :3] / lengths
    cosines = np.abs(directions.T @ directions - np.eye(3)).max()
    if cosines > SHEAR_TOLERANCE:
        raise InputError(Code.GEOMETRY, f"The image axes are not at right angles (cosine {cosines:.3f}).")
    voxel = abs(float(np.linalg.det(affine[:3, :3])))
    if not MIN_VOXEL_MM3 <= voxel <= MAX_VOXEL_MM3:
        raise InputError(
            Code.GEOMETRY,
            f"A voxel has {voxel:.3g} mm³; {MIN_VOXEL_MM3:g} to {MAX_VOXEL_MM3:g} mm³ can be read.",
        )


def voxel_to_mm(affine: NDArray[np.float64], points: ArrayLike) -> NDArray[np.float64]:
    """Map voxel indices (..., 3) to RAS mm."""
    return np.asarray(points, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]


def mm_to_voxel(affine: NDArray[np.float64], points: ArrayLike) -> NDArray[np.float64]:
    """Map RAS mm (..., 3) to voxel indices, not rounded."""
    return voxel_to_mm(np.linalg.inv(affine).astype(np.float64), points)


def centre_mm(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """World position of the middle of the image."""
    return voxel_to_mm(affine, (np.array(shape) - 1) / 2)


def orientation_of(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """nibabel orientation (3, 2): for each array axis the world axis it follows, and its sign."""
    return io_orientation(affine)


def all_orientations() -> list[str]:
    """The 48 axis codes, for example "RAS", "LPS", "SAL"."""
    pairs = ("RL", "AP", "SI")
    return ["".join(codes) for order in permutations(pairs) for codes in product(*order)]


def orientation_from_codes(codes: str) -> NDArray[np.float64]:
    """nibabel orientation (3, 2) for axis codes such as "RAS"."""
    return axcodes2ornt(tuple(codes))
