"""Comparison with a second set of predictions on the same references (`--against`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnn_med.evaluation.classification import auc, compare_auc
from lnn_med.evaluation.comparing import Comparison
from lnn_med.evaluation.intervals import NO_INTERVAL, Estimate, NotEstimable
from lnn_med.evaluation.noninferiority import compare_paired, judge
from lnn_med.evaluation.protocol import MEAN, Protocol
from lnn_med.evaluation.resampling import clustered_interval
from lnn_med.evaluation.results.cases import absent_everywhere, column, structures_of, with_maps
from lnn_med.evaluation.results.outcomes import Judged, Outcomes, judged_cases, outcomes_of
from lnn_med.evaluation.results.values import attempt, plain

RESAMPLES = 1_000  # of the interval over patients who have several scans


def rival_results(new: Comparison, other: Comparison, protocol: Protocol) -> dict[str, Any] | None:
    """Paired difference in DSC, new minus other, on every case; the margin decides on the mean.

    A prediction that is missing on one side counts with DSC 0 there, whatever the missing rule says: leaving
    it out would reward refusing the hard cases. None without label maps.
    """
    if not with_maps(new):
        return None
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


def rival_auc_results(new: Comparison, other: Comparison, protocol: Protocol) -> dict[str, Any] | None:
    """Paired difference of the AUCs, new minus other, DeLong's or, with repeat scans, over patients.

    A probability that is missing on one side is the worst one there. None when the protocol asks for no
    classification.
    """
    wanted = protocol.classification
    if wanted is None:
        return None
    theirs = {one.case.name: one for one in judged_cases(other, wanted)}
    pairs = [(own, theirs[own.case.name]) for own in judged_cases(new, wanted) if own.case.name in theirs]
    first, second = (outcomes_of([pair[side] for pair in pairs]) for side in (0, 1))
    return {
        "target": wanted.target,
        "margin": protocol.margin_auc,
        "n_cases": len(pairs),
        "missing_new": _without(own for own, _ in pairs),
        "missing_other": _without(rival for _, rival in pairs),
        **attempt(lambda: _auc_gain(first, second, protocol)),
    }


def _without(cases: Iterable[Judged]) -> int:
    return sum(one.probability is None for one in cases)


def _auc_gain(new: Outcomes, other: Outcomes, protocol: Protocol) -> dict[str, Any]:
    """Both AUCs, their difference, and what it shows.

    Raises:
        NotEstimable: too few patients of one class.
    """
    found = compare_auc(new.scores, other.scores, new.truth, protocol.level)
    gain = found.difference
    if new.clustered:
        gain = _over_patients(new, other, protocol)
    shown: dict[str, Any] = {"gain": plain(gain) | {"n_patients": len(set(new.patients))}}
    if gain.low is not None and gain.high is not None:
        verdict, words = judge(gain.low, gain.high, protocol.margin_auc, protocol.level)
        shown |= {"verdict": verdict.value, "words": words}
    else:
        shown |= {"note": gain.note}
    if not new.clustered:  # the test of each area takes scans for independent, too
        shown |= {"first": plain(found.first), "second": plain(found.second), "p": plain(found.p)}
    return shown


def _over_patients(new: Outcomes, other: Outcomes, protocol: Protocol) -> Estimate:
    def gain(rows: NDArray[np.intp]) -> float:
        areas = [auc(one.scores[rows], one.truth[rows]).estimate for one in (new, other)]
        if areas[0] is None or areas[1] is None:
            raise NotEstimable("An AUC needs both classes.")
        return areas[0] - areas[1]

    found = clustered_interval(gain, new.patients, protocol.level, RESAMPLES, protocol.seed)
    if found.low == found.high:  # both rank alike, or both are perfect
        note = "The difference has no variance over patients."
        return Estimate(found.estimate, None, None, protocol.level, len(new.scores), NO_INTERVAL, note)
    return Estimate(
        *(found.estimate, found.low, found.high, protocol.level, len(new.scores)),
        f"{found.method}, over patients",
    )
