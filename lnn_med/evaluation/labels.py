"""Reference integers and predicted integers brought to one label table, that of the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.geometry import voxel_to_mm
from lnn_med.io.nifti import read_labels
from lnn_med.volume import Volume

if TYPE_CHECKING:  # the module imports torch
    from lnn_med.inference.bundle import Label

GRID_TOLERANCE_MM = 0.1  # as between qform and sform; rounding of headers stays far below
MAX_LABEL = 2**20  # no atlas comes near; a grey image given as labels does

Indices = NDArray[np.int32]  # (I, J, K), 0 is background


def read_reference(path: Path) -> Volume:
    """A label map (int32).

    Raises:
        InputError: what reading can refuse; E_DTYPE when the values are no labels.
    """
    volume = read_labels(path)
    low, high = int(volume.data.min()), int(volume.data.max())
    if low < 0 or high > MAX_LABEL:
        raise InputError(
            Code.DTYPE, f"The reference holds values from {low} to {high}; labels are 0 to {MAX_LABEL}."
        )
    return volume


def group(reference: Indices, labels: Sequence[Label]) -> Indices:
    """Data set integers to the bundle's indices; integers that no label names become background."""
    table = np.zeros(MAX_LABEL + 1, dtype=np.int32)
    for label in labels:
        table[list(label.sources)] = label.index
    return table[reference]


def predicted_indices(predicted: Volume, names: Mapping[int, str], labels: Sequence[Label]) -> Indices:
    """A predicted label map to the bundle's indices, joined by structure name.

    Raises:
        ConfigError: the map and the table share no name, so nothing could be compared.
    """
    index_of = {label.name: label.index for label in labels}
    shared = {value: index_of[name] for value, name in names.items() if name in index_of}
    if not shared:
        raise ConfigError(
            f"The prediction names {', '.join(names.values())}; the bundle's label table names "
            f"{', '.join(index_of)}. They must share structures."
        )
    data = np.asarray(predicted.data, dtype=np.int64)
    table = np.zeros(max(int(data.max(initial=0)), *shared) + 1, dtype=np.int32)
    for value, index in shared.items():
        table[value] = index
    return table[data]


def check_same_grid(reference: Volume, image: Volume) -> None:
    """Refuse a reference that does not lie on the voxels of its image.

    Raises:
        InputError: E_GEOMETRY.
    """
    if reference.shape != image.shape:
        raise InputError(
            Code.GEOMETRY,
            f"The reference has shape {reference.shape}, its image {image.shape}; they must be equal.",
        )
    corners = np.array(list(product(*((0, size - 1) for size in image.shape))))
    shift = np.abs(voxel_to_mm(reference.affine, corners) - voxel_to_mm(image.affine, corners)).max()
    if shift > GRID_TOLERANCE_MM:
        raise InputError(
            Code.GEOMETRY,
            f"The reference lies {shift:.2f} mm off its image; {GRID_TOLERANCE_MM} mm are tolerated.",
        )


def without_skull(image: Volume, reference: Volume) -> Volume:
    """The image with everything outside the reference set to 0; ventricles without label stay.

    Raises:
        InputError: E_GEOMETRY when the reference does not lie on the image's voxels.
    """
    check_same_grid(reference, image)
    inside = binary_fill_holes(reference.data > 0)
    return image.with_data(np.where(inside, image.data, 0).astype(image.data.dtype))
