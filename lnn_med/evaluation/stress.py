"""Robustness of a bundle: Dice and volumes of disturbed scans against those of the scans as they are."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lnn_med.errors import ConfigError, InputError
from lnn_med.evaluation.dataset import EvaluationCase, participants, select_cases
from lnn_med.evaluation.evaluate import Predict, Progress
from lnn_med.evaluation.labels import check_same_grid, group, predicted_indices, read_reference
from lnn_med.evaluation.metrics import overlaps
from lnn_med.evaluation.stress_table import MISSING_STATUS, Disturbed, stress_record
from lnn_med.evaluation.summary import LARGE_VOXELS
from lnn_med.io.nifti import read_nifti
from lnn_med.io.tabular import write_json
from lnn_med.prediction import SEGMENTATION
from lnn_med.transforms.disturb import DISTURBANCES
from lnn_med.volume import Volume

if TYPE_CHECKING:  # the module imports torch
    from lnn_med.inference.bundle import Bundle, Label

logger = logging.getLogger(__name__)

VISIT = "visit"  # column of participants.csv: scans of one patient with the same visit are repeat scans


@dataclass(frozen=True)
class _Answer:
    """DSC and volume (mm³) of each structure by name, and what quality control said."""

    dsc: dict[str, float]
    volumes_mm3: dict[str, float]
    status: str


def stress(
    bundle: Bundle,
    dataset: Path,
    out: Path,
    predictor: Predict,
    split: str = "val",
    most: int | None = None,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Predict every case as it is and disturbed in all ways of `disturb.DISTURBANCES`; write a table.

    The file is what `stress_result` of a protocol names: `lnn-med validate` shows it in section 11.

    Args:
        bundle: whose structures are compared, those of LARGE_VOXELS or more in the case's reference.
        dataset: folder with `imagesTr/`, `labelsTr/` and, for repeat scans, `participants.csv`.
        out: JSON file.
        predictor: what predicts.
        split: one of the bundle's splits, or "all".
        most: at most so many cases, spread evenly over the split; None takes all.
        seed: of the disturbances and the bootstrap; each case has its own draw.
        progress: called with predictions done and in all.

    Raises:
        ConfigError: no such split, `most` below 1, or a case without a structure of LARGE_VOXELS.
        InputError: the data set or a reference cannot be used.
    """
    cases = _spread(select_cases(dataset, split, bundle.info.split).cases, most)
    per_case = 1 + sum(len(levels) for levels in DISTURBANCES.values())
    found: list[Disturbed] = []
    volumes: dict[str, dict[str, float]] = {}
    for number, case in enumerate(cases):
        for step, one in enumerate(_case(case, bundle.info.labels, predictor, seed + number), start=1):
            if isinstance(one, Disturbed):
                found.append(one)
            else:
                volumes[case.name] = one
            progress(number * per_case + step, len(cases) * per_case)
    repeats = _repeats(dataset, cases, volumes)
    record = stress_record(bundle, dataset.resolve().name, split, seed, found, repeats)
    write_json(out, record)
    return record


def _case(
    case: EvaluationCase, labels: Sequence[Label], predict: Predict, seed: int
) -> Iterator[dict[str, float] | Disturbed]:
    """Volumes of the case as it is, then one entry for each disturbance."""
    scan, reference = read_nifti(case.image), read_reference(case.reference)
    check_same_grid(reference, scan)
    truth = reference.with_data(group(reference.data, labels))
    counts = np.bincount(truth.data.ravel(), minlength=1 + max(label.index for label in labels))
    judged = [label for label in labels if counts[label.index] >= LARGE_VOXELS]
    if not judged:
        raise ConfigError(f"{case.name}: no structure of the bundle has {LARGE_VOXELS} voxels or more.")
    plain = _answer(scan, truth, judged, predict)
    yield plain.volumes_mm3
    for kind, levels in DISTURBANCES.items():
        for strength, change in levels.items():
            answer = _answer(*change(scan, truth, seed), judged, predict)
            yield Disturbed(
                kind,
                strength,
                case.patient,
                plain.dsc,
                answer.dsc,
                plain.volumes_mm3,
                answer.volumes_mm3,
                answer.status,
            )
    logger.info("%s: %d structures under stress", case.name, len(judged))


def _answer(scan: Volume, truth: Volume, labels: Sequence[Label], predict: Predict) -> _Answer:
    """A scan that the predictor refuses has DSC 0 and no volumes."""
    try:
        prediction = predict(scan)
    except (InputError, ConfigError) as error:
        logger.info("no prediction (%s)", error.code.value)
        return _Answer({label.name: 0.0 for label in labels}, {}, MISSING_STATUS)
    found = prediction.maps[SEGMENTATION]
    indices = predicted_indices(found, prediction.label_names[SEGMENTATION], labels)
    dsc = overlaps(indices, truth.data, [label.index for label in labels])
    counts = np.bincount(indices.ravel(), minlength=1 + max((label.index for label in labels), default=0))
    return _Answer(
        {label.name: dsc[label.index] for label in labels},
        {label.name: float(counts[label.index] * found.voxel_mm3) for label in labels},
        prediction.quality.status,
    )


def _spread(cases: Sequence[EvaluationCase], most: int | None) -> list[EvaluationCase]:
    if most is not None and most < 1:
        raise ConfigError(f"The number of cases is {most}; 1 or more are needed.")
    if most is None or most >= len(cases):
        return list(cases)
    return [cases[int(place)] for place in np.linspace(0, len(cases) - 1, most).round()]


def _repeats(
    dataset: Path, cases: Sequence[EvaluationCase], volumes: dict[str, dict[str, float]]
) -> dict[str, list[tuple[float, tuple[str, str]]]]:
    """Of each structure: volume, and (patient, visit) of each undisturbed scan; empty without visits."""
    visits = {row["case"]: row[VISIT] for row in participants(dataset) if row.get(VISIT)}
    found: dict[str, list[tuple[float, tuple[str, str]]]] = {}
    for case in cases:
        if case.name in visits:
            for name, volume in volumes.get(case.name, {}).items():
                found.setdefault(name, []).append((volume, (case.patient, visits[case.name])))
    return found
