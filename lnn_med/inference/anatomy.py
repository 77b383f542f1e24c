"""Whether a label map can be a head: structures in one piece, left on the left, the brain stem below."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lnn_med.geometry import voxel_to_mm
from lnn_med.transforms.label_sums import label_centres
from lnn_med.volume import Affine

Labels = NDArray[np.uint8]  # (I, J, K)

# Deep structures that are one body each; cortex, ventricles and white matter of a lobe need not be.
WHOLE = (
    *("Hippocampus", "Amygdala", "ThalamusProper", "Caudate", "Putamen", "Pallidum", "VentralDC"),
    "BrainStem",
)
MAIN_PIECE = 0.8  # share of a structure in its largest piece; crumbs at a thin tail are common
# (smaller coordinate, larger coordinate, world axis): holds in every head, however it lies in the scanner.
ORDER = (
    ("BrainStem", "ThalamusProper_L", 2),
    ("CerebellumExterior_L", "Parietal_GM_L", 2),
    ("Occipital_GM_L", "Frontal_GM_L", 1),
)


def anatomy_reasons(
    labels: Labels, affine: Affine, names: Mapping[int, str], expected: Collection[str] = ()
) -> tuple[str, ...]:
    """What no head can look like, in words; nothing when all rules hold.

    Args:
        labels: label map of a head.
        affine: voxel index to RAS mm.
        names: integer to structure.
        expected: structures that every head has, large enough to be found.
    """
    centres = _centres(labels, affine, names)
    absent = [name for name in expected if name not in centres]
    reasons = [f"Not found: {_few(absent)}."] if absent else []
    swapped = [
        name
        for name in centres
        if name.endswith("_L")
        and (other := f"{name[:-2]}_R") in centres
        and centres[name][0] > centres[other][0]
    ]
    if swapped:
        reasons.append(f"Left and right are exchanged: {_few([name[:-2] for name in swapped])}.")
    wrong = [
        f"{low} and {high}"
        for low, high, axis in ORDER
        if low in centres and high in centres and centres[low][axis] > centres[high][axis]
    ]
    if wrong:
        reasons.append(f"The head lies the wrong way round: {_few(wrong)} are exchanged.")
    pieces = _main_pieces(labels, names)
    broken = [f"{name} ({100 * share:.0f} %)" for name, share in pieces.items() if share < MAIN_PIECE]
    if broken:
        reasons.append(f"In several pieces, the largest holds less than it should: {_few(broken)}.")
    return tuple(reasons)


def _centres(labels: Labels, affine: Affine, names: Mapping[int, str]) -> dict[str, NDArray[np.float64]]:
    """Centre of mass of each structure that occurs, RAS mm."""
    counts, centres = label_centres(labels, 1 + max(names))
    return {name: voxel_to_mm(affine, centres[index]) for index, name in names.items() if counts[index]}


def _main_pieces(labels: Labels, names: Mapping[int, str]) -> dict[str, float]:
    """Share of the largest piece of each structure that is one body."""
    boxes = ndimage.find_objects(labels)
    found = {}
    for index, name in names.items():
        box = boxes[index - 1] if index <= len(boxes) else None
        if box is None or not name.startswith(WHOLE):
            continue
        pieces, _ = ndimage.label(labels[box] == index, structure=np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        found[name] = float(sizes.max() / sizes.sum())
    return found


def _few(names: Collection[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(list(names)[:limit]) + more
