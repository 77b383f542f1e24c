"""A reader's edit of label maps: changed voxels as the browser sends them, put into a copy of the map.

A message holds the offsets of N voxels (uint32, little endian, x fastest on the axes of `app.images`) and
then their N new labels (uint8). It always counts from the model's map, which stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from nibabel.orientations import inv_ornt_aff
from numpy.typing import NDArray

from lnn_med import geometry
from lnn_med.errors import Code, InputError
from lnn_med.io.files import write_whole
from lnn_med.io.result_record import DEPTH_DIGITS, MM3_DIGITS, PERCENT_DIGITS
from lnn_med.io.volumetry import SIDES, W_EDITED
from lnn_med.prediction import HIPPOCAMPUS, SEGMENTATION
from lnn_med.volume import Affine, ImageArray

EDITABLE = {"segmentation": SEGMENTATION, "hippocampus": HIPPOCAMPUS}  # name in the address -> file
FOLDER = "edit"  # of a case; messages that were not stored yet
BYTES = 5  # of one voxel: offset and label
OF_MODEL = ("interval_mm3", "coverage", "percentile")  # hold for the network's volumes alone

Changes = tuple[NDArray[np.int64], NDArray[np.uint8]]


def edited_name(file: str) -> str:
    """`segmentation.nii.gz` -> `segmentation_edited.nii.gz`."""
    stem, ending = file.split(".", 1)
    return f"{stem}_edited.{ending}"


def pending(folder: Path) -> dict[str, int]:
    """Changed voxels of each map, by the map's name, that the reader of this case handed over."""
    paths = {name: folder / FOLDER / name for name in EDITABLE}
    return {name: path.stat().st_size // BYTES for name, path in paths.items() if path.is_file()}


def keep(message: bytes, name: str, folder: Path) -> None:
    """Keep a message for the reader to store; an empty one takes the map's edit back."""
    path = folder / FOLDER / name
    if not message:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(exist_ok=True)
    with write_whole(path) as file:
        file.write(message)


def parsed(message: bytes, voxels: int, known: Iterable[int]) -> Changes:
    """Offsets and labels of a message.

    Args:
        message: as sent.
        voxels: number of voxels of the image.
        known: labels that the map may hold besides 0.

    Raises:
        InputError: a length, an offset or a label that cannot be.
    """
    count, rest = divmod(len(message), BYTES)
    offsets = np.frombuffer(message, "<u4", count if not rest else 0).astype(np.int64)
    labels = np.frombuffer(message, np.uint8, count if not rest else 0, offset=4 * count)
    if rest or (offsets >= voxels).any() or not np.isin(labels, [0, *known]).all():
        raise InputError(Code.FORMAT, "The edit does not fit the label map.")
    return offsets, labels


def applied(labels: ImageArray, affine: Affine, changes: Changes) -> ImageArray:
    """A copy of a label map (I, J, K) with the changes in it."""
    turn = geometry.orientation_of(affine)
    turned = tuple(labels.shape[axis] for axis in np.argsort(turn[:, 0]))
    places = np.stack(np.unravel_index(changes[0], turned, order="F"), axis=-1)
    own = np.rint(apply_affine(inv_ornt_aff(turn, labels.shape), places)).astype(np.int64)
    copy = labels.copy()
    copy[tuple(own.T)] = changes[1]
    return copy


def edited_record(
    record: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, str]],
    maps: Mapping[str, tuple[ImageArray, ImageArray]],
    depth: ImageArray,
    voxel_mm3: float,
) -> dict[str, Any]:
    """The record of a result after an edit.

    Structures whose voxels changed get new volumes and depths, and neither interval nor percentile: those
    were made for the network's volumes, and so was the comparison with reference people. All other numbers
    stay; after a FAIL there are none.

    Args:
        record: of the model's result.
        tables: label names by file, as in labels.json.
        maps: label map before and after, by file.
        depth: blocks executed at each voxel.
        voxel_mm3: volume of a voxel.
    """
    if record["qc"]["status"] == "fail":
        return {**record, "warnings": [*record["warnings"], _mark(0)]}
    changed: dict[str, dict[str, Any]] = {}
    derived: dict[str, float | None] = {}
    for file, (before, after) in maps.items():
        touched = np.unique([before[before != after], after[before != after]])
        if not touched.size:
            continue
        names = {int(index): name for index, name in tables[file].items()}
        counts = np.bincount(after.ravel(), minlength=1 + max(names))
        volumes = {name: float(counts[index] * voxel_mm3) for index, name in names.items()}
        derived |= _derived(volumes) if file == SEGMENTATION else _derived_fine(volumes)
        for index in (int(one) for one in touched if one in names):
            mean = float(depth[after == index].mean()) if counts[index] else None
            changed[names[index]] = _structure(volumes[names[index]], mean)
    known = {name: _rounded(value, name) for name, value in derived.items()}
    return {
        **record,
        "structures": [_after(one, changed.get(one["name"])) for one in record["structures"]],
        "derived": {name: known.get(name, value) for name, value in record["derived"].items()},
        "reference": None if changed else record.get("reference"),
        "warnings": [*record["warnings"], _mark(len(changed))],
    }


def _mark(count: int) -> dict[str, str]:
    message = f"A reader edited the labels; structures with other volumes than the model's: {count}."
    return {"code": W_EDITED, "message": message}


def _structure(volume_mm3: float, mean_depth: float | None) -> dict[str, Any]:
    return {
        "volume_mm3": round(volume_mm3, MM3_DIGITS),
        "mean_depth": None if mean_depth is None else round(mean_depth, DEPTH_DIGITS),
    }


def _after(structure: Mapping[str, Any], changed: Mapping[str, Any] | None) -> dict[str, Any]:
    if changed is None:
        return dict(structure)
    return {name: changed.get(name, None if name in OF_MODEL else old) for name, old in structure.items()}


def _derived(volumes: Mapping[str, float]) -> dict[str, float | None]:
    """Sums and asymmetry of the map that covers the scan; a record keeps those that it has."""
    total = sum(volumes.values())
    sides = [volumes.get(f"Hippocampus_{side}", 0.0) for side in SIDES]
    return {
        "icv_mm3": total,
        "hippocampus_mm3": total,
        "hippocampus_asymmetry_pct": _asymmetry(*sides),
    }


def _derived_fine(volumes: Mapping[str, float]) -> dict[str, float | None]:
    """The same of the fine hippocampus labels."""
    left, right = (
        sum(volume for name, volume in volumes.items() if side in name.split("_")) for side in SIDES
    )
    return {
        "hippocampus_fine_left_mm3": left,
        "hippocampus_fine_right_mm3": right,
        "hippocampus_fine_asymmetry_pct": _asymmetry(left, right),
    }


def _asymmetry(left: float, right: float) -> float | None:
    from lnn_med.inference.predict import asymmetry_pct  # imports torch, which the worker has loaded

    return asymmetry_pct(left, right)


def _rounded(value: float | None, name: str) -> float | None:
    digits = MM3_DIGITS if name.endswith("_mm3") else PERCENT_DIGITS
    return None if value is None else round(value, digits) + 0.0
