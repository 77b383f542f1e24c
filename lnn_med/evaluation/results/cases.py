"""Values of the compared cases as columns, by the rules for missing predictions and empty structures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lnn_med.evaluation.comparing import ComparedCase, Comparison, Measured, both_empty, is_missing
from lnn_med.evaluation.protocol import MEAN
from lnn_med.evaluation.results.values import plain

METRICS = ("dsc", "nsd", "hd95_mm", "msd_mm")
WORST_ERROR_PCT = 100.0  # as if no volume had been found


@dataclass(frozen=True)
class Column:
    """Values with the patient and the case of each, and how many cases give none."""

    values: tuple[float, ...]
    patients: tuple[str, ...]
    cases: tuple[str, ...]
    without: int = 0


def with_maps(comparison: Comparison) -> list[ComparedCase]:
    """Cases whose reference is a label map."""
    return [case for case in comparison.cases if case.structures]


def structures_of(comparison: Comparison) -> list[str]:
    """Names of the structures, in their order."""
    cases = with_maps(comparison)
    return list(cases[0].structures) if cases else []


def absent_everywhere(comparison: Comparison) -> list[str]:
    """Structures that no reference and no prediction holds; they are in no mean."""
    cases = with_maps(comparison)
    return [
        name
        for name in structures_of(comparison)
        if not any(_occurs(case.structures[name]) for case in cases)
    ]


def column(
    comparison: Comparison,
    metric: str,
    structure: str = MEAN,
    missing: str = "worst",
    absent: Collection[str] | None = None,
) -> Column:
    """One value a case: of a structure, or the mean over all that occur somewhere.

    Args:
        comparison: the cases.
        metric: dsc, nsd, hd95_mm, msd_mm or abs_error_pct.
        structure: name, or "mean".
        missing: "worst" counts a missing prediction with the worst value, "leave_out" leaves it out.
        absent: structures that the mean leaves out; None: those that occur nowhere.
    """
    absent = absent_everywhere(comparison) if absent is None else absent
    names = [structure] if structure != MEAN else [n for n in structures_of(comparison) if n not in absent]
    values, patients, cases = [], [], []
    considered = with_maps(comparison)
    for case in considered:
        found = [value_of(case.structures[name], metric) for name in names]
        if missing == "leave_out":
            kept = [not is_missing(case.structures[name]) for name in names]
            found = [value for value, keep in zip(found, kept, strict=True) if keep]
        known = [value for value in found if value is not None]
        if known:
            values.append(sum(known) / len(known))
            patients.append(case.pair.reference.patient)
            cases.append(case.name)
    return Column(tuple(values), tuple(patients), tuple(cases), len(considered) - len(values))


def value_of(measured: Measured, metric: str) -> float | None:
    """One metric of one structure in one case; None where it does not exist (error of an empty reference)."""
    metrics = measured.metrics
    if metric == "abs_error_pct":
        if is_missing(measured):
            return WORST_ERROR_PCT if metrics.reference_mm3 > 0 else None
        if measured.volume_mm3 is None or metrics.reference_mm3 <= 0:
            return None
        return 100 * abs(measured.volume_mm3 - metrics.reference_mm3) / metrics.reference_mm3
    return float(getattr(metrics, metric))


def case_records(comparison: Comparison, numbers: dict[str, str]) -> list[dict[str, Any]]:
    """Every case with its values, for report.json; patients by running number, never by their id."""
    return [
        {
            "case": case.name,
            "patient": numbers[case.pair.reference.patient],
            "missing": case.missing,
            "code": case.code,
            "reason": case.reason,
            "qc": case.qc,
            "spacing_mm": plain(case.spacing_mm),
            "structures": {name: _record(one) for name, one in case.structures.items()},
        }
        for case in comparison.cases
    ]


def patient_numbers(comparison: Comparison) -> dict[str, str]:
    """Running number of each patient, in the order of the cases: ids of the table stay out of the report."""
    found: dict[str, str] = {}
    for case in comparison.cases:
        found.setdefault(case.pair.reference.patient, f"P{len(found) + 1:04d}")
    return found


def _record(measured: Measured) -> dict[str, Any]:
    metrics = measured.metrics
    return {
        "state": metrics.state,
        **{metric: plain(value_of(measured, metric)) for metric in METRICS},
        "volume_mm3": plain(measured.volume_mm3),
        "interval_mm3": plain(measured.interval_mm3),
        "reference_mm3": plain(metrics.reference_mm3),
        "abs_error_pct": plain(value_of(measured, "abs_error_pct")),
    }


def _occurs(measured: Measured) -> bool:
    """Whether one of both sides holds the structure; of a missing prediction only the reference counts."""
    if is_missing(measured):
        return measured.metrics.reference_voxels > 0
    return not both_empty(measured)


def worst_cases(comparison: Comparison, count: int) -> Sequence[ComparedCase]:
    """Cases with a prediction and the lowest mean DSC, worst first; equal ones by name."""
    dsc = column(comparison, "dsc", missing="leave_out")
    order = sorted(zip(dsc.values, dsc.cases, strict=True))[:count]
    by_name = {case.name: case for case in comparison.cases}
    return [by_name[name] for _, name in order]
