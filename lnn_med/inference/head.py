"""Whole head: structures of the brain with `brain-t1`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lnn_med.inference.model_space import Seen, into_model_space
from lnn_med.inference.native_grid import labels_in_native_grid, map_in_native_grid
from lnn_med.inference.runtime import Engine, Run
from lnn_med.transforms.space import Placement
from lnn_med.volume import Volume


class Segmented(NamedTuple):
    """Answer of one network on the scan's own grid (I, J, K).

    `entropy` is 0 to 1, `depth` the number of residual blocks executed at each voxel, `spread_mm3` (classes,)
    the uncertain part of each class's volume. `seen` is the scan in model space, of whole heads.
    """

    labels: NDArray[np.uint8]
    entropy: NDArray[np.float32]
    depth: NDArray[np.uint8]
    spread_mm3: NDArray[np.float64]
    run: Run
    seen: Seen | None = None


def segment_head(volume: Volume, engine: Engine) -> Segmented:
    """Segment a head scan.

    Raises:
        InputError: E_NODATA when the image holds no usable intensities.
    """
    space = engine.bundle.info.space
    seen = into_model_space(volume, space)
    run = engine(seen.image, spacing_ratio(volume, space.spacing_mm))
    return in_scan_grid(run, seen.placement, space.spacing_mm)._replace(seen=seen)


def in_scan_grid(run: Run, placement: Placement, spacing_mm: float) -> Segmented:
    """Carry a network's answer back from model space."""
    entropy, spread = uncertainty(run)
    return Segmented(
        labels_in_native_grid(run.probabilities, placement),
        map_in_native_grid(entropy, placement),
        placement.labels_to_source(run.depth).astype(np.uint8),
        spread * spacing_mm**3,
        run,
    )


def uncertainty(run: Run) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Entropy of the probabilities on the model grid (X, Y, Z), and the uncertain voxels of each class.

    Entropy is 0 (certain) to 1 (all classes equal). Uncertain voxels (classes,) are the sum of p (1 - p):
    the variance of a class's voxel count if voxels were independent; they are not, so it only serves as the
    scale that calibrated intervals are multiples of.
    """
    p = run.probabilities
    entropy = np.empty(p.shape[:3], dtype=np.float32)
    uncertain = torch.zeros(p.shape[-1], dtype=torch.float64)
    for row in range(p.shape[0]):  # plane by plane: float32 copies of all classes would be large
        plane = p[row].float()
        entropy[row] = -(plane * plane.clamp(min=1e-9).log()).sum(dim=-1).numpy()
        uncertain += (plane * (1 - plane)).sum(dim=(0, 1))
    return (entropy / np.log(p.shape[-1])).clip(0, 1), uncertain.numpy()


def spacing_ratio(volume: Volume, spacing_mm: float) -> tuple[float, float, float]:
    """Voxel spacing of the scan over that of the model along R, A, S; at least 1 (finer is averaged)."""
    lengths = {"LR": 0.0, "PA": 0.0, "IS": 0.0}
    for code, length in zip(volume.orientation, volume.spacing_mm, strict=True):
        lengths[next(pair for pair in lengths if code in pair)] = length
    x, y, z = (max(1.0, length / spacing_mm) for length in lengths.values())
    return x, y, z
