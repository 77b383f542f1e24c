"""Names of metrics and methods, and other words that several sections share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METRIC_NAMES = {
    "dsc": "DSC",
    "nsd": "NSD",
    "hd95_mm": "HD95, mm",
    "msd_mm": "mean surface distance, mm",
    "abs_error_pct": "absolute volume error, %",
}


METRIC_DIGITS = {"dsc": 3, "nsd": 3, "hd95_mm": 2, "msd_mm": 2, "abs_error_pct": 1}


METHODS = {
    "bca": "bias-corrected accelerated bootstrap over patients (n ≥ 20)",
    "percentile": "percentile bootstrap over patients (n < 20)",
    "order statistics": "exact, from order statistics",
    "none": "no interval",
}


RESEARCH_USE = "Research use only: not a medical device."


Record = Mapping[str, Any]
