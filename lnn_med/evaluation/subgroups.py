"""Results by subgroup (sex, age band, vendor, site, ...): mean, interval, difference to the rest.

Small groups are shown and marked, never hidden; scans without a value of the subgroup column are a group of
their own.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lnn_med.evaluation.group_difference import group_difference
from lnn_med.evaluation.intervals import LEVEL, NotEstimable, check_level
from lnn_med.evaluation.statistics import Interval, mean_interval

if TYPE_CHECKING:
    import pandas as pd

MISSING_GROUP = "missing"
MIN_PATIENTS = 20  # below, an interval says little; TRIALS and reporting guidelines ask to mark such groups
TOO_FEW = f"too few (n < {MIN_PATIENTS})"
MAX_GROUPS = 30  # more are numbers that nobody has put into bands (ages, volumes)


@dataclass(frozen=True)
class Subgroup:
    """One group of one column.

    `estimate` is the mean of the group, `difference` that mean minus the mean of all other scans; None when
    there are no others. `too_few` counts patients, not scans; `note` is the text to print, empty or TOO_FEW.
    """

    column: str
    group: str
    n_scans: int
    n_patients: int
    estimate: Interval
    difference: Interval | None
    too_few: bool
    note: str


def subgroup_table(
    table: pd.DataFrame,
    value: str,
    patient: str,
    columns: Sequence[str],
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[Subgroup, ...]:
    """Every group of every column, in the order of `columns`, groups sorted, the missing ones last.

    Args:
        table: one row a scan.
        value: column of the endpoint, finite numbers (missing predictions already counted by their rule).
        patient: column of the patient.
        columns: subgroup columns; put ages and thicknesses into `bands` first.
        level: coverage of the intervals.
        seed: of the bootstrap.

    Raises:
        NotEstimable: the table is empty.
        ValueError: unknown columns, endpoints or patients that are missing, or a column of too many groups.
    """
    check_level(level)
    for name in (value, patient, *columns):
        _known(table, name)
    if len(table) == 0:
        raise NotEstimable("Subgroups need scans, got none.")
    values, patients = _endpoint(table[value], value), _patients(table[patient], patient)
    found: list[Subgroup] = []
    for column in columns:
        labels, order = _labels(table[column], column)
        for group in order:
            found.append(_subgroup(column, group, labels == group, values, patients, level, seed))
    return tuple(found)


def bands(values: ArrayLike, edges: Sequence[float], unit: str = "") -> list[str | None]:
    """Labels such as "60 to < 70 years" for numbers; None for NaN.

    Args:
        values: (n,) numbers, NaN where unknown.
        edges: rising inner borders; a value equal to one belongs to the band above.
        unit: written behind the numbers.

    Example:
        >>> bands([55, 60, 81], (60, 80), "years")
        ['< 60 years', '60 to < 80 years', '>= 80 years']
    """
    borders = np.asarray(edges, dtype=np.float64)
    if len(borders) == 0 or not np.isfinite(borders).all() or (np.diff(borders) <= 0).any():
        raise ValueError(f"Edges of bands must rise, got {list(edges)}.")
    words = f" {unit}" if unit else ""
    middle = [f"{a:g} to < {b:g}{words}" for a, b in itertools.pairwise(borders)]
    names = [f"< {borders[0]:g}{words}", *middle, f">= {borders[-1]:g}{words}"]
    numbers = np.asarray(values, dtype=np.float64).ravel()
    return [None if np.isnan(x) else names[int(np.searchsorted(borders, x, side="right"))] for x in numbers]


def _subgroup(
    column: str,
    group: str,
    inside: np.ndarray,
    values: np.ndarray,
    patients: list[Any],
    level: float,
    seed: int,
) -> Subgroup:
    own = [patient for patient, chosen in zip(patients, inside, strict=True) if chosen]
    estimate = mean_interval(values[inside], own, level, seed=seed)
    difference = None if inside.all() else group_difference(values, inside, patients, level, seed=seed)
    too_few = estimate.n_patients < MIN_PATIENTS
    return Subgroup(
        *(column, group, len(own), estimate.n_patients, estimate, difference, too_few),
        note=TOO_FEW if too_few else "",
    )


def _known(table: pd.DataFrame, name: str) -> None:
    if name in table.columns:
        return
    names = [str(column) for column in table.columns]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else f" Known are: {', '.join(names) or 'none'}."
    raise ValueError(f"The table has no column {name!r}.{hint}")


def _endpoint(column: pd.Series, name: str) -> np.ndarray:
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = int((~np.isfinite(numbers)).sum())
    if bad:
        raise ValueError(
            f"{bad} of {len(numbers)} values of {name!r} are no finite numbers; "
            "count missing ones by their rule, or leave the scans out, before."
        )
    return numbers


def _patients(column: pd.Series, name: str) -> list[Any]:
    if column.isna().any():
        raise ValueError(f"{int(column.isna().sum())} of {len(column)} scans have no patient in {name!r}.")
    return list(column)


def _labels(column: pd.Series, name: str) -> tuple[np.ndarray, list[str]]:
    """Label of each scan, and the labels in order: numbers by size, words by letter, missing last."""
    import pandas as pd

    missing = np.array([pd.isna(x) or not str(x).strip() for x in column], dtype=bool)
    labels = np.array([MISSING_GROUP if gone else _label(x) for x, gone in zip(column, missing, strict=True)])
    if (labels[~missing] == MISSING_GROUP).any():
        raise ValueError(
            f"Column {name!r} has a group named {MISSING_GROUP!r}, which stands for empty cells."
        )
    known = sorted(set(labels[~missing]), key=_sort_key)
    if len(known) > MAX_GROUPS:
        raise ValueError(
            f"Column {name!r} has {len(known)} groups, more than {MAX_GROUPS}; put its numbers into bands."
        )
    return labels, known + ([MISSING_GROUP] if missing.any() else [])


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value).strip()


def _sort_key(label: str) -> tuple[int, float, str]:
    """Numbers, and bands by their first number; "< 60" before "60 to < 70"."""
    words = label.split()
    below = words[:1] == ["<"]
    try:
        number = float(words[1] if words[0] in ("<", ">=") else words[0])
    except (ValueError, IndexError):
        number = np.nan
    if not np.isfinite(number):
        return 1, 0.0, label
    return 0, number - (0.5 if below else 0), label
