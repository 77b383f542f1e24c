"""Clinical values beside image tokens: what a person's record asks the image.

Each value is a token, and so is its absence: nothing is imputed. Cross-attention lets these tokens look at
the image; scaling and shifting its channels is the other way (DAFT, MICCAI 2021, arXiv 2107.05990).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClinicalTokens(nn.Module):
    """One token a value, bent by its square; a learned one of its own for each value that is missing."""

    def __init__(self, values: int, width: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(0.1 * torch.randn(values, width))
        self.bend = nn.Parameter(torch.zeros(values, width))
        self.offset = nn.Parameter(0.1 * torch.randn(values, width))
        self.missing = nn.Parameter(0.1 * torch.randn(values, width))

    def forward(self, values: Tensor) -> Tensor:
        """Standardised values (B, K), NaN where missing -> (B, K, C)."""
        known = values.isfinite()[..., None]
        filled = torch.nan_to_num(values)[..., None]
        tokens = filled * self.slope + filled.square() * self.bend + self.offset
        return torch.where(known, tokens, self.missing)


class CrossAttention(nn.Module):
    """Where in the image the record looks: attention of clinical tokens to image tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads.")
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)

    def forward(self, clinical: Tensor, tokens: Tensor, inside: Tensor) -> Tensor:
        """Shares of attention that sum to 1 over the tokens inside.

        Args:
            clinical: (B, K, C).
            tokens: (B, N, C).
            inside: (B, N) boolean; tokens that may be looked at, at least one a case.

        Returns:
            (B, heads, N); clinical tokens are averaged.
        """
        q = self.query(clinical).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, K, d)
        k = self.key(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, d)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # (B, heads, K, N)
        scores = scores.masked_fill(~inside[:, None, None], float("-inf"))
        return scores.softmax(dim=-1).mean(dim=2)


class ScaleAndShift(nn.Module):
    """DAFT: factors and offsets of the image's channels from the record; begins as the identity."""

    def __init__(self, values: int, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Linear(values * width + width, width // 2), nn.ReLU())
        self.expand = nn.Linear(width // 2, 2 * width)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)

    def forward(self, clinical: Tensor, tokens: Tensor, inside: Tensor) -> Tensor:
        """(B, K, C), (B, N, C), (B, N) -> (B, N, C)."""
        share = inside[..., None] / inside.sum(dim=1)[:, None, None]
        pooled = (tokens * share).sum(dim=1)
        factors, offsets = self.expand(self.squeeze(torch.cat([clinical.flatten(1), pooled], 1))).chunk(2, 1)
        return tokens * (1 + factors[:, None]) + offsets[:, None]
