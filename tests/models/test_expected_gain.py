"""Expected gain of fine stages: the formula, and what pays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lnn_med.models.expected_gain import LEAST_ENTROPY, ExpectedGain

GAIN = ExpectedGain(level=(-1.5, -3.0), power=(1.1, 2.0), resolution=(-0.6, 0.2), price=0.01)
AS_IT_IS = np.ones(3)


def doubts(shape: tuple[int, int, int] = (2, 3, 4)) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 0.5, shape)


def test_gains_follow_the_formula_block_by_block() -> None:
    entropy, ratio = doubts(), np.array([1.0, 1.5, 4.0])
    found = GAIN.of(entropy, ratio)
    assert found.shape == (2, 2, 3, 4)
    mean = (1.0 * 1.5 * 4.0) ** (1 / 3)
    for stage, i, j, k in np.ndindex(found.shape):
        expected = math.exp(GAIN.level[stage]) * entropy[i, j, k] ** GAIN.power[stage]
        assert found[stage, i, j, k] == pytest.approx(expected * mean ** GAIN.resolution[stage])


def test_a_block_without_any_doubt_gains_nothing_that_pays() -> None:
    certain = np.zeros((1, 1, 1))
    assert GAIN.of(certain, AS_IT_IS).max() < GAIN.price
    assert np.isfinite(np.log(GAIN.of(certain, AS_IT_IS))).all()
    assert ExpectedGain.guess(2).of(certain, AS_IT_IS).max() == pytest.approx(LEAST_ENTROPY)


def test_a_stage_pays_only_with_all_stages_before_it() -> None:
    gains = np.array([[0.02, 0.02, 0.0, 0.0], [0.02, 0.0, 0.02, 0.0]]).reshape(2, 1, 2, 2)
    assert GAIN.wanted(gains).ravel().tolist() == [2, 1, 0, 0]


def test_coarser_scans_want_fewer_blocks_where_finer_stages_mend_less_of_them() -> None:
    entropy = doubts((6, 6, 6))
    wanted = [int(GAIN.wanted(GAIN.of(entropy, ratio * AS_IT_IS)).clip(0, 1).sum()) for ratio in (1, 2, 4)]
    assert wanted[0] > wanted[1] > wanted[2] > 0


def test_without_a_fit_a_later_stage_counts_half() -> None:
    entropy = doubts()
    found = ExpectedGain.guess(3).of(entropy, np.array([2.0, 2.0, 2.0]))
    np.testing.assert_allclose(found, np.stack([entropy, entropy / 2, entropy / 4]))
