"""The picture of a result after a reader's edit, drawn as the model's own is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation

from app.images import META, SCAN
from lnn_med import geometry
from lnn_med.io.thumbnail import thumbnail
from lnn_med.prediction import Compute, ModelUsed, Prediction, Quality, Structure
from lnn_med.volume import Source, Volume

EDITED = "Outlines were edited by a reader."


def edit_picture(
    record: Mapping[str, Any],
    view: Path,
    maps: Mapping[str, Volume],
    tables: Mapping[str, Mapping[str, str]],
) -> bytes:
    """PNG of the scan with the edited outlines.

    Args:
        record: of the result after the edit.
        view: folder of the case's images; the scan is taken from there.
        maps: label maps after the edit, on the scan's own grid, by file.
        tables: label names by file, as in labels.json.
    """
    meta = json.loads((view / META).read_bytes())
    codes = np.fromfile(view / SCAN, "<u2").reshape(meta["shape"], order="F")
    scan = Volume(codes.astype(np.float32), np.array(meta["affine"]))  # grey is windowed: no scale is needed
    turned = {}
    for file, labels in maps.items():
        turn = geometry.orientation_of(labels.affine)
        turned[file] = scan.with_data(apply_orientation(labels.data, turn))
    named = record["structures"]  # their numbers are not drawn
    prediction = Prediction(
        scan=scan,
        source=Source("", "nifti", ""),
        models=tuple(ModelUsed(**one) for one in record["model"]),
        maps=turned,
        label_names={file: {int(at): name for at, name in tables[file].items()} for file in maps},
        structures=tuple(Structure(one["name"], one["side"], one["bundle"], *[None] * 4) for one in named),
        derived={},
        quality=Quality(record["qc"]["status"]),
        compute=Compute(0.0, 0.0, 1.0, {}, ()),
        software={},
    )
    return thumbnail(prediction, EDITED)
