"""Volumes of people whose scans trained a bundle, as bundles tell them that never saw those people.

Networks differ in what they call a structure, so another bundle's volumes are matched with the bundle's own:
each structure is scaled by the ratio of both sums over people whom neither has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lnn_med.errors import ConfigError

Volumes = Mapping[str, float]  # mm³ by structure
FEWEST_MATCHED = 10  # people whom neither bundle has seen


@dataclass(frozen=True)
class Other:
    """A bundle of the same structures: whom it was trained on, and how it measures the person of a place in
    the list (None: the scan fails its quality control)."""

    name: str
    trained_on: Collection[str]
    measure: Callable[[int], Volumes | None]


class OutOfFold(NamedTuple):
    """Volumes of everyone, in order, None for those whose scan fails the others' quality control; how many
    people came from other bundles, and on how many each of these was matched."""

    volumes: Sequence[Volumes | None]
    replaced: int
    matched_on: list[int]


def out_of_fold(
    names: Sequence[str], own: Sequence[Volumes], trained_on: Collection[str], others: Sequence[Other]
) -> OutOfFold:
    """Replace the volumes of people who trained a bundle by the mean of other bundles' matched ones.

    Args:
        names: case names of the people.
        own: what the bundle itself measures of each.
        trained_on: names of the cases that it was trained on.
        others: bundles that each lack some of these.

    Raises:
        ConfigError: too few people whom neither bundle has seen, a structure that an other bundle does not
            find, or people whom all bundles have seen.
    """
    told: dict[int, list[Volumes]] = {n: [] for n, name in enumerate(names) if name in trained_on}
    if left := sum(all(names[n] in other.trained_on for other in others) for n in told):
        raise ConfigError(f"{left} people trained every bundle; name one that never saw them.")
    matched_on = []
    for other in others:
        seen = {n: other.measure(n) for n, name in enumerate(names) if name not in other.trained_on}
        found = {n: volumes for n, volumes in seen.items() if volumes is not None}
        pairs = [(own[n], volumes) for n, volumes in found.items() if n not in told]
        if len(pairs) < FEWEST_MATCHED:
            raise ConfigError(
                f"{other.name}: {len(pairs)} people trained neither bundle; {FEWEST_MATCHED} or more are "
                "needed to match their volumes."
            )
        ratio = _ratios(pairs, other.name)
        for n in told.keys() & found.keys():
            told[n].append({name: ratio[name] * found[n][name] for name in own[n]})
        matched_on.append(len(pairs))
    volumes = [_mean(told[n]) if n in told else mine for n, mine in enumerate(own)]
    return OutOfFold(volumes, sum(map(bool, told.values())), matched_on)


def _ratios(pairs: Sequence[tuple[Volumes, Volumes]], other: str) -> dict[str, float]:
    ratio = {}
    for name in pairs[0][0]:
        theirs = sum(each[name] for _, each in pairs)
        if theirs <= 0:
            raise ConfigError(f"{other} does not find {name}.")
        ratio[name] = sum(mine[name] for mine, _ in pairs) / theirs
    return ratio


def _mean(told: Sequence[Volumes]) -> Volumes | None:
    if not told:
        return None
    return {name: float(np.mean([each[name] for each in told])) for name in told[0]}
