"""Section 9: class sets, as the device gives them and as its probabilities would give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnn_med.evaluation.class_sets import NO, YES, cross_fitted_sets, set_summary
from lnn_med.evaluation.intervals import NotEstimable
from lnn_med.evaluation.protocol import Protocol
from lnn_med.evaluation.results.values import attempt


def class_set_results(
    scores: NDArray[np.float64],
    truth: NDArray[np.float64],
    patients: Sequence[str],
    entries: Sequence[Mapping[str, Any]],
    protocol: Protocol,
) -> dict[str, Any]:
    """Coverage and size of the class sets of cases that have a probability.

    Args:
        scores: (n,) probabilities.
        truth: (n,) 0 or 1.
        patients: of each case.
        entries: what the device says about each case; `prediction_set` and `coverage` may be absent.
        protocol: its `coverage` holds for the cross-fitted sets, and where the device names none.
    """
    given = [index for index, entry in enumerate(entries) if entry.get("prediction_set") is not None]
    device = None
    if given:
        promised = {float(entries[index].get("coverage") or protocol.coverage) for index in given}
        nominal = promised.pop() if len(promised) == 1 else protocol.coverage
        device = attempt(
            lambda: set_summary(
                np.array([_members(entries[index]) for index in given]), truth[given], nominal, protocol.level
            )
        )
    fitted = attempt(
        lambda: set_summary(
            cross_fitted_sets(scores, truth, patients, protocol.coverage),
            truth,
            protocol.coverage,
            protocol.level,
        )
    )
    return {"device": device, "cross_fitted": fitted}


def _members(entry: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether a set holds NO, and YES: the names `no TARGET` and `TARGET`, or plain `no` and `yes`.

    A second model's target may have an ending: `dementia_network` has the classes of `dementia`.

    Raises:
        NotEstimable: any other name.
    """
    target = str(entry["target"]).strip().lower().partition("_")[0]
    meaning = {NO: 0, f"{NO} {target}": 0, YES: 1, target: 1}
    held = {str(name).strip().lower() for name in entry["prediction_set"]}
    if unknown := held - meaning.keys():
        raise NotEstimable(f"a set of the device holds the class {min(unknown)}, which says nothing here")
    classes = {meaning[name] for name in held}
    return 0 in classes, 1 in classes
