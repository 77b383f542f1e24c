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
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


METRIC_DIGITS = {
    **{"dsc": 3, "nsd": 3, "hd95_mm": 2, "msd_mm": 2, "abs_error_pct": 1},
    **{"auc": 3, "sensitivity": 3, "specificity": 3},
}


METHODS = {
    "bca": "bias-corrected accelerated bootstrap over patients (n ≥ 20)",
    "percentile": "percentile bootstrap over patients (n < 20)",
    "order statistics": "exact, from order statistics",
    "delong": "DeLong",
    "wilson": "Wilson",
    "none": "no interval",
}


RESEARCH_USE = "Research use only: not a medical device."


Record = Mapping[str, Any]
