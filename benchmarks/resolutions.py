"""How deep the network goes in the same heads at 1, 2, 3 and 4 mm: low resolution leaves early.

    resolutions.py SCAN [SCAN ...]           heads; the MNI152 template when none is named

Each head is averaged to coarser voxels (never to finer ones) and measured with depth auto.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from lnn_med.allocator import keep_memory
from lnn_med.inference.bundle import load_bundle
from lnn_med.inference.head import Segmented, segment_head
from lnn_med.inference.runtime import Engine, RuntimeConfig
from lnn_med.io import read
from lnn_med.io.mni_template import mni152_template
from lnn_med.volume import Volume

SPACINGS_MM = (1.0, 2.0, 3.0, 4.0)


def coarser(volume: Volume, spacing_mm: float) -> Volume | None:
    """The scan at that spacing; None where it has none as fine."""
    if min(volume.spacing_mm) > spacing_mm * 1.01:
        return None
    factor = np.array(volume.spacing_mm) / spacing_mm
    blurred = gaussian_filter(volume.data.astype(np.float32), np.maximum(0, 0.5 * (1 / factor - 1)))
    data = zoom(blurred, factor, order=1, grid_mode=True, mode="nearest")
    scale = np.array(volume.shape) / np.array(data.shape)
    affine = volume.affine.copy()
    affine[:3, :3] = volume.affine[:3, :3] * scale
    affine[:3, 3] += volume.affine[:3, :3] @ (0.5 * (scale - 1))
    return Volume(data, affine)


def row(answers: list[Segmented], depths: tuple[int, ...]) -> str:
    """Work, and the shares of the brain's voxels at each depth, mean over heads."""
    work = np.mean([each.run.gflops / each.run.gflops_full for each in answers])
    shares = [
        np.mean([(each.depth[each.labels > 0] == depth).mean() for each in answers]) for depth in depths
    ]
    return f"{work:.2f} | " + " | ".join(f"{100 * share:.0f} %" for share in shares)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scans", nargs="*")
    chosen = parser.parse_args()
    keep_memory()
    engine = Engine(load_bundle("brain-t1"), RuntimeConfig())
    heads = [read(scan) for scan in chosen.scans] or [mni152_template()]
    depths = engine.network.config.depths
    titles = " | ".join(f"{depth} blocks" for depth in depths)
    print(f"| voxels | heads | work of full depth | {titles} |\n|---|---|---|" + "---|" * len(depths))
    for spacing_mm in SPACINGS_MM:
        scans = [scan for scan in (coarser(head, spacing_mm) for head in heads) if scan is not None]
        if scans:
            cells = row([segment_head(scan, engine) for scan in scans], depths)
            print(f"| {spacing_mm:g} mm | {len(scans)} | {cells} |")


if __name__ == "__main__":
    main()
