"""Sections 8 and 9: a probability against a diagnosis, and whether the probability means what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnn_med.evaluation.calibration import (
    brier_decomposition,
    calibration_errors,
    ece_null,
    reliability_diagram,
)
from lnn_med.evaluation.calibration_counts import calibration_counts
from lnn_med.evaluation.classification import auc
from lnn_med.evaluation.comparing import Comparison
from lnn_med.evaluation.intervals import NotEstimable
from lnn_med.evaluation.protocol import Classification, Protocol
from lnn_med.evaluation.recalibration import recalibration
from lnn_med.evaluation.resampling import clustered_interval
from lnn_med.evaluation.results.class_sets import class_set_results
from lnn_med.evaluation.results.values import attempt, mean_of, plain
from lnn_med.evaluation.threshold import decision_curve, threshold_performance
from lnn_med.evaluation.threshold_curves import average_precision, roc_points

RESAMPLES = 1_000  # of intervals over patients who have several scans
BINS = 10  # 15 leave most bins empty in a trial of a hundred people


@dataclass(frozen=True)
class Outcomes:
    """Probability and truth of each case, with its patient."""

    scores: NDArray[np.float64]
    truth: NDArray[np.float64]
    patients: tuple[str, ...]

    @property
    def clustered(self) -> bool:
        """Whether a patient has several cases."""
        return len(set(self.patients)) < len(self.patients)


def classification_results(comparison: Comparison, protocol: Protocol) -> dict[str, Any] | None:
    """Discrimination and calibration; None when the protocol asks for none.

    Raises:
        ConfigError: no row of the reference table fills the column that the protocol names.
    """
    wanted = protocol.classification
    if wanted is None:
        return None
    rows = [case for case in comparison.cases if wanted.reference in case.pair.reference.row]
    truth = [_is_positive(case.pair.reference.row[wanted.reference], wanted) for case in rows]
    found = [None if case.missing else _probability(case.result, wanted.target) for case in rows]
    who = [case.pair.reference.patient for case in rows]
    known = [index for index, value in enumerate(found) if value is not None]
    # The worst probability: of nobody ill among the ill, of everybody ill among the well.
    worst = [1.0 - own if value is None else value for value, own in zip(found, truth, strict=True)]
    every = Outcomes(np.array(worst), np.array(truth, dtype=float), tuple(who))
    entries = [_entry(rows[index].result, wanted.target) or {} for index in known]
    kept = Outcomes(
        np.array([found[index] for index in known], dtype=float),
        np.array([truth[index] for index in known], dtype=float),
        tuple(who[index] for index in known),
    )
    return {
        **plain(wanted),
        "n": len(rows),
        "n_without_reference": len(comparison.cases) - len(rows),
        "n_missing": len(rows) - len(known),
        "n_positive": int(sum(truth)),
        "n_patients": len(set(who)),
        "missing_rule": protocol.missing,
        "all": _discrimination(every, protocol, wanted),
        "without_missing": _discrimination(kept, protocol, wanted),
        "calibration": _calibration(kept, protocol) if len(known) else None,
        "sets": class_set_results(kept.scores, kept.truth, kept.patients, entries, protocol)
        if len(known)
        else None,
    }


def _discrimination(found: Outcomes, protocol: Protocol, wanted: Classification) -> dict[str, Any]:
    scores, truth, level = found.scores, found.truth, protocol.level
    area = attempt(lambda: auc(scores, truth, level))
    performance = attempt(lambda: threshold_performance(scores, truth, wanted.threshold, level=level))
    if found.clustered:
        _over_patients(area, performance, found, protocol, wanted.threshold)
    return {
        "auc": area,
        "average_precision": attempt(lambda: average_precision(scores, truth, level)),
        "performance": performance,
        "predictive": [
            attempt(partial(threshold_performance, scores, truth, wanted.threshold, share, level))
            for share in wanted.prevalence
        ],
        "roc": attempt(lambda: roc_points(scores, truth)),
        "decision": attempt(lambda: decision_curve(scores, truth)),
    }


def _calibration(found: Outcomes, protocol: Protocol) -> dict[str, Any]:
    counts = calibration_counts(found.scores, found.truth)
    return {
        "n": len(found.scores),
        "errors": attempt(lambda: calibration_errors(counts, BINS)),
        "null": attempt(lambda: ece_null(counts, BINS, seed=protocol.seed)),
        "brier": attempt(lambda: brier_decomposition(counts, BINS)),
        "recalibration": attempt(lambda: recalibration(found.scores, found.truth, protocol.level)),
        "diagram": attempt(lambda: reliability_diagram(counts, BINS, protocol.level)),
    }


def _over_patients(
    area: dict[str, Any],
    performance: dict[str, Any],
    found: Outcomes,
    protocol: Protocol,
    threshold: float,
) -> None:
    """Replace intervals that take scans for independent by those over patients."""
    if area["estimate"] is not None:
        try:
            wide = clustered_interval(
                _area_of(found), found.patients, protocol.level, RESAMPLES, protocol.seed
            )
            area |= {
                "low": plain(wide.low),
                "high": plain(wide.high),
                "method": f"{wide.method}, over patients",
            }
        except NotEstimable as error:
            area |= {"low": None, "high": None, "method": "none", "note": str(error)}
    called = found.scores >= threshold
    for name, own in (("sensitivity", found.truth == 1), ("specificity", found.truth == 0)):
        if own.any() and name in performance:
            right = (called == (found.truth == 1))[own].astype(float)
            who = [patient for patient, keep in zip(found.patients, own, strict=True) if keep]
            if len(set(who)) == len(who):
                continue  # Wilson's interval holds
            performance[name] = mean_of(right.tolist(), who, protocol.level, protocol.seed)


def _area_of(found: Outcomes) -> Callable[[NDArray[np.intp]], float]:
    return lambda rows: float(auc(found.scores[rows], found.truth[rows]).estimate or 0.0)


def _is_positive(cell: str, wanted: Classification) -> bool:
    return cell.strip().lower() in {value.strip().lower() for value in wanted.positive}


def _probability(result: Any, target: str) -> float | None:
    return (_entry(result, target) or {}).get("probability")


def _entry(result: Any, target: str) -> Mapping[str, Any] | None:
    """What a result says about a target."""
    entries: Sequence[Mapping[str, Any]] = result.get("classification", ())
    return next((one for one in entries if one["target"].lower() == target.lower()), None)
