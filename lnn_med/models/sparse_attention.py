"""Top-k block-sparse attention over a volume (after BiFormer, arXiv 2303.08810), beside its plain reference.

Tokens are grouped in blocks of b³. Each query block looks at the `top_k` key blocks whose mean key agrees
best with its mean query; inside those, attention is dense. Cost O(R² C + N k b³ C) for N tokens in R = N / b³
blocks.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

DENSE_UP_TO = 512  # tokens; measured parity with the block path on two CPU cores, above it blocks win


def reference_top_k_attention(q: Tensor, k: Tensor, v: Tensor, top_k: int) -> Tensor:
    """Softmax over the `top_k` best of all scores of each query; O(N²), for tests and small N.

    Args:
        q, k, v: (batch, heads, tokens, head_dim).
        top_k: keys kept for each query.
    """
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # (batch, heads, tokens, tokens)
    kept = scores.topk(top_k, dim=-1)
    sparse = torch.full_like(scores, float("-inf")).scatter(-1, kept.indices, kept.values)
    return sparse.softmax(dim=-1) @ v


def block_top_k_attention(q: Tensor, k: Tensor, v: Tensor, top_k: int) -> Tensor:
    """Attention of each query block to its `top_k` best key blocks.

    Args:
        q, k, v: (batch, blocks, tokens_per_block, heads, head_dim).
        top_k: key blocks for each query block; all blocks give dense attention.

    Returns:
        (batch, blocks, tokens_per_block, heads, head_dim).
    """
    batch, blocks, inside, heads, width = q.shape
    top_k = min(top_k, blocks)
    pooled_q = q.mean(dim=2).flatten(2)  # (batch, blocks, heads * head_dim)
    pooled_k = k.mean(dim=2).flatten(2)
    chosen = (pooled_q @ pooled_k.transpose(1, 2)).topk(top_k, dim=-1).indices  # (batch, blocks, top_k)
    gathered_k, gathered_v = (
        rearrange(_take_blocks(x, chosen), "b r k n h d -> (b r) h (k n) d") for x in (k, v)
    )
    queries = rearrange(q, "b r n h d -> (b r) h n d")
    out = F.scaled_dot_product_attention(queries, gathered_k, gathered_v)
    return rearrange(out, "(b r) h n d -> b r n h d", b=batch)


def _take_blocks(x: Tensor, chosen: Tensor) -> Tensor:
    """x (batch, blocks, ...), chosen (batch, blocks, top_k) -> (batch, blocks, top_k, ...)."""
    rows = torch.arange(x.shape[0], device=x.device)[:, None, None]
    return x[rows, chosen]


class BlockSparseAttention(nn.Module):
    """Multi-head self-attention over the voxels of a feature volume; dense when there are few tokens.

    A depth-wise 3³ convolution of the values carries position.
    """

    def __init__(self, channels: int, heads: int, block: int, top_k: int, positional: bool = True) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide into {heads} heads.")
        self.heads, self.block, self.top_k = heads, block, top_k
        self.to_qkv = nn.Conv3d(channels, 3 * channels, 1, bias=False)
        self.position = nn.Conv3d(channels, channels, 3, padding=1, groups=channels) if positional else None
        self.project = nn.Conv3d(channels, channels, 1)

    def path(self, tokens: int) -> str:
        """Which path `forward` takes for that many tokens: "dense" or "block"."""
        return "dense" if tokens <= DENSE_UP_TO else "block"

    def flops(self, tokens: int) -> int:
        """Multiply-adds times two of scores and weighted sum for one volume."""
        channels = self.project.in_channels
        if self.path(tokens) == "dense":
            return 4 * tokens * tokens * channels
        inside = self.block**3
        blocks = tokens // inside
        return 4 * tokens * min(self.top_k, blocks) * inside * channels + 2 * blocks * blocks * channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> same shape; X, Y, Z multiples of the block when the block path runs."""
        q, k, v = self.to_qkv(x).chunk(3, dim=1)
        if self.path(x[0, 0].numel()) == "dense":
            out = self._dense(q, k, v)
        else:
            out = self._blocks(q, k, v)
        if self.position is not None:
            out = out + self._positions(v)
        return self.project(out)

    def _positions(self, v: Tensor) -> Tensor:
        assert self.position is not None
        if v.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):  # its backward is 3x faster in float32
                return self.position(v.float()).to(v.dtype)
        return self.position(v)

    def _dense(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        i, j, _ = q.shape[2:]
        q, k, v = (rearrange(t, "b (h d) i j k -> b h (i j k) d", h=self.heads) for t in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v)
        return rearrange(out, "b h (i j k) d -> b (h d) i j k", i=i, j=j)

    def _blocks(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        b = self.block
        i, j, z = (size // b for size in q.shape[2:])
        pattern = "n (h d) (i bi) (j bj) (k bk) -> n (i j k) (bi bj bk) h d"
        q, k, v = (rearrange(t, pattern, h=self.heads, bi=b, bj=b, bk=b) for t in (q, k, v))
        out = block_top_k_attention(q, k, v, self.top_k)
        back = "n (i j k) (bi bj bk) h d -> n (h d) (i bi) (j bj) (k bk)"
        return rearrange(out, back, i=i, j=j, k=z, bi=b, bj=b, bk=b)
