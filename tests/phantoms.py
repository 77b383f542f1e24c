"""Made-up heads whose every axis differs, so that a swapped or mirrored axis cannot hide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray

from lnn_med import geometry
from lnn_med.volume import Volume

SHAPE = (44, 52, 38)
SPACING_MM = (1.6, 1.9, 2.3)
TILT_DEG = (7.0, -11.0, 16.0)  # about x, y and z: head tilt, roll and turn
CENTRE_MM = (5.0, -12.0, 21.0)  # world position of the middle of the image
BACKGROUND, HEAD, BRAIN, MARKER = 0.0, 300.0, 600.0, 1000.0
MARKER_MM = (-18.0, 9.0, -6.0)  # in the patient: left, front, below; from the middle of the head
MARKER_RADIUS_MM = 7.0


def phantom(
    shape: tuple[int, int, int] = SHAPE,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    tilt_deg: tuple[float, float, float] = TILT_DEG,
) -> Volume:
    """A head (unequal ellipsoid with a brain and a nose) and one bright marker on the patient's left.

    Returns float32 whole numbers up to 1000, so that int16 holds them exactly; nearest axis codes are RAS.
    """
    affine = np.eye(4)
    affine[:3, :3] = _rotation(tilt_deg) * np.array(spacing_mm)
    affine[:3, 3] = np.array(CENTRE_MM) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    # The anatomy is tilted with the image grid, as when a head lies obliquely in the scanner.
    at_mm = (indices - (np.array(shape) - 1) / 2) * np.array(spacing_mm)
    extent_mm = np.array(shape) * np.array(spacing_mm)
    data = np.full(shape, BACKGROUND, dtype=np.float32)
    data[_inside(at_mm, (0, 0.40 * extent_mm[1], 0), 0.12 * extent_mm)] = HEAD  # nose
    data[_inside(at_mm, (0, 0, 0), (0.42, 0.44, 0.46) * extent_mm)] = HEAD
    data[_inside(at_mm, (0, -0.04 * extent_mm[1], 0.03 * extent_mm[2]), 0.34 * extent_mm)] = BRAIN
    data[data > 0] += np.round(at_mm @ (0.4, 0.7, -1.1))[data > 0]  # a slope along each axis
    data[_inside(at_mm, MARKER_MM, (MARKER_RADIUS_MM,) * 3)] = MARKER
    return Volume(data, affine)


def marker_mm(volume: Volume) -> NDArray[np.float64]:
    """World position of the marker's centre of mass, RAS mm."""
    indices = np.argwhere(volume.data == MARKER)
    return geometry.voxel_to_mm(volume.affine, indices.mean(axis=0))


def reordered(volume: Volume, codes: str) -> Volume:
    """The same voxels at the same world positions, with the array axes in another order, such as "LPS"."""
    change = ornt_transform(geometry.orientation_of(volume.affine), geometry.orientation_from_codes(codes))
    data = np.ascontiguousarray(apply_orientation(volume.data, change))
    return replace(volume, data=data, affine=volume.affine @ inv_ornt_aff(change, volume.shape))


def mirrored(volume: Volume) -> Volume:
    """The patient's left and right exchanged: values flip along the axis nearest to x, the grid stays."""
    axis = int(np.argmax(geometry.orientation_of(volume.affine)[:, 0] == 0))
    return volume.with_data(np.flip(volume.data, axis).copy())


def _inside(at_mm: NDArray[np.float64], centre_mm: object, radii_mm: object) -> NDArray[np.bool_]:
    scaled = (at_mm - np.asarray(centre_mm)) / np.asarray(radii_mm)
    return np.asarray((scaled**2).sum(axis=-1) <= 1)


def _rotation(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    """Rotation about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
