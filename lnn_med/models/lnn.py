"""LNN: a trunk answers for the whole volume at half resolution, blocks where they gain get finer stages.

    image ──► trunk (1/2 … 1/16, sparse attention) ──► exit 1, everywhere
                │                │
                │         expected gain, or gates (case, block)
                ▼                ▼
    image ──► stage 1 at full resolution, chosen blocks ──► exit 2
                ▼
              stage 2 at full resolution, chosen blocks ──► exit 3

A stage works on blocks with a halo and without padding, so a block's answer is the same whether it is
computed alone or in the whole volume (the dense path is one block as large as the volume).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lnn_med.models.adaptive_depth import Corner, Gates, block_entropy, decide, gather, scatter
from lnn_med.models.blocks import Branch, ChannelNorm, ChannelsLast, ResidualBlock, grow
from lnn_med.models.costs import Costs, costs_of
from lnn_med.models.cover import Grid, Plan, plan, plan_within
from lnn_med.models.expected_gain import ExpectedGain
from lnn_med.models.fine_stages import FineStages
from lnn_med.models.layer_attention import LayerAttentionStage
from lnn_med.models.lnn_config import LNNConfig
from lnn_med.models.reversible import ReversibleBlock, ReversibleStage
from lnn_med.models.sparse_attention import BlockSparseAttention

GATHER_CHUNK = 16  # blocks computed at once; 16 x 26³ x 32 channels stay in the level-3 cache


class TrunkOutput(NamedTuple):
    """`features` (B, C, X/2, Y/2, Z/2); gate logits of case (B, stages) and blocks (B, stages, I, J, K);
    `summary` (B, 2C), see `foreground_summary`; `entropy` of exit 1, mean of each block (B, I, J, K);
    `spacing_ratio` (B, 3), see `Gates`."""

    features: Tensor
    case_gate: Tensor
    block_gate: Tensor
    summary: Tensor
    entropy: Tensor
    spacing_ratio: Tensor


class LNNOutput(NamedTuple):
    """`logits` (B, classes, X, Y, Z), divided by the temperature of the exit that gave them; `stages`
    (B, I, J, K): fine stages executed in each block, all equal on the dense path; `summary` (B, 2C) of the
    trunk's features, by which unusual input shows; `flops` of each case; the trunk's `features`
    (B, C, X/2, Y/2, Z/2), None from a static graph."""

    logits: Tensor
    stages: Tensor
    summary: Tensor
    flops: list[float]
    features: Tensor | None = None


class SparseAttentionBlock(nn.Module):
    """Pre-norm transformer block on a feature volume."""

    def __init__(self, channels: int, config: LNNConfig) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.attention = BlockSparseAttention(
            channels, config.attention_heads, config.attention_block, config.attention_top_k
        )
        self.mlp = nn.Sequential(
            ChannelNorm(channels),
            nn.Conv3d(channels, 2 * channels, 1),
            nn.GELU(),
            nn.Conv3d(2 * channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> same shape."""
        x = x + self.attention(self.norm(x))
        return x + self.mlp(x)


def _stage(level: int, config: LNNConfig) -> nn.Module:
    """Blocks of one trunk level: in a row, with layer attention, or reversible."""
    channels, count = config.trunk_channels[level], config.trunk_blocks[level]
    if level in config.reversible:
        half = channels // 2
        return ReversibleStage([ReversibleBlock(Branch(half), Branch(half)) for _ in range(count)])
    blocks = [ResidualBlock(channels, norm=config.norm) for _ in range(count)]
    if level in config.layer_attention:
        return LayerAttentionStage(blocks, channels, config.layer_attention_heads)
    return nn.Sequential(*blocks)


class Trunk(nn.Module):
    """A small U-Net from half resolution downwards, with sparse attention at one level."""

    def __init__(self, config: LNNConfig) -> None:
        super().__init__()
        channels = config.trunk_channels
        self.embed = nn.Conv3d(config.in_channels, channels[0], 4, stride=2, padding=1)
        self.encoder = nn.ModuleList(_stage(level, config) for level in range(len(channels)))
        self.attention = nn.ModuleList(
            SparseAttentionBlock(c, config) if level == config.attention_level else nn.Identity()
            for level, c in enumerate(channels)
        )
        pairs = list(pairwise(channels))
        self.down = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in reversed(pairs))
        self.decoder = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(a, norm=config.norm) for _ in range(n)))
            for (a, _), n in zip(reversed(pairs), config.decoder_blocks, strict=True)
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, in, X, Y, Z) -> features (B, C, X/2, Y/2, Z/2)."""
        x = self.embed(image)
        skips = []
        for level, blocks in enumerate(self.encoder):
            x = self.attention[level](blocks(x))
            if level < len(self.down):
                skips.append(x)
                x = self.down[level](x)
        for up, blocks in zip(self.up, self.decoder, strict=True):
            x = blocks(up(x) + skips.pop())
        return x


class LNN(nn.Module):
    """Adaptive-depth segmentation network; see the module's figure."""

    temperature: Tensor  # (exits,), fitted on calibration cases

    def __init__(self, config: LNNConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config)
        self.exit = nn.ConvTranspose3d(config.trunk_channels[0], config.classes, 2, stride=2)
        self.fine = FineStages(config)
        self.gates = Gates(config.trunk_channels[0], len(config.fine_blocks), config.block_size // 2)
        self.gain: ExpectedGain | None = None  # fitted on calibration cases
        self.register_buffer("temperature", torch.ones(config.exits))
        self.to(memory_format=ChannelsLast)  # type: ignore[call-overload]

    def fuse(self) -> LNN:
        """Compile trunk and fine stages in place (`torch.compile`), for training: shapes stay the same."""
        self.trunk.compile()
        self.fine.compile()
        return self

    def fold(self) -> LNN:
        """Put batch normalisation into the convolutions before it, in place, for evaluation."""
        for module in self.modules():
            if isinstance(module, Branch):
                module.fold()
        return self

    def cast(self, dtype: torch.dtype) -> LNN:
        """Convert to another floating point type in place; gates and temperatures stay as they are."""
        for part in (self.trunk, self.exit, self.fine):
            part.to(dtype)
        return self

    @property
    def multiple(self) -> int:
        """Input sizes must be multiples of this many voxels."""
        return self.config.multiple

    def features(self, image: Tensor) -> Tensor:
        """Run the trunk: (B, in, X, Y, Z) -> (B, C, X/2, Y/2, Z/2).

        Raises:
            ValueError: size not a multiple of `multiple`.
        """
        if any(size % self.multiple for size in image.shape[2:]):
            raise ValueError(f"Input {tuple(image.shape[2:])} must be multiples of {self.multiple} voxels.")
        return self.trunk(image.contiguous(memory_format=ChannelsLast))  # type: ignore[no-any-return]

    def see(self, image: Tensor, spacing_ratio: Tensor | None = None) -> TrunkOutput:
        """Run trunk and gates on (B, in, X, Y, Z); gates do not send gradients into the trunk.

        Raises:
            ValueError: size not a multiple of `multiple`.
        """
        features = self.features(image)
        with torch.no_grad():
            coarse = self.exit_at(features, (0, 0, 0))
            entropy = block_entropy(coarse / self.temperature[0])
            summary = foreground_summary(features, coarse.argmax(dim=1, keepdim=True) > 0)
        if spacing_ratio is None:
            spacing_ratio = torch.ones(image.shape[0], 3, device=image.device)
        with torch.autocast(image.device.type, enabled=False):
            case, block = self.gates(features.detach(), entropy, spacing_ratio)
        blocks = F.avg_pool3d(entropy, self.config.block_size // 2)[:, 0]
        return TrunkOutput(features, case, block, summary, blocks, spacing_ratio)

    def exit_at(self, features: Tensor, corner: tuple[int, int, int]) -> Tensor:
        """Exit-1 logits (B, classes, X/2, Y/2, Z/2) at one of the eight voxels below each trunk voxel."""
        i, j, k = corner
        weight = self.exit.weight[:, :, i, j, k].t()[:, :, None, None, None]
        return F.conv3d(features, weight.contiguous(), self.exit.bias)

    def first_exit(self, features: Tensor) -> Tensor:
        """Logits of exit 1 (B, classes, X, Y, Z), divided by its temperature."""
        logits = self.exit(features)
        return logits / self.temperature[0].to(logits.dtype)  # type: ignore[no-any-return]

    def exits_of_boxes(
        self, image: Tensor, features: Tensor, corners: list[Corner], shape: tuple[int, int, int], stages: int
    ) -> list[Tensor]:
        """Logits of exits 1 to 1 + `stages` in boxes of the image, each (n, classes, *shape).

        Args:
            image: (B, in, X, Y, Z).
            features: trunk features of the same volumes.
            corners: boxes; first voxels and `shape` must be even.
            shape: voxels of a box.
            stages: how many fine stages run.
        """
        halved = [(n, i // 2, j // 2, k // 2) for n, i, j, k in corners]
        logits = [self.exit(gather(features, halved, _grown(shape, 0, half=True)))]
        if stages:
            grown = self._grow(image, features, stages)
            logits += self._fine_of_boxes(*grown, corners, shape, stages, every_exit=True)
        return logits

    def _grow(self, image: Tensor, features: Tensor, stages: int) -> tuple[Tensor, Tensor]:
        """Image and trunk features with the halos that boxes at the border need."""
        return grow(image, self.fine.halo(stages)), grow(features, self.fine.trunk_halo(stages))

    def _fine_of_boxes(
        self,
        grown_image: Tensor,
        grown_features: Tensor,
        corners: list[Corner],
        shape: tuple[int, int, int],
        stages: int,
        every_exit: bool = False,
    ) -> list[Tensor]:
        halo, trunk_halo = self.fine.halo(stages), self.fine.trunk_halo(stages)
        halved = [(n, i // 2, j // 2, k // 2) for n, i, j, k in corners]
        image_cuts = gather(grown_image, corners, _grown(shape, halo))
        feature_cuts = gather(grown_features, halved, _grown(shape, trunk_halo, half=True))
        return self.fine(image_cuts, feature_cuts, stages, every_exit)

    def forward(
        self,
        image: Tensor,
        depth: str | int = "auto",
        budget: float | None = None,
        spacing_ratio: Tensor | None = None,
    ) -> LNNOutput:
        """Segment (B, in, X, Y, Z).

        Args:
            image: normalised intensities, sizes multiples of `multiple`.
            depth: "auto": decided block by block; "full": the last exit everywhere; 1, 2, ...: that exit
                everywhere.
            budget: with "auto", share of the full network's FLOPs that a case may cost, 0 to 1: spent where
                exit 1 doubts most, whether it pays or not; the trunk always runs.
            spacing_ratio: see `Gates`.
        """
        seen = self.see(image, spacing_ratio)
        costs = self.costs(tuple(image.shape[2:]))
        if depth == "auto":
            plans = self._plans(seen, costs, budget)
            stages = torch.stack([torch.from_numpy(plan.stages) for plan in plans]).to(image.device)
            if len(stages.unique()) > 1:
                flops = [costs.trunk + plan.cost for plan in plans]
                logits = self._sparse(image, seen.features, plans)
                return LNNOutput(logits, stages, seen.summary, flops, seen.features)
            exit_number = 1 + int(stages.flatten()[0])
        else:
            exit_number = self.config.exits if depth == "full" else int(depth)
            if not 1 <= exit_number <= self.config.exits:
                raise ValueError(f"depth {depth} is not one of 1 to {self.config.exits}.")
            stages = torch.full_like(seen.block_gate[:, 0], exit_number - 1).long()
        logits = self.dense(image, seen.features, exit_number - 1)
        logits = logits / self.temperature[exit_number - 1].to(logits.dtype)
        flops = [costs.dense[exit_number - 1]] * len(logits)
        return LNNOutput(logits, stages, seen.summary, flops, seen.features)

    def every_exit(
        self, image: Tensor, spacing_ratio: Tensor | None = None
    ) -> tuple[TrunkOutput, list[Tensor]]:
        """What the trunk sees, and the logits of all exits everywhere, each as `forward` gives them."""
        seen = self.see(image, spacing_ratio)
        whole = [(n, 0, 0, 0) for n in range(len(image))]
        i, j, k = image.shape[2:]
        logits = self.exits_of_boxes(image, seen.features, whole, (i, j, k), self.config.exits - 1)
        return seen, [each / t.to(each.dtype) for each, t in zip(logits, self.temperature, strict=True)]

    def _plans(self, seen: TrunkOutput, costs: Costs, budget: float | None) -> list[Plan]:
        """Which boxes of blocks are computed deeper, case by case.

        Without a budget those whose expected gain pays, or, as long as nothing is fitted, those that the
        gates switch on. With one as many as it pays for, those first that exit 1 doubts most: to rank, plain
        doubt is as good as the fitted gain, and better where the budget is small (docs/network.md).
        """
        entropy, ratio = (each.double().cpu().numpy() for each in (seen.entropy, seen.spacing_ratio))
        if budget is not None:
            stages = self.config.exits - 1
            doubt, everything = ExpectedGain.guess(stages), np.full(entropy.shape[1:], stages)
            room = max(0.0, budget * costs.full - costs.trunk)
            cases = zip(entropy, ratio, strict=True)
            return [plan_within(everything, doubt.of(*case), costs.box, room) for case in cases]
        if self.gain:
            gains = [self.gain.of(*case) for case in zip(entropy, ratio, strict=True)]
            return [plan(self.gain.wanted(case), costs.box) for case in gains]
        decided = decide(seen.case_gate, seen.block_gate).cpu().numpy()
        return [plan(case, costs.box) for case in decided]

    def dense(self, image: Tensor, features: Tensor, stages: int) -> Tensor:
        """Logits (B, classes, X, Y, Z) with so many stages everywhere; not divided by their temperature."""
        if stages == 0:
            return self.exit(features)
        return self.fine(*self._grow(image, features, stages), stages)[-1]

    def _sparse(self, image: Tensor, features: Tensor, plans: Sequence[Plan]) -> Tensor:
        """Exit 1 everywhere, then the chosen boxes computed deeper and written over it, the deepest last."""
        logits = self.first_exit(features)
        size = self.config.block_size
        alike: dict[tuple[Grid, int], list[Corner]] = {}  # boxes that can be computed as one batch
        for n, chosen in enumerate(plans):
            for box in chosen.boxes:
                i, j, k = (size * first for first in box.first)
                alike.setdefault((box.shape, box.stages), []).append((n, i, j, k))
        grown = {number: self._grow(image, features, number) for number in {stages for _, stages in alike}}
        for (blocks, number), corners in sorted(alike.items(), key=lambda item: item[0][1]):
            i, j, k = (size * n for n in blocks)
            step = max(1, GATHER_CHUNK // math.prod(blocks))
            for first in range(0, len(corners), step):
                chunk = corners[first : first + step]
                values = self._fine_of_boxes(*grown[number], chunk, (i, j, k), number)[-1]
                scatter(logits, values / self.temperature[number].to(values.dtype), chunk)
        return logits

    def costs(self, shape: tuple[int, ...]) -> Costs:
        """FLOPs of the parts for one volume of that shape."""
        return costs_of(self, shape)


def foreground_summary(features: Tensor, inside: Tensor) -> Tensor:
    """Mean and standard deviation of features over chosen voxels, (B, 2C); over all where none is chosen.

    Args:
        features: (B, C, X, Y, Z).
        inside: (B, 1, X, Y, Z) boolean.
    """
    weight = inside.float()
    weight = weight + (weight.sum(dim=(1, 2, 3, 4), keepdim=True) == 0)
    weight = weight / weight.sum(dim=(2, 3, 4), keepdim=True)
    x = features.float()
    mean = (x * weight).sum(dim=(2, 3, 4))
    spread = ((x - mean[:, :, None, None, None]).square() * weight).sum(dim=(2, 3, 4)).sqrt()
    return torch.cat([mean, spread], dim=1)


def _grown(shape: tuple[int, int, int], border: int, half: bool = False) -> tuple[int, int, int]:
    i, j, k = ((size // 2 if half else size) + 2 * border for size in shape)
    return i, j, k
