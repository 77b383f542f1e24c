"""Learning rate and weight averaging over the steps of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ScheduleConfig:
    """Optimiser and its course."""

    steps: int
    batch: int = 1  # cases a step, over all processes
    optimizer: str = "adamw"  # or "sgd" (Nesterov 0.9)
    learning_rate: float = 1e-3
    final_rate: float = 0.01  # of the learning rate, reached by a half cosine
    warmup: int = 200  # steps
    weight_decay: float = 0.01
    clip: float = 1.0  # gradient norm
    ema: float = 0.999  # of the weights that are evaluated and shipped

    def __post_init__(self) -> None:
        if self.optimizer not in ("adamw", "sgd"):
            raise ValueError(f"optimizer is {self.optimizer!r}; adamw or sgd is needed")
        if self.steps < 1 or self.batch < 1:
            raise ValueError("steps and batch must be at least 1")


def learning_rate(step: int, config: ScheduleConfig) -> float:
    """Rate at a step: linear warm-up, then half a cosine."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    done = min(1.0, step / config.steps)
    cosine = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * done))
    return config.learning_rate * warm * cosine


def make_optimizer(network: nn.Module, config: ScheduleConfig) -> torch.optim.Optimizer:
    """AdamW or SGD over what is trained; norms and biases are not decayed."""
    trained = [p for p in network.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim > 1]
    plain = [p for p in trained if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate)


class Average:
    """Exponential moving average of a network's state, with a warm start."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards the network's present weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value.detach(), 1 - decay)

    def load(self, state: dict[str, Tensor]) -> None:
        """Continue from a stored average."""
        for name, value in state.items():
            self.state[name].copy_(value)
