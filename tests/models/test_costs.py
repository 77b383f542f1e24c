"""The bill for the work: counted beforehand, and by what was really done."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lnn_med.models.layer_attention import LayerAttentionStage
from lnn_med.models.lnn import LNN
from tests.models.tiny import (
    SHAPE,
    TINY,
    grid_of,
    random_stages,
    with_gates,
)


@pytest.mark.parametrize("shape", [SHAPE, (48, 32, 32)])  # 480 tokens: dense attention; 768: blocks
def test_costs_equal_an_independent_count(network: LNN, shape: tuple[int, int, int]) -> None:
    costs = network.costs(shape)
    image = torch.zeros(1, TINY.in_channels, *shape)
    features = torch.zeros(1, TINY.trunk_channels[0], *(size // 2 for size in shape))
    block = TINY.block_size
    trunk = counted(lambda: network.trunk(image))
    assert costs.trunk == trunk + counted(lambda: network.exit(features))
    assert costs.dense == [
        costs.trunk,
        *(trunk + counted(lambda s=s: network.dense(image, features, s)) for s in (1, 2)),
    ]
    assert costs.full == costs.dense[-1]
    one = torch.zeros(1, TINY.in_channels, block, 2 * block, block)
    its_features = torch.zeros(1, TINY.trunk_channels[0], block // 2, block, block // 2)
    for stages in (1, 2):
        expected = counted(lambda s=stages: network.dense(one, its_features, s))
        assert costs.box((1, 2, 1), stages) == expected
        grid = tuple(size // block for size in shape)
        assert costs.trunk + costs.box(grid, stages) == costs.dense[stages]


@pytest.mark.parametrize(
    ("change", "skipped"),
    [
        ({"layer_attention": (1,)}, False),
        ({"layer_attention": (0, 1), "trunk_blocks": (3, 2)}, True),
        ({"reversible": (0, 1)}, False),
        ({"reversible": (1,), "layer_attention": (0,)}, False),
    ],
)
def test_variants_of_the_trunk_run_learn_and_cost_what_is_counted(
    change: dict[str, object], skipped: bool, image: Tensor
) -> None:
    network = LNN(replace(TINY, **change))  # type: ignore[arg-type]
    if skipped:
        for part in network.modules():
            if isinstance(part, LayerAttentionStage):
                part.skipped[1] = True
    features = network.see(image).features
    features.square().mean().backward()
    missing = {name for name, p in network.trunk.named_parameters() if p.grad is None}
    assert all(".retrievals.1." in name for name in missing)
    assert bool(missing) == skipped
    counted_there = counted(lambda: network.trunk(image[:1])) + counted(
        lambda: network.exit(features[:1].detach())
    )
    assert network.costs(SHAPE).trunk == pytest.approx(counted_there, rel=2e-3)  # without queries and keys


def test_counted_work_of_sparse_runs_is_the_work_really_done(network: LNN, image: Tensor) -> None:
    for seed in (0, 1):
        stages = random_stages(1, seed) * (torch.rand(grid_of(), generator=torch.manual_seed(seed)) < 0.4)
        gated = with_gates(network, stages)
        found = gated(image[:1], "auto")
        assert 0 < len(found.stages.unique()) < 4
        done = counted(lambda gated=gated: gated(image[:1], "auto"))
        looked = counted(lambda: network.exit_at(network.see(image[:1]).features, (0, 0, 0)))
        deciding = counted(lambda gated=gated: gated.see(image[:1])) - counted(
            lambda: network.trunk(image[:1])
        )
        assert looked > deciding > 0
        assert found.flops == [done - deciding]


def counted(work: object) -> int:
    """FLOPs that torch's own counter sees."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()  # type: ignore[operator]
    return counter.get_total_flops()
