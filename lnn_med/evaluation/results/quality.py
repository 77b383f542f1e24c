"""Section 9: does the device know when it is wrong: selective risk, and quality control against low DSC."""

from __future__ import annotations

from typing import Any

import numpy as np

from lnn_med.evaluation.comparing import QC_FAIL, ComparedCase, Comparison, is_missing
from lnn_med.evaluation.intervals import wilson
from lnn_med.evaluation.protocol import Protocol
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
