"""A stand-in for the networks: simple, quick and different on the two sides of the patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lnn_med import geometry
from lnn_med.errors import Finding, WarningCode
from lnn_med.prediction import (
    DEPTH,
    EVIDENCE,
    SEGMENTATION,
    UNCERTAINTY,
    Prediction,
    Reference,
    ReferenceCurve,
    Structure,
)
from lnn_med.volume import Volume
from tests.classified import abstained, answered
from tests.predictions import make_prediction

NAMES = {1: "Hippocampus_L", 2: "Hippocampus_R", 3: "BrainStem"}
BLOCKS = (11, 13, 15)
EVIDENCE_OF = {1: 0.001, 3: -1.0}  # log-odds at labels; the last beyond every scale
TOO_OLD = 96.0  # years: the stand-in's classifiers abstain
PERCENTILES = {"Hippocampus_L": 46.0, "Hippocampus_R": 9.0, "Hippocampus": 18.0}


def stand_in_prediction(
    volume: Volume, status: str = "review", clinical: Mapping[str, Any] | None = None
) -> Prediction:
    """Bright voxels to the patient's left and right of the middle, the less bright ones between.

    With age and sex there are percentiles, always the same, and classifiers answer, unless the age is beyond
    TOO_OLD.
    """
    indices = np.indices(volume.shape).reshape(3, -1).T
    x = geometry.voxel_to_mm(volume.affine, indices)[:, 0].reshape(volume.shape)
    middle = geometry.centre_mm(volume.affine, volume.shape)[0]
    bright = volume.data > 0.75 * volume.data.max()
    labels = np.where(bright, np.where(x < middle, 1, 2), 0).astype(np.uint8)
    labels[(volume.data > 0.5 * volume.data.max()) & (abs(x - middle) < 6) & ~bright] = 3
    depth = np.where(labels > 0, BLOCKS[2], BLOCKS[0]).astype(np.uint8)
    depth[labels == 3] = BLOCKS[1]
    entropy = np.where(labels > 0, 0.3, 0.01).astype(np.float32)
    shares = {int(value): float((depth == value).mean()) for value in np.unique(depth)}
    made = make_prediction(status)
    assert volume.source is not None
    structures = []
    reference = _reference(clinical or {})
    for index, name in NAMES.items():
        mm3 = float((labels == index).sum() * volume.voxel_mm3)
        side = name[-1] if name[-2] == "_" else None
        edges = (0.9 * mm3, 1.1 * mm3)
        known = PERCENTILES.get(name) if reference else None
        structures.append(Structure(name, side, "brain-t1", mm3, edges, 0.9, float(BLOCKS[2]), known))
    maps = {
        SEGMENTATION: volume.with_data(labels),
        DEPTH: volume.with_data(depth),
        UNCERTAINTY: volume.with_data(entropy),
    }
    entries: tuple[Mapping[str, object], ...] = ()
    if reference is not None:
        entries = answered() if reference.age <= TOO_OLD else abstained()
        if entries[0]["probability"] is not None:
            evidence = np.zeros(volume.shape, np.float32)
            for index, value in EVIDENCE_OF.items():
                evidence[labels == index] = value
            maps[EVIDENCE] = volume.with_data(evidence)
    age = {"brain_age_years": 71.26 if EVIDENCE in maps else None} if entries else {}
    return replace(
        made,
        scan=volume,
        source=volume.source,
        models=made.models[:1],
        maps=maps,
        derived={**made.derived, **age},
        classification=entries,
        label_names={SEGMENTATION: NAMES},
        structures=tuple(structures),
        reference=reference,
        compute=replace(made.compute, depth_histogram=shares),
        findings=(*volume.findings, Finding(WarningCode.RESOLUTION, "A stand-in made this result.")),
    )


def _reference(clinical: Mapping[str, Any]) -> Reference | None:
    if not {"age", "sex"} <= clinical.keys():
        return None
    ages, line = (20.0, 50.0, 80.0), (8000.0, 7500.0, 6500.0)
    lines = {number: tuple(value + 20.0 * (number - 50) for value in line) for number in (5, 25, 50, 75, 95)}
    curve = ReferenceCurve("Hippocampus", 7000.0, 7100.0, PERCENTILES["Hippocampus"], ages, lines)
    other = replace(curve, structure="LateralVentricle")
    age, sex = float(clinical["age"]), str(clinical["sex"])
    return Reference("Made people", 100, (20.0, 80.0), age, sex, (curve, other))
