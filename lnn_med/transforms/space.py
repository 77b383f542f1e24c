"""Model space: nearest canonical axes, one spacing, one box; and the way back into the scan's own grid.

The grid keeps the scan's own axes (permuted and flipped to RAS, never rotated), so that resampling is one
small matrix per axis: linear interpolation when going finer, a triangle filter as wide as the coarser voxel
when going coarser (no aliasing). On equal grids the matrices are identities, so labels survive unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from lnn_med import geometry
from lnn_med.volume import Affine, Volume

Array = NDArray[np.float32]
Shape = tuple[int, int, int]
SLAB_VOXELS = 1 << 24  # worked on at once: 64 MB in float32, so that large scans need no copy of themselves


@dataclass(frozen=True)
class Axis:
    """One axis of the model grid in canonical source indices: sample n lies at `start + n * step`."""

    source_size: int
    size: int
    start: float
    step: float

    def to_model(self) -> Array:
        """Weights (size, source_size) that carry source values onto the model axis."""
        positions = self.start + self.step * np.arange(self.size, dtype=np.float64)
        return _weights(positions, self.source_size, self.step)

    def to_source(self) -> Array:
        """Weights (source_size, size) that carry model values back; edge values continue outwards."""
        positions = (np.arange(self.source_size, dtype=np.float64) - self.start) / self.step
        inside = np.clip(positions, 0, self.size - 1)
        return _weights(inside, self.size, 1.0 / self.step)


@dataclass(frozen=True)
class Placement:
    """How a scan lies in model space; every method is a pure function of these numbers."""

    source_shape: Shape
    source_affine: Affine
    axes: tuple[Axis, Axis, Axis]

    @property
    def shape(self) -> Shape:
        """Shape of the model grid (I, J, K), axes towards R, A, S."""
        i, j, k = (axis.size for axis in self.axes)
        return i, j, k

    @property
    def affine(self) -> Affine:
        """Affine of the model grid: model index to RAS mm."""
        canonical = self.source_affine @ inv_ornt_aff(self._orientation, self.source_shape)
        steps = np.diag([axis.step for axis in self.axes] + [1.0])
        steps[:3, 3] = [axis.start for axis in self.axes]
        return canonical @ steps

    def to_model(self, data: NDArray[np.generic], scale: Callable[[Array], Array] | None = None) -> Array:
        """Carry source values (I, J, K), each first put through `scale`, onto the model grid; outside the
        scan they are 0."""
        canonical = apply_orientation(data, self._orientation)
        result = np.empty(self.shape, dtype=np.float32)
        return apply_axes(canonical, [axis.to_model() for axis in self.axes], result, scale)

    def labels_to_model(self, labels: NDArray[np.integer]) -> NDArray[np.integer]:
        """Carry labels (I, J, K) onto the model grid: each model voxel takes its nearest source voxel."""
        result = np.asarray(apply_orientation(labels, self._orientation))
        for number, axis in enumerate(self.axes):
            nearest = np.rint(axis.start + axis.step * np.arange(axis.size)).astype(int)
            taken = result.take(np.clip(nearest, 0, axis.source_size - 1), axis=number)
            outside = (nearest < 0) | (nearest >= axis.source_size)
            result = np.where(outside.reshape([-1 if n == number else 1 for n in range(3)]), 0, taken)
        return result.astype(labels.dtype)

    def labels_to_source(self, labels: NDArray[np.integer], outside: int = 0) -> NDArray[np.integer]:
        """Carry a model label map back: each source voxel takes its nearest model voxel, or `outside`."""
        result = np.full(self.source_shape, outside, labels.dtype)
        rows, box = [], []
        for axis in self.axes:
            nearest = np.rint((np.arange(axis.source_size) - axis.start) / axis.step).astype(int)
            inside = np.flatnonzero((nearest >= 0) & (nearest < axis.size))
            rows.append(nearest[inside])
            box.append(slice(inside[0], inside[-1] + 1) if inside.size else slice(0, 0))
        self.canonical_view(result)[tuple(box)] = labels[np.ix_(*rows)]
        return result

    def canonical_inside(self) -> tuple[slice, slice, slice]:
        """Box of canonical source voxels whose centres lie within the model grid (half a voxel tolerance)."""
        slices = []
        for axis in self.axes:
            positions = (np.arange(axis.source_size) - axis.start) / axis.step
            inside = np.flatnonzero((positions >= -0.5) & (positions <= axis.size - 0.5))
            slices.append(slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0))
        i, j, k = slices
        return i, j, k

    def covered(self) -> tuple[tuple[slice, slice, slice], Placement]:
        """The part of the scan that the model grid covers: its voxels in the scan's own order, and how that
        part by itself lies in model space."""
        inside = self.canonical_inside()
        box = []
        for size, (number, direction) in zip(self.source_shape, self._orientation, strict=True):
            part = inside[int(number)]
            box.append(part if direction > 0 else slice(size - part.stop, size - part.start))
        affine = self.source_affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
        i, j, k = (
            Axis(part.stop - part.start, axis.size, axis.start - part.start, axis.step)
            for part, axis in zip(inside, self.axes, strict=True)
        )
        x, y, z = box
        shape = (x.stop - x.start, y.stop - y.start, z.stop - z.start)
        return (x, y, z), Placement(shape, affine, (i, j, k))

    def canonical_view(self, data: NDArray[Any]) -> NDArray[Any]:
        """An array (I, J, K) of the scan's own order, seen in canonical RAS order; it shares the memory."""
        return apply_orientation(data, self._orientation)  # type: ignore[no-any-return]

    @property
    def _orientation(self) -> NDArray[np.float64]:
        return io_orientation(self.source_affine)


def place(
    volume: Volume,
    spacing_mm: float | tuple[float, float, float],
    centre_mm: NDArray[np.float64] | None = None,
    shape: Shape | None = None,
) -> Placement:
    """Lay a model grid over a scan.

    Args:
        volume: the scan.
        spacing_mm: spacing of the model grid along R, A, S, mm.
        centre_mm: world position of the middle of the grid, RAS mm; the scan's middle when None. Along an
            axis of equal spacing the grid moves by up to half a voxel onto the scan's own voxels: halfway
            between them, interpolation would blur for nothing.
        shape: model grid shape; the smallest that covers the scan when None.
    """
    spacings = (spacing_mm,) * 3 if isinstance(spacing_mm, (int, float)) else spacing_mm
    orientation = io_orientation(volume.affine)
    canonical_affine = volume.affine @ inv_ornt_aff(orientation, volume.shape)
    order = np.argsort(orientation[:, 0])
    sizes = np.array(volume.shape)[order]
    source_spacing = np.array(geometry.spacing_mm(canonical_affine))
    middle = (
        (sizes - 1) / 2
        if centre_mm is None
        else geometry.mm_to_voxel(canonical_affine, np.asarray(centre_mm))
    )
    axes = []
    for number in range(3):
        step = spacings[number] / source_spacing[number]
        size = shape[number] if shape else max(1, int(np.ceil(sizes[number] / step - 1e-6)))
        start = float(middle[number] - (size - 1) / 2 * step)
        if abs(step - 1) < 1e-6:  # equal grids stay exactly equal
            step, start = 1.0, float(round(start))
        axes.append(Axis(int(sizes[number]), int(size), start, float(step)))
    return Placement(volume.shape, volume.affine, (axes[0], axes[1], axes[2]))


def crop_to(placement: Placement, box: tuple[slice, slice, slice], multiple: int, minimum: int) -> Placement:
    """The placement whose grid covers `box` of the model grid, grown evenly to a multiple of `multiple`."""
    axes = []
    for axis, part in zip(placement.axes, box, strict=True):
        length = part.stop - part.start
        size = max(minimum, -(-length // multiple) * multiple)
        first = part.start - (size - length) // 2
        axes.append(Axis(axis.source_size, size, axis.start + first * axis.step, axis.step))
    return Placement(placement.source_shape, placement.source_affine, (axes[0], axes[1], axes[2]))


def apply_axes(
    data: NDArray[np.generic],
    weights: list[Array],
    out: Array,
    scale: Callable[[Array], Array] | None = None,
) -> Array:
    """Multiply each axis of (I, J, K) by its matrix (new, old), slab by slab, into `out`, which is returned.

    Values go through `scale` first. What no matrix looks at is not read.
    """
    parts = tuple(_looked_at(matrix) for matrix in weights)
    data = data[parts]
    first, second, third = (matrix[:, part] for matrix, part in zip(weights, parts, strict=True))
    between = np.empty((data.shape[1], first.shape[0], third.shape[0]), dtype=np.float32)  # (J, I', K')
    step = max(1, SLAB_VOXELS // max(1, data.shape[0] * data.shape[2]))
    for start in range(0, data.shape[1], step):
        slab = data[:, start : start + step].astype(np.float32, copy=False)
        slab = slab if scale is None else scale(slab)
        slab = np.tensordot(first, np.tensordot(slab, third, axes=(2, 1)), axes=(1, 0))
        between[start : start + step] = slab.swapaxes(0, 1)
    step = max(1, SLAB_VOXELS // max(1, out.shape[0] * out.shape[2]))
    for start in range(0, out.shape[1], step):
        rows = np.tensordot(second[start : start + step], between, axes=(1, 0))
        out[:, start : start + step] = rows.swapaxes(0, 1)
    return out


def _looked_at(matrix: Array) -> slice:
    """The columns from the first to the last that hold a weight."""
    used = np.flatnonzero(matrix.any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0)


def _weights(positions: NDArray[np.float64], size: int, step: float) -> Array:
    """Triangle-filter weights (len(positions), size) at fractional source indices; rows far outside are 0."""
    width = max(1.0, step)
    distance = np.abs(positions[:, None] - np.arange(size)[None, :]) / width
    weights = np.clip(1.0 - distance, 0.0, None)
    total = weights.sum(axis=1, keepdims=True)
    inside = (positions[:, None] > -0.5 - 1e-6) & (positions[:, None] < size - 0.5 + 1e-6)
    return np.where(inside & (total > 0), weights / np.where(total > 0, total, 1), 0).astype(np.float32)
