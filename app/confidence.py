"""How sure the network was, read from entropy: bounds of the highest probability at a voxel.

A result keeps the entropy of each voxel's probabilities, not the probabilities. Of K probabilities whose
largest is p, entropy is lowest when the rest is packed into as few labels as p allows, and highest when it is
spread evenly (Fano 1961). Turned around, an entropy leaves p between two values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS = 4096  # of p between 1 / K and 1; a step is finer than the three decimals of the stored entropy

Values = NDArray[np.float64]


def confidence_bounds(entropy: NDArray[Any], classes: int) -> tuple[Values, Values]:
    """Lowest and highest possible largest probability of `classes` for each entropy (nats).

    Entropy above that of equal probabilities is taken for rounding.
    """
    p = np.linspace(1 / classes, 1, STEPS)
    low, high = (np.interp(entropy, bound[::-1], p[::-1]) for bound in (_lowest(p), _highest(p, classes)))
    return low, high


def mean_confidence(entropy: NDArray[Any], inside: NDArray[np.bool_], classes: int) -> dict[str, Any]:
    """Bounds of the mean confidence over the voxels `inside`, from entropy in nats; empty without any."""
    values, counts = np.unique(entropy[inside], return_counts=True)
    if not len(values):
        return {}
    low, high = (np.average(bound, weights=counts) for bound in confidence_bounds(values, classes))
    return {"low": round(float(low), 4), "high": round(float(high), 4), "voxels": int(counts.sum())}


def _lowest(p: Values) -> Values:
    """Entropy when as many labels as possible have probability p and one has what is left."""
    full = np.floor(1 / p + 1e-12)
    return full * _term(p) + _term(np.clip(1 - full * p, 0, 1))


def _highest(p: Values, classes: int) -> Values:
    """Entropy when all other labels are equally likely."""
    rest = (1 - p) / (classes - 1)
    return _term(p) + (classes - 1) * _term(rest)


def _term(p: Values) -> Values:
    return -p * np.log(np.maximum(p, 1e-300))
