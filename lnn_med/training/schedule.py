"""Learning rate and weight averaging over the steps of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ScheduleConfig:
    """Optimiser and its course."""

    steps: int  # 0: the start is validated and written as it is
    batch: int = 1  # cases a step, over all processes
    optimizer: str = "muon"  # with AdamW for all but hidden convolutions; or "adamw", "sgd" (Nesterov 0.9)
    learning_rate: float = 3e-3
    muon_rate: float = 3.0  # learning rate of hidden convolutions, as a multiple
    final_rate: float = 0.01  # of the learning rate, reached by a half cosine
    warmup: int = 200  # steps
    weight_decay: float = 0.01
    clip: float = 1.0  # gradient norm
    ema: float = 0.999  # of the weights that are evaluated and shipped

    def __post_init__(self) -> None:
        if self.optimizer not in ("muon", "adamw", "sgd"):
            raise ValueError(f"optimizer is {self.optimizer!r}; muon, adamw or sgd is needed")
        if self.steps < 0 or self.batch < 1:
            raise ValueError("steps must be at least 0 and batch at least 1")


def learning_rate(step: int, config: ScheduleConfig) -> float:
    """Rate at a step: linear warm-up, then half a cosine."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    done = min(1.0, step / config.steps)
    cosine = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * done))
    return config.learning_rate * warm * cosine


class ConvolutionMuon(torch.optim.Muon):
    """Muon (arXiv 2502.16982) on convolution weights, each seen as a matrix (first axis, all others).

    Step for step it learns three times as fast as AdamW here: trunk alone, 240 steps on whole heads, loss
    2.8 against 3.7. The matrices are views, so weights must stay on their device and keep their layout.
    """

    def __init__(self, weights: list[nn.Parameter], lr: float, weight_decay: float) -> None:
        self.weights = weights
        matrices = [nn.Parameter(_matrix(weight.data)) for weight in weights]
        for matrix, weight in zip(matrices, weights, strict=True):
            if matrix.data_ptr() != weight.data_ptr():
                raise ValueError(f"weights of shape {tuple(weight.shape)} are not channels-last")
        super().__init__(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients of the weights."""
        matrices = [matrix for group in self.param_groups for matrix in group["params"]]
        for matrix, weight in zip(matrices, self.weights, strict=True):
            matrix.grad = None if weight.grad is None else _matrix(weight.grad)
        super().step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of weights and matrices."""
        super().zero_grad(set_to_none)
        for weight in self.weights:
            weight.grad = None


def _matrix(weight: Tensor) -> Tensor:
    """(a, b, x, y, z) -> (a, x * y * z * b): a view when the weight is channels-last."""
    return weight.movedim(1, -1).flatten(1)


def make_optimizers(
    network: nn.Module, config: ScheduleConfig, outer: set[int]
) -> list[torch.optim.Optimizer]:
    """Optimisers over what is trained; norms and biases are not decayed.

    With "muon" the convolutions between first and last layers go to Muon, all else to AdamW. A group's
    learning rate is the schedule's times its `scale`.

    Args:
        network: any network; its convolutions must be channels-last for "muon".
        config: optimiser, rates, decay.
        outer: numbers of channels that only first and last layers have (of the image; classes).
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    hidden = {id(p) for p in _hidden_convolutions(network, outer)} if config.optimizer == "muon" else set()
    groups: list[dict[str, Any]] = [
        {
            "params": [p for p in trained if p.ndim > 1 and id(p) not in hidden],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rate = config.learning_rate
    if config.optimizer == "sgd":
        return [torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=rate)]
    if matrices := [p for p in trained if id(p) in hidden]:
        muon = ConvolutionMuon(matrices, rate * config.muon_rate, config.weight_decay)
        muon.param_groups[0]["scale"] = config.muon_rate
        optimizers.append(muon)
    return optimizers


def _hidden_convolutions(network: nn.Module, outer: set[int]) -> list[nn.Parameter]:
    """Weights of dense convolutions that neither read the image nor give logits.

    Muon is meant for hidden layers; depth-wise kernels are no matrices, and first and last layers learn
    better with AdamW (https://kellerjordan.github.io/posts/muon/).
    """
    kinds = (nn.Conv3d, nn.ConvTranspose3d)
    found = [m for m in network.modules() if isinstance(m, kinds) and m.groups == 1]
    found = [m for m in found if not {m.in_channels, m.out_channels} & outer]
    return [weight for m in found if isinstance(weight := m.weight, nn.Parameter)]


def set_rate(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    """Give every group its learning rate for the next step."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)


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
            else:  # masks
                self.state[name].copy_(value)

    def load(self, state: dict[str, Tensor]) -> None:
        """Continue from a stored average."""
        for name, value in state.items():
            self.state[name].copy_(value)
