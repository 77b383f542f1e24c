"""Comparison with a second set of predictions on the same references (`--against`)."""

from __future__ import annotations

from typing import Any

from lnn_med.evaluation.comparing import Comparison
from lnn_med.evaluation.noninferiority import compare_paired
from lnn_med.evaluation.protocol import MEAN, Protocol
from lnn_med.evaluation.results.cases import absent_everywhere, column, structures_of, with_maps
from lnn_med.evaluation.results.values import attempt


def rival_results(new: Comparison, other: Comparison, protocol: Protocol) -> dict[str, Any]:
    """Paired difference in DSC, new minus other, on every case; the margin decides on the mean.

    A prediction that is missing on one side counts with DSC 0 there, whatever the missing rule says: leaving
    it out would reward refusing the hard cases.
    """
    absent = set(absent_everywhere(new)) & set(absent_everywhere(other))
    names = [name for name in structures_of(new) if name not in absent]
    return {
        "metric": "dsc",
        "margin": protocol.margin_dsc,
        "n_cases": len(with_maps(new)),
        "missing_new": sum(case.missing for case in with_maps(new)),
        "missing_other": sum(case.missing for case in with_maps(other)),
        "mean": _difference(new, other, protocol, MEAN, absent),
        "structures": [{"name": name, **_difference(new, other, protocol, name, absent)} for name in names],
    }


def _difference(
    new: Comparison, other: Comparison, protocol: Protocol, structure: str, absent: set[str]
) -> dict[str, Any]:
    first, second = (column(one, "dsc", structure, absent=absent) for one in (new, other))
    theirs = dict(zip(second.cases, second.values, strict=True))
    rows = [row for row in zip(first.cases, first.values, first.patients, strict=True) if row[0] in theirs]
    return attempt(
        lambda: compare_paired(
            [value for _, value, _ in rows],
            [theirs[case] for case, _, _ in rows],
            protocol.margin_dsc,
            [patient for _, _, patient in rows],
            level=protocol.level,
            seed=protocol.seed,
        )
    )
