"""What a trained network's answers owe to attention: parts of it are taken away, nothing is trained again.

    attention_removed.py brain-t1 DATA

The validation fold of the bundle, first two exits: as it is; with fewer and more key blocks for each query
block; with the sum over tokens gone, so that the depth-wise convolution of the values is left; with the whole
branch gone. This is about the shipped weights. What a network without attention could learn instead, at equal
work, is asked by ablations.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from gates import held_back
from torch import nn

from lnn_med.allocator import keep_memory
from lnn_med.models.sparse_attention import BlockSparseAttention
from lnn_med.training.validate import validate

Change = Callable[[BlockSparseAttention], None]


def top(count: int) -> Change:
    """So many key blocks for each query block."""

    def change(attention: BlockSparseAttention) -> None:
        attention.top_k = count

    return change


def without_sum(attention: BlockSparseAttention) -> None:
    """The sum over tokens gives 0; values still reach their neighbours by the depth-wise convolution."""
    attention._blocks = attention._dense = lambda q, k, v: torch.zeros_like(v)  # type: ignore[method-assign]


def without_branch(attention: BlockSparseAttention) -> None:
    """Attention adds nothing; the block's two 1³ convolutions stay."""
    nn.init.zeros_(attention.project.weight)
    if attention.project.bias is not None:
        nn.init.zeros_(attention.project.bias)


CHANGES: dict[str, Change] = {
    "as it is": lambda _: None,
    "1 key block": top(1),
    "8 key blocks": top(8),
    "without the sum over tokens": without_sum,
    "without attention": without_branch,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("data", help="root of the data set")
    chosen = parser.parse_args()
    keep_memory()
    bundle, config, cases = held_back(chosen.bundle, chosen.data)
    print(f"{bundle.info.name} {bundle.info.version}, {len(cases)} validation cases")
    print("| attention | Dice at exit 1 | Dice at exit 2 |\n|---|---|---|")
    for name, change in CHANGES.items():
        network = bundle.network()
        for module in network.modules():
            if isinstance(module, BlockSparseAttention):
                change(module)
        exits = validate(network, cases, config, 2)["dice_exits"]
        print(f"| {name} | {exits[0]:.4f} | {exits[1]:.4f} |", flush=True)


if __name__ == "__main__":
    main()
