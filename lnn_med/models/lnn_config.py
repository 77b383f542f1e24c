"""Sizes of an LNN."""

from __future__ import annotations

import math
from dataclasses import dataclass

NORMS = ("channel", "batch")


@dataclass(frozen=True)
class LNNConfig:
    """Sizes of the network. Inputs must be multiples of `LNN.multiple` voxels along each axis."""

    classes: int
    in_channels: int = 1
    trunk_channels: tuple[int, ...] = (32, 64, 96, 128)  # at 1/2, 1/4, 1/8, 1/16 of the resolution
    trunk_blocks: tuple[int, ...] = (2, 2, 2, 2)  # residual blocks on the way down
    decoder_blocks: tuple[int, ...] = (1, 1, 1)  # on the way up, at 1/8, 1/4, 1/2
    attention_level: int = 1  # trunk level with sparse attention; -1: none
    attention_heads: int = 2  # head width 32: half the time of 16 on CPU
    attention_block: int = 4  # tokens along a side; 4³ = 64 tokens a block
    attention_top_k: int = 4  # key blocks for each query block
    layer_attention: tuple[int, ...] = ()  # trunk levels whose layers ask the earlier ones of their stage
    layer_attention_heads: int = 4
    norm: str = (
        "channel"  # of residual blocks: voxel by voxel, or "batch", which learns faster on small crops
    )
    reversible: tuple[int, ...] = ()  # trunk levels that compute activations again instead of keeping them
    fine_channels: int = 32
    fine_blocks: tuple[int, ...] = (2, 2)  # residual blocks of each full-resolution stage
    block_size: int = 16  # voxels along a side of a gated block

    def __post_init__(self) -> None:
        if len(self.trunk_blocks) != len(self.trunk_channels):
            raise ValueError("trunk_blocks and trunk_channels need the same length")
        if len(self.decoder_blocks) != len(self.trunk_channels) - 1:
            raise ValueError("decoder_blocks needs one entry less than trunk_channels")
        if self.block_size % 2:
            raise ValueError("block_size must be even")
        if not self.fine_blocks:
            raise ValueError("fine_blocks is empty; at least one full-resolution stage is needed")
        last = len(self.trunk_channels) - 1
        if not -1 <= self.attention_level <= last:
            raise ValueError(
                f"attention_level is {self.attention_level}; -1 is none, the last level is {last}"
            )
        for name in ("layer_attention", "reversible"):
            if wrong := [level for level in getattr(self, name) if not 0 <= level <= last]:
                raise ValueError(f"{name} names level {wrong[0]}; levels are 0 to {last}")
        if odd := [level for level in self.reversible if self.trunk_channels[level] % 2]:
            raise ValueError(f"level {odd[0]} is reversible and needs an even number of channels")
        if min(self.attention_heads, self.attention_block, self.attention_top_k) < 1:
            raise ValueError("attention_heads, attention_block and attention_top_k need to be at least 1")
        if self.norm not in NORMS:
            raise ValueError(f"norm is {self.norm!r}; {' or '.join(NORMS)} is needed")
        if self.reversible and self.norm == "batch":
            raise ValueError("norm batch: a reversible level would update its statistics twice")
        if both := set(self.layer_attention) & set(self.reversible):
            raise ValueError(f"level {min(both)} cannot be reversible and keep its layers for attention")

    @property
    def exits(self) -> int:
        """Number of answers the network can give: trunk and each fine stage."""
        return 1 + len(self.fine_blocks)

    @property
    def multiple(self) -> int:
        """Input sizes must be multiples of this many voxels."""
        levels, attention = 2 ** len(self.trunk_channels), 1
        if self.attention_level >= 0:
            attention = self.attention_block * 2 ** (self.attention_level + 1)
        return math.lcm(levels, attention, self.block_size)

    @property
    def depths(self) -> tuple[int, ...]:
        """Residual blocks executed at a voxel that leaves at exit 1, 2, ..."""
        trunk = sum(self.trunk_blocks) + sum(self.decoder_blocks)
        return tuple(trunk + sum(self.fine_blocks[:stage]) for stage in range(self.exits))
