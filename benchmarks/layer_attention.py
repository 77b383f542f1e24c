"""What layer attention adds to a training step of its stages, and how much of that skipping saves.

    layer_attention.py BUNDLE         a bundle trained with skipping (benchmarks/ablations)

The stages with layer attention, at the sizes of the bundle's training window: as plain blocks, with every
retrieval, and with the bundle's own mask; forward and backward in bf16 where the CPU has it, all in turn.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from torch import nn

from lnn_med.allocator import keep_memory
from lnn_med.inference.bundle import load_bundle
from lnn_med.inference.runtime import has_bf16
from lnn_med.models.blocks import ChannelsLast
from lnn_med.models.layer_attention import LayerAttentionStage

ROUNDS = 60
WINDOW = (80, 96, 80)  # voxels of brain-t1's training crop
CPU = torch.device("cpu")


def seconds(stage: nn.Module, channels: int, level: int) -> float:
    """Time of one forward and backward pass."""
    size = [side // 2 ** (level + 1) for side in WINDOW]
    x = torch.randn(1, channels, *size).contiguous(memory_format=ChannelsLast).requires_grad_()
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16(CPU)):
        stage(x).float().square().mean().backward()
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    chosen = parser.parse_args()
    keep_memory()
    network = load_bundle(chosen.bundle).network().train()
    print("| level, channels | skipped | plain, ms | all, ms | skipping, ms | saved of what is added |")
    print("|---|---|---|---|---|---|")
    for level in network.config.layer_attention:
        skipping = network.trunk.encoder[level]
        assert isinstance(skipping, LayerAttentionStage)
        every = copy.deepcopy(skipping)
        every.skipped.fill_(False)
        stages = {"plain": nn.Sequential(*copy.deepcopy(skipping.blocks)), "all": every, "skipping": skipping}
        channels = network.config.trunk_channels[level]
        spent: dict[str, list[float]] = {name: [] for name in stages}
        for _ in range(ROUNDS):
            for name, stage in stages.items():
                spent[name].append(seconds(stage, channels, level))
        plain, full, less = (1000 * statistics.median(spent[name]) for name in stages)
        skipped = f"{int(skipping.skipped.sum())} of {len(skipping.skipped)}"
        saved = 100 * (full - less) / (full - plain)
        print(f"| {level}, {channels} | {skipped} | {plain:.1f} | {full:.1f} | {less:.1f} | {saved:.0f} % |")


if __name__ == "__main__":
    main()
