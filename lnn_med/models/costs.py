"""What the parts of an LNN cost: two operations for each multiply-add of convolutions and attention."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from lnn_med.models.cover import BoxCost, Grid
from lnn_med.models.layer_attention import POOL, LayerAttentionStage
from lnn_med.models.sparse_attention import BlockSparseAttention

if TYPE_CHECKING:
    from lnn_med.models.fine_stages import FineStages
    from lnn_med.models.lnn import LNN, Trunk

Shape = tuple[int, ...]


class Costs(NamedTuple):
    """FLOPs of one volume: `trunk` with exit 1 everywhere, `dense[s]` for the dense path with s stages
    everywhere, `full` for all of them; `box(blocks, s)` on top of `trunk` for a box of so many blocks along
    each axis (of all blocks: the dense path, which needs no exit 1)."""

    trunk: float
    dense: list[float]
    full: float
    box: BoxCost


def costs_of(network: LNN, shape: Shape) -> Costs:
    """Costs of the parts for one volume (X, Y, Z)."""
    half = prod(shape) / 8
    trunk = _trunk(network.trunk, shape)
    size = network.config.block_size

    dense = [trunk + _at(network.exit, half)]
    dense += [trunk + _fine(network.fine, shape, stages) for stages in range(1, network.config.exits)]

    @cache
    def box(blocks: Grid, stages: int) -> float:
        covered = tuple(size * n for n in blocks)
        return dense[stages] - dense[0] if covered == shape else _fine(network.fine, covered, stages)

    return Costs(dense[0], dense, dense[-1], box)


def _trunk(trunk: Trunk, shape: Shape) -> float:
    levels = [prod(shape) / 8 ** (level + 1) for level in range(len(trunk.encoder))]
    total = _at(trunk.embed, levels[0])
    for level, voxels in enumerate(levels):
        total += _at(trunk.encoder[level], voxels) + _at(trunk.attention[level], voxels)
        if level < len(trunk.down):
            total += _at(trunk.down[level], levels[level + 1])
    for number, (up, decoder) in enumerate(zip(trunk.up, trunk.decoder, strict=True)):
        target = len(levels) - 2 - number
        total += _at(up, levels[target + 1]) + _at(decoder, levels[target])
    return total


def _fine(fine: FineStages, shape: Shape, stages: int) -> float:
    """Fine path on one box: convolutions shrink it from its halo to its own shape."""
    border = fine.halo(stages) - 1
    total = _at(fine.image, _voxels(shape, border))
    total += _at(fine.lift, _voxels([size // 2 for size in shape], fine.trunk_halo(stages)))
    for blocks in fine.stages[:stages]:
        for block in blocks.children():
            border -= 1
            total += _at(block, _voxels(shape, border))
    return total + _at(fine.heads[stages - 1], _voxels(shape, 0))


def _voxels(shape: Shape | list[int], border: int) -> float:
    return prod(size + 2 * border for size in shape)


def _at(module: nn.Module, voxels: float) -> float:
    """FLOPs of a module whose convolutions all work on that many voxels (inputs of transposed ones).

    Values of layer attention are pooled, and those of skipped layers never computed.
    """
    total, share = 0.0, {}
    for part in module.modules():
        if isinstance(part, LayerAttentionStage):
            for retrieval, skip in zip(part.retrievals, part.skipped.tolist(), strict=True):
                share[id(retrieval.value)] = 0.0 if skip else 1 / POOL**3
    for part in module.modules():
        if isinstance(part, (nn.Conv3d, nn.ConvTranspose3d)):
            total += 2 * part.weight.numel() * voxels * share.get(id(part), 1.0)
        elif isinstance(part, BlockSparseAttention):
            total += part.flops(int(voxels))
    return total
