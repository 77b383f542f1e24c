"""What stands out in one column of a cohort: a histogram, and the values far outside the middle half."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FENCE = 1.5  # interquartile ranges beyond the quartiles; Tukey, Exploratory Data Analysis, 1977
BINS = 12
FEWEST = 4  # below this many values there is no middle half to speak of


def outliers(values: NDArray[np.float64]) -> list[bool]:
    """Which of the values (n,) lie outside Tukey's fences; missing ones (NaN) never do."""
    known = values[np.isfinite(values)]
    if len(known) < FEWEST:
        return [False] * len(values)
    first, third = np.percentile(known, (25, 75))
    reach = FENCE * (third - first)
    return [bool(value < first - reach or value > third + reach) for value in values]


def histogram(values: NDArray[np.float64], bins: int = BINS) -> list[tuple[float, float, int]]:
    """(low, high, count) of equal bins over the finite values (n,); empty when there are none."""
    known = values[np.isfinite(values)]
    if not len(known):
        return []
    counts, edges = np.histogram(known, bins=bins)
    return [
        (float(low), float(high), int(count))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
