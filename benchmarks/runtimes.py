"""Number types and runtimes against the labels: full depth in torch and OpenVINO, float32 and bfloat16.

    runtimes.py hippocampus-t1 Task04_Hippocampus
    runtimes.py brain-t1 ixi_brain --cases 6

Held-back cases of the bundle, on its own grid. Dice is the mean over cases of the mean over structures of at
least 100 voxels in the case (all where none is so large); the difference to torch in float32 is paired, with
a 95 % bootstrap interval over cases. The graph's own check, which refuses what agrees in too few voxels, is
part of each run. bfloat16 is left out where the CPU has none.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from lnn_med.allocator import keep_memory
from lnn_med.evaluation.statistics import paired_difference
from lnn_med.inference.bundle import Bundle, load_bundle
from lnn_med.inference.runtime import choose_device, has_bf16
from lnn_med.inference.static_exit import OpenVinoExit
from lnn_med.training.datasets import load_cases
from lnn_med.training.loop import find_config
from lnn_med.training.run_config import read_run_config
from lnn_med.training.validate import mean_dice

REFERENCE = "torch, float32"
Labeller = Callable[[Tensor], Tensor]  # image (1, 1, X, Y, Z) -> labels (X, Y, Z)


def in_torch(bundle: Bundle, dtype: torch.dtype) -> Labeller:
    """The network as `predict` runs it."""
    network = bundle.network().fold().cast(dtype)
    return lambda image: network(image.to(dtype), "full").logits[0].argmax(dim=0)


def in_openvino(bundle: Bundle, precision: str) -> Labeller:
    """The static graph, checked against torch for each shape."""
    network = bundle.network().fold().cast(torch.float32)
    graph = OpenVinoExit(network, network.config.exits, precision)

    def labels(image: Tensor) -> Tensor:
        graph.prepare(image)
        return graph(image).logits[0].argmax(dim=0)

    return labels


def main() -> None:
    """Run everything on each case in turn and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("data")
    parser.add_argument("--cases", type=int, help="of the validation fold, the first (default all)")
    chosen = parser.parse_args()
    keep_memory()
    bundle = load_bundle(chosen.bundle)
    config = read_run_config(find_config(Path(bundle.info.name)), [f"data.root={chosen.data}"])
    cases = load_cases(config.data, bundle.info.split["val"][: chosen.cases], config.space, config.labels)
    fast = has_bf16(choose_device("cpu"))
    ways = {REFERENCE: in_torch(bundle, torch.float32), "OpenVINO, float32": in_openvino(bundle, "f32")}
    if fast:
        ways["torch, bfloat16"] = in_torch(bundle, torch.bfloat16)
        ways["OpenVINO, bfloat16"] = in_openvino(bundle, "bf16")
    dice, same, seconds = (defaultdict[str, list[float]](list) for _ in range(3))
    for case in cases:
        image, truth = case.image.float()[None, None], case.labels.long()
        expected: Tensor | None = None
        for name, way in ways.items():
            with torch.inference_mode():
                way(image)  # graphs are made
                started = time.perf_counter()
                found = way(image)
            seconds[name].append(time.perf_counter() - started)
            expected = found if expected is None else expected
            dice[name].append(mean_dice(found, truth, len(config.labels) + 1))
            same[name].append(float((found == expected).double().mean()))
    print(f"{len(cases)} cases, {torch.get_num_threads()} threads\n")
    print("| runtime | Dice | against the first | voxels as the first | s |")
    print("|---|---|---|---|---|")
    for name in ways:
        gap = paired_difference(dice[name], dice[REFERENCE], list(range(len(cases))))
        told = "-" if name == REFERENCE else f"{gap.estimate:+.5f} ({gap.low:+.5f} to {gap.high:+.5f})"
        share, spent = statistics.mean(same[name]), statistics.median(seconds[name])
        print(f"| {name} | {statistics.mean(dice[name]):.4f} | {told} | {100 * share:.3f} % | {spent:.2f} |")


if __name__ == "__main__":
    main()
