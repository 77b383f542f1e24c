"""Learning rate, weight decay and averaging."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lnn_med.training.schedule import Average, ScheduleConfig, learning_rate, make_optimizer

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


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_norms_and_biases_do_not_decay(kind: str) -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.LayerNorm(2))
    optimizer = make_optimizer(network, ScheduleConfig(steps=1, optimizer=kind, weight_decay=0.3))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert [decay[id(p)] for p in network.parameters()] == [0.3, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("change", [{"optimizer": "adam"}, {"steps": 0}, {"batch": 0}])
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
