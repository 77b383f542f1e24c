"""Depth auto: gates, fitted gain and budgets decide block by block, each case for itself."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from lnn_med.models.cover import plan
from lnn_med.models.expected_gain import ExpectedGain
from lnn_med.models.lnn import LNN
from tests.models.tiny import (
    CLOSE,
    SHAPE,
    TINY,
    grid_of,
    random_stages,
    with_gates,
)


@pytest.mark.parametrize(("depth", "budget"), [("full", None), (1, None), ("auto", None), ("auto", 0.5)])
@torch.inference_mode()
def test_a_batch_equals_its_cases_one_by_one(
    network: LNN, image: Tensor, depth: str | int, budget: float | None
) -> None:
    stages = torch.cat([random_stages(1, 3), torch.full(grid_of(), 2)])
    ratio = torch.tensor([[1.0, 1.0, 3.0], [1.0, 2.0, 1.0]])
    together = with_gates(network, stages)(image, depth, budget, ratio)
    for n in range(2):
        alone = with_gates(network, stages[n : n + 1])(image[n : n + 1], depth, budget, ratio[n : n + 1])
        assert torch.equal(together.stages[n], alone.stages[0])
        torch.testing.assert_close(together.logits[n], alone.logits[0], **CLOSE)


@torch.inference_mode()
def test_auto_takes_the_dense_path_where_halos_cost_more(network: LNN, image: Tensor) -> None:
    nearly_all = torch.full(grid_of(), 2)
    nearly_all[0, 0, 0, 0] = 0
    found = with_gates(network, nearly_all)(image[:1], "auto")
    assert (found.stages == 2).all()
    assert found.flops == [network.costs(SHAPE).full]
    assert torch.equal(found.logits, network(image[:1], "full").logits)


@pytest.mark.parametrize("budget", [0.3, 0.5, 0.8, 1.0])
@torch.inference_mode()
def test_auto_stays_within_its_budget(network: LNN, image: Tensor, budget: float) -> None:
    costs = network.costs(SHAPE)
    assert costs.trunk < 0.3 * costs.full
    for wanted in (torch.full(grid_of(), 2), random_stages(1, 5)):
        gated = with_gates(network, wanted)
        (free,), (spent,) = gated(image[:1], "auto").flops, gated(image[:1], "auto", budget).flops
        assert costs.trunk < spent <= budget * costs.full
        assert spent > 0.5 * min(budget * costs.full, free)  # and uses what it may


@pytest.mark.parametrize("gain", [None, ExpectedGain((0.0, 3.0), (-1.0, -1.0), (0.0, 0.0), 0.0)])
@torch.inference_mode()
def test_a_budget_goes_where_the_first_exit_doubts(
    network: LNN, image: Tensor, gain: ExpectedGain | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever gain is fitted: here one that sees most to gain where there is no doubt."""
    monkeypatch.setattr(network, "gain", gain)
    costs, seen = network.costs(SHAPE), network.see(image[:1])
    assert seen.entropy.shape == grid_of()
    coarse = network(image[:1], 1).logits[..., ::2, ::2, ::2].softmax(dim=1)  # one of eight voxels
    entropy = -(coarse * coarse.log()).sum(dim=1) / np.log(TINY.classes)
    blocks = torch.nn.functional.avg_pool3d(entropy, TINY.block_size // 2)
    torch.testing.assert_close(seen.entropy, blocks, **CLOSE)
    doubts = torch.zeros_like(seen.entropy)
    doubts[0, 1, 2, 3], doubts[0, 4, 0, 0] = 1.0, 0.6
    for boxes, expected in (
        ([1], {(1, 2, 3): 1}),
        ([1, 1], {(1, 2, 3): 1, (4, 0, 0): 1}),  # 0.6 is more than half of 1
        ([2, 1], {(1, 2, 3): 2, (4, 0, 0): 1}),
    ):
        price = costs.trunk + sum(costs.box((1, 1, 1), stages) for stages in boxes)
        (found,) = network._plans(seen._replace(entropy=doubts), costs, 1.001 * price / costs.full)
        deep = {tuple(place): int(found.stages[tuple(place)]) for place in np.argwhere(found.stages)}
        assert deep == expected


@torch.inference_mode()
def test_auto_goes_where_the_fitted_gain_pays_and_coarse_scans_leave_earlier(
    network: LNN, image: Tensor
) -> None:
    fitted, costs = copy.deepcopy(network), network.costs(SHAPE)
    entropy = network.see(image[:1]).entropy
    price, most = (float(entropy.quantile(share)) for share in (0.6, 0.95))
    halved = float(np.log(price / most) / np.log(2))  # at 2 the 0.95 quantile gains what the 0.6 does at 1
    later = 0.5 * np.log(price / most)
    fitted.gain = ExpectedGain((0.0, later), (1.0, 1.0), (halved, halved), price)
    native, coarse = (fitted(image[:1], "auto", spacing_ratio=torch.full((1, 3), r)) for r in (1.0, 2.0))
    pays = torch.stack([entropy, entropy * np.exp(later)]) > price
    assert (native.stages >= pays.sum(dim=0)).all()  # boxes may hold more
    expected = plan(pays.sum(dim=0)[0].numpy(), costs.box)
    assert np.array_equal(native.stages[0].numpy(), expected.stages)
    assert native.flops == [costs.trunk + expected.cost]
    assert costs.trunk < coarse.flops[0] < native.flops[0] < costs.full
    assert int(coarse.stages.amax()) > 0
