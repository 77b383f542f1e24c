"""Fit of the expected gain: known answers, Dice from counts in blocks, and the price of depth auto."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lnn_med.models.costs import Costs
from lnn_med.models.expected_gain import ExpectedGain
from lnn_med.models.lnn import LNN
from lnn_med.models.lnn_config import LNNConfig
from lnn_med.training import gain_fit
from lnn_med.training.calibration_fit import FOLDS
from lnn_med.training.gain_fit import COARSER, PRICES, RATE, SeenBlocks, fit_gain, seen_blocks, worth_of_auto

TRUE = ExpectedGain(level=(-1.4, -3.0), power=(1.1, 1.6), resolution=(-0.6, -0.2), price=0.0)
GRID, VOXELS, CLASSES = (5, 5, 5), 4096, 3
TINY = LNNConfig(
    classes=CLASSES, trunk_channels=(8, 12), trunk_blocks=(1, 1), decoder_blocks=(1,), fine_channels=8,
    fine_blocks=(1, 1), attention_level=-1, block_size=8,
)  # fmt: skip
COSTS = Costs(20.0, [20.0, 90.0, 145.0], 145.0, lambda blocks, stages: stages * math.prod(blocks) / 2)


def made_case(rng: np.random.Generator, gain: ExpectedGain = TRUE) -> list[SeenBlocks]:
    """A case whose stages gain what `gain` says, up to noise; half of each block is background."""
    entropy = rng.uniform(0, 0.3, GRID) ** 2 / 0.3
    found = []
    for factor in COARSER:
        ratio = factor * np.array([1.0, 1.2, 1.0])
        gained = gain.of(entropy, ratio) * (1 + 0.05 * rng.standard_normal((2, *GRID)))
        wrong = 0.3 * VOXELS - np.concatenate([np.zeros((1, *GRID)), VOXELS * gained.cumsum(axis=0)])
        right = np.zeros((3, CLASSES, *GRID), np.int64)
        right[:, 0], right[:, 1] = VOXELS // 2, VOXELS // 2 - wrong.round()
        every = np.zeros_like(right)
        every[:, 0] = every[:, 1] = VOXELS // 2
        true = np.array([VOXELS // 2, VOXELS // 2, 0]) * entropy.size
        found.append(SeenBlocks(ratio, entropy, every, right, true, COSTS))
    return found


def test_the_gain_that_made_the_cases_is_found() -> None:
    rng = np.random.default_rng(0)
    found = fit_gain([made_case(rng) for _ in range(12)])
    assert found.level == pytest.approx(TRUE.level, abs=0.1)
    assert found.power == pytest.approx(TRUE.power, abs=0.1)
    assert found.resolution == pytest.approx(TRUE.resolution, abs=0.1)


def test_the_price_buys_dice_as_long_as_it_is_worth_its_work() -> None:
    rng = np.random.default_rng(1)
    cases = [case[0] for case in (made_case(rng) for _ in range(8))]
    found = fit_gain([[case] for case in cases])

    def answers(price: float) -> list[tuple[float, float]]:
        gain = replace(found, price=price)
        wanted = [case.answer(gain.wanted(gain.of(case.entropy, case.ratio))) for case in cases]
        return [(case.dice(each.stages), work) for case, (each, work) in zip(cases, wanted, strict=True)]

    left = [float(np.mean([dice - RATE * work for dice, work in answers(price)])) for price in PRICES]
    assert found.price == PRICES[int(np.argmax(left))]
    assert 0.2 < np.mean(answers(found.price), axis=0)[1] < 0.9  # neither nothing nor everything


def test_stages_that_spoil_the_answer_are_not_wanted() -> None:
    rng = np.random.default_rng(2)
    cases = [made_case(rng) for _ in range(6)]
    spoilt = [[each._replace(right=each.right[::-1]) for each in case] for case in cases]
    found = fit_gain(spoilt)
    for case in spoilt:
        assert not found.wanted(found.of(case[0].entropy, case[0].ratio)).any()


def test_worth_is_judged_on_cases_that_did_not_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    cases = [made_case(rng) for _ in range(10)]
    fitted: list[list[int]] = []
    numbers = {id(case): n for n, case in enumerate(cases)}

    def seen_fit(chosen: list[list[SeenBlocks]]) -> ExpectedGain:
        fitted.append([numbers[id(case)] for case in chosen])
        return fit_gain(chosen)

    monkeypatch.setattr(gain_fit, "fit_gain", seen_fit)
    rows = worth_of_auto(cases)
    assert len(fitted) == FOLDS
    judged = [n for chosen in fitted for n in range(10) if n not in chosen]
    assert sorted(judged) == list(range(10))
    assert [row["times_coarser"] for row in rows] == list(COARSER)
    for row in rows:
        assert sum(row["blocks"]) == pytest.approx(1, abs=1e-3)
        assert 0 <= row["dice_full"] - row["dice_auto"] < RATE
    assert rows[0]["work"] > rows[1]["work"] > rows[2]["work"]  # coarser scans leave earlier
    gains = {
        n: fit_gain([cases[m] for m in chosen]) for chosen in fitted for n in range(10) if n not in chosen
    }
    wanted = [gains[n].wanted(gains[n].of(cases[n][0].entropy, cases[n][0].ratio)) for n in range(10)]
    dice = [cases[n][0].dice(cases[n][0].answer(wanted[n])[0].stages) for n in range(10)]
    assert rows[0]["dice_auto"] == pytest.approx(np.mean(dice), abs=1e-4)


@torch.inference_mode()
def test_counts_in_blocks_give_gains_and_dice_of_the_label_maps() -> None:
    torch.manual_seed(0)
    network = LNN(TINY).eval()
    network.temperature.fill_(0.5)
    image, truth = torch.randn(1, 1, 16, 24, 32), torch.randint(0, CLASSES, (16, 24, 32))
    seen = list(seen_blocks(network, image, truth, (1.0, 1.0, 2.0)))
    assert [each.ratio.tolist() for each in seen] == [[f, f, 2 * f] for f in COARSER]
    first = seen[0]
    assert first.entropy.shape == (2, 3, 4)
    np.testing.assert_allclose(first.entropy, network.see(image).entropy[0].numpy())
    labels = torch.stack([network(image, n).logits[0].argmax(dim=0) for n in (1, 2, 3)])
    block = (slice(8, 16), slice(16, 24), slice(0, 8))
    hits = [float((each == truth)[block].float().mean()) for each in labels]
    assert first.gains[:, 1, 2, 0].tolist() == pytest.approx(np.diff(hits).tolist())
    stages = torch.randint(0, 3, (2, 3, 4), generator=torch.Generator().manual_seed(4))
    wide = stages.repeat_interleave(8, 0).repeat_interleave(8, 1).repeat_interleave(8, 2)
    composed = labels.gather(0, wide[None])[0]
    dice = [
        2 * ((composed == c) & (truth == c)).sum() / ((composed == c).sum() + (truth == c).sum())
        for c in (1, 2)
    ]
    assert first.dice(stages.numpy()) == pytest.approx(float(np.mean(dice)))
