"""Reversible stages: exact inverse, exact gradients, flat memory."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lnn_med.models.blocks import Branch
from lnn_med.models.reversible import ReversibleBlock, ReversibleStage


def stage(depth: int, channels: int = 4, dropout: float = 0.0) -> ReversibleStage:
    torch.manual_seed(depth)

    def branch() -> nn.Module:
        part = Branch(channels)
        nn.init.normal_(part.mix.weight, std=0.3)
        return nn.Sequential(part, nn.Dropout3d(dropout)) if dropout else part

    return ReversibleStage([ReversibleBlock(branch(), branch()) for _ in range(depth)])


def volume(channels: int = 8, edge: int = 6) -> Tensor:
    return torch.randn(2, channels, edge, edge + 1, edge + 2, generator=torch.Generator().manual_seed(5))


def plainly(blocks: nn.Sequential, x: Tensor) -> Tensor:
    """The obvious version: autograd keeps everything."""
    for block in blocks:
        x = block(x)
    return x


def gradients(blocks: nn.Sequential, run, x: Tensor) -> list[Tensor]:  # type: ignore[no-untyped-def]
    x = x.clone().requires_grad_()
    y = run(x)
    return list(
        torch.autograd.grad(
            (y * torch.linspace(0.5, 1.5, y.numel(), dtype=y.dtype).view_as(y)).sum(),
            [x, *blocks.parameters()],
        )
    )


def test_the_inverse_gives_the_input_back() -> None:
    blocks, x = stage(6), volume()
    y = x
    for block in blocks:
        y = block(y)
    for block in reversed(list(blocks)):
        y = block.inverse(y)
    torch.testing.assert_close(y, x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_gradients_equal_those_of_plain_autograd(depth: int) -> None:
    blocks, x = stage(depth).double(), volume().double()
    torch.testing.assert_close(blocks(x), plainly(blocks, x))
    for found, expected in zip(
        gradients(blocks, blocks, x), gradients(blocks, lambda t: plainly(blocks, t), x), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_dropout_draws_the_same_numbers_again() -> None:
    blocks, x = stage(3, dropout=0.5).double().train(), volume().double()
    torch.manual_seed(11)
    found = gradients(blocks, blocks, x)
    after = torch.rand(1)
    torch.manual_seed(11)
    expected = gradients(blocks, lambda t: plainly(blocks, t), x)
    assert torch.equal(after, torch.rand(1)), "the backward pass moved the random state"
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * max(1e-3, float(b.abs().max())))


def test_the_stream_stays_float32_under_autocast_and_gradients_follow() -> None:
    blocks, x = stage(4), volume()
    with torch.autocast("cpu", torch.bfloat16):
        assert blocks(x.bfloat16()).dtype == torch.float32
        found = gradients(blocks, blocks, x)
        expected = gradients(blocks, lambda t: plainly(blocks, t), x)
    for a, b in zip(found, expected, strict=True):
        assert (
            float((a - b).norm() / b.norm()) < 0.02
        )  # what is undone differs by float32 rounding, then bfloat16's


def test_frozen_parameters_get_no_gradient_and_the_others_do() -> None:
    blocks = stage(2)
    blocks[0].f.requires_grad_(False)
    blocks(volume()).sum().backward()
    assert all(p.grad is None for p in blocks[0].f.parameters())
    assert all(p.grad is not None for p in blocks[1].parameters())


def kept_bytes(depth: int) -> int:
    """Bytes that the graph of one forward pass keeps for the backward pass, parameters aside."""
    blocks = stage(depth)
    own = {p.data_ptr() for p in blocks.parameters()}
    seen: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        if x.data_ptr() not in own:
            seen[x.data_ptr()] = x.numel() * x.element_size()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        y = blocks(volume().requires_grad_())
    assert y.requires_grad
    return sum(seen.values())


def living_bytes(depth: int) -> int:
    """Bytes of all numbers that Python objects hold after a forward pass, what was there before aside.

    The state of the random numbers, 5 kB a block, is none of them.
    """

    def all_tensors() -> dict[int, int]:
        gc.collect()
        found = [x for x in gc.get_objects() if issubclass(type(x), Tensor) and x.is_floating_point()]
        return {x.data_ptr(): x.untyped_storage().nbytes() for x in found}

    blocks = stage(depth)
    before = all_tensors()
    y = blocks(volume().requires_grad_())
    assert y.requires_grad
    return sum(size for place, size in all_tensors().items() if place not in before)


@pytest.mark.parametrize("count", [kept_bytes, living_bytes])
def test_what_is_kept_for_the_backward_pass_does_not_grow_with_depth(count: Callable[[int], int]) -> None:
    assert count(2) == count(16) > 0


def test_a_norm_with_running_statistics_is_refused() -> None:
    with pytest.raises(ValueError, match="running statistics"):
        ReversibleBlock(nn.BatchNorm3d(4), nn.Identity())


def test_without_gradients_nothing_is_kept_and_the_answer_is_the_same() -> None:
    blocks, x = stage(3), volume()
    with torch.no_grad():
        quiet = blocks(x)
    assert not quiet.requires_grad
    torch.testing.assert_close(quiet, copy.deepcopy(blocks)(x).detach())
