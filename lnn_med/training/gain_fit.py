"""Fit of the expected gain of fine stages, and of the price at which depth auto lets a block go without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares
from torch import Tensor

from lnn_med.evaluation.summary import LARGE_VOXELS
from lnn_med.models.costs import Costs
from lnn_med.models.cover import Plan, plan
from lnn_med.models.expected_gain import LEAST_ENTROPY, ExpectedGain
from lnn_med.models.lnn import LNN
from lnn_med.training.calibration_fit import folds
from lnn_med.transforms.augment import coarsen

COARSER = (1.0, 1.5, 2.0)  # spacing ratios at which each case is seen
RATE = 0.005  # mean Dice that the work of one full pass has to bring; heads and crops both bend near it
PRICES = tuple(float(f"{price:.4g}") for price in np.geomspace(0.1, 1e-6, 41))  # shares of a block's voxels
START, LOWEST, HIGHEST = (-4.0, 1.0, 0.0), (-20.0, 0.0, -5.0), (5.0, 5.0, 5.0)  # level, power, resolution

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


class SeenBlocks(NamedTuple):
    """One case at one spacing `ratio` (3,): `entropy` of exit 1 in each block (I, J, K); voxels in it that
    each exit gives a class, `found`, and rightly, `right` (exits, classes, I, J, K); voxels of each class in
    the reference, `true` (classes,); and what boxes cost."""

    ratio: Array
    entropy: Array
    found: Counts
    right: Counts
    true: Counts
    costs: Costs

    @property
    def gains(self) -> Array:
        """Share of each block's voxels that each stage puts right, less those that it spoils."""
        hits = self.right.sum(axis=1)
        return np.diff(hits, axis=0) / self.found[0].sum(axis=0)

    def dice(self, stages: NDArray[np.int64]) -> float:
        """Mean Dice of structures when each block has these stages (I, J, K)."""
        found, right = (
            np.take_along_axis(each, stages[None, None], axis=0)[0].sum(axis=(1, 2, 3))
            for each in (self.found, self.right)
        )
        wanted = self.true >= LARGE_VOXELS
        wanted[0] = False
        if not wanted.any():
            wanted[1:] = self.true[1:] > 0
        if not wanted.any():
            return 0.0
        return float((2 * right[wanted] / (found[wanted] + self.true[wanted])).mean())

    def answer(self, wanted: Counts) -> tuple[Plan, float]:
        """What is computed so that each block gets these stages (I, J, K), and the share of the full work."""
        found = plan(wanted, self.costs.box)
        return found, (self.costs.trunk + found.cost) / self.costs.full


def seen_blocks(network: LNN, image: Tensor, truth: Tensor, ratio: Sequence[float]) -> Iterator[SeenBlocks]:
    """What every exit answers in each block, at the spacing the scan has and as if it were coarser.

    Args:
        network: in evaluation mode, with its temperatures.
        image: (1, 1, X, Y, Z), normalised, on the model grid.
        truth: labels (X, Y, Z).
        ratio: voxel spacing of the scan over that of the model grid (3,).
    """
    size = network.config.block_size
    for factor in COARSER:
        spacing = tuple(factor * each for each in ratio)
        blurred = image if factor == 1 else coarsen(image[0], spacing, 1.0)[None]
        seen, logits = network.every_exit(blurred, torch.tensor([spacing]))
        labels = [each[0].argmax(dim=0) for each in logits]
        counts = [_counts(each, truth, network.config.classes, size) for each in labels]
        found, right = (np.stack(each) for each in zip(*counts, strict=True))
        true = torch.bincount(truth.flatten(), minlength=network.config.classes).numpy()
        entropy, costs = seen.entropy[0].double().numpy(), network.costs(tuple(truth.shape))
        yield SeenBlocks(np.array(spacing), entropy, found, right, true, costs)


def _counts(found: Tensor, truth: Tensor, classes: int, size: int) -> tuple[Counts, Counts]:
    """Voxels of each class in blocks (classes, I, J, K): found, and found rightly."""
    grid = [n // size for n in found.shape]
    block = torch.arange(int(np.prod(grid))).view(grid)
    for axis in range(3):
        block = block.repeat_interleave(size, axis)
    places = block * classes + found
    chosen = (places.flatten(), places[found == truth])
    counts = [torch.bincount(each, minlength=classes * int(np.prod(grid))) for each in chosen]
    every, right = (each.view(*grid, classes).movedim(-1, 0).numpy() for each in counts)
    return every, right


def fit_gain(cases: Sequence[Sequence[SeenBlocks]]) -> ExpectedGain:
    """Least squares over the blocks of all cases at all spacings; the price from the cases as they are.

    The price is the one at which mean Dice less RATE times the work is largest.
    """
    seen = [each for case in cases for each in case]
    logs = np.concatenate([np.log(np.maximum(each.entropy, LEAST_ENTROPY)).ravel() for each in seen])
    coarse = np.concatenate([np.full(each.entropy.size, np.log(each.ratio).mean()) for each in seen])
    gains = np.concatenate([each.gains.reshape(len(each.gains), -1) for each in seen], axis=1)
    fits = np.array([_fit(logs, coarse, stage) for stage in gains]).round(6)
    level, power, resolution = (tuple(each) for each in fits.T.tolist())
    return _priced(ExpectedGain(level, power, resolution, 0.0), [case[0] for case in cases])


def _fit(logs: Array, coarse: Array, gains: Array) -> Array:
    def misses(numbers: Array) -> Array:
        level, power, resolution = numbers
        return np.asarray(np.exp(level + power * logs + resolution * coarse) - gains)

    return np.asarray(least_squares(misses, START, bounds=(LOWEST, HIGHEST)).x)


def _priced(gain: ExpectedGain, cases: Sequence[SeenBlocks]) -> ExpectedGain:
    left = np.mean([_left(gain, case) for case in cases], axis=0)
    return replace(gain, price=PRICES[int(left.argmax())])


def _left(gain: ExpectedGain, case: SeenBlocks) -> Array:
    """Dice less RATE times the work at each of PRICES; what is wanted twice is planned once."""
    gains, known, found = gain.of(case.entropy, case.ratio), {}, []
    for price in PRICES:
        wanted = replace(gain, price=price).wanted(gains)
        if (key := wanted.tobytes()) not in known:
            chosen, work = case.answer(wanted)
            known[key] = case.dice(chosen.stages) - RATE * work
        found.append(known[key])
    return np.array(found)


def worth_of_auto(cases: Sequence[Sequence[SeenBlocks]]) -> list[dict[str, Any]]:
    """Mean Dice at full depth and at depth auto, share of the full work, and of blocks with 0, 1, ... stages.

    Each case is judged by a gain fitted without it; one entry for each spacing of COARSER.
    """
    exits = len(cases[0][0].found)
    judged = [
        (gain, cases[n])
        for gain, held in ((fit_gain([cases[n] for n in fitted]), held) for fitted, held in folds(len(cases)))
        for n in held
    ]
    rows = []
    for number, factor in enumerate(COARSER):
        full, auto, works, blocks = [], [], [], []
        for gain, case in judged:
            seen = case[number]
            chosen, work = seen.answer(gain.wanted(gain.of(seen.entropy, seen.ratio)))
            full.append(seen.dice(np.full(seen.entropy.shape, exits - 1)))
            auto.append(seen.dice(chosen.stages))
            works.append(work)
            blocks.append(np.bincount(chosen.stages.ravel(), minlength=exits) / chosen.stages.size)
        rows.append(
            {
                "times_coarser": factor,
                "dice_full": round(float(np.mean(full)), 4),
                "dice_auto": round(float(np.mean(auto)), 4),
                "work": round(float(np.mean(works)), 4),
                "blocks": [round(float(share), 4) for share in np.mean(blocks, axis=0)],
            }
        )
    return rows
