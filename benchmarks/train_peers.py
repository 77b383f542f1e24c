"""Peers and the LNN on the same fold with the same budget: trains a network, or takes a bundle, and compares.

    train_peers.py hippocampus-t1 DATA --network nnunet --minutes 15 -o nnunet.json
    train_peers.py hippocampus-t1 DATA --network lnn --minutes 15 -o lnn.json --against nnunet.json
    train_peers.py hippocampus-t1 DATA --network unet-16 --steps 2500 -o unet.json
    train_peers.py hippocampus-t1 DATA --network bundle:hippocampus-t1 -o ours.json --against unet.json
    train_peers.py hippocampus-t1 DATA --network segresnet-16 --steps 2000 -o peer.json --maps maps
    train_peers.py hippocampus-t1 DATA --network unet-16 -o unet.json --weights unet.safetensors

Cases, split, crops, variants, batch and optimiser are those of the configuration (`schedule.batch=4` and the
like change them), for peers and for `lnn` alike; the learning rate follows the budget, and weights are
averaged. Peers learn Dice with cross-entropy; `lnn` has the configuration's own loss and answers at full
depth. Minutes are those of the training process on all its cores, so it does not matter what else runs;
give every network as many threads (OMP_NUM_THREADS). Nothing is compiled. Dice is counted on the model grid
of the validation fold, with `--all-unseen` also of the cases kept for calibration, which no weight has seen
either. `--maps` leaves label maps as another tool would, for `lnn-med validate`; `--weights` a file from
which an LNN learns (`teachers: [unet.safetensors]` in its configuration).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lnn_med.allocator import keep_memory
from lnn_med.evaluation.statistics import paired_difference
from lnn_med.inference.bundle import load_bundle
from lnn_med.inference.model_space import into_model_space
from lnn_med.inference.native_grid import labels_in_native_grid
from lnn_med.inference.runtime import has_bf16
from lnn_med.io.nifti import read_nifti, write_nifti
from lnn_med.models.lnn import LNN
from lnn_med.training.datasets import (
    Case,
    Variants,
    case_names,
    collate,
    image_path,
    load_cases,
    split_cases,
)
from lnn_med.training.loop import find_config
from lnn_med.training.losses import cross_entropy_and_dice
from lnn_med.training.network_and_loss import NetworkAndLoss
from lnn_med.training.peers import PEERS, save_peer
from lnn_med.training.run_config import RunConfig, read_run_config
from lnn_med.training.schedule import Average, make_optimizers, set_rate

CPU = torch.device("cpu")


class PeerAndLoss(nn.Module):
    """A peer and its loss, called as `NetworkAndLoss` is."""

    def __init__(self, network: nn.Module, weights: Tensor) -> None:
        super().__init__()
        self.network, self.weights = network, weights

    def forward(self, image: Tensor, labels: Tensor, *_: object) -> tuple[Tensor, dict[str, float]]:
        """Dice with cross-entropy of a batch."""
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16(CPU)):
            logits = self.network(image.contiguous(memory_format=torch.channels_last_3d))
            return cross_entropy_and_dice(logits, labels, self.weights), {}


@dataclass(frozen=True)
class Budget:
    """What a network may spend: so many steps, or so many minutes of CPU time when `steps` is None."""

    minutes: float
    steps: int | None

    def spent(self, steps: int, seconds: float) -> float:
        """Share of the budget that is used up, from 0."""
        return steps / self.steps if self.steps else seconds / (60 * self.minutes)


def train_network(name: str, config: RunConfig, cases: list[Case], budget: Budget) -> tuple[nn.Module, int]:
    """Train a peer or a new LNN; the averaged network and its steps.

    The learning rate follows the budget, so that every network ends its cycle.
    """
    torch.manual_seed(config.seed)
    classes = len(config.labels) + 1
    network: nn.Module
    network = LNN(config.network) if name == "lnn" else PEERS[name](classes)
    network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    weights = torch.ones(classes)
    model = (
        NetworkAndLoss(network, weights, replace(config, compile=False))
        if isinstance(network, LNN)
        else PeerAndLoss(network, weights)
    )
    optimizers = make_optimizers(network, config.schedule, {config.network.in_channels, classes})
    average = Average(network, config.schedule.ema)
    variants = Variants(
        cases, config.labels, config.augment, config.window, config.space.spacing_mm, config.seed, 10**6
    )
    loader = DataLoader(variants, batch_size=config.schedule.batch, num_workers=1, collate_fn=collate)
    started, step = time.process_time(), 0
    for item in loader:
        done = budget.spent(step, time.process_time() - started)
        if done >= 1:
            break
        step += 1
        set_rate(optimizers, config.schedule.learning_rate * one_cycle(done))
        loss, _ = model(*item, done < config.loss.coarse_share, False)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.schedule.clip)
        for optimizer in optimizers:
            optimizer.step()
        average.update(network, step)
    network.load_state_dict(average.state)
    return network.eval(), step


def one_cycle(done: float) -> float:
    """Factor on the peak rate: a linear rise over the first tenth, then half a cosine."""
    if done < 0.1:
        return max(done / 0.1, 1e-3)
    return 0.5 * (1 + float(np.cos(np.pi * (done - 0.1) / 0.9)))


@torch.inference_mode()
def dice_of_cases(
    network: Callable[[Tensor], Tensor], cases: list[Case], config: RunConfig
) -> dict[str, dict[str, float]]:
    """Dice of each case and structure that the reference holds."""
    found: dict[str, dict[str, float]] = {}
    for case in cases:
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16(CPU)):
            guess = network(case.image.float()[None, None])[0].argmax(dim=0)
        entry = {}
        for label in config.labels:
            mine, true = guess == label.index, case.labels == label.index
            if true.any():
                entry[label.name] = float(2 * (mine & true).sum() / (mine.sum() + true.sum()))
        found[case.name] = entry
    return found


@torch.inference_mode()
def write_maps(
    network: Callable[[Tensor], Tensor], names: list[str], config: RunConfig, folder: Path
) -> None:
    """Label maps of cases, each in its scan's own grid, and their table of integers as nnU-Net names it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        scan = read_nifti(image_path(config.data, name))
        seen = into_model_space(scan, config.space)
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16(CPU)):
            logits = network(torch.from_numpy(seen.image)[None, None])[0].float()
        found = labels_in_native_grid(logits.softmax(dim=0).movedim(0, -1), seen.placement)
        write_nifti(scan.with_data(found), folder / f"{name}.nii.gz", intent="label")
    table = {"background": 0, **{label.name: label.index for label in config.labels}}
    (folder / "dataset.json").write_text(json.dumps({"labels": table}) + "\n", encoding="utf-8")


def compare(ours: dict[str, Any], other: dict[str, Any]) -> None:
    """Print paired differences of Dice over cases, with bootstrap intervals."""
    cases = sorted(ours["dice"].keys() & other["dice"].keys())
    names = list(ours["mean"])
    for name in [*names, "mean"]:
        both = [(_of(ours, case, name), _of(other, case, name)) for case in cases]
        pairs = np.array([(a, b) for a, b in both if a is not None and b is not None])
        first, second = pairs.T
        difference = paired_difference(first, second, list(range(len(pairs))))
        print(
            f"{name:24} {np.mean(first):.4f} against {np.mean(second):.4f}: {difference.estimate:+.4f} "
            f"({difference.low:+.4f} to {difference.high:+.4f}), n = {len(pairs)}"
        )


def _of(result: dict[str, Any], case: str, name: str) -> float | None:
    entry = result["dice"][case]
    return float(np.mean(list(entry.values()))) if name == "mean" else entry.get(name)


def main() -> None:
    """Train or load, measure, write, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="name or file of a training configuration")
    parser.add_argument("data", help="root of the data set")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--network", required=True, help=f"lnn, {', '.join(PEERS)}, or bundle:NAME")
    parser.add_argument("--depth", default="full", help="of lnn or a bundle: full, auto or a number")
    parser.add_argument("--minutes", type=float, default=15.0, help="of CPU time")
    parser.add_argument("--steps", type=int, help="fixes the steps instead of the minutes")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--all-unseen", action="store_true", help="also the cases kept for calibration")
    parser.add_argument("--maps", type=Path, help="folder for the label maps")
    parser.add_argument("--weights", type=Path, help="file for the weights of a peer, to teach an LNN with")
    chosen = parser.parse_intermixed_args()
    keep_memory()
    config = read_run_config(
        find_config(Path(chosen.config)), [f"data.root={chosen.data}", *chosen.overrides]
    )
    split = split_cases(case_names(config.data), config.data)
    unseen = sorted(split.val + split.calibration) if chosen.all_unseen else split.val
    held_back = load_cases(config.data, unseen, config.space, config.labels)
    kind, _, name = chosen.network.partition(":")
    steps = minutes = None
    if kind == "bundle":
        module: nn.Module = load_bundle(name).network()
    else:
        train = load_cases(config.data, split.train, config.space, config.labels)
        started = time.process_time()
        module, steps = train_network(kind, config, train, Budget(chosen.minutes, chosen.steps))
        minutes = round((time.process_time() - started) / 60, 1)
        if chosen.weights:
            save_peer(chosen.weights, kind, module, config, split.train)
    depth = int(chosen.depth) if chosen.depth.isdecimal() else chosen.depth
    answer: Callable[[Tensor], Tensor] = (
        (lambda image: module(image, depth).logits) if isinstance(module, LNN) else module
    )
    dice = dice_of_cases(answer, held_back, config)
    if chosen.maps:
        write_maps(answer, unseen, config, chosen.maps)
    means = {
        label.name: float(np.mean([entry[label.name] for entry in dice.values() if label.name in entry]))
        for label in config.labels
    }
    result = {
        "network": chosen.network,
        "parameters": sum(p.numel() for p in module.parameters()),
        "cpu_minutes": minutes,
        "steps": steps,
        "crops": steps and steps * config.schedule.batch,
        "threads": torch.get_num_threads(),
        "mean": means,
        "dice": dice,
    }
    chosen.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    spent = f"{result['parameters'] / 1e6:.2f} M parameters, {steps} steps, {minutes} CPU minutes"
    print(f"{chosen.network}: {spent}, mean Dice")
    print({name: round(value, 4) for name, value in means.items()})
    if chosen.against:
        compare(result, json.loads(chosen.against.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
