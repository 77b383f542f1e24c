"""Numbers as they go into report.json: plain, finite, rounded once; None with a note where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from lnn_med.evaluation.intervals import NotEstimable
from lnn_med.evaluation.statistics import mean_interval

DIGITS = 10  # significant: far below every error, above what the order of additions changes

Number = dict[str, Any]  # estimate, low, high, level, n, n_patients, method, note


def plain(value: Any) -> Any:
    """Dataclasses, tuples and numpy numbers as JSON values; what is not finite becomes None."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return _rounded(float(value))
    return str(value) if isinstance(value, Path) else value


def attempt(compute: Callable[[], Any]) -> Any:
    """The plain result, or `{"estimate": None, "note": why}` where the data do not give it."""
    try:
        return plain(compute())
    except NotEstimable as error:
        return not_estimable(str(error))


def not_estimable(note: str) -> Number:
    """A number that does not exist, with the reason."""
    return {"estimate": None, "low": None, "high": None, "n": 0, "method": "none", "note": note}


def mean_of(values: Sequence[float], patients: Sequence[Hashable], level: float, seed: int) -> Number:
    """Mean with an interval over patients."""
    found = mean_interval(list(values), list(patients), level, seed=seed)
    note = "" if found.low is not None else "No interval: it needs two patients or more."
    return {
        "estimate": plain(found.estimate),
        "low": plain(found.low),
        "high": plain(found.high),
        "level": level,
        "n": found.n_values,
        "n_patients": found.n_patients,
        "method": found.method,
        "note": note,
    }


def quartiles(values: Sequence[float]) -> dict[str, float | None]:
    """Smallest, quartiles and largest value; None without any."""
    names = ("min", "q1", "median", "q3", "max")
    if not len(values):
        return dict.fromkeys(names)
    found = np.quantile(np.asarray(values, dtype=float), (0, 0.25, 0.5, 0.75, 1))
    return dict(zip(names, (plain(one) for one in found), strict=True))


def _rounded(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}") + 0.0
