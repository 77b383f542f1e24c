"""Block-sparse attention against dense attention, a slow loop in float64, and its own symmetries."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lnn_med.models.sparse_attention import (
    DENSE_UP_TO,
    BlockSparseAttention,
    block_top_k_attention,
    reference_top_k_attention,
)

BATCH, BLOCKS, INSIDE, HEADS, WIDTH = 2, 6, 8, 3, 5


def blocks_of_tokens(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v (batch, blocks, tokens_per_block, heads, head_dim) in float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (3, BATCH, BLOCKS, INSIDE, HEADS, WIDTH)
    q, k, v = torch.randn(shape, generator=generator, dtype=torch.float64)
    return q, k, v


def slow_loop(q: Tensor, k: Tensor, v: Tensor, top_k: int) -> Tensor:
    """The same as `block_top_k_attention`, one query and one head at a time."""
    out = torch.zeros_like(q)
    for n in range(q.shape[0]):
        for r in range(q.shape[1]):
            agreement = [float((q[n, r].mean(0) * k[n, s].mean(0)).sum()) for s in range(q.shape[1])]
            best = sorted(range(q.shape[1]), key=lambda s: -agreement[s])[:top_k]
            for head in range(q.shape[3]):
                keys = torch.cat([k[n, s, :, head] for s in best])
                values = torch.cat([v[n, s, :, head] for s in best])
                for token in range(q.shape[2]):
                    scores = keys @ q[n, r, token, head] / q.shape[4] ** 0.5
                    weights = (scores - scores.max()).exp()
                    out[n, r, token, head] = (weights / weights.sum()) @ values
    return out


@pytest.mark.parametrize("top_k", [1, 3, BLOCKS])
def test_blocks_equal_a_slow_loop_in_float64(top_k: int) -> None:
    q, k, v = blocks_of_tokens()
    torch.testing.assert_close(block_top_k_attention(q, k, v, top_k), slow_loop(q, k, v, top_k))


@pytest.mark.parametrize("top_k", [BLOCKS, BLOCKS + 5])
def test_all_blocks_chosen_is_dense_attention(top_k: int) -> None:
    q, k, v = blocks_of_tokens(1)
    dense = F.scaled_dot_product_attention(*(x.flatten(1, 2).transpose(1, 2) for x in (q, k, v)))
    found = block_top_k_attention(q, k, v, top_k).flatten(1, 2).transpose(1, 2)
    torch.testing.assert_close(found, dense)


def test_permuted_blocks_give_permuted_output() -> None:
    q, k, v = blocks_of_tokens(2)
    order = torch.tensor([4, 0, 5, 1, 3, 2])
    found = block_top_k_attention(q[:, order], k[:, order], v[:, order], 2)
    torch.testing.assert_close(found, block_top_k_attention(q, k, v, 2)[:, order])


def test_a_block_that_is_not_chosen_does_not_matter() -> None:
    q, k, v = blocks_of_tokens(3)
    agreement = torch.einsum("c,sc->s", q[0, 0].mean(0).flatten(), k[0].mean(1).flatten(1))
    worst = int(agreement.argmin())
    changed = v.clone()
    changed[0, worst] += 100
    before, after = (block_top_k_attention(q, k, values, 2)[0, 0] for values in (v, changed))
    assert torch.equal(before, after)


def test_reference_with_all_keys_is_softmax_attention() -> None:
    q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in blocks_of_tokens(4))
    tokens = q.shape[2]
    torch.testing.assert_close(
        reference_top_k_attention(q, k, v, tokens), F.scaled_dot_product_attention(q, k, v)
    )


def test_reference_with_one_key_takes_the_value_of_the_best_key() -> None:
    q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in blocks_of_tokens(5))
    best = (q @ k.transpose(-1, -2)).argmax(dim=-1)
    expected = torch.gather(v, 2, best[..., None].expand_as(v))
    torch.testing.assert_close(reference_top_k_attention(q, k, v, 1), expected)


@pytest.mark.parametrize(
    ("tokens", "path"),
    [(64, "dense"), (DENSE_UP_TO, "dense"), (DENSE_UP_TO + 1, "block"), (4096, "block")],
)
def test_path_is_chosen_by_the_number_of_tokens(tokens: int, path: str) -> None:
    assert DENSE_UP_TO == 512
    assert BlockSparseAttention(8, 2, block=4, top_k=2).path(tokens) == path


def test_module_on_blocks_equals_its_dense_path_when_every_block_is_chosen() -> None:
    torch.manual_seed(0)
    module = BlockSparseAttention(12, 3, block=4, top_k=12, positional=False).double()
    x = torch.randn(2, 12, 8, 12, 8, dtype=torch.float64)  # 768 tokens in 2 x 3 x 2 blocks
    assert module.path(x[0, 0].numel()) == "block"
    q, k, v = module.to_qkv(x).chunk(3, dim=1)
    torch.testing.assert_close(module(x), module.project(module._dense(q, k, v)))


def test_module_moves_with_its_blocks() -> None:
    """Blocks exchanged along two axes come out exchanged; a swapped axis in the block order would show."""
    torch.manual_seed(0)
    module = BlockSparseAttention(8, 2, block=4, top_k=3, positional=False).double()
    x = torch.randn(1, 8, 8, 12, 8, dtype=torch.float64)
    rolled = x.roll((4, -4), dims=(2, 3))
    torch.testing.assert_close(module(rolled), module(x).roll((4, -4), dims=(2, 3)))


def test_position_convolution_adds_neighbouring_values_on_both_paths() -> None:
    torch.manual_seed(0)
    for shape in ((4, 4, 8), (8, 8, 12)):
        module = BlockSparseAttention(8, 2, block=4, top_k=3).double()
        x = torch.randn(2, 8, *shape, dtype=torch.float64)
        with_position = module(x)
        position, module.position = module.position, None
        values = module.to_qkv(x)[:, 16:]
        expected = F.conv3d(position(values), module.project.weight)  # the projection is linear
        torch.testing.assert_close(with_position - module(x), expected)


def test_flops_of_the_block_path_grow_slower_than_dense() -> None:
    module = BlockSparseAttention(32, 2, block=4, top_k=4)
    small, large = module.flops(4096), module.flops(8 * 4096)
    assert large < 8**1.4 * small  # dense would be 64 times
    assert module.flops(512) == 4 * 512 * 512 * 32


def test_channels_that_do_not_divide_into_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="10 channels do not divide into 4 heads"):
        BlockSparseAttention(10, 4, block=4, top_k=2)
