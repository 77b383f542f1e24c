"""Section 9: does the device know when it is wrong: selective risk, and quality control against low DSC."""

from __future__ import annotations

from typing import Any

import numpy as np

from lnn_med.evaluation.comparing import NO_PREDICTION, QC_FAIL, ComparedCase, Comparison, is_missing
from lnn_med.evaluation.intervals import wilson
from lnn_med.evaluation.matching import Matched
from lnn_med.evaluation.predicted import PredictedCase
from lnn_med.evaluation.protocol import Protocol
from lnn_med.evaluation.references import OUTSIDE_USE
from lnn_med.evaluation.results.cases import column, with_maps
from lnn_med.evaluation.results.values import attempt, plain
from lnn_med.evaluation.selective import selective_risk

STATES = ("pass", "review", "fail")


def risk_results(comparison: Comparison) -> dict[str, Any] | None:
    """Mean 1 - DSC of the most certain share of cases, by the relative width of the volume intervals.

    None without volume intervals for two cases.
    """
    doubt, loss = [], []
    dsc = _dsc(comparison)
    for case in with_maps(comparison):
        width = _relative_width(case)
        if width is not None and case.name in dsc:
            doubt.append(width)
            loss.append(1 - dsc[case.name])
    return attempt(lambda: selective_risk(doubt, loss)) if len(doubt) > 1 else None


def control_results(comparison: Comparison, protocol: Protocol) -> dict[str, Any] | None:
    """Quality control against what was reached: of the bad cases, how many were flagged. None without QC.

    A case that FAIL rejected has no result, so no DSC: it is counted, but is neither good nor bad here.
    """
    judged = [case for case in with_maps(comparison) if case.qc is not None]
    if not judged:
        return None
    dsc = _dsc(comparison)
    rows = []
    for state in STATES:
        names = [case.name for case in judged if case.qc == state]
        values = [dsc[name] for name in names if name in dsc]
        rows.append({"state": state, "n": len(names), "mean_dsc": plain(np.mean(values)) if values else None})
    compared = [case for case in judged if case.name in dsc]
    bad = [case for case in compared if dsc[case.name] < protocol.low_dsc]
    good = [case for case in compared if dsc[case.name] >= protocol.low_dsc]
    return {
        "low_dsc": protocol.low_dsc,
        "states": rows,
        "rejected": sum(case.code == QC_FAIL for case in judged),
        "n_bad": len(bad),
        "n_good": len(good),
        "bad_flagged": attempt(lambda: wilson(_flagged(bad), len(bad), protocol.level)),
        "good_flagged": attempt(lambda: wilson(_flagged(good), len(good), protocol.level)),
    }


def detection_results(matched: Matched, comparison: Comparison, protocol: Protocol) -> dict[str, Any] | None:
    """Scans that the table puts in on purpose (`intended` = no): how many were flagged or refused.

    A scan that was never predicted was not detected. Beside them, the same share of all other scans. None
    when the table marks none.
    """
    outside = [pair.prediction for pair in matched.pairs if pair.reference.excluded == OUTSIDE_USE]
    if not outside:
        return None
    inside = [case.pair.prediction for case in comparison.cases]
    return {
        "n": len(outside),
        "n_without": sum(_not_seen(one) for one in outside),
        "refused": sum(one is not None and one.code is not None and not _not_seen(one) for one in outside),
        "fail": sum(_status(one) == "fail" for one in outside),
        "review": sum(_status(one) == "review" for one in outside),
        "detected": plain(wilson(sum(map(_detected, outside)), len(outside), protocol.level)),
        "n_others": len(inside),
        "others": attempt(lambda: wilson(sum(map(_detected, inside)), len(inside), protocol.level)),
    }


def _not_seen(prediction: PredictedCase | None) -> bool:
    """Whether the device said nothing about a scan: no prediction, or the run has not come to it."""
    return prediction is None or prediction.code == NO_PREDICTION


def _status(prediction: PredictedCase | None) -> str | None:
    result = (prediction.result if prediction else None) or {}
    return result.get("qc", {}).get("status")


def _detected(prediction: PredictedCase | None) -> bool:
    if prediction is None or _not_seen(prediction):
        return False
    return prediction.code is not None or _status(prediction) in ("review", "fail")


def _flagged(cases: list[ComparedCase]) -> int:
    return sum(case.qc == "review" for case in cases)


def _dsc(comparison: Comparison) -> dict[str, float]:
    found = column(comparison, "dsc", missing="leave_out")
    return dict(zip(found.cases, found.values, strict=True))


def _relative_width(case: ComparedCase) -> float | None:
    """Mean width of the volume intervals, relative to the volume."""
    widths = [
        (one.interval_mm3[1] - one.interval_mm3[0]) / one.volume_mm3
        for one in case.structures.values()
        if one.interval_mm3 is not None and one.volume_mm3 and not is_missing(one)
    ]
    return sum(widths) / len(widths) if widths else None
