"""Section 7: volumes against the reference, repeat scans, and the intervals that the device gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnn_med.evaluation.agreement import bland_altman, concordance, linearity, relative_difference
from lnn_med.evaluation.comparing import Comparison, is_missing
from lnn_med.evaluation.coverage import coverage_check
from lnn_med.evaluation.intervals import NotEstimable, normal_quantile
from lnn_med.evaluation.intraclass import KINDS, Kind, intraclass_correlation, intraclass_estimate
from lnn_med.evaluation.protocol import Protocol
from lnn_med.evaluation.repeatability import repeatability
from lnn_med.evaluation.resampling import clustered_interval
from lnn_med.evaluation.results.cases import absent_everywhere, structures_of, with_maps
from lnn_med.evaluation.results.values import Number, attempt, mean_of, plain

RESAMPLES = 1_000  # of intervals over patients who have several scans; each draw computes the number anew
LIMITS = 0.95  # share of differences between the limits of agreement


@dataclass(frozen=True)
class Pairs:
    """Measured and reference volumes of one structure, mm³, with the patient of each pair."""

    measured: NDArray[np.float64]
    reference: NDArray[np.float64]
    patients: tuple[str, ...]

    @property
    def clustered(self) -> bool:
        """Whether a patient has several pairs."""
        return len(set(self.patients)) < len(self.patients)


def volumetry_results(comparison: Comparison, protocol: Protocol) -> dict[str, Any] | None:
    """Agreement of the volumes of each structure; None without label maps."""
    if not with_maps(comparison):
        return None
    absent = set(absent_everywhere(comparison))
    names = [name for name in structures_of(comparison) if name not in absent]
    cases = with_maps(comparison)
    return {
        "reported_by_device": any(
            one.reported_mm3 is not None for case in cases for one in case.structures.values()
        ),
        "structures": [_structure(comparison, protocol, name) for name in names],
    }


def interval_results(comparison: Comparison, protocol: Protocol) -> list[dict[str, Any]] | None:
    """Of each structure: how many volume intervals of the device hold the reference, and their width."""
    found = []
    for name in structures_of(comparison):
        inside, width_mm3, width_pct, patients = [], [], [], []
        for case in with_maps(comparison):
            one = case.structures[name]
            if one.interval_mm3 is None or is_missing(one):
                continue
            low, high = one.interval_mm3
            truth = one.metrics.reference_mm3
            inside.append(low <= truth <= high)
            width_mm3.append(high - low)
            patients.append(case.pair.reference.patient)
            if truth > 0:
                width_pct.append(100 * (high - low) / truth)
        if inside:
            found.append(
                {
                    "name": name,
                    "coverage": plain(coverage_check(inside, protocol.coverage, level=protocol.level)),
                    "width_mm3": mean_of(width_mm3, patients, protocol.level, protocol.seed),
                    "median_width_pct": plain(np.median(width_pct)) if width_pct else None,
                }
            )
    return found or None


def repeat_results(comparison: Comparison, protocol: Protocol) -> list[dict[str, Any]] | str:
    """wCV and RC of scans that share patient and `visit`; a sentence where there are none."""
    cases = [case for case in with_maps(comparison) if "visit" in case.pair.reference.row]
    if not cases:
        return "the reference table has no column `visit` that would say which scans are repeats of one visit"
    found = []
    for name in structures_of(comparison):
        values, subjects = [], []
        for case in cases:
            volume = case.structures[name].volume_mm3
            if volume is not None and not is_missing(case.structures[name]) and volume > 0:
                values.append(volume)
                subjects.append((case.pair.reference.patient, case.pair.reference.row["visit"]))
        try:
            found.append({"name": name, **plain(repeatability(values, subjects, protocol.level))})
        except NotEstimable:
            continue
    return found or "no patient has two scans of one visit"


def pairs_of(comparison: Comparison, name: str) -> Pairs:
    """Cases with a prediction and a volume; missing ones have no volume and are counted elsewhere."""
    measured, reference, patients = [], [], []
    for case in with_maps(comparison):
        one = case.structures[name]
        if not is_missing(one) and one.volume_mm3 is not None:
            measured.append(one.volume_mm3)
            reference.append(one.metrics.reference_mm3)
            patients.append(case.pair.reference.patient)
    return Pairs(np.array(measured, dtype=float), np.array(reference, dtype=float), tuple(patients))


def _structure(comparison: Comparison, protocol: Protocol, name: str) -> dict[str, Any]:
    pairs, level = pairs_of(comparison, name), protocol.level
    measured, reference = pairs.measured, pairs.reference
    agreement = attempt(lambda: bland_altman(measured, reference, level, LIMITS))
    icc = attempt(lambda: intraclass_correlation(np.column_stack([measured, reference]), level))
    ccc = attempt(lambda: concordance(measured, reference, level))
    positive = reference > 0
    who = [patient for patient, keep in zip(pairs.patients, positive, strict=True) if keep]
    if pairs.clustered:
        _over_patients(agreement, icc, ccc, pairs, protocol)
    return {
        "name": name,
        "n": len(measured),
        "n_patients": len(set(pairs.patients)),
        "n_empty_reference": int((~positive).sum()),
        "clustered": pairs.clustered,
        "bland_altman": agreement,
        "icc": icc,
        "ccc": ccc,
        "linearity": attempt(lambda: linearity(measured, reference, level)),
        "relative": attempt(
            lambda: relative_difference(measured[positive], reference[positive], who, level, protocol.seed)
        ),
    }


def _over_patients(
    agreement: dict[str, Any], icc: dict[str, Any], ccc: Number, pairs: Pairs, protocol: Protocol
) -> None:
    """Replace the closed-form intervals, which take pairs for independent, by those over patients."""
    measured, reference = pairs.measured, pairs.reference
    difference = measured - reference
    z = normal_quantile(LIMITS)
    ratings = np.column_stack([measured, reference])

    def limit(sign: int) -> Callable[[NDArray[np.intp]], float]:
        return lambda rows: float(difference[rows].mean() + sign * z * difference[rows].std(ddof=1))

    if "bias" in agreement:
        _replace(agreement["bias"], lambda rows: float(difference[rows].mean()), pairs.patients, protocol)
        _replace(agreement["lower"], limit(-1), pairs.patients, protocol)
        _replace(agreement["upper"], limit(1), pairs.patients, protocol)
    for kind in KINDS:
        if kind in icc:
            _replace(icc[kind], partial(_icc, kind, ratings), pairs.patients, protocol)
    if ccc["estimate"] is not None:
        _replace(
            ccc, lambda rows: _known(concordance(measured[rows], reference[rows])), pairs.patients, protocol
        )


def _icc(kind: Kind, ratings: NDArray[np.float64], rows: NDArray[np.intp]) -> float:
    return intraclass_estimate(ratings[rows], kind)


def _known(found: Any) -> float:
    if found.estimate is None:
        raise NotEstimable(found.note)
    return float(found.estimate)


def _replace(
    number: Number,
    statistic: Callable[[NDArray[np.intp]], float],
    patients: Sequence[str],
    protocol: Protocol,
) -> None:
    try:
        found = clustered_interval(statistic, patients, protocol.level, RESAMPLES, protocol.seed)
    except NotEstimable as error:
        number |= {"low": None, "high": None, "method": "none", "note": str(error)}
        return
    number |= {
        "low": plain(found.low),
        "high": plain(found.high),
        "method": f"{found.method}, over patients",
        "n_patients": found.n_patients,
    }
