"""Small label maps for validation tests: unequal boxes on a tilted grid, and ways to spoil them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lnn_med.io.nifti import write_nifti
from lnn_med.volume import Volume
from tests.phantoms import phantom

SHAPE = (18, 20, 16)
SPACING_MM = (1.0, 1.5, 2.0)
NAMES = ("a", "b", "c", "d", "e")


def truth(seed: int = 0) -> Volume:
    """Labels 1 and 2: touching boxes of different size, off centre; their lengths depend on the seed."""
    data = np.zeros(SHAPE, dtype=np.uint8)
    data[3 : 8 + seed % 3, 4:11, 3:9] = 1
    data[8 + seed % 3 : 14, 4 : 9 + seed % 4, 3:8] = 2
    return Volume(data, phantom(SHAPE, SPACING_MM).affine)


def shifted(volume: Volume, steps: int = 1) -> Volume:
    """The labels one voxel further along the second axis."""
    return volume.with_data(np.roll(volume.data, steps, axis=1))


def on_larger_grid(volume: Volume) -> Volume:
    """The same labels in an array with two more planes."""
    return replace(volume, data=np.pad(volume.data, ((0, 2), (0, 0), (0, 0))))


def write(folder: Path, maps: dict[str, Volume]) -> Path:
    """One label map a case."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, volume in maps.items():
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_nifti(volume, path, intent="label")
    return folder


def references(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    """A folder of references."""
    return write(folder, {name: truth(seed) for seed, name in enumerate(names)})
