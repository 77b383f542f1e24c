"""Reversible stages: activations are computed again in the backward pass, so memory does not grow with depth.

After RevNet (arXiv 1707.04585) and partially reversible U-Nets (MICCAI 2019, arXiv 1906.06148): with the
channels in two halves, y1 = x1 + f(x2), y2 = x2 + g(y1); back, x2 = y2 - g(y1), x1 = y1 - f(x2).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn


class ReversibleBlock(nn.Module):
    """Two branches that add to one half of the channels what they see in the other."""

    def __init__(self, f: nn.Module, g: nn.Module) -> None:
        super().__init__()
        _refuse_running_statistics(f, g)
        self.f, self.g = f, g

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> same shape; C even."""
        x1, x2 = x.chunk(2, dim=1)
        y1 = x1 + self.f(x2)
        return torch.cat([y1, x2 + self.g(y1)], dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        """The input that gave `y`, up to rounding."""
        y1, y2 = y.chunk(2, dim=1)
        x2 = y2 - self.g(y1)
        return torch.cat([y1 - self.f(x2), x2], dim=1)


class ReversibleStage(nn.Sequential):
    """Reversible blocks in a row that keep only their last output for the backward pass.

    The stream between the blocks is float32 whatever autocast makes of the branches: what is subtracted
    backwards must be what was added.
    """

    def __init__(self, blocks: Sequence[ReversibleBlock]) -> None:
        super().__init__(*blocks)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, ...) -> same shape, with gradients float32 or wider; C even."""
        if not torch.is_grad_enabled():
            return super().forward(input)  # type: ignore[no-any-return]
        x = input if input.dtype == torch.float64 else input.float()
        blocks = list(self.children())
        parameters = [p for block in blocks for p in block.parameters()]
        return _Recompute.apply(x, blocks, *parameters)  # type: ignore[no-any-return]


class _Recompute(torch.autograd.Function):
    """Run blocks without a graph; backwards, undo one after the other and differentiate it on the way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, blocks: list[ReversibleBlock], *parameters: Tensor) -> Tensor:
        ctx.blocks, ctx.states = blocks, []
        ctx.autocast = _autocast_like_now(x.device.type)
        for block in blocks:
            ctx.states.append(_random_state(x.device))
            x = block(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (y,), (dy,) = ctx.saved_tensors, gradients
        found: list[Tensor | None] = []
        for block, state in zip(reversed(ctx.blocks), reversed(ctx.states), strict=True):
            with torch.random.fork_rng(devices=_cuda(y.device)), ctx.autocast():
                y, dy, of_block = _undo(block, y, dy, state)
            found = of_block + found
        return dy, None, *found


def _undo(
    block: ReversibleBlock, y: Tensor, dy: Tensor, state: list[Tensor]
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """Input of a block, gradient there, and gradients of the block's parameters.

    Both branches are run forwards once more, in the order of the forward pass as far as their random
    numbers go: f drew first, so g's state is what f leaves behind.
    """
    y1, y2 = y.chunk(2, dim=1)
    dy1, dy2 = dy.chunk(2, dim=1)
    after_f = _state_after(block.f, y2, state)
    x2, d_y1, of_g = _branch(block.g, y1, y2, dy2, after_f)
    dx1 = dy1 + d_y1
    x1, d_x2, of_f = _branch(block.f, x2, y1, dx1, state)
    return torch.cat([x1, x2], dim=1), torch.cat([dx1, dy2 + d_x2], dim=1), of_f + of_g


def _branch(
    branch: nn.Module, seen: Tensor, total: Tensor, gradient: Tensor, state: list[Tensor]
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """`total - branch(seen)`, the gradient at `seen`, and those of the branch's parameters."""
    _restore(state, seen.device)
    leaf = seen.detach().requires_grad_()
    parameters = list(branch.parameters())
    trained = [p for p in parameters if p.requires_grad]
    with torch.enable_grad():
        update = branch(leaf)
    d_leaf, *found = torch.autograd.grad(
        update, [leaf, *trained], gradient.to(update.dtype), allow_unused=True
    )
    of = dict(zip(map(id, trained), found, strict=True))
    d_seen = torch.zeros_like(seen) if d_leaf is None else d_leaf.to(seen.dtype)
    return total - update.detach(), d_seen, [of.get(id(p)) for p in parameters]


def _state_after(branch: nn.Module, like: Tensor, state: list[Tensor]) -> list[Tensor]:
    """Random state after a branch that began with `state`; run again only where it draws numbers."""
    if not any(isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0 for part in branch.modules()):
        return state
    _restore(state, like.device)
    with torch.no_grad():
        branch(torch.zeros_like(like))
    return _random_state(like.device)


def _random_state(device: torch.device) -> list[Tensor]:
    state = [torch.get_rng_state()]
    return [*state, torch.cuda.get_rng_state(device)] if device.type == "cuda" else state


def _restore(state: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)


def _cuda(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


def _autocast_like_now(kind: str) -> Any:
    """A factory of contexts that repeat the autocast of this moment."""
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

    def again() -> AbstractContextManager[None]:
        return torch.autocast(kind, dtype=dtype, enabled=enabled)

    return again


def _refuse_running_statistics(*branches: nn.Module) -> None:
    """Computed twice, they would be updated twice."""
    for branch in branches:
        if any(
            isinstance(part, nn.modules.batchnorm._NormBase) and part.track_running_stats
            for part in branch.modules()
        ):
            raise ValueError("A reversible block cannot hold a norm with running statistics.")
