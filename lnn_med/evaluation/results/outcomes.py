"""Cases with a diagnosis, and the probability that the predictions give each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnn_med.evaluation.comparing import ComparedCase, Comparison
from lnn_med.evaluation.protocol import Classification
from lnn_med.evaluation.references import column_of


@dataclass(frozen=True)
class Judged:
    """One case whose diagnosis is known; `probability` is None where no prediction that counts gives one."""

    case: ComparedCase
    ill: bool
    probability: float | None

    @property
    def patient(self) -> str:
        """The unit that is resampled."""
        return self.case.pair.reference.patient

    @property
    def score(self) -> float:
        """The probability; a missing one is the worst: 0 for the ill, 1 for the well."""
        return float(not self.ill) if self.probability is None else self.probability

    def right(self, threshold: float) -> bool:
        """Whether the call at the threshold agrees with the diagnosis."""
        return (self.score >= threshold) == self.ill


@dataclass(frozen=True)
class Outcomes:
    """Probability and truth of each case, with its patient."""

    scores: NDArray[np.float64]
    truth: NDArray[np.float64]
    patients: tuple[str, ...]

    @property
    def clustered(self) -> bool:
        """Whether a patient has several cases."""
        return len(set(self.patients)) < len(self.patients)


def judged_cases(comparison: Comparison, wanted: Classification) -> list[Judged]:
    """Every case whose reference row fills the column of the diagnosis."""
    column = column_of(wanted.reference)
    positive = {value.strip().lower() for value in wanted.positive}
    found = []
    for case in comparison.cases:
        cell = case.pair.reference.row.get(column)
        if cell is not None:
            given = None if case.missing else (entry_of(case.result, wanted.target) or {}).get("probability")
            found.append(Judged(case, cell.strip().lower() in positive, given))
    return found


def outcomes_of(cases: Sequence[Judged]) -> Outcomes:
    """The same as columns; a missing probability is the worst one."""
    return Outcomes(
        np.array([one.score for one in cases], dtype=float),
        np.array([one.ill for one in cases], dtype=float),
        tuple(one.patient for one in cases),
    )


def entry_of(result: Mapping[str, Any], target: str) -> Mapping[str, Any] | None:
    """What a result says about a target."""
    entries: Sequence[Mapping[str, Any]] = result.get("classification", ())
    return next((one for one in entries if one["target"].lower() == target.lower()), None)


def targets_of(comparison: Comparison) -> list[str]:
    """Names of everything that the predictions give a probability of."""
    entries = [one for case in comparison.cases for one in case.result.get("classification", ())]
    return sorted({str(one["target"]) for one in entries if one.get("probability") is not None})
