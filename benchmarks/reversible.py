"""Peak memory and time of one training step against depth: reversible stages beside plain ones.

First blocks alone, then the trunk of brain-t1 on its training window: as it is, with twice the blocks at the
two finest levels, and with these reversible (ablations/trunk_reversible.yaml). Each number is of a process of
its own. Time is taken with the allocator as training has it; memory with every large block returned to the
system at once, so that it is what tensors need, not what the C library keeps.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

CHANNELS, EDGE = 32, 48
DEPTHS = (2, 4, 8, 16)
KINDS = ("plain", "reversible")
REPEATS = 5
TRUNKS = (
    ("as it is", "[]", "[2,2,2,2]"),
    ("deeper", "[]", "[4,4,2,2]"),
    ("deeper and reversible there", "[0,1]", "[4,4,2,2]"),
    ("four times as deep", "[]", "[8,8,2,2]"),
    ("four times as deep and reversible there", "[0,1]", "[8,8,2,2]"),
)

RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # also ends glibc's own adaptation of that threshold


def one_point(kind: str, depth: int) -> dict[str, float]:
    """Median seconds of a step, and peak memory above that of the input and the weights."""
    import torch

    from lnn_med.allocator import keep_memory
    from lnn_med.models.blocks import Branch, ChannelsLast
    from lnn_med.models.reversible import ReversibleBlock, ReversibleStage

    if not RETURNED.keys() <= os.environ.keys():
        keep_memory()
    torch.manual_seed(0)
    half = CHANNELS // 2
    blocks = [ReversibleBlock(Branch(half), Branch(half)) for _ in range(depth)]
    stage = (ReversibleStage(blocks) if kind == "reversible" else torch.nn.Sequential(*blocks)).to(
        memory_format=ChannelsLast  # type: ignore[call-overload]
    )
    x = torch.randn(1, CHANNELS, EDGE, EDGE, EDGE).to(memory_format=ChannelsLast).requires_grad_()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        stage(x).square().mean().backward()
        seconds.append(time.perf_counter() - start)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024  # Linux counts in KiB
    return {"seconds": statistics.median(seconds[1:]), "megabytes": grown}


def trunk_point(reversible: str, blocks: str) -> dict[str, float]:
    """The same of a step of the trunk; levels and numbers of blocks as JSON lists."""
    import torch

    from lnn_med.allocator import keep_memory
    from lnn_med.models.lnn import LNN
    from lnn_med.training.losses import network_loss
    from lnn_med.training.run_config import read_run_config, shipped_config

    if not RETURNED.keys() <= os.environ.keys():
        keep_memory()
    torch.manual_seed(0)
    changes = ["compile=false", f"network.reversible={reversible}", f"network.trunk_blocks={blocks}"]
    config = read_run_config(shipped_config("brain-t1"), changes)
    network, classes = LNN(config.network), len(config.labels) + 1
    image = torch.randn(1, 1, *config.window)
    labels = torch.randint(classes, (1, *config.window))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for step in range(REPEATS):
        start = time.perf_counter()
        seeds, weights = torch.tensor([step]), torch.ones(classes)
        loss, _ = network_loss(network, image, labels, torch.ones(1, 3), seeds, weights, config.loss, True)
        loss.backward()
        seconds.append(time.perf_counter() - start)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024  # Linux counts in KiB
    return {"seconds": statistics.median(seconds[1:]), "megabytes": grown}


def measured(*arguments: str) -> dict[str, float]:
    """One point in two processes of its own: time, then memory."""
    command = [sys.executable, __file__, *arguments]
    timed, weighed = (
        json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)
        for environment in (os.environ, os.environ | RETURNED)
    )
    return {"seconds": timed["seconds"], "megabytes": weighed["megabytes"]}


def draw(found: dict[str, list[dict[str, float]]], target: Path) -> None:
    """Memory and time of a step against the number of blocks."""
    import matplotlib

    from lnn_med.evaluation.report.figures.canvas import STYLE, axes_of, svg_of

    matplotlib.use("svg")
    with matplotlib.rc_context(STYLE):
        figure, ((left, right),) = axes_of(2.6, columns=2)
        for axes, key, name in (
            (left, "megabytes", "memory of a step, MB"),
            (right, "seconds", "seconds a step"),
        ):
            for (kind, points), look in zip(found.items(), ("--s", "-o"), strict=True):
                values = [point[key] for point in points]
                axes.plot(DEPTHS, values, look, color="black", markersize=4, linewidth=1, label=kind)
            axes.set_xlabel("blocks")
            axes.set_ylabel(name)
            axes.set_ylim(bottom=0)
            axes.legend()
        target.write_text(svg_of(figure), encoding="utf-8")


def main() -> None:
    """Print the tables and the growth of memory a block; with --figure also draw the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--point", nargs=2, metavar=("KIND", "DEPTH"), help="one point (used by itself)")
    parser.add_argument("--trunk", nargs=2, metavar=("LEVELS", "BLOCKS"), help="the same")
    parser.add_argument("--figure", type=Path, help="SVG file")
    chosen = parser.parse_args()
    if chosen.point:
        print(json.dumps(one_point(chosen.point[0], int(chosen.point[1]))))
        return
    if chosen.trunk:
        print(json.dumps(trunk_point(*chosen.trunk)))
        return
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for depth in DEPTHS:
        for kind in KINDS:
            found[kind].append(measured("--point", kind, str(depth)))
    print("| blocks | plain, s / MB | reversible, s / MB | time ratio |")
    print("|---|---|---|---|")
    for n, depth in enumerate(DEPTHS):
        plain, reversible = (found[kind][n] for kind in KINDS)
        ratio = reversible["seconds"] / plain["seconds"]
        print(
            f"| {depth} | {plain['seconds']:.2f} / {plain['megabytes']:.0f} | "
            f"{reversible['seconds']:.2f} / {reversible['megabytes']:.0f} | {ratio:.2f} |"
        )
    for kind in KINDS:
        memory = [point["megabytes"] for point in found[kind]]
        growth = np.polyfit(DEPTHS, memory, 1)[0] / memory[0]
        print(f"{kind}: memory grows by {100 * growth:.1f} % of the shallowest for each block")
    if chosen.figure:
        draw(found, chosen.figure)
    print("\n| trunk of brain-t1, blocks at each level | s / MB of a step |\n|---|---|")
    for name, levels, blocks in TRUNKS:
        point = measured("--trunk", levels, blocks)
        print(f"| {name}, {blocks} | {point['seconds']:.2f} / {point['megabytes']:.0f} |")


if __name__ == "__main__":
    main()
