"""Where a volume lies among those of healthy people of the same age, sex and head size.

A curve is a Gaussian whose mean and spread move with age (a location-scale model, as GAMLSS with the normal
family: Rigby and Stasinopoulos 2005), of the volume or of its logarithm. Intracranial volume enters the mean
linearly: the residual method (Mathalon 1993). `lnn-med percentiles` fits it on volumes of the same bundle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

from lnn_med.prediction import ReferenceCurve

MIDDLE_YEARS, DECADE_YEARS = 50.0, 10.0  # age enters as decades from 50
AGE_STEP_YEARS = 5  # between points of a percentile line
NORMAL = NormalDist()


@dataclass(frozen=True)
class Person:
    """Age in years, sex F or M, and intracranial volume as the bundle measures it."""

    age: float
    sex: str
    icv_mm3: float

    def __post_init__(self) -> None:
        if self.sex not in ("F", "M"):
            raise ValueError(f"sex is {self.sex!r}; it must be F or M.")


@dataclass(frozen=True)
class Curve:
    """Distribution of one structure's volume, or of its logarithm when `log`.

    `mean` holds the factors of 1, age, age squared, male and head size; `log_spread` those of 1 and age in
    the logarithm of the standard deviation. `inside` is the share of people between the 5th and the 95th
    percentile of curves that were fitted without them (nominal: 0.9).
    """

    log: bool
    mean: tuple[float, float, float, float, float]
    log_spread: tuple[float, float]
    inside: float | None = None

    def score(self, volume_mm3: float, person: Person, usual_icv_mm3: float) -> float:
        """Standard deviations from what is expected; minus infinity for log curves of an empty structure."""
        if self.log and volume_mm3 <= 0:
            return -math.inf
        value = math.log(volume_mm3) if self.log else volume_mm3
        centre, spread = self._at(person, usual_icv_mm3)
        return (value - centre) / spread

    def volume_mm3(self, percentile: float, person: Person, usual_icv_mm3: float) -> float:
        """Volume at a percentile (above 0, below 100); at least 0."""
        centre, spread = self._at(person, usual_icv_mm3)
        value = centre + NORMAL.inv_cdf(percentile / 100) * spread
        return math.exp(value) if self.log else max(0.0, value)

    def adjusted_mm3(self, volume_mm3: float, person: Person, usual_icv_mm3: float) -> float:
        """The volume without what head size explains: as if the head were of usual size."""
        size = covariates(person, usual_icv_mm3, self.log)[-1]
        if self.log:
            return volume_mm3 * math.exp(-self.mean[-1] * size)
        return volume_mm3 - self.mean[-1] * size

    def _at(self, person: Person, usual_icv_mm3: float) -> tuple[float, float]:
        row = covariates(person, usual_icv_mm3, self.log)
        centre = sum(factor * value for factor, value in zip(self.mean, row, strict=True))
        return centre, math.exp(self.log_spread[0] + self.log_spread[1] * row[1])


def covariates(person: Person, usual_icv_mm3: float, log: bool) -> tuple[float, float, float, float, float]:
    """1, age, age squared, male, head size: what a curve's mean is linear in."""
    decades = (person.age - MIDDLE_YEARS) / DECADE_YEARS
    size = person.icv_mm3 / usual_icv_mm3
    return 1.0, decades, decades**2, float(person.sex == "M"), math.log(size) if log else size - 1


@dataclass(frozen=True)
class Percentiles:
    """Content of percentiles.json; empty for a bundle without reference people.

    They hold for volumes of the network `answers_sha256` at depth auto, for ages within `ages`, and for
    brains of their own size: where these weights find the structures in the MNI152 template is `template_mm`
    (RAS mm), so that a normalised image is noticed.
    """

    reference_people: str = ""  # who they are, and their licence
    answers_sha256: str = ""
    people: int = 0
    ages: tuple[float, float] = (0.0, 0.0)  # years, youngest and oldest
    usual_icv_mm3: float = 0.0  # mean of the reference people
    curves: Mapping[str, Curve] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)
    template_mm: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    def covers(self, age: float) -> bool:
        """Whether there were people of that age; curves are not continued beyond them."""
        return self.ages[0] <= age <= self.ages[1]

    def reference(
        self, name: str, volume_mm3: float, person: Person, percentiles: Sequence[int]
    ) -> ReferenceCurve | None:
        """A structure's volume and its percentile lines over all ages; None without a curve."""
        curve = self.curves.get(name)
        if curve is None:
            return None
        first, last = self.ages
        count = 2 + int((last - first) // AGE_STEP_YEARS)
        ages = [first + (last - first) * n / (count - 1) for n in range(count)]
        at_ages = [replace(person, age=age) for age in ages]
        return ReferenceCurve(
            structure=name,
            volume_mm3=volume_mm3,
            adjusted_mm3=curve.adjusted_mm3(volume_mm3, person, self.usual_icv_mm3),
            percentile=self.percentile(name, volume_mm3, person),
            ages_years=tuple(ages),
            lines_mm3={
                number: tuple(curve.volume_mm3(number, each, self.usual_icv_mm3) for each in at_ages)
                for number in percentiles
            },
        )

    def percentile(self, name: str, volume_mm3: float, person: Person) -> float | None:
        """Percentile of a structure's volume, 0 to 100; None without a curve or outside the ages."""
        curve = self.curves.get(name)
        if curve is None or not self.covers(person.age):
            return None
        return 100 * NORMAL.cdf(curve.score(volume_mm3, person, self.usual_icv_mm3))


def both_sides(volumes: Mapping[str, float]) -> dict[str, float]:
    """Sums of left and right under the name without its side: Hippocampus, Frontal_GM, ..."""
    return {
        name.removesuffix("_L"): value + volumes[name.removesuffix("_L") + "_R"]
        for name, value in volumes.items()
        if name.endswith("_L")
    }
