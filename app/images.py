"""Images for the browser: voxels as plain bytes, axes nearest to right, front, up, and a description.

Nothing is resampled: axes are swapped and turned, and intensities become 16-bit numbers with a scale.
The x axis runs fastest. `meta.json` maps the turned indices to RAS mm and back to the scan's own voxels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff
from numpy.typing import NDArray

from app.colours import colour_of
from app.confidence import mean_confidence
from lnn_med import geometry
from lnn_med.errors import Code, InputError
from lnn_med.inference import depth_scale
from lnn_med.inference.depth_scale import DepthScale
from lnn_med.io.landmarks import point_of_maximum, points_of_labels
from lnn_med.io.result_files import LABELS, RESULT
from lnn_med.io.tabular import write_json
from lnn_med.prediction import DEPTH, EVIDENCE, HIPPOCAMPUS, SEGMENTATION, UNCERTAINTY
from lnn_med.volume import ImageArray, Volume

META, SCAN = "meta.json", "scan.bin"
LEVELS = 65_535  # of a 16-bit number
WINDOW_PERCENTILES = (1.0, 99.7)
# Log-odds of a place, either sign, at the ends of the scale: the same for every case.
# Of dementia-t1 0.2.0, 95 % of the places in the brains of its data lie within, half of them within 0.0028.
EVIDENT = 0.005
NO_EVIDENCE, EVIDENCE_STEPS = 128, 127  # code of 0, and steps to each side of it
# Entropy in nats at which two labels are equally likely; a fixed end of the scale for every case.
UNCERTAIN = float(np.log(2))
LAYERS = {  # file -> name in the address, kind
    SEGMENTATION: ("segmentation", "labels"),
    HIPPOCAMPUS: ("hippocampus", "labels"),
    DEPTH: ("depth", "depth"),
    UNCERTAINTY: ("uncertainty", "uncertainty"),
    EVIDENCE: ("evidence", "evidence"),
}


def write_images(scan: Volume, result: Path, view: Path) -> None:
    """Write the scan and the maps of a result folder into `view`, for the viewer component."""
    view.mkdir(parents=True, exist_ok=True)
    turn = geometry.orientation_of(scan.affine)
    affine = scan.affine @ inv_ornt_aff(turn, scan.shape)
    codes, scale = _as_16_bit(scan.data)
    sums = {"scan": _write(view / SCAN, codes, turn)}
    tables = json.loads((result / LABELS).read_bytes())
    ran = [model["bundle"] for model in json.loads((result / RESULT).read_bytes())["model"]]
    maps = {file: _read(result / file, scan) for file in LAYERS if (result / file).is_file()}
    classes = 1 + len(tables[SEGMENTATION])  # background is one, too
    if UNCERTAINTY in maps:  # stored as a share of the entropy of equal probabilities
        maps[UNCERTAINTY] = maps[UNCERTAINTY] * np.float32(np.log(classes))
    layers: list[dict[str, Any]] = []
    points: dict[str, Any] = {}
    for file, data in maps.items():
        layers.append(_layer(scan, data, file, tables.get(file, {}), points, ran))
        name = layers[-1]["id"]
        sums[name] = _write(view / f"{name}.bin", _codes(data, file), turn)
    meta = {
        "shape": [int(size) for size in apply_orientation(codes, turn).shape],
        "affine": affine.tolist(),
        "scan_affine_inverse": np.linalg.inv(scan.affine).tolist(),
        "spacing_mm": list(geometry.spacing_mm(affine)),
        "tilt_deg": round(_tilt_deg(affine), 1),
        "scan": {"file": "scan", **scale, "window": _window(scan.data)},
        "layers": layers,
        "points": points,
        "confidence": _confidence(maps, classes),
        "sums": sums,  # of all codes: the browser checks that each image arrived whole
    }
    write_json(view / META, meta)


def _read(path: Path, scan: Volume) -> ImageArray:
    data = np.asanyarray(nib.load(path).dataobj)  # type: ignore[attr-defined]
    if data.shape != scan.shape:
        raise InputError(Code.CHANGED, "The maps do not lie on the grid of the scan.")
    return data


def _layer(
    scan: Volume, data: ImageArray, file: str, table: dict[str, str], points: dict[str, Any], ran: list[str]
) -> dict[str, Any]:
    name, kind = LAYERS[file]
    layer: dict[str, Any] = {"id": name, "kind": kind, "file": name}
    if kind == "labels":
        layer["labels"] = _labels(scan, data, table)
    elif kind == "depth":
        layer |= _depth(data, ran)
        points["deepest"] = _mm(scan, point_of_maximum(data))
    elif kind == "evidence":
        layer |= {"maximum": EVIDENT, "zero": NO_EVIDENCE, "steps": EVIDENCE_STEPS}
    else:
        layer["maximum"] = UNCERTAIN
        points["uncertain"] = _mm(scan, point_of_maximum(data))
    return layer


def _codes(data: ImageArray, file: str) -> NDArray[np.uint8]:
    """One byte a voxel: labels and blocks as they are, entropy in shares of UNCERTAIN, evidence about 0."""
    if file == EVIDENCE:
        data = NO_EVIDENCE + np.round(np.clip(data / EVIDENT, -1, 1) * EVIDENCE_STEPS)
    if file == UNCERTAINTY:
        data = np.round(np.clip(data / UNCERTAIN, 0, 1) * 255)
    return data.astype(np.uint8)


def _confidence(maps: dict[str, ImageArray], classes: int) -> dict[str, Any]:
    if UNCERTAINTY not in maps:
        return {}
    return mean_confidence(maps[UNCERTAINTY], maps[SEGMENTATION] > 0, classes)


def _labels(scan: Volume, data: ImageArray, table: dict[str, str]) -> list[dict[str, Any]]:
    names = {int(index): name for index, name in table.items()}
    found = points_of_labels(data, names)
    return [
        {
            "index": index,
            "name": name,
            "colour": colour_of(name),
            "point_mm": _mm(scan, found[index]) if index in found else None,
        }
        for index, name in names.items()
    ]


def _depth(data: ImageArray, ran: list[str]) -> dict[str, Any]:
    scale = depth_scale.depth_scale()
    values = [int(value) for value in np.unique(data)]
    return {
        "maximum": max(scale.maximum, *values),
        "stages": [{"bundle": one.bundle, "depths": list(one.depths)} for one in scale.exits],
        "values": [{"blocks": value, "words": scale.words(value, ran)} for value in values],
        "last_exit": _last_exit(scale, values, ran[0]),
    }


def _last_exit(scale: DepthScale, values: list[int], bundle: str) -> int | None:
    """The last exit of the network that covers the scan at which a voxel left it; None when unknown."""
    depths = next((one.depths for one in scale.exits if one.bundle == bundle), ())
    return max((at for at, depth in enumerate(depths, start=1) if depth in values), default=None)


def _as_16_bit(data: ImageArray) -> tuple[NDArray[np.uint16], dict[str, float]]:
    """Codes and their scale: value = slope * code + intercept; whole numbers within range stay exact."""
    low, high = float(data.min()), float(data.max())
    whole = high - low <= LEVELS and bool((data == np.round(data)).all())
    slope = 1.0 if whole else (high - low) / LEVELS
    codes = np.round((data.astype(np.float64) - low) / (slope or 1.0)).astype(np.uint16)
    return codes, {"slope": slope, "intercept": low}


def _window(data: ImageArray) -> list[float]:
    """Where black and white begin: percentiles of what is not background."""
    low = float(data.min())
    head = data[data > low]
    if not head.size:
        return [low, low + 1]
    edges = np.percentile(head[:: max(1, head.size // 500_000)], WINDOW_PERCENTILES)
    return [float(edges[0]), float(max(edges[1], edges[0] + 1e-6))]


def _write(path: Path, data: ImageArray, turn: NDArray[np.float64]) -> int:
    turned = apply_orientation(data, turn)
    path.write_bytes(turned.tobytes(order="F"))
    return int(turned.sum(dtype=np.int64))


def _mm(scan: Volume, index: tuple[int, int, int]) -> list[float]:
    return [round(float(value), 2) for value in geometry.voxel_to_mm(scan.affine, index)]


def _tilt_deg(affine: NDArray[np.float64]) -> float:
    """Largest angle between an image axis and the patient's axis that it is named after."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.clip(np.diagonal(directions), -1, 1))).max())
