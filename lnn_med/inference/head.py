"""Whole head: structures of the brain with `brain-t1`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnn_med.inference.model_space import into_model_space
from lnn_med.inference.native_grid import labels_in_native_grid, map_in_native_grid
from lnn_med.inference.runtime import Engine, Run
from lnn_med.volume import Volume


class Segmented(NamedTuple):
    """Answer of one network on the scan's own grid (I, J, K).

    `entropy` is 0 to 1, `depth` the number of residual blocks executed at each voxel.
    """

    labels: NDArray[np.uint8]
    entropy: NDArray[np.float32]
    depth: NDArray[np.uint8]
    run: Run


def segment_head(volume: Volume, engine: Engine) -> Segmented:
    """Segment a head scan.

    Raises:
        InputError: E_NODATA when the image holds no usable intensities.
    """
    seen = into_model_space(volume, engine.bundle.info.space)
    run = engine(seen.image, spacing_ratio(volume, engine.bundle.info.space.spacing_mm))
    placement = seen.placement
    return Segmented(
        labels_in_native_grid(run.probabilities, placement),
        map_in_native_grid(entropy(run), placement),
        placement.labels_to_source(run.depth).astype(np.uint8),
        run,
    )


def entropy(run: Run) -> NDArray[np.float32]:
    """Entropy of the probabilities, 0 (certain) to 1 (all classes equal), on the model grid (X, Y, Z)."""
    p = run.probabilities
    result = np.empty(p.shape[:3], dtype=np.float32)
    for row in range(p.shape[0]):  # plane by plane: float32 copies of all classes would be large
        plane = p[row].float()
        result[row] = -(plane * plane.clamp(min=1e-9).log()).sum(dim=-1).numpy()
    return (result / np.log(p.shape[-1])).clip(0, 1)


def spacing_ratio(volume: Volume, spacing_mm: float) -> tuple[float, float, float]:
    """Voxel spacing of the scan over that of the model along R, A, S; at least 1 (finer is averaged)."""
    lengths = {"LR": 0.0, "PA": 0.0, "IS": 0.0}
    for code, length in zip(volume.orientation, volume.spacing_mm, strict=True):
        lengths[next(pair for pair in lengths if code in pair)] = length
    x, y, z = (max(1.0, length / spacing_mm) for length in lengths.values())
    return x, y, z
