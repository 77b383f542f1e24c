"""Boxes that hold all wanted blocks, cheaper than each block alone, and within what they may cost."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from numpy.typing import NDArray

from lnn_med.models.cover import Grid, plan, plan_within

HALO = 0.6  # blocks


def cost(blocks: Grid, stages: int) -> float:
    """Like the network's: a halo on each side, deeper stages dearer."""
    return stages * prod(n + HALO for n in blocks)


def scattered(seed: int, deepest: int = 2) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 7, 3)
    return rng.integers(1, deepest + 1, shape) * (rng.random(shape) < rng.random())


@pytest.mark.parametrize("seed", range(60))
def test_every_wanted_block_is_covered_and_the_bill_is_that_of_the_boxes(seed: int) -> None:
    wanted = scattered(seed)
    found = plan(wanted, cost)
    assert (found.stages >= wanted).all()
    computed = np.zeros_like(wanted)
    for box in found.boxes:
        assert computed[box.inside].shape == box.shape
        computed[box.inside] = np.maximum(computed[box.inside], box.stages)
    np.testing.assert_array_equal(found.stages, computed)
    assert found.cost == pytest.approx(sum(cost(box.shape, box.stages) for box in found.boxes))
    alone = sum(cost((1, 1, 1), stages) for stages in wanted[wanted > 0])
    whole = cost(wanted.shape, int(wanted.max()))
    assert found.cost <= min(alone, whole) + 1e-9


def test_neighbours_share_a_box_and_strangers_do_not() -> None:
    wanted = np.zeros((8, 4, 4), dtype=np.int64)
    wanted[:2, :2, :2] = 1
    wanted[7, 3, 3] = 1
    found = plan(wanted, cost)
    assert sorted((box.first, box.shape) for box in found.boxes) == [
        ((0, 0, 0), (2, 2, 2)),
        ((7, 3, 3), (1, 1, 1)),
    ]


def test_a_hole_is_filled_when_going_around_it_costs_more() -> None:
    wanted = np.ones((3, 3, 3), dtype=np.int64)
    wanted[1, 1, 1] = 0
    found = plan(wanted, cost)
    assert [box.shape for box in found.boxes] == [(3, 3, 3)]
    assert found.stages[1, 1, 1] == 1


def test_nothing_wanted_costs_nothing() -> None:
    found = plan(np.zeros((2, 3, 4), dtype=np.int64), cost)
    assert (found.boxes, found.cost, found.stages.sum()) == ([], 0.0, 0)


@pytest.mark.parametrize("seed", range(60))
def test_the_limit_is_never_exceeded_and_mostly_used(seed: int) -> None:
    wanted = scattered(seed)
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(2, *wanted.shape))
    free = plan(wanted, cost).cost
    for share in (0.0, 0.3, 0.7, 1.0):
        found = plan_within(wanted, scores, cost, share * free)
        assert found.cost <= share * free
        if share == 1.0:
            np.testing.assert_array_equal(found.stages, plan(wanted, cost).stages)
        elif free > 30:
            assert found.cost > share * free - max(12, 0.1 * free)


def test_the_least_certain_block_loses_its_depth_first() -> None:
    wanted = np.ones((1, 1, 9), dtype=np.int64)
    wanted[0, 0, 1::2] = 0  # five blocks apart from each other
    scores = np.arange(9.0).reshape(1, 1, 1, 9)
    scores[..., 4] = -1
    dear = 5 * cost((1, 1, 1), 1)

    def apart(blocks: Grid, stages: int) -> float:
        return 1e6 if prod(blocks) > 1 else cost(blocks, stages)

    found = plan_within(wanted, scores, apart, 0.61 * dear)
    assert np.flatnonzero(found.stages).tolist() == [2, 6, 8]


def test_what_is_worth_least_goes_first_whichever_stage_it_is() -> None:
    """The last block loses all before the first loses any; a stage counts no more than those it needs."""
    wanted = np.array([[[2, 0, 0, 2]]])
    scores = np.array([[[[5.0, 0, 0, 1.0]]], [[[3.0, 0, 0, 9.0]]]])
    deep, flat = cost((1, 1, 1), 2), cost((1, 1, 1), 1)
    assert plan_within(wanted, scores, cost, deep + flat).stages.tolist() == [[[2, 0, 0, 1]]]
    assert plan_within(wanted, scores, cost, deep).stages.tolist() == [[[2, 0, 0, 0]]]
    assert plan_within(wanted, scores, cost, flat).stages.tolist() == [[[1, 0, 0, 0]]]
    other = scores[::-1]  # 3 and 9, then 5 and 1: the deep stage of the first counts 3
    assert plan_within(wanted, other, cost, 2 * flat).stages.tolist() == [[[1, 0, 0, 1]]]
    assert plan_within(wanted, other, cost, flat).stages.tolist() == [[[0, 0, 0, 1]]]


def test_of_equals_the_later_stage_goes_first() -> None:
    wanted, scores = np.array([[[2, 0, 0, 2]]]), np.zeros((2, 1, 1, 4))
    flat = cost((1, 1, 1), 1)
    assert plan_within(wanted, scores, cost, 2 * flat).stages.tolist() == [[[1, 0, 0, 1]]]
