"""What number type, compiling and memory layout are worth: a training step, and a block in inference.

    training_step.py                       both bundles
    training_step.py hippocampus-t1

A training step is forward, loss and backward of all exits on a batch of the bundle's configuration, on a
window of the MNI152 template whose labels are what the bundle says of it; medians of steps in turn after two
that are not counted (compiling). The block is one of the fine stages on a head of 2 mm.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from networks import JOBS, LAYOUTS, image_of
from torch import Tensor

from lnn_med.allocator import keep_memory
from lnn_med.inference.bundle import load_bundle
from lnn_med.models.blocks import ResidualBlock
from lnn_med.models.lnn import LNN
from lnn_med.training.loop import find_config
from lnn_med.training.network_and_loss import NetworkAndLoss
from lnn_med.training.run_config import RunConfig, read_run_config

STEPS, UNCOUNTED = 7, 2
WAYS = {"float32": (False, False), "bfloat16": (True, False), "bfloat16, compiled": (True, True)}
HEAD = (96, 112, 96)


def in_turn(calls: dict[str, Callable[[], object]], count: int) -> dict[str, float]:
    """Median seconds of calls that take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(UNCOUNTED + count):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if number >= UNCOUNTED:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in seconds.items()}


def training_window(bundle: str, config: RunConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image, labels, spacing ratios and seeds of a batch: a window of the template as a bundle labels it."""
    image = image_of(next(job for job, name in JOBS.items() if name == bundle))
    with torch.inference_mode():
        labels = load_bundle(bundle).network()(image, 1).logits.argmax(dim=1)
    cut = tuple(slice(0, side) for side in config.window)
    batch = config.schedule.batch
    image = image[(..., *cut)].expand(batch, -1, -1, -1, -1).clone()
    labels = labels[(..., *cut)].expand(batch, -1, -1, -1).clone()
    return image, labels, torch.ones(batch, 3), torch.arange(batch)


def training(bundle: str) -> dict[str, float]:
    """Seconds of a training step each way."""
    config = read_run_config(find_config(Path(bundle)))
    network, window = LNN(config.network), training_window(bundle, config)

    def step(model: NetworkAndLoss) -> Callable[[], object]:
        def run() -> None:
            loss, _ = model(*window, False, False)
            model.zero_grad(set_to_none=True)
            loss.backward()

        return run

    calls = {}
    for name, (bf16, compiled) in WAYS.items():
        again = LNN(config.network)
        again.load_state_dict(network.state_dict())
        weights = torch.ones(config.network.classes)
        calls[name] = step(NetworkAndLoss(again, weights, replace(config, bf16=bf16, compile=compiled)))
    return in_turn(calls, STEPS)


@torch.inference_mode()
def block(channels: int) -> dict[str, float]:
    """Seconds of a residual block on a head, by number type and layout."""
    calls: dict[str, Callable[[], object]] = {}
    for dtype in (torch.float32, torch.bfloat16):
        for layout, order in LAYOUTS.items():
            part = ResidualBlock(channels).eval().to(dtype).to(memory_format=order)  # type: ignore[call-overload]
            x = torch.randn(1, channels, *HEAD).to(dtype).contiguous(memory_format=order)
            calls[f"{str(dtype).removeprefix('torch.')}, {layout}"] = partial(part, x)
    return in_turn(calls, STEPS)


def show(title: str, found: dict[str, float]) -> None:
    """A small table; ratios to the first row."""
    first = next(iter(found.values()))
    print(f"{title}\n\n| how | s | of the first |\n|---|---|---|")
    for name, seconds in found.items():
        print(f"| {name} | {seconds:.3f} | {seconds / first:.2f} |")
    print(flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", nargs="*", default=list(JOBS.values()))
    chosen = parser.parse_args()
    keep_memory()
    for bundle in chosen.bundles:
        torch.compiler.reset()  # or shapes of the bundle before become symbols, which fails
        show(f"{bundle}, a training step, {torch.get_num_threads()} threads", training(bundle))
    show("a residual block of 24 channels, inference", block(24))


if __name__ == "__main__":
    main()
