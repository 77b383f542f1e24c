"""Learning rate, weight decay and averaging."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lnn_med.models.lnn import LNN
from lnn_med.models.lnn_config import LNNConfig
from lnn_med.training.schedule import (
    Average,
    ConvolutionMuon,
    ScheduleConfig,
    learning_rate,
    make_optimizers,
    set_rate,
)

CONFIG = ScheduleConfig(steps=1000, learning_rate=0.1, final_rate=0.01, warmup=100)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.1 / 100),
        (49, 0.1 * 0.5 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 0.049)))),
        (500, 0.1 * (0.01 + 0.99 * 0.5)),
        (1000, 0.001),
        (2000, 0.001),
    ],
)
def test_the_rate_rises_linearly_then_falls_along_half_a_cosine(step: int, rate: float) -> None:
    assert learning_rate(step, CONFIG) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("kind", "shrinks"),
    [("adamw", 0.03), ("sgd", 0.03 * 1.9), ("muon", 0.03 * 3)],  # Nesterov adds 0.9; Muon has its own rate
)
def test_norms_and_biases_do_not_decay(kind: str, shrinks: float) -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.LayerNorm(2)).to(memory_format=torch.channels_last_3d)
    start = [p.detach().clone() for p in network.parameters()]
    optimizers = make_optimizers(
        network, ScheduleConfig(steps=1, optimizer=kind, muon_rate=3.0, weight_decay=0.3), outer=set()
    )
    set_rate(optimizers, 0.1)
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    for optimizer in optimizers:
        optimizer.step()
    changes = [
        1 - float(after.detach().sum() / before.sum())
        for before, after in zip(start, network.parameters(), strict=True)
        if before.any()
    ]
    assert changes == pytest.approx(
        [shrinks, 0.0, 0.0], rel=1e-3, abs=1e-6
    )  # weight, its bias, norm's weight


def test_muon_moves_a_hidden_convolution_along_the_orthogonal_factor_of_its_gradient() -> None:
    """First step, momentum empty: the polar factor of the gradient, with the size of AdamW's steps."""
    torch.manual_seed(0)
    network = LNN(
        LNNConfig(
            classes=3, trunk_channels=(4, 8), trunk_blocks=(1, 1), decoder_blocks=(1,), attention_level=-1
        )
    )
    optimizers = make_optimizers(network, ScheduleConfig(steps=1, weight_decay=0.0), outer={1, 3})
    assert [type(each).__name__ for each in optimizers] == ["AdamW", "ConvolutionMuon"]
    set_rate(optimizers, 0.01)
    conv = network.trunk.encoder[1][0].conv
    start = conv.weight.detach().clone()
    conv.weight.grad = torch.randn_like(start)
    optimizers[1].step()
    moved = (start - conv.weight.detach()).flatten(1)
    u, _, v = torch.linalg.svd(conv.weight.grad.flatten(1), full_matrices=False)
    expected = 0.03 * 0.2 * 216**0.5 * (u @ v)  # 8 x (8 * 27) weights
    cosine = float((moved * expected).sum() / moved.norm() / expected.norm())
    assert cosine > 0.98  # the Newton-Schulz polynomial reaches singular values of 0.7 to 1.2
    assert float(moved.norm() / expected.norm()) == pytest.approx(1, abs=0.3)


def test_muon_gets_the_hidden_dense_convolutions_and_nothing_else() -> None:
    network = LNN(LNNConfig(classes=3))
    optimizers = make_optimizers(network, ScheduleConfig(steps=1), outer={1, 3})
    names = {p.data_ptr(): name for name, p in network.named_parameters()}
    hidden = {names[p.data_ptr()] for group in optimizers[1].param_groups for p in group["params"]}
    rest = {names[p.data_ptr()] for group in optimizers[0].param_groups for p in group["params"]}
    assert hidden | rest == set(names.values())
    assert not hidden & rest
    outer = {
        "trunk.embed.weight",
        "exit.weight",
        "fine.image.weight",
        "fine.heads.0.weight",
        "fine.heads.1.weight",
    }
    assert outer | {"trunk.attention.1.attention.position.weight", "gates.block.0.weight"} <= rest
    assert {"trunk.encoder.0.0.conv.weight", "trunk.up.0.weight", "fine.lift.weight"} <= hidden


def test_a_weight_whose_matrix_would_be_a_copy_is_refused() -> None:
    with pytest.raises(ValueError, match="not channels-last"):
        ConvolutionMuon([nn.Conv3d(4, 4, 3).weight], 0.1, 0.0)


@pytest.mark.parametrize("change", [{"optimizer": "adam"}, {"steps": -1}, {"batch": 0}])
def test_a_course_that_cannot_be_is_refused(change: dict) -> None:
    with pytest.raises(ValueError):
        ScheduleConfig(**{"steps": 5, **change})


def test_the_average_starts_warm_follows_and_can_be_stored() -> None:
    network = nn.Linear(2, 1)
    average = Average(network, decay=0.5)
    start = {name: value.clone() for name, value in average.state.items()}
    with torch.no_grad():
        network.weight.add_(1.0)
    average.update(network, step=1)
    expected = start["weight"] + (1 - 2 / 11)  # early steps forget faster than the decay says
    torch.testing.assert_close(average.state["weight"], expected)
    average.update(network, step=1000)
    torch.testing.assert_close(average.state["weight"], network.weight - 0.5 * (network.weight - expected))
    other = Average(nn.Linear(2, 1), decay=0.5)
    other.load(average.state)
    assert all(torch.equal(other.state[name], value) for name, value in average.state.items())
