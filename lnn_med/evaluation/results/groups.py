"""Section 10: the main metric, and right calls, in each subgroup, and the difference to everybody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lnn_med.evaluation.comparing import ComparedCase, Comparison
from lnn_med.evaluation.intervals import NotEstimable, wilson
from lnn_med.evaluation.protocol import HIGHER_IS_BETTER, MEAN, Endpoint, Protocol
from lnn_med.evaluation.references import AGE_YEARS, column_of, number
from lnn_med.evaluation.results.cases import column
from lnn_med.evaluation.results.outcomes import judged_cases
from lnn_med.evaluation.results.values import mean_of, plain
from lnn_med.evaluation.subgroups import bands, subgroup_table

SLICE_MM = (1.5, 3.0)  # borders: fine labels need 1.5 mm, small structures are unreliable above 3 mm


def subgroup_results(comparison: Comparison, protocol: Protocol) -> dict[str, Any] | None:
    """Each group of each column that the table fills; None without label maps.

    The metric is that of the primary endpoint, else the mean DSC.
    """
    endpoint = protocol.primary
    if endpoint is None or endpoint.of_probabilities:
        endpoint = Endpoint("dsc", 0.0)
    found = column(comparison, endpoint.metric, endpoint.structure, protocol.missing)
    if not found.values:
        return None
    by_name = {case.name: case for case in comparison.cases}
    cases = [by_name[name] for name in found.cases]
    return {
        "metric": endpoint.metric,
        "structure": endpoint.structure,
        "mean_of_all": endpoint.structure == MEAN,
        "higher_is_better": HIGHER_IS_BETTER[endpoint.metric],
        "overall": mean_of(found.values, found.patients, protocol.level, protocol.seed),
        **_in_groups(found.values, found.patients, cases, protocol, protocol.subgroups),
    }


def call_group_results(comparison: Comparison, protocol: Protocol) -> list[dict[str, Any]] | None:
    """Sensitivity and specificity at the locked threshold in each group; None without a classification.

    Of a patient with one scan the interval is Wilson's: a bootstrap of calls that are all right has no width.
    """
    wanted = protocol.classification
    if wanted is None:
        return None
    judged = judged_cases(comparison, wanted)
    if protocol.missing == "leave_out":
        judged = [one for one in judged if one.probability is not None]
    found = []
    for metric, ill in (("sensitivity", True), ("specificity", False)):
        own = [one for one in judged if one.ill == ill]
        if own:
            calls = [float(one.right(wanted.threshold)) for one in own]
            others = [name for name in protocol.subgroups if column_of(name) != column_of(wanted.reference)]
            part = _in_groups(
                calls, [one.patient for one in own], [one.case for one in own], protocol, others
            )
            for group in part["groups"]:
                _as_proportion(group, protocol.level)
            found.append({"metric": metric, **part})
    return found


def _as_proportion(group: dict[str, Any], level: float) -> None:
    """Wilson's interval where every patient has one scan; no interval of a difference that has no width."""
    number, difference = group["estimate"], group["difference"]
    if difference is not None and difference["low"] == difference["high"]:
        group["difference"] = {**difference, "low": None, "high": None}
    if group["n_scans"] == group["n_patients"]:
        right = round(number["estimate"] * group["n_scans"])
        group["estimate"] = {**number, **plain(wilson(right, group["n_scans"], level))}


def _in_groups(
    values: Sequence[float],
    patients: Sequence[str],
    cases: Sequence[ComparedCase],
    protocol: Protocol,
    columns: Sequence[str],
) -> dict[str, Any]:
    """Every group of every column, and why a column gives none."""
    import pandas as pd

    groups: list[dict[str, Any]] = []
    without: dict[str, str] = {}
    for name in columns:
        labels = group_labels(name, cases, protocol)
        if all(label is None for label in labels):
            without[name] = "no analysed case has a value in this column of the table"
            continue
        table = pd.DataFrame({"value": values, "patient": patients, name: labels})
        try:
            groups += plain(subgroup_table(table, "value", "patient", [name], protocol.level, protocol.seed))
        except (NotEstimable, ValueError) as error:
            without[name] = str(error)
    return {"groups": groups, "not_measured": without}


def group_labels(name: str, cases: Sequence[ComparedCase], protocol: Protocol) -> list[str | None]:
    """The group of each case in one column; numbers become bands, None where nothing is known."""
    name = column_of(name)
    if name == "age":
        return bands([_in_range(case, "age", *AGE_YEARS) for case in cases], protocol.age_bands, "years")
    if name == "slice_mm":
        return bands([slice_mm(case) for case in cases], SLICE_MM, "mm")
    if name == "field_t":
        fields = [_in_range(case, name, 0, 20) for case in cases]
        return [None if np.isnan(value) else f"{value:.1f} T" for value in fields]
    return [_word(case.pair.reference.row.get(name)) for case in cases]


def slice_mm(case: ComparedCase) -> float:
    """Slice thickness of the table, else the largest voxel spacing of the reference; NaN when unknown."""
    stated = _in_range(case, "slice_mm", 0, 50)
    return max(case.spacing_mm) if np.isnan(stated) and case.spacing_mm else stated


def _in_range(case: ComparedCase, name: str, low: float, high: float) -> float:
    value = number(case.pair.reference.row.get(name))
    return value if value is not None and low <= value <= high else float("nan")


def _word(cell: str | None) -> str | None:
    """`f` and `F` are one group; the word "missing" would look like an empty cell."""
    if cell is None or cell.strip().lower() == "missing":
        return None
    return cell.strip().upper() if len(cell.strip()) == 1 else cell.strip()
