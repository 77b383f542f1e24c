"""What layer attention adds to a training step of its stages, and how much of that skipping saves.

    layer_attention.py BUNDLE         a bundle trained with skipping (benchmarks/ablations)
    layer_attention.py --run 180      three whole runs of the trunk, so many steps each, step by step in turn

The stages with layer attention, at the sizes of the bundle's training window: as plain blocks, with every
retrieval, and with the bundle's own mask; forward and backward in bf16 where the CPU has it, all in turn.
Whole runs are those of the configurations trunk_deeper, trunk_layer_attention and _skipping, shortened with
all their times (warmup, checks, freezing), on a window of the MNI152 template; the interval is bootstrapped
over steps.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from training_step import UNCOUNTED, training_window

from lnn_med.allocator import keep_memory
from lnn_med.inference.bundle import load_bundle
from lnn_med.inference.runtime import has_bf16
from lnn_med.models.blocks import ChannelsLast
from lnn_med.models.layer_attention import LayerAttentionStage, SkipSchedule
from lnn_med.models.lnn import LNN
from lnn_med.training.network_and_loss import NetworkAndLoss
from lnn_med.training.run_config import read_run_config

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


class Training:
    """A run of the trunk on one window, a step at a time."""

    def __init__(self, name: str, steps: int) -> None:
        path = Path(__file__).with_name("ablations") / f"{name}.yaml"
        config = read_run_config(path)
        shorter = steps / config.schedule.steps
        times = {key: max(1, round(getattr(config.skip, key) * shorter)) for key in ("warmup", "every")}
        torch.manual_seed(0)
        self.network = LNN(config.network).train()
        self.skips = SkipSchedule(self.network, replace(config.skip, **times), steps)
        self.model = NetworkAndLoss(self.network, torch.ones(config.network.classes), config)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3)
        self.window = training_window("brain-t1", config)
        self.seconds: list[float] = []

    def step(self) -> None:
        """One step, timed."""
        started = time.perf_counter()
        self.skips.before(len(self.seconds))
        loss, _ = self.model(*self.window, True, False)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.skips.after()
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - started)


def whole_runs(steps: int) -> None:
    """Print what layer attention adds to whole runs and what skipping gives back."""
    names = ("trunk_deeper", "trunk_layer_attention", "trunk_layer_attention_skipping")
    runs = [Training(name, steps) for name in names]
    for _ in range(steps):
        for run in runs:
            run.step()
    spent = np.array([run.seconds for run in runs])[:, UNCOUNTED:]
    print("| run | skipped in the end | s a step, median | s, all steps |\n|---|---|---|---|")
    for name, run, each in zip(names, runs, spent, strict=True):
        stages = [part for part in run.network.modules() if isinstance(part, LayerAttentionStage)]
        skipped = sum(int(stage.skipped.sum()) for stage in stages)
        print(f"| {name} | {skipped} | {np.median(each):.3f} | {each.sum():.1f} |")
    rng = np.random.default_rng(0)
    drawn = spent[:, rng.integers(0, spent.shape[1], (2000, spent.shape[1]))].mean(axis=2)
    saved = (drawn[1] - drawn[2]) / (drawn[1] - drawn[0])
    plain, every, less = spent.sum(axis=1)
    low, high = np.quantile(saved, [0.025, 0.975])
    print(f"\nadded {100 * (every / plain - 1):.1f} % of the time; skipping gives back ", end="")
    print(f"{100 * (every - less) / (every - plain):.0f} % of that ({100 * low:.0f} to {100 * high:.0f} %)")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", nargs="?")
    parser.add_argument("--run", type=int, metavar="STEPS")
    chosen = parser.parse_args()
    if (chosen.bundle is None) == (chosen.run is None):
        parser.error("name a bundle, or --run STEPS")
    keep_memory()
    if chosen.run:
        whole_runs(chosen.run)
        return
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
