"""Parameters, work, time and memory of networks, ours at several depths beside the peers.

    networks.py                        a hippocampus crop at 1 mm and a whole head at 2 mm
    networks.py --jobs head --only unet-16 nnunet brain-t1:auto

Input is the MNI152 template in the grid of our bundles, so that depth auto decides on a real head. Every
network is a process of its own, all of them in turn, round after round: medians of rounds. Time is of logits
alone, in bf16 where the CPU has it; peers have as many classes, new weights (time does not depend on them)
and the memory layout that is faster for them. Work is counted by PyTorch on the dense network; for auto it is
the share that `predict` reports. Memory is the peak above the loaded network and its input, of both layouts.
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
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from train_peers import CPU, PEERS

from lnn_med.allocator import keep_memory
from lnn_med.inference.bundle import load_bundle
from lnn_med.inference.model_space import into_model_space
from lnn_med.inference.runtime import has_bf16
from lnn_med.io.mni_template import mni152_template
from lnn_med.models.lnn import LNN
from lnn_med.volume import Volume

JOBS = {"crop": "hippocampus-t1", "head": "brain-t1"}
LEFT_HIPPOCAMPUS = (-26.0, -22.0, -14.0)  # mm in MNI space
CROP = (48, 64, 48)  # voxels of 1 mm
PASSES = 5
LAYOUTS = {"plain": torch.contiguous_format, "channels-last": torch.channels_last_3d}
COLUMNS = ("M parameters", "GFLOPs", "seconds", "layout", "peak MB")


def image_of(job: str) -> Tensor:
    """The template in the model grid of a job's bundle, (1, 1, X, Y, Z)."""
    volume = mni152_template()
    if job == "crop":
        middle = np.linalg.inv(volume.affine) @ np.array([*LEFT_HIPPOCAMPUS, 1.0])
        first = [round(at) - size // 2 for at, size in zip(middle, CROP, strict=False)]
        cut = tuple(slice(at, at + size) for at, size in zip(first, CROP, strict=True))
        affine = volume.affine.copy()
        affine[:3, 3] = (volume.affine @ np.array([*first, 1.0]))[:3]
        volume = Volume(volume.data[cut], affine)
    return torch.from_numpy(into_model_space(volume, load_bundle(JOBS[job]).info.space).image)[None, None]


@torch.inference_mode()
def measure(job: str, name: str) -> dict[str, float | str]:
    """One network in this process; `name` is a peer's, or a bundle's with its depth."""
    image = image_of(job)
    bundle = load_bundle(JOBS[job])
    network: nn.Module
    if name in PEERS:
        network = PEERS[name](len(bundle.info.labels) + 1).eval()
        layouts = list(LAYOUTS)
    else:
        network = bundle.network()
        layouts = ["channels-last"]
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    dtype = torch.bfloat16 if has_bf16(CPU) else torch.float32
    network, image = (
        (network.fold().cast(dtype) if isinstance(network, LNN) else network.to(dtype)),
        image.to(dtype),
    )
    found: list[tuple[float, str]] = []
    before = peak_mb()
    for layout in layouts:
        if not isinstance(network, LNN):
            network = network.to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
        answer = answering(network, image.contiguous(memory_format=LAYOUTS[layout]), name)
        answer()
        seconds = []
        for _ in range(PASSES):
            start = time.perf_counter()
            answer()
            seconds.append(time.perf_counter() - start)
        found.append((statistics.median(seconds), layout))
    memory = peak_mb() - before
    work = gigaflops(network, image, name)
    return dict(zip(COLUMNS, (parameters, work, *min(found), memory), strict=True))


def answering(network: nn.Module, image: Tensor, name: str) -> Callable[[], object]:
    """A call that gives logits."""
    if not isinstance(network, LNN):
        return lambda: network(image)
    depth = depth_of(name)
    return lambda: network(image, depth)


def depth_of(name: str) -> str | int:
    """Depth behind the colon, as the network takes it."""
    depth = name.partition(":")[2]
    return int(depth) if depth.isdecimal() else depth


def gigaflops(network: nn.Module, image: Tensor, name: str) -> float:
    """Work of one pass, two for a multiplication with its addition."""
    if isinstance(network, LNN) and depth_of(name) == "auto":
        full = gigaflops(network, image, f"{name.partition(':')[0]}:full")
        shares = network(image, "auto").flops[0] / network.costs(tuple(image.shape[2:])).full
        return full * shares
    with FlopCounterMode(display=False) as counter:
        answering(network, image, name)()
    return counter.get_total_flops() / 1e9


def peak_mb() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


def main() -> None:
    """Print a table a job."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--only", nargs="+", metavar="NETWORK")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    keep_memory()
    if chosen.one:
        print(json.dumps(measure(*chosen.one)))
        return
    for job in chosen.jobs:
        ours = [f"{JOBS[job]}:{depth}" for depth in ("auto", "1", "2", "full")]
        names = chosen.only or [*ours, *PEERS]
        runs: dict[str, list[dict[str, float | str]]] = {name: [] for name in names}
        for _ in range(chosen.rounds):
            for name in names:
                command = [sys.executable, __file__, "--one", job, name]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                runs[name].append(json.loads(told.splitlines()[-1]))
        print_table(job, runs, chosen.json)


def print_table(job: str, runs: dict[str, list[dict[str, float | str]]], as_json: bool) -> None:
    """Medians of the rounds, as a Markdown table or as JSON."""
    rows = {}
    for name, found in runs.items():
        middle = sorted(found, key=lambda run: run["seconds"])[len(found) // 2]
        rows[name] = middle
    shape = tuple(image_of(job).shape[2:])
    cores = len(os.sched_getaffinity(0))
    if as_json:
        print(
            json.dumps({"job": job, "shape": shape, "cores": cores, "medians": rows, "all": runs}, indent=1)
        )
        return
    rounds = len(next(iter(runs.values())))
    kind = "bfloat16" if has_bf16(CPU) else "float32"
    where = f"{cores} cores, torch {torch.__version__}, {kind}"
    print(f"{job}, {' x '.join(map(str, shape))} voxels, {where}, median of {rounds} rounds\n")
    first = next(iter(rows))
    columns = (*COLUMNS, f"time, of {first}")
    print("| network | " + " | ".join(columns) + " |\n|" + "---|" * (1 + len(columns)))
    for name, row in rows.items():
        parameters, work, seconds, layout, memory = (row[column] for column in COLUMNS)
        ratio = statistics.median(
            float(a["seconds"]) / float(b["seconds"]) for a, b in zip(runs[name], runs[first], strict=True)
        )
        cells = f"{parameters:.2f} | {work:.0f} | {seconds:.2f} | {layout} | {memory:.0f} | {ratio:.2f}"
        print(f"| {name} | {cells} |")
    print()


if __name__ == "__main__":
    main()
