"""Residual blocks whose result at a voxel depends on its neighbourhood alone, not on volume statistics.

Normalising over channels at each voxel (as in ConvNeXt, arXiv 2201.03545) makes a block of 16³ voxels
computed alone equal to the same voxels computed within the whole volume, on one process or on many. Batch
normalisation has that property in evaluation mode, where it is folded into the convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

ChannelsLast = torch.channels_last_3d


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, X, Y, Z), voxel by voxel."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> same shape."""
        last = input.permute(0, 2, 3, 4, 1)  # a view without copying when memory is channels-last
        return F.layer_norm(
            last, self.normalized_shape, self.weight.to(last.dtype), self.bias.to(last.dtype), self.eps
        ).permute(0, 4, 1, 2, 3)


class Branch(nn.Module):
    """`mix(relu(norm(conv(x))))`: one 3³ convolution, one 1³; what a residual block adds.

    With `valid=True` nothing is padded: (B, C, n, ...) -> (B, C, n-2, ...). `norm` is "channel" or "batch".
    """

    def __init__(self, channels: int, valid: bool = False, norm: str = "channel") -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, padding=0 if valid else 1, bias=False)
        self.norm: nn.Module = ChannelNorm(channels) if norm == "channel" else nn.BatchNorm3d(channels)
        self.mix = nn.Conv3d(channels, channels, 1)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.normal_(self.mix.weight, std=0.02)  # a block begins near the identity
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> same shape, or two voxels less along each axis when valid."""
        return self.mix(F.relu(self.norm(self.conv(x)), inplace=True))

    def fold(self) -> None:
        """Put batch normalisation into the convolution, for evaluation; other norms stay."""
        if isinstance(self.norm, nn.BatchNorm3d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class ResidualBlock(Branch):
    """`x + branch(x)`; with `valid=True` for blocks that bring a halo."""

    def __init__(self, channels: int, valid: bool = False, norm: str = "channel") -> None:
        super().__init__(channels, valid, norm)
        self.valid = valid

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> same shape, or two voxels less along each axis when valid."""
        update = super().forward(x)
        return (shrink(x, 1) if self.valid else x) + update


def shrink(x: Tensor, border: int) -> Tensor:
    """Cut `border` voxels from each side of (B, C, X, Y, Z); a view."""
    if border == 0:
        return x
    return x[:, :, border:-border, border:-border, border:-border]


def grow(x: Tensor, border: int) -> Tensor:
    """Add `border` zero voxels on each side of (B, C, X, Y, Z)."""
    return F.pad(x, (border,) * 6).contiguous(memory_format=ChannelsLast)
