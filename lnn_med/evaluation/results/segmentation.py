"""Section 6: the metrics of each structure, and the worst cases."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from lnn_med.evaluation.comparing import ComparedCase, Comparison, both_empty, is_missing
from lnn_med.evaluation.intervals import median_interval
from lnn_med.evaluation.metrics import BOTH_EMPTY, PREDICTION_EMPTY, REFERENCE_EMPTY
from lnn_med.evaluation.protocol import MEAN, Protocol
from lnn_med.evaluation.results.cases import (
    METRICS,
    Column,
    absent_everywhere,
    column,
    structures_of,
    with_maps,
    worst_cases,
)
from lnn_med.evaluation.results.values import Number, attempt, mean_of, quartiles

WORST_SHOWN = 5


def segmentation_results(comparison: Comparison, protocol: Protocol) -> dict[str, Any] | None:
    """Metrics of each structure and of the mean over structures; None without label maps."""
    cases = with_maps(comparison)
    if not cases:
        return None
    absent = set(absent_everywhere(comparison))
    names = structures_of(comparison)
    return {
        "tolerance_mm": protocol.tolerance_mm,
        "n_cases": len(cases),
        "n_patients": len({case.pair.reference.patient for case in cases}),
        "n_missing": sum(case.missing for case in cases),
        "empty_references": [case.name for case in cases if case.empty_reference],
        "empty_predictions": [case.name for case in cases if _found_nothing(case)],
        "nonfinite": {
            side: [case.name for case in cases if side in case.nonfinite]
            for side in ("reference", "prediction")
        },
        "absent_everywhere": sorted(absent),
        "mean": _structure(comparison, protocol, MEAN),
        "structures": [_structure(comparison, protocol, name) for name in names if name not in absent],
        "worst": [case.name for case in worst_cases(comparison, WORST_SHOWN)],
    }


def _found_nothing(case: ComparedCase) -> bool:
    """Whether there is a prediction, and it holds nothing of what the reference holds."""
    states = {one.metrics.state for one in case.structures.values()}
    return not case.missing and PREDICTION_EMPTY in states and states <= {PREDICTION_EMPTY, BOTH_EMPTY}


def over_cases(found: Column, protocol: Protocol, statistic: str = "mean") -> Number:
    """Mean or median over cases with its interval; a median takes one value a patient, the mean of his."""
    if statistic == "mean":
        return mean_of(found.values, found.patients, protocol.level, protocol.seed)
    values = _by_patient(found.values, found.patients)
    result = attempt(lambda: median_interval(values, protocol.level))
    return {**result, "n": len(found.values), "n_patients": len(values)}


def _structure(comparison: Comparison, protocol: Protocol, name: str) -> dict[str, Any]:
    measured = [case.structures[name] for case in with_maps(comparison)] if name != MEAN else []
    tables = {}
    for key, missing in (("all", "worst"), ("without_missing", "leave_out")):
        columns = {metric: column(comparison, metric, name, missing) for metric in METRICS}
        tables[key] = {
            metric: over_cases(found, protocol) | quartiles(found.values) for metric, found in columns.items()
        }
    return {
        "name": name,
        "n_missing": n_missing_of(comparison, name),
        "n_both_empty": sum(map(both_empty, measured)),
        "n_reference_empty": sum(one.metrics.state == REFERENCE_EMPTY for one in measured),
        "n_prediction_empty": sum(one.metrics.state == PREDICTION_EMPTY for one in measured),
        **tables,
    }


def n_missing_of(comparison: Comparison, structure: str) -> int:
    """Cases without a prediction of a structure, or, for the mean, of any structure."""
    cases = with_maps(comparison)
    if structure == MEAN:
        return sum(any(is_missing(one) for one in case.structures.values()) for case in cases)
    return sum(is_missing(case.structures[structure]) for case in cases)


def _by_patient(values: Sequence[float], patients: Sequence[Hashable]) -> list[float]:
    """Mean of each patient's values, in the order of their first one."""
    found: dict[Hashable, list[float]] = {}
    for value, patient in zip(values, patients, strict=True):
        found.setdefault(patient, []).append(value)
    return [sum(own) / len(own) for own in found.values()]
