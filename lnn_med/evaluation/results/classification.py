"""Sections 8 and 9: a probability against a diagnosis, and whether the probability means what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
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
from lnn_med.evaluation.classification import NEWCOMBE, auc, score_interval
from lnn_med.evaluation.comparing import Comparison
from lnn_med.evaluation.intervals import NotEstimable, wilson
from lnn_med.evaluation.protocol import Classification, Protocol
from lnn_med.evaluation.recalibration import recalibration
from lnn_med.evaluation.references import column_of
from lnn_med.evaluation.resampling import clustered_interval
from lnn_med.evaluation.results.class_sets import class_set_results
from lnn_med.evaluation.results.outcomes import Judged, Outcomes, entry_of, judged_cases, outcomes_of
from lnn_med.evaluation.results.values import attempt, mean_of, plain
from lnn_med.evaluation.threshold import decision_curve, threshold_performance
from lnn_med.evaluation.threshold_curves import average_precision, roc_points

RESAMPLES = 1_000  # of intervals over patients who have several scans
BINS = 10  # 15 leave most bins empty in a trial of a hundred people


def classification_results(comparison: Comparison, protocol: Protocol) -> dict[str, Any] | None:
    """Discrimination and calibration; None when the protocol asks for none."""
    wanted = protocol.classification
    if wanted is None:
        return None
    rows = judged_cases(comparison, wanted)
    known = [one for one in rows if one.probability is not None]
    every, kept = outcomes_of(rows), outcomes_of(known)
    entries = [entry_of(one.case.result, wanted.target) or {} for one in known]
    return {
        **plain(wanted),
        "n": len(rows),
        "n_without_reference": len(comparison.cases) - len(rows),
        "n_missing": len(rows) - len(known),
        "n_positive": sum(one.ill for one in rows),
        "n_patients": len(set(every.patients)),
        "values": _values(rows, wanted),
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
    _count_patients(area, performance, found)
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
            if wide.low == wide.high:  # perfect separation: no sample of patients can show otherwise
                area |= _score_over_patients(area["estimate"], found, protocol.level)
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
            if (
                right.all() or not right.any()
            ):  # a bootstrap of equal calls has no width; one call a patient has
                n = len(set(who))
                performance[name] |= plain(wilson(n if right.all() else 0, n, protocol.level)) | {
                    "n": len(right),
                    "method": "wilson, a patient counts once",
                }


def _score_over_patients(area: float, found: Outcomes, level: float) -> dict[str, Any]:
    """Newcombe's interval with the patients of each class for its size."""
    ill, well = (
        len({who for who, truth in zip(found.patients, found.truth, strict=True) if truth == value})
        for value in (1, 0)
    )
    low, high = score_interval(area, ill, well, level)
    return {"low": plain(low), "high": plain(high), "method": f"{NEWCOMBE}, a patient counts once"}


def _count_patients(area: dict[str, Any], performance: dict[str, Any], found: Outcomes) -> None:
    """How many patients each number rests on."""
    area["n_patients"] = len(set(found.patients))
    for name, ill in (("sensitivity", 1), ("specificity", 0)):
        if name in performance:
            own = [who for who, truth in zip(found.patients, found.truth, strict=True) if truth == ill]
            performance[name]["n_patients"] = len(set(own))


def _area_of(found: Outcomes) -> Callable[[NDArray[np.intp]], float]:
    return lambda rows: float(auc(found.scores[rows], found.truth[rows]).estimate or 0.0)


def _values(rows: Sequence[Judged], wanted: Classification) -> list[dict[str, Any]]:
    """What the column of the diagnosis holds, how often, and whether it counts as ill."""
    column = column_of(wanted.reference)
    counted = Counter((one.case.pair.reference.row[column], one.ill) for one in rows)
    return [{"value": value, "ill": ill, "n": n} for (value, ill), n in sorted(counted.items())]
