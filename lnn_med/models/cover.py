"""Which boxes of blocks are computed deeper: a block alone pays for its halo, neighbours share theirs.

Every box is a rectangle of blocks with one depth. Whatever lies in a box gets its depth, wanted or not:
the work is done anyway. The clustering is that of adaptive meshes (Berger and Rigoutsos, IEEE Trans. SMC 21,
1991): take the bounding box, cut it where two boxes cost least, as long as two cost less than one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Grid = tuple[int, int, int]
BoxCost = Callable[[Grid, int], float]  # of a box of so many blocks along each axis, with so many stages


class Box(NamedTuple):
    """First block, number of blocks along each axis, and fine stages."""

    first: Grid
    shape: Grid
    stages: int

    @property
    def inside(self) -> tuple[slice, slice, slice]:
        """The box as an index into a grid of blocks."""
        i, j, k = (slice(a, a + n) for a, n in zip(self.first, self.shape, strict=True))
        return i, j, k


class Plan(NamedTuple):
    """Boxes to compute, what they cost together, and the stages that each block gets (I, J, K)."""

    boxes: list[Box]
    cost: float
    stages: NDArray[np.int64]


def plan(wanted: NDArray[np.int64], cost: BoxCost) -> Plan:
    """The cheapest of three plans: boxes for each depth, boxes of the largest depth for all, blocks alone.

    Args:
        wanted: fine stages that each block shall get at least (I, J, K).
        cost: of a box.
    """
    deepest = int(wanted.max())
    together = _covered(np.where(wanted > 0, deepest, 0), cost)
    apart = _covered(wanted, cost)
    return min(together, apart, _alone(wanted, cost), key=lambda found: found.cost)


def plan_within(wanted: NDArray[np.int64], scores: NDArray[np.float64], cost: BoxCost, limit: float) -> Plan:
    """The plan that keeps most of what is wanted for a cost of at most `limit`.

    What is worth least goes first, whichever block and stage it is; a stage is worth no more than the stages
    that it needs.

    Args:
        wanted: as in `plan`.
        scores: worth of each stage in each block (stages, I, J, K).
        cost: of a box.
        limit: what all boxes may cost together, 0 or more.
    """
    found = plan(wanted, cost)
    if found.cost <= limit:
        return found
    order = _taken_away(wanted, scores)
    few, many = 0, len(order)  # steps back: too few to fit, enough to fit
    best = Plan([], 0.0, np.zeros_like(wanted))
    while many - few > 1:
        middle = (few + many) // 2
        found = plan(_after(wanted, order[:middle]), cost)
        if found.cost <= limit:
            many, best = middle, found
        else:
            few = middle
    return best


def _taken_away(wanted: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Flat indices of blocks, once for every stage that they lose, in that order."""
    worth = np.minimum.accumulate(scores, axis=0).reshape(len(scores), -1)
    stages, blocks = np.nonzero(np.arange(len(scores))[:, None] < wanted.ravel())
    order = np.lexsort((-stages, worth[stages, blocks]))  # of equals the later stage first
    return blocks[order]  # type: ignore[no-any-return]


def _after(wanted: NDArray[np.int64], losers: NDArray[np.int64]) -> NDArray[np.int64]:
    return wanted - np.bincount(losers, minlength=wanted.size).reshape(wanted.shape)


def _covered(wanted: NDArray[np.int64], cost: BoxCost) -> Plan:
    """Boxes of every depth, the deepest first; what they contain of shallower blocks is done with."""
    boxes: list[Box] = []
    got = np.zeros_like(wanted)
    for stages in range(int(wanted.max()), 0, -1):
        for box in _boxes((wanted == stages) & (got == 0), stages, cost):
            boxes.append(box)
            got[box.inside] = np.maximum(got[box.inside], stages)
    return Plan(boxes, sum(cost(box.shape, box.stages) for box in boxes), got)


def _alone(wanted: NDArray[np.int64], cost: BoxCost) -> Plan:
    one = (1, 1, 1)
    boxes = [Box((i, j, k), one, int(wanted[i, j, k])) for i, j, k in np.argwhere(wanted).tolist()]
    return Plan(boxes, sum(cost(one, box.stages) for box in boxes), wanted)


def _boxes(active: NDArray[np.bool_], stages: int, cost: BoxCost) -> list[Box]:
    """Boxes that together hold all active blocks."""
    whole = _bounds(active, stages)
    if whole is None:
        return []
    best, parts = cost(whole.shape, stages), None
    inner = active[whole.inside]
    for axis, length in enumerate(inner.shape):
        for cut in range(1, length):
            low, high = np.split(inner, [cut], axis=axis)
            halves = [box for half in (low, high) if (box := _bounds(half, stages))]
            price = sum(cost(box.shape, stages) for box in halves)
            if price < best:
                best, parts = price, (axis, cut)
    if parts is None:
        return [whole]
    axis, cut = parts
    found = []
    for shift, half in zip((0, cut), np.split(inner, [cut], axis=axis), strict=True):
        for box in _boxes(half, stages, cost):
            i, j, k = (
                a + b + (shift if n == axis else 0)
                for n, (a, b) in enumerate(zip(whole.first, box.first, strict=True))
            )
            found.append(box._replace(first=(i, j, k)))
    return found


def _bounds(active: NDArray[np.bool_], stages: int) -> Box | None:
    """The smallest box around all active blocks."""
    if not active.any():
        return None
    ranges = []
    for axis in range(3):
        filled = np.flatnonzero(active.any(axis=tuple(n for n in range(3) if n != axis)))
        ranges.append((int(filled[0]), int(filled[-1] - filled[0]) + 1))
    (i, ni), (j, nj), (k, nk) = ranges
    return Box((i, j, k), (ni, nj, nk), stages)
