"""Which blocks of a volume get more depth: gates, gathering, and the bookkeeping of what was spent.

After Anytime Dense Prediction (ICLR 2022) and SegBlocks (arXiv 2011.12025): only whole blocks save CPU time.
Which of them are computed together is decided in `cover`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lnn_med.models.blocks import ChannelsLast


class Gates(nn.Module):
    """Learned decisions from trunk features: how many stages the case gets, which blocks get them.

    Both gates are logits; a block is on at a stage when those of case and block are both above 0.
    They are tiny and stay in float32 whatever the rest of the network uses (`LNN.cast`).
    """

    HIDDEN = 32
    SHARPNESS = 10.0  # factor on the logits, so that gates move at the learning rate of the network

    def __init__(self, channels: int, stages: int, cells: int) -> None:
        super().__init__()
        self.cells = cells  # trunk voxels along one side of a block
        pooled = 2 * channels + 2
        self.block = nn.Sequential(nn.Linear(pooled, self.HIDDEN), nn.ReLU(), nn.Linear(self.HIDDEN, stages))
        self.case = nn.Sequential(
            nn.Linear(2 * pooled + 3, self.HIDDEN), nn.ReLU(), nn.Linear(self.HIDDEN, stages)
        )
        for last in (self.block[-1], self.case[-1]):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.constant_(last.bias, 1.0 / self.SHARPNESS)  # type: ignore[arg-type]  # begin with everything on

    def forward(self, features: Tensor, entropy: Tensor, spacing_ratio: Tensor) -> tuple[Tensor, Tensor]:
        """Gate logits of case (B, stages) and blocks (B, stages, I, J, K).

        Args:
            features: trunk features (B, C, X, Y, Z) at trunk resolution.
            entropy: entropy of exit 1 (B, 1, X, Y, Z), 0 to 1.
            spacing_ratio: voxel spacing of the scan over that of the model grid, along R, A, S (B, 3).
        """
        x = torch.cat([features.float(), entropy.float()], dim=1)
        pooled = torch.cat([F.avg_pool3d(x, self.cells), F.max_pool3d(x, self.cells)], dim=1)
        tokens = pooled.permute(0, 2, 3, 4, 1)  # (B, I, J, K, 2C+2)
        block = self.SHARPNESS * self.block(tokens).permute(0, 4, 1, 2, 3)
        flat = tokens.flatten(1, 3)
        case = self.SHARPNESS * self.case(
            torch.cat([flat.mean(1), flat.amax(1), spacing_ratio.float().log()], dim=1)
        )
        return case, block


def straight_through(logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Gumbel-sigmoid with hard 0/1 forwards and soft gradient (Jang 2017; Maddison 2017).

    `noise` is uniform in (0, 1), same shape as `logits`.
    """
    soft = _gumbel_sigmoid(logits, noise, temperature)
    return _harden(soft, soft > 0.5)


def sample_stages(case: Tensor, block: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Whether each block gets each stage, sampled from the gates: hard 0/1 forwards, soft gradient.

    The gradient is that of the product of all soft gates a stage needs, so a gate that is off still learns
    from blocks whose other gates are off as well.

    Args:
        case: case logits (B, stages).
        block: block logits (B, stages, I, J, K).
        noise: uniform in (0, 1), (B, stages + stages * I * J * K).
        temperature: of the relaxation.
    """
    stages = case.shape[1]
    case_soft = _gumbel_sigmoid(case, noise[:, :stages], temperature)[:, :, None, None, None]
    block_soft = _gumbel_sigmoid(block, noise[:, stages:].view_as(block), temperature)
    hard = ((case_soft > 0.5) & (block_soft > 0.5)).to(block.dtype).cumprod(dim=1)
    return _harden((case_soft * block_soft).cumprod(dim=1), hard)


def _gumbel_sigmoid(logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
    clipped = noise.clamp(1e-6, 1 - 1e-6)
    return torch.sigmoid((logits + clipped.log() - (1 - clipped).log()) / temperature)


def _harden(soft: Tensor, hard: Tensor) -> Tensor:
    return hard.to(soft.dtype) + (soft - soft.detach())  # in this order exactly 0 or 1


def decide(case: Tensor, block: Tensor) -> Tensor:
    """Stages that each block gets (B, I, J, K) from gate logits: a stage needs all stages before it."""
    on = (block > 0) & (case > 0)[:, :, None, None, None]
    return on.long().cumprod(dim=1).sum(dim=1)


Corner = tuple[int, int, int, int]  # batch index and first voxel (i, j, k) of a box


class _Gather(torch.autograd.Function):
    """Cut boxes out of a volume; backwards adds them into one zero volume (slicing makes one for each)."""

    @staticmethod
    def forward(ctx: Any, volume: Tensor, corners: list[Corner], shape: tuple[int, int, int]) -> Tensor:
        ctx.shape, ctx.boxes = volume.shape, [_box(corner, shape) for corner in corners]
        return torch.stack([volume[box] for box in ctx.boxes]).contiguous(memory_format=ChannelsLast)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        total = torch.zeros(ctx.shape, dtype=gradient.dtype, device=gradient.device).to(
            memory_format=ChannelsLast
        )
        for cut, box in zip(gradient, ctx.boxes, strict=True):
            total[box] += cut
        return total, None, None


def _box(corner: Corner, shape: tuple[int, int, int]) -> tuple[int | slice, ...]:
    n, *first = corner
    return (n, slice(None), *(slice(a, a + length) for a, length in zip(first, shape, strict=True)))


def gather(volume: Tensor, corners: list[Corner], shape: tuple[int, int, int]) -> Tensor:
    """Cut boxes of one shape out of a volume.

    Args:
        volume: (B, C, X, Y, Z).
        corners: batch index and first voxel of each box.
        shape: voxels of a box.

    Returns:
        (n, C, *shape), channels-last.
    """
    return _Gather.apply(volume, corners, shape)  # type: ignore[no-any-return]


def scatter(target: Tensor, values: Tensor, corners: list[Corner]) -> None:
    """Write boxes (n, C, ...) into a volume (B, C, X, Y, Z), in place."""
    shape = (values.shape[2], values.shape[3], values.shape[4])
    for value, corner in zip(values, corners, strict=True):
        target[_box(corner, shape)] = value


def block_entropy(logits: Tensor) -> Tensor:
    """Entropy of softmax over channels (B, C, ...) -> (B, 1, ...), 0 to 1 (of the uniform distribution)."""
    log_p = logits.float().movedim(1, -1).log_softmax(dim=-1)  # twice as fast as along the first axis
    entropy = -(log_p.exp() * log_p).sum(dim=-1)[:, None]
    return entropy / torch.log(torch.tensor(float(logits.shape[1])))
