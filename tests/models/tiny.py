"""A tiny LNN, gates that order what they are told, and boxes of its blocks."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from lnn_med.models.cover import Box, Plan
from lnn_med.models.lnn import LNN
from lnn_med.models.lnn_config import LNNConfig

TINY = LNNConfig(
    classes=4,
    in_channels=2,
    trunk_channels=(8, 12),
    trunk_blocks=(1, 2),
    decoder_blocks=(1,),
    attention_level=1,
    attention_block=2,
    attention_top_k=3,
    fine_channels=6,
    fine_blocks=(2, 1),
    block_size=8,
)
SHAPE = (40, 24, 32)  # 5 x 3 x 4 blocks, 480 tokens at 1/4
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


class FixedGates(nn.Module):
    """Gates that order the stages they were given (B, I, J, K)."""

    def __init__(self, stages: Tensor, count: int) -> None:
        super().__init__()
        self.stages, self.count = stages, count

    def forward(self, features: Tensor, entropy: Tensor, spacing_ratio: Tensor) -> tuple[Tensor, Tensor]:
        sure = torch.rand(self.stages.shape[1:], generator=torch.Generator().manual_seed(0)) + 0.1
        block = torch.stack([torch.where(self.stages > n, sure, -sure) for n in range(self.count)], dim=1)
        return torch.ones(len(self.stages), self.count), block


def with_gates(network: LNN, stages: Tensor) -> LNN:
    """The same weights under gates that order `stages` (B, I, J, K)."""
    result = copy.copy(network)
    result._modules = dict(network._modules)
    result.gates = FixedGates(stages, TINY.exits - 1)  # type: ignore[assignment]
    return result


def grid_of(shape: tuple[int, int, int] = SHAPE, cases: int = 1) -> tuple[int, int, int, int]:
    i, j, k = (size // TINY.block_size for size in shape)
    return cases, i, j, k


def random_stages(cases: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, TINY.exits, grid_of(cases=cases), generator=generator)


def at_block(logits: Tensor, place: tuple[int, int, int]) -> Tensor:
    i, j, k = (slice(n * TINY.block_size, (n + 1) * TINY.block_size) for n in place)
    return logits[..., i, j, k]


def block_by_block(stages: Tensor) -> list[Plan]:
    """Plans (one a case) in which every block is a box of its own."""
    plans = []
    for case in stages:
        boxes = [
            Box((i, j, k), (1, 1, 1), int(case[i, j, k])) for i, j, k in case.nonzero().tolist()
        ]  # fmt: skip
        plans.append(Plan(boxes, 0.0, case.numpy()))
    return plans
