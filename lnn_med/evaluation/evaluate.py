"""A bundle on a data set with reference labels: every case predicted, compared and summed up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.evaluation.dataset import EvaluationCase, select_cases
from lnn_med.evaluation.labels import (
    check_same_grid,
    group,
    predicted_indices,
    read_reference,
    without_skull,
)
from lnn_med.evaluation.metrics import StructureMetrics, structure_metrics
from lnn_med.evaluation.summary import (
    CaseResult,
    GroupSummary,
    StructureSummary,
    group_summaries,
    structure_summaries,
    without_missing,
)
from lnn_med.io.nifti import read_nifti
from lnn_med.io.tabular import write_csv, write_json
from lnn_med.prediction import SEGMENTATION, Prediction
from lnn_med.volume import Volume

if TYPE_CHECKING:  # the module imports torch
    from lnn_med.inference.bundle import Bundle, Label

logger = logging.getLogger(__name__)

CASES_FILE = "cases.csv"
SUMMARY_FILE = "summary.json"
TRAIN = "train"
TOLERANCE_MM = 1.0  # tau of the NSD; the one that the Medical Segmentation Decathlon used for the hippocampus
CASE_COLUMNS = (
    *(
        "case",
        "patient",
        "structure",
        "state",
        "code",
        "dsc",
        "nsd",
        "hd95_mm",
        "msd_mm",
        "volume_mm3",
        "reference_mm3",
    ),
    *("error_mm3", "error_pct", "reference_voxels", "reported_mm3", "qc", "seconds", "fraction"),
)

Predict = Callable[[Volume], Prediction]
Progress = Callable[[int, int], None]  # cases done, cases in all


@dataclass(frozen=True)
class EvaluationSummary:
    """What `summary.json` holds.

    `structures` and `groups` count a missing prediction with the worst values; `without_missing` leaves it
    out. `missing` are the cases without prediction, with the code; `absent` are names of the split that the
    data set does not hold.
    """

    bundle: str
    version: str
    weights_sha256: str
    dataset: str
    split: str
    depth: str
    strip_skull: bool
    tolerance_mm: float
    seed: int
    n_cases: int
    n_patients: int
    n_seen_in_training: int
    absent: tuple[str, ...]
    missing: Mapping[str, str]
    structures: tuple[StructureSummary, ...]
    without_missing: tuple[StructureSummary, ...]
    groups: tuple[GroupSummary, ...]
    mean_seconds: float | None
    mean_fraction: float | None


def evaluate(
    bundle: Bundle | str | Path,
    dataset: Path,
    out: Path,
    split: str = "val",
    strip_skull: bool = False,
    depth: str | int = "auto",
    budget: float | None = None,
    device: str = "auto",
    runtime: str = "auto",
    tolerance_mm: float = TOLERANCE_MM,
    seed: int = 0,
    predictor: Predict | None = None,
    progress: Progress | None = None,
) -> EvaluationSummary:
    """Compare a bundle with the references of a data set; writes `cases.csv` and `summary.json` into `out`.

    Args:
        bundle: a loaded bundle, or the name or folder of one.
        dataset: folder with `imagesTr/`, `labelsTr/` (equal file names) and, if patients have several scans,
            `participants.csv`.
        out: folder for the results; made when it does not exist.
        split: one of the bundle's splits by case name, or "all".
        strip_skull: set image voxels outside the reference (any label, holes filled) to 0 before predicting.
        depth: as in predict, like budget, device and runtime.
        tolerance_mm: tau of the NSD.
        seed: of the bootstrap.
        predictor: used instead of one made from `bundle`.
        progress: called after each case.

    Raises:
        ConfigError: no such split, no such case, or labels that do not fit.
        InputError: the data set or one of its references cannot be used; nothing is written then.
    """
    model = _loaded(bundle)
    info = model.info
    selection = select_cases(dataset, split, info.split)
    predict = predictor or _predictor(model, depth, budget, device, runtime)
    results = []
    for case in selection.cases:
        results.append(_evaluate_case(case, info.labels, predict, strip_skull, tolerance_mm))
        if progress is not None:
            progress(len(results), len(selection.cases))
    predicted = without_missing(results)
    structures = structure_summaries(results, seed)
    trained_on = set(info.split.get(TRAIN, ()))
    summary = EvaluationSummary(
        bundle=info.name,
        version=info.version,
        weights_sha256=model.weights_sha256,
        dataset=dataset.resolve().name,
        split=split,
        depth=str(depth),
        strip_skull=strip_skull,
        tolerance_mm=tolerance_mm,
        seed=seed,
        n_cases=len(results),
        n_patients=len({result.patient for result in results}),
        n_seen_in_training=sum(result.case in trained_on for result in results),
        absent=selection.absent,
        missing={result.case: result.code for result in results if result.code is not None},
        structures=structures,
        without_missing=structure_summaries(predicted, seed),
        groups=group_summaries(results, structures, seed),
        mean_seconds=_mean([result.seconds for result in predicted]),
        mean_fraction=_mean([result.fraction for result in predicted]),
    )
    _write(out, results, summary)
    return summary


def _evaluate_case(
    case: EvaluationCase, labels: Sequence[Label], predict: Predict, strip_skull: bool, tolerance_mm: float
) -> CaseResult:
    """Predict and compare one case; a refused image is a missing prediction, a refused reference an error."""
    reference = read_reference(case.reference)
    prediction: Prediction | None = None
    indices = code = None
    try:
        image = read_nifti(case.image)
        prediction = predict(without_skull(image, reference) if strip_skull else image)
    except (InputError, ConfigError) as error:  # ConfigError: a scan of another kind than the bundle's
        logger.warning("%s: no prediction (%s)", case.name, error.code.value)
        code = error.code.value
    if prediction is not None:
        segmentation = prediction.maps[SEGMENTATION]
        check_same_grid(reference, segmentation)
        indices = predicted_indices(segmentation, prediction.label_names[SEGMENTATION], labels)
    truth = group(reference.data, labels)
    table = [label.index for label in labels]
    found = structure_metrics(indices, truth, table, reference.spacing_mm, tolerance_mm)
    return CaseResult(
        case=case.name,
        patient=case.patient,
        metrics={label.name: found[label.index] for label in labels},
        reported_mm3=_reported(prediction),
        code=code,
        quality=prediction.quality.status if prediction else None,
        seconds=prediction.compute.seconds if prediction else None,
        fraction=prediction.compute.fraction if prediction else None,
    )


def _reported(prediction: Prediction | None) -> dict[str, float | None]:
    """Volumes as the prediction states them; they need not equal the voxel count of its label map."""
    return {} if prediction is None else {entry.name: entry.volume_mm3 for entry in prediction.structures}


def _write(out: Path, results: Sequence[CaseResult], summary: EvaluationSummary) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(Code.STORAGE, f"The output folder cannot be made ({error.strerror}).") from error
    rows = [_row(result, name, metrics) for result in results for name, metrics in result.metrics.items()]
    write_csv(out / CASES_FILE, rows, CASE_COLUMNS)
    write_json(out / SUMMARY_FILE, asdict(summary))


def _row(result: CaseResult, structure: str, metrics: StructureMetrics) -> dict[str, Any]:
    return {
        **asdict(metrics),
        "case": result.case,
        "patient": result.patient,
        "structure": structure,
        "code": result.code,
        "reported_mm3": result.reported_mm3.get(structure),
        "qc": result.quality,
        "seconds": result.seconds,
        "fraction": result.fraction,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _loaded(bundle: Bundle | str | Path) -> Bundle:
    if not isinstance(bundle, (str, Path)):
        return bundle
    from lnn_med.inference.bundle import load_bundle

    return load_bundle(bundle)


def _predictor(bundle: Bundle, depth: str | int, budget: float | None, device: str, runtime: str) -> Predict:
    from lnn_med.inference.predict import Predictor

    return Predictor(chain=(bundle.path,), depth=depth, budget=budget, device=device, runtime=runtime)
