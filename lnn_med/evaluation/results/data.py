"""Sections 3 and 12: where every case went, and who the people are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lnn_med.errors import Code, ConfigError
from lnn_med.evaluation.comparing import NO_PREDICTION, QC_FAIL, ComparedCase, Comparison
from lnn_med.evaluation.matching import Matched
from lnn_med.evaluation.predicted import PredictionSet
from lnn_med.evaluation.protocol import Protocol
from lnn_med.evaluation.references import AGE_YEARS, ReferenceSet, number
from lnn_med.evaluation.results.values import plain

# Reasons that lie in the machine or the program: the scan itself was readable.
PROCESSING = frozenset(
    code.value
    for code in (
        Code.STORAGE,
        Code.CHANGED,
        Code.RESOURCE,
        Code.INTERNAL,
        Code.MODEL,
        Code.CONFIG,
        Code.NOTFOUND,
    )
) | {QC_FAIL}
COUNTED = ("sex", "site", "vendor", "scanner", "field_t", "diagnosis")


def flow_results(
    matched: Matched, comparison: Comparison, predictions: PredictionSet, has_maps: bool
) -> dict[str, Any]:
    """Received, eligible, readable, scored, analysed; each step with the number lost and why."""
    excluded = Counter(comparison.excluded.values())
    without = Counter({"prediction without a reference": len(matched.extra)} if matched.extra else {})
    received = len(matched.pairs) + len(matched.extra)
    eligible = received - excluded.total() - without.total()
    references = Counter(f"reference: {reason.split(':')[0]}" for reason in comparison.unreadable.values())
    refused = [c for c in comparison.cases if c.missing and _unreadable(c)]
    scans = Counter(f"scan or prediction: {case.code}" for case in refused)
    others = Counter(str(case.code) for case in comparison.cases if case.missing and not _unreadable(case))
    readable = eligible - references.total() - scans.total()
    steps = [
        ("received", received, Counter()),
        ("eligible", eligible, excluded + without),
        ("readable", readable, references + scans),
        ("scored", readable - others.total(), others),
    ]
    return {
        "steps": [
            {"step": step, "n": n, "lost": lost.total(), "reasons": dict(sorted(lost.items()))}
            for step, n, lost in steps
        ],
        "analysed": len(comparison.cases),
        "counted_worst": sum(case.missing for case in comparison.cases),
        "with_maps": has_maps,
        "matched_by": dict(matched.rules),
        "not_scans": predictions.skipped,
    }


def people_results(comparison: Comparison, references: ReferenceSet) -> dict[str, Any]:
    """Age, sex, site and scanner of the analysed cases; numbers that are missing are counted."""
    rows = [case.pair.reference.row for case in comparison.cases]
    ages = [number(row.get("age")) for row in rows]
    known = [age for age in ages if age is not None and AGE_YEARS[0] <= age <= AGE_YEARS[1]]
    by_patient = Counter(case.pair.reference.patient for case in comparison.cases)
    spacings = [case.spacing_mm for case in comparison.cases if case.spacing_mm]
    return {
        "n_cases": len(rows),
        "n_patients": len(by_patient),
        "n_patients_with_several": sum(count > 1 for count in by_patient.values()),
        "patients_from": references.patients_from,
        "age": _summary(known) | {"missing": len(rows) - len(known)},
        "counts": {
            name: _counts(row.get(name) for row in rows)
            for name in COUNTED
            if any(name in row for row in rows)
        },
        "spacing_mm": _spacing(spacings),
        "columns": list(references.columns),
        "unused_columns": list(references.unused),
        "remarks": list(references.remarks),
    }


def failure_results(comparison: Comparison, matched: Matched, protocol: Protocol) -> list[dict[str, str]]:
    """Section 12: every case without a result that counts, and how it was counted."""
    worst = "worst value in all metrics" if protocol.missing == "worst" else "left out"
    rows = [
        {"case": case.name, "code": str(case.code), "reason": str(case.reason), "counted": worst}
        for case in comparison.cases
        if case.missing
    ]
    rows += [
        {"case": name, "code": reason.split(":")[0], "reason": reason, "counted": "not analysed: no truth"}
        for name, reason in comparison.unreadable.items()
    ]
    rows += [
        {"case": name, "code": "excluded", "reason": reason, "counted": "not analysed: not eligible"}
        for name, reason in comparison.excluded.items()
    ]
    rows += [
        {"case": one.case, "code": "extra", "reason": "no reference", "counted": "not analysed: no truth"}
        for one in matched.extra
    ]
    return sorted(rows, key=lambda row: (row["code"], row["case"]))


def _unreadable(case: ComparedCase) -> bool:
    return case.code not in PROCESSING and case.code != NO_PREDICTION


def _counts(cells: Iterable[str | None]) -> dict[str, int]:
    counted = Counter("missing" if cell is None else cell for cell in cells)
    return dict(sorted(counted.items(), key=lambda item: (item[0] == "missing", item[0])))


def _summary(values: list[float]) -> dict[str, Any]:
    if not values:
        return {"n": 0, "mean": None, "sd": None, "min": None, "max": None}
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return plain(
        {
            "n": len(values),
            "mean": float(np.mean(values)),
            "sd": spread,
            "min": min(values),
            "max": max(values),
        }
    )


def _spacing(spacings: list[tuple[float, float, float]]) -> dict[str, Any] | None:
    if not spacings:
        return None
    table = np.array(spacings)
    return plain({"smallest": table.min(axis=0), "largest": table.max(axis=0)})


def check_files(protocol: Protocol, folder: Path) -> None:
    """Refuse a protocol whose further files are not beside it, before any work is done.

    Raises:
        ConfigError.
    """
    for key in ("training_table", "second_reader", "stress_result", "rerun"):
        named = getattr(protocol, key)
        if named and not (folder / named).exists():
            raise ConfigError(f"`{key}` of the protocol names {named}, which is not beside the protocol.")
