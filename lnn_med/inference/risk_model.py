"""Dementia risk from structure volumes and the record, one logistic regression for each set of known values.

Nothing is imputed: whoever gives age and sex alone is answered by the model that never saw anything else.
Each model carries how its answers held for people it had not seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

RECORD = ("age", "sex", "education", "mmse")
POSSIBLE = {"age": (0, 120), "education": (0, 40), "mmse": (0, 30)}  # years, years, points
AGE_CENTRE, AGE_SCALE = 70.0, 10.0  # years; keeps age and its square of one size
LOG = "log "  # before the name of a structure: its term
NO_DEMENTIA, DEMENTIA = "no dementia", "dementia"
# Years of schooling at which OASIS-1's next level of education begins: high school ended, some college,
# college ended, beyond college.
LEVEL_FROM_YEARS = (12, 13, 16, 17)


@dataclass(frozen=True)
class Reliability:
    """How answers about people held back turned out, once each person's answers were averaged over seeds.

    `auc` is (estimate, low, high) of a 95 % interval, `auc_old` that from 60 years on; `ece_null` is the 95th
    percentile of the calibration error that a perfect model of so few people has; `intercept` and `slope` of
    the calibration. `sick` and `healthy` are their probabilities of dementia, sorted, which sets are made of.
    """

    people: int = 0
    positives: int = 0
    auc: tuple[float, float, float] = (0.0, 0.0, 0.0)
    auc_old: tuple[float, float, float] = (0.0, 0.0, 0.0)
    brier: float = 0.0
    ece: float = 0.0
    ece_null: float = 0.0
    intercept: float = 0.0
    slope: float = 0.0
    sick: tuple[float, ...] = ()
    healthy: tuple[float, ...] = ()

    def prediction_set(self, probability: float, coverage: float) -> tuple[str, ...]:
        """Classes that cannot be ruled out, so that each class is in the set of its members with `coverage`.

        Class-conditional conformal prediction (Vovk 2012, arXiv 1209.2673) on held-back probabilities; never
        empty: where both are ruled out, the likelier one stays.
        """
        unlike_sick = (1 + sum(value <= probability for value in self.sick)) / (1 + len(self.sick))
        unlike_healthy = (1 + sum(value >= probability for value in self.healthy)) / (1 + len(self.healthy))
        alpha = 1 - coverage
        found = [
            name
            for name, likeness in ((NO_DEMENTIA, unlike_healthy), (DEMENTIA, unlike_sick))
            if likeness > alpha
        ]
        return tuple(found) or ((DEMENTIA,) if unlike_sick > unlike_healthy else (NO_DEMENTIA,))


@dataclass(frozen=True)
class RiskModel:
    """Logit = `intercept` + sum of `slopes` times the terms of `risk_terms`, for exactly the `known` values.

    `centre` holds the mean of each term over the people it was fitted on.
    """

    known: tuple[str, ...]
    intercept: float
    slopes: dict[str, float]
    centre: dict[str, float] = field(default_factory=dict)
    reliability: Reliability = field(default_factory=Reliability)

    @property
    def structures(self) -> tuple[str, ...]:
        """Whose volumes count."""
        return tuple(name.removeprefix(LOG) for name in self.slopes if name.startswith(LOG))

    def recalibrated(self, intercept: float, slope: float) -> RiskModel:
        """The model whose logit is `intercept` + `slope` times this one's."""
        slopes = {name: slope * value for name, value in self.slopes.items()}
        return replace(self, intercept=intercept + slope * self.intercept, slopes=slopes)

    def probability(self, terms: Mapping[str, float]) -> float:
        """Of dementia, 0 to 1.

        Raises:
            KeyError: a term is missing.
        """
        return 1 / (1 + math.exp(-self.logit(terms)))

    def logit(self, terms: Mapping[str, float]) -> float:
        """Of dementia; see `probability`."""
        return self.intercept + sum(slope * terms[name] for name, slope in self.slopes.items())

    def drivers(self, terms: Mapping[str, float]) -> dict[str, float]:
        """What each term adds to the logit beyond what it adds for the mean person of the data."""
        return {name: slope * (terms[name] - self.centre[name]) for name, slope in self.slopes.items()}


def known_values(record: Mapping[str, float]) -> tuple[str, ...]:
    """Which values of the record are there, in the order of RECORD."""
    return tuple(name for name in RECORD if name in record and math.isfinite(record[name]))


def risk_terms(log_volumes: Mapping[str, float], record: Mapping[str, float]) -> dict[str, float]:
    """Terms of the logit.

    Args:
        log_volumes: natural logarithm of mm³ in MNI space, by structure (both sides together).
        record: age in years, sex (0 woman, 1 man), education level (1 to 5), MMSE; any may be absent.
    """
    terms = {f"{LOG}{name}": value for name, value in log_volumes.items()}
    for name in known_values(record):
        if name == "age":
            age = (record["age"] - AGE_CENTRE) / AGE_SCALE
            terms |= {"age": age, "age squared": age * age}
        else:
            terms[name] = record[name]
    return terms


def education_level(years: float) -> int:
    """OASIS-1's level of education, 1 to 5, from years of schooling."""
    return 1 + sum(years >= first for first in LEVEL_FROM_YEARS)


def record_of(clinical: Mapping[str, float | str]) -> dict[str, float]:
    """Clinical values as the models count them, without those that are not known (None or NaN).

    Raises:
        ValueError: a sex other than F or M, or a number that cannot be.
    """
    found: dict[str, float] = {}
    for name in RECORD:
        value = clinical.get(name)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        if name == "sex":
            if value not in ("F", "M"):
                raise ValueError(f"sex is {value!r}; it must be F or M.")
            found[name] = float(value == "M")
            continue
        number = float(value)
        least, most = POSSIBLE[name]
        if not least <= number <= most:
            raise ValueError(f"{name} is {value}; {least} to {most} is possible.")
        found[name] = float(education_level(number)) if name == "education" else number
    return found
