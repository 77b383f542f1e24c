"""A prediction as plain numbers: the one record behind result.json, volumes.csv and every table.

Numbers are rounded here and nowhere else, so that each output shows the same digits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from lnn_med.prediction import Compute, Prediction, Reference, Structure

SCHEMA_VERSION = "1.0"  # see result.schema.json beside this file

MM3_DIGITS = 1  # a tenth of a mm³ is below every model's repeatability
PERCENT_DIGITS = 1
PROBABILITY_DIGITS = 4
DEPTH_DIGITS = 2
YEARS_DIGITS = 1
SECONDS_DIGITS = 3
GFLOPS_DIGITS = 2
SPACING_DIGITS = 6  # 1 nm: drops only the noise of float32 headers
ASKED = ("target", "bundle")  # of a classification entry: no answer, so they outlive a FAIL

VOLUME_COLUMNS = (
    "name",
    "side",
    "bundle",
    "volume_mm3",
    "interval_low_mm3",
    "interval_high_mm3",
    "coverage",
    "mean_depth",
    "percentile",
)


def result_record(prediction: Prediction) -> dict[str, Any]:
    """The content of `result.json`; after a FAIL every measured number is None.

    Raises:
        ValueError: a number is NaN or infinite, which would not be JSON.
    """
    failed = prediction.quality.status == "fail"
    source, scan = prediction.source, prediction.scan
    series = {"series_uid": source.series_uid} if source.series_uid else {}
    return {
        "schema_version": SCHEMA_VERSION,
        "intended_use": "research use only",
        "input": {
            "name": source.name,
            "sha256": source.sha256,
            **series,
            "shape": [int(size) for size in scan.shape],
            "spacing_mm": [_rounded(step, SPACING_DIGITS, "spacing_mm") for step in scan.spacing_mm],
            "orientation": scan.orientation,
        },
        "model": [
            {"bundle": used.bundle, "version": used.version, "weights_sha256": used.weights_sha256}
            for used in prediction.models
        ],
        "software": dict(sorted(prediction.software.items())),
        "qc": {"status": prediction.quality.status, "reasons": list(prediction.quality.reasons)},
        "structures": [_structure(structure, failed) for structure in prediction.structures],
        "derived": {
            name: None if failed else _rounded(value, _digits_of(name), name)
            for name, value in prediction.derived.items()
        },
        "reference": None if failed else _reference(prediction.reference),
        "classification": [_classification(entry, failed) for entry in prediction.classification],
        "compute": _compute(prediction.compute),
        "warnings": [{"code": found.code.value, "message": found.message} for found in prediction.findings],
    }


def volume_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a structure, keyed by VOLUME_COLUMNS, from a `result_record`."""
    rows = []
    for entry in record["structures"]:
        low, high = entry["interval_mm3"] or (None, None)
        rows.append({**entry, "interval_low_mm3": low, "interval_high_mm3": high})
    return rows


def _structure(structure: Structure, failed: bool) -> dict[str, Any]:
    named = {"name": structure.name, "side": structure.side, "bundle": structure.bundle}
    if failed:
        numbers = ("volume_mm3", "interval_mm3", "coverage", "mean_depth", "percentile")
        return named | dict.fromkeys(numbers)
    where, edges = structure.name, structure.interval_mm3
    interval = None if edges is None else [_rounded(edge, MM3_DIGITS, where) for edge in edges]
    return {
        **named,
        "volume_mm3": _rounded(structure.volume_mm3, MM3_DIGITS, where),
        "interval_mm3": None
        if interval is None
        else [_rounded(edge, MM3_DIGITS, where) for edge in interval],
        "coverage": _rounded(structure.coverage, PROBABILITY_DIGITS, where),
        "mean_depth": _rounded(structure.mean_depth, DEPTH_DIGITS, where),
        "percentile": _rounded(structure.percentile, PERCENT_DIGITS, where),
    }


def _reference(found: Reference | None) -> dict[str, Any] | None:
    """Healthy people the scan was compared with, and their percentile lines."""
    if found is None:
        return None
    return {
        "name": found.name,
        "people": found.people,
        "ages_years": [_rounded(age, YEARS_DIGITS, "ages_years") for age in found.ages_years],
        "age_years": _rounded(found.age, YEARS_DIGITS, "age_years"),
        "sex": found.sex,
        "curves": [
            {
                "structure": curve.structure,
                "volume_mm3": _rounded(curve.volume_mm3, MM3_DIGITS, curve.structure),
                "adjusted_mm3": _rounded(curve.adjusted_mm3, MM3_DIGITS, curve.structure),
                "percentile": _rounded(curve.percentile, PERCENT_DIGITS, curve.structure),
                "ages_years": [_rounded(age, YEARS_DIGITS, curve.structure) for age in curve.ages_years],
                "lines_mm3": {
                    str(number): [_rounded(value, MM3_DIGITS, curve.structure) for value in line]
                    for number, line in curve.lines_mm3.items()
                },
            }
            for curve in found.curves
        ],
    }


def _classification(entry: Mapping[str, object], failed: bool) -> dict[str, Any]:
    """Who says what; after a FAIL only who was asked."""
    if failed:
        return {key: entry[key] if key in ASKED else None for key in entry}
    return {key: _plain(value, key) for key, value in entry.items()}


def _compute(compute: Compute) -> dict[str, Any]:
    shares = sorted(compute.depth_histogram.items())
    return {
        "seconds": _rounded(compute.seconds, SECONDS_DIGITS, "seconds"),
        "gflops": _rounded(compute.gflops, GFLOPS_DIGITS, "gflops"),
        "gflops_full": _rounded(compute.gflops_full, GFLOPS_DIGITS, "gflops_full"),
        "fraction": _rounded(compute.fraction, PROBABILITY_DIGITS, "fraction"),
        "depth_histogram": {
            str(depth): _rounded(share, PROBABILITY_DIGITS, "depth_histogram") for depth, share in shares
        },
        "attention": [
            {"stage": ran.stage, "tokens": int(ran.tokens), "path": ran.path} for ran in compute.attention
        ],
    }


def _digits_of(name: str) -> int:
    if name.endswith("_mm3"):
        return MM3_DIGITS
    if name.endswith("_years"):
        return YEARS_DIGITS
    return PERCENT_DIGITS if name.endswith("_pct") else PROBABILITY_DIGITS


def _rounded(value: float | None, digits: int, name: str) -> float | None:
    if value is None:
        return None
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}; a result holds finite numbers or None.")
    return round(float(value), digits) + 0.0  # + 0.0 turns -0.0 into 0.0


def _plain(value: object, name: str) -> Any:
    """The same without numpy: numbers rounded at any depth, mappings with text as keys."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, name) for item in value]
    if isinstance(value, Real) and not isinstance(value, (bool, int)):
        return _rounded(float(value), _digits_of(name), name)
    return value
