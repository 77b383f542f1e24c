"""Seconds of a whole 1 mm head: the peers' networks in sliding windows, beside our whole chain.

    sliding_windows.py                                        all peers
    sliding_windows.py --only unet-16 segresnet-16 --rounds 3

The scan is the MNI152 template. Peers see windows of 128³ voxels that overlap by half, weighed by a Gaussian
(MONAI's sliding_window_inference), in bf16 where the CPU has it, in the memory layout that is faster for one
window; they have as many classes as brain-t1 and new weights (time does not depend on them). Their time is
that of the normalised image in memory to labels in memory. Ours is all of `predict` but reading and writing:
model grid, brain-t1, both hippocampi by hippocampus-t1, back to the scan's grid, quality, dementia-t1. Each
is a process of its own that has run once before, all of them in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from networks import LAYOUTS, peak_mb
from train_peers import CPU, PEERS
from whole_head import CLASSES, machine

from lnn_med.allocator import keep_memory
from lnn_med.inference.predict import Predictor
from lnn_med.inference.runtime import has_bf16
from lnn_med.io.mni_template import mni152_template

WINDOW = (128, 128, 128)
OVERLAP = 0.5
OURS = ("auto", "full")


@torch.inference_mode()
def peer(name: str) -> dict[str, float]:
    """Seconds and peak memory above the loaded network and its input, in this process."""
    dtype = torch.bfloat16 if has_bf16(CPU) else torch.float32
    network = PEERS[name](CLASSES).eval().to(dtype)
    data = mni152_template().data.astype(np.float32)
    image = torch.from_numpy((data - data.mean()) / data.std())[None, None].to(dtype)
    before = peak_mb()
    window, times = image[:, :, : WINDOW[0], : WINDOW[1], : WINDOW[2]], {}
    for layout in LAYOUTS.values():
        network = network.to(memory_format=layout)  # type: ignore[call-overload]
        given = window.contiguous(memory_format=layout)
        for _ in range(2):
            began = time.perf_counter()
            network(given)
            times[layout] = time.perf_counter() - began
    best = min(times, key=lambda layout: times[layout])
    network = network.to(memory_format=best)  # type: ignore[call-overload]
    began = time.perf_counter()
    logits = sliding_window_inference(
        image, WINDOW, 1, lambda part: network(part.contiguous(memory_format=best)), OVERLAP, mode="gaussian"
    )
    assert isinstance(logits, torch.Tensor)
    logits.argmax(dim=1)
    return {"seconds": time.perf_counter() - began, "MB": peak_mb() - before}


def chain(depth: str) -> dict[str, float]:
    """The same of our whole chain."""
    predictor, volume = Predictor(depth=depth), mni152_template()
    before = peak_mb()
    for _ in range(2):
        began = time.perf_counter()
        predictor(volume)
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "MB": peak_mb() - before}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="NETWORK", default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    keep_memory()
    if chosen.one:
        print(json.dumps(chain(chosen.one) if chosen.one in OURS else peer(chosen.one)))
        return
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in (*OURS, *chosen.only)}
    for _ in range(chosen.rounds):
        for name, found in runs.items():
            command = [sys.executable, __file__, "--one", name]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(json.loads(told.splitlines()[-1]))
    shape = " x ".join(map(str, mni152_template().shape))
    print(f"MNI152 template, {shape} voxels of 1 mm, {machine()}, median of {chosen.rounds} rounds\n")
    print(f"| what | seconds | MB | time, of {OURS[0]} |\n|---|---|---|---|")
    for name, found in runs.items():
        seconds, memory = (statistics.median(run[key] for run in found) for key in ("seconds", "MB"))
        pairs = zip(found, runs[OURS[0]], strict=True)
        ratio = statistics.median(run["seconds"] / first["seconds"] for run, first in pairs)
        print(f"| {name} | {seconds:.2f} | {memory:.0f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
