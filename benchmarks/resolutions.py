"""How deep the network goes in the same heads at 1, 2, 3 and 4 mm, and what the depth is worth there.

    resolutions.py                           the MNI152 template
    resolutions.py --data IXI --heads 4      heads of the validation fold of brain-t1, with Dice

Each head is averaged to coarser voxels (never to finer ones) and measured with depth auto and at every exit.
Dice is the mean over structures that have 100 voxels in the head's own reference, against the reference at
the coarser voxels, where each takes the label with the largest share in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from lnn_med.allocator import keep_memory
from lnn_med.evaluation.labels import read_reference
from lnn_med.inference.bundle import Bundle, load_bundle
from lnn_med.inference.head import Segmented, segment_head
from lnn_med.inference.runtime import Engine, RuntimeConfig
from lnn_med.io import read
from lnn_med.io.mni_template import mni152_template
from lnn_med.training.datasets import image_path, source_table
from lnn_med.training.loop import find_config
from lnn_med.training.run_config import read_run_config
from lnn_med.training.validate import LARGE
from lnn_med.volume import Volume

Labels = NDArray[np.integer]
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


def coarser_labels(reference: Volume, spacing_mm: float, shape: tuple[int, ...]) -> Labels:
    """The label with the largest share of each coarser voxel."""
    best, found = np.zeros(shape, np.float32), np.zeros(shape, reference.data.dtype)
    for label in np.unique(reference.data):
        share = coarser(reference.with_data((reference.data == label).astype(np.float32)), spacing_mm)
        assert share is not None
        found[share.data > best] = label
        best = np.maximum(best, share.data)
    return found


def mean_dice(labels: Labels, truth: Labels, wanted: list[int]) -> float:
    """Mean over the wanted labels."""
    pairs = [(labels == label, truth == label) for label in wanted]
    return float(np.mean([2 * (a & b).sum() / max(1, a.sum() + b.sum()) for a, b in pairs]))


def row(answers: list[Segmented], depths: tuple[int, ...]) -> str:
    """Work, and the shares of the brain's voxels at each depth, mean over heads."""
    work = np.mean([each.run.gflops / each.run.gflops_full for each in answers])
    shares = [
        np.mean([(each.depth[each.labels > 0] == depth).mean() for each in answers]) for depth in depths
    ]
    return f"{work:.2f} | " + " | ".join(f"{100 * share:.0f} %" for share in shares)


def heads_of(bundle: Bundle, root: str, count: int) -> list[tuple[Volume, Volume]]:
    """Scans of the validation fold and their references in the labels of the bundle."""
    config = read_run_config(find_config(Path(bundle.info.name)), [f"data.root={root}"])
    table, found = source_table(config.labels), []
    for name in bundle.info.split["val"][:count]:
        image = image_path(config.data, name)
        reference = read_reference(Path(root).expanduser() / config.data.labels / image.name)
        found.append((read(image), reference.with_data(table[reference.data])))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="root of the data set of brain-t1")
    parser.add_argument("--heads", type=int, default=4)
    chosen = parser.parse_args()
    keep_memory()
    bundle = load_bundle("brain-t1")
    exits = [str(n + 1) for n in range(bundle.info.network.exits)]
    engines = {depth: Engine(bundle, RuntimeConfig(depth=depth)) for depth in ("auto", *exits)}
    depths = bundle.info.network.depths
    heads: list[tuple[Volume, Volume | None]] = [(mni152_template(), None)]
    if chosen.data:
        heads = list(heads_of(bundle, chosen.data, chosen.heads))
    titles = " | ".join([*(f"{depth} blocks" for depth in depths), *(f"Dice, {d}" for d in engines)])
    columns = len(depths) + len(engines)
    print(f"| voxels | heads | work of full depth | {titles} |\n|---|---|---|" + "---|" * columns)
    for spacing_mm in SPACINGS_MM:
        answers, scores = [], []
        for head, reference in heads:
            scan = coarser(head, spacing_mm)
            if scan is None:
                continue
            found = {depth: segment_head(scan, engine) for depth, engine in engines.items()}
            answers.append(found["auto"])
            if reference is not None:
                truth = coarser_labels(reference, spacing_mm, scan.shape)
                sizes = np.bincount(reference.data.ravel())
                wanted = [n for n in range(1, len(sizes)) if sizes[n] >= LARGE]
                scores.append([mean_dice(each.labels, truth, wanted) for each in found.values()])
        if answers:
            told = np.mean(scores, axis=0) if scores else [None] * len(engines)
            dice = " | ".join("-" if value is None else f"{value:.4f}" for value in told)
            print(f"| {spacing_mm:g} mm | {len(answers)} | {row(answers, depths)} | {dice} |", flush=True)


if __name__ == "__main__":
    main()
