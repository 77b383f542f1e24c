"""Peak memory and time of one training step against depth: reversible stages beside plain ones.

Each number is of a process of its own. Time is taken with the allocator as training has it; memory with every
large block returned to the system at once, so that it is what tensors need, not what the C library keeps.
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

import numpy as np

CHANNELS, EDGE = 32, 48
DEPTHS = (2, 4, 8, 16)
KINDS = ("plain", "reversible")
REPEATS = 5


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


def main() -> None:
    """Print the table and the growth of memory a block."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--point", nargs=2, metavar=("KIND", "DEPTH"), help="one point (used by itself)")
    chosen = parser.parse_args()
    if chosen.point:
        print(json.dumps(one_point(chosen.point[0], int(chosen.point[1]))))
        return
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for depth in DEPTHS:
        for kind in KINDS:
            command = [sys.executable, __file__, "--point", kind, str(depth)]
            timed, weighed = (
                json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)
                for environment in (os.environ, os.environ | RETURNED)
            )
            found[kind].append({"seconds": timed["seconds"], "megabytes": weighed["megabytes"]})
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


if __name__ == "__main__":
    main()
