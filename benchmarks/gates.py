"""Which blocks deserve depth: fitted gain, learned, uncertainty, random and oracle gates at equal work.

    gates.py brain-t1 DATA

Every gate ranks blocks and stages of a validation case; what is worth least is left out until the budget is
met. Uncertainty, the entropy of exit 1, is what `--budget` goes by; `auto`, without a budget, takes what pays
by the gain that `lnn-med calibrate` fitted. Entropy and chance, which say nothing of stages, count half for
the last one. The answer of a block does not depend on the others, so label maps are put together from the
dense answer of each exit. Dice over structures of at least 100 voxels; work in FLOPs as the network counts
it.
Beside the gates: an exit everywhere, and in the smallest box of blocks around what the trunk labelled, as a
static network on a foreground crop would have it. Last, the time of the network as `predict` runs it, all
depths in turn on every case.
"""

from __future__ import annotations

import argparse
import statistics
import time
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lnn_med.allocator import keep_memory
from lnn_med.evaluation.statistics import paired_difference
from lnn_med.inference.bundle import Bundle, load_bundle
from lnn_med.inference.runtime import Engine, RuntimeConfig, has_bf16
from lnn_med.models.costs import Costs
from lnn_med.models.cover import Box, Plan, plan, plan_within
from lnn_med.models.expected_gain import ExpectedGain
from lnn_med.models.lnn import LNN
from lnn_med.training.datasets import Case, case_names, load_cases
from lnn_med.training.loop import find_config
from lnn_med.training.run_config import RunConfig, read_run_config
from lnn_med.training.validate import LARGE

BUDGETS = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.8)
PASSES = 3
GATES = ("gain", "learned", "uncertainty", "random", "oracle")
CPU = torch.device("cpu")


class Answers(NamedTuple):
    """One case: label maps of every exit (exits, X, Y, Z), truth, scores (1, stages, I, J, K) by gate."""

    labels: Tensor
    truth: Tensor
    scores: dict[str, Tensor]
    costs: Costs


def held_back(name: str, root: str) -> tuple[Bundle, RunConfig, list[Case]]:
    """A bundle, its configuration on a data set, and the cases of its validation fold that are there."""
    bundle = load_bundle(name)
    config = read_run_config(find_config(Path(bundle.info.name)), [f"data.root={root}"])
    known = set(case_names(config.data))
    names = [case for case in bundle.info.split["val"] if case in known]
    return bundle, config, load_cases(config.data, names, config.space, config.labels)


@torch.inference_mode()
def answers(network: LNN, case: Case) -> Answers:
    """Run every exit densely and score the blocks."""
    image, truth = case.image.float()[None, None], case.labels.long()
    size, stages = network.config.block_size, network.config.exits - 1
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16(CPU)):
        seen, logits = network.every_exit(image)
        found = torch.stack([each[0].argmax(dim=0) for each in logits])
    right = F.avg_pool3d((found == truth).float()[:, None], size)[:, 0]  # (exits, I, J, K)
    seed = zlib.crc32(case.name.encode())
    chance = torch.rand(seen.entropy.shape, generator=torch.Generator().manual_seed(seed))
    entropy, ratio, guess = seen.entropy[0].double().numpy(), np.ones(3), ExpectedGain.guess(stages)
    scores = {
        "gain": torch.from_numpy((network.gain or guess).of(entropy, ratio))[None],
        "learned": seen.block_gate,
        "uncertainty": torch.from_numpy(guess.of(entropy, ratio))[None],
        "random": torch.from_numpy(guess.of(chance[0].double().numpy(), ratio))[None],
        "oracle": (right[1:] - right[:-1]).flip(0).cumsum(0).flip(0)[None],  # what this and later stages gain
    }
    return Answers(found, truth, scores, network.costs(tuple(truth.shape)))


def at_budget(case: Answers, gate: str, budget: float) -> tuple[Tensor, float]:
    """Label map and share of the full work when a gate has that budget."""
    scores = case.scores[gate][0].double().numpy()
    everywhere = np.full(scores.shape[1:], len(scores))
    room = budget * case.costs.full - case.costs.trunk
    found = plan_within(everywhere, scores, case.costs.box, room)
    work = (case.costs.trunk + found.cost) / case.costs.full
    return composed(case.labels, torch.from_numpy(found.stages)), work


def by_itself(case: Answers, gain: ExpectedGain) -> tuple[Tensor, float]:
    """Label map and share of the full work at depth auto without a budget."""
    found = plan(gain.wanted(case.scores["gain"][0].numpy()), case.costs.box)
    work = (case.costs.trunk + found.cost) / case.costs.full
    return composed(case.labels, torch.from_numpy(found.stages)), work


def in_foreground(case: Answers, stages: int) -> tuple[Tensor, float]:
    """Label map and share of the full work with so many stages in one box around the trunk's foreground."""
    grid = tuple(case.scores["learned"].shape[2:])
    box = foreground(case.labels[0], case.truth.shape[0] // grid[0])._replace(stages=stages)
    chosen = torch.zeros(grid, dtype=torch.long)
    chosen[box.inside] = stages
    cost = case.costs.box(box.shape, stages)
    return composed(case.labels, chosen), (case.costs.trunk + cost) / case.costs.full


def foreground(labels: Tensor, size: int) -> Box:
    """The smallest box of blocks around what a label map (X, Y, Z) holds."""
    filled = F.max_pool3d((labels > 0).float()[None], size)[0] > 0  # (I, J, K)
    places = filled.nonzero()
    first, last = places.amin(dim=0).tolist(), places.amax(dim=0).tolist()
    return Box(tuple(first), tuple(b - a + 1 for a, b in zip(first, last, strict=True)), 0)


@torch.inference_mode()
def seconds_in_box(engine: Engine, image: np.ndarray, stages: int) -> float:
    """Time of a static network on a foreground crop: the trunk everywhere, then that box alone."""
    network = engine.network
    tensor = torch.from_numpy(image)[None, None].to(engine.dtype)
    box = foreground(network(tensor, 1).logits[0].argmax(dim=0), network.config.block_size)
    plan = Plan([box._replace(stages=stages)], 0.0, np.zeros(box.shape, np.int64))
    started = time.perf_counter()
    network._sparse(tensor, network.features(tensor), [plan])[0].movedim(0, -1).softmax(dim=-1)
    return time.perf_counter() - started


def composed(labels: Tensor, stages: Tensor) -> Tensor:
    """Each block's answer from the exit after its stages; labels (exits, X, Y, Z), stages (I, J, K)."""
    size = labels.shape[1] // stages.shape[0]
    wide = stages.repeat_interleave(size, 0).repeat_interleave(size, 1).repeat_interleave(size, 2)
    return labels.gather(0, wide[None])[0]


def dice(found: Tensor, truth: Tensor, classes: int) -> np.ndarray:
    """(classes - 1,) Dice; NaN for structures that the reference lacks."""
    count = torch.bincount(truth.flatten(), minlength=classes).double()
    guess = torch.bincount(found.flatten(), minlength=classes)
    hit = torch.bincount(truth[truth == found], minlength=classes).double()
    return torch.where(count > 0, 2 * hit / (count + guess), torch.nan)[1:].numpy()


def print_seconds(bundle: Bundle, cases: list[Case]) -> None:
    """Median time of a case at every depth, and of its ratio to full depth."""
    depths = ["full", "auto", *map(str, range(1, bundle.info.network.exits))]
    engines = {depth: Engine(bundle, RuntimeConfig(depth=depth)) for depth in depths}
    boxed = {f"{n + 1}, around the foreground": n for n in range(1, bundle.info.network.exits)}
    spent: dict[str, list[float]] = {name: [] for name in (*depths, *boxed)}
    for case in cases:
        image = case.image.float().numpy()
        runs = [
            {depth: engines[depth](image, (1.0, 1.0, 1.0)).seconds for depth in depths}
            | {name: seconds_in_box(engines["full"], image, stages) for name, stages in boxed.items()}
            for _ in range(PASSES)
        ]
        for name, each in spent.items():
            each.append(statistics.median(run[name] for run in runs[1:]))  # the first one warms up
    print(f"\n{torch.get_num_threads()} threads, medians over the cases")
    print("| depth | seconds | of full depth |\n|---|---|---|")
    for depth, seconds in spent.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, spent["full"], strict=True))
        print(f"| {depth} | {statistics.median(seconds):.2f} | {ratio:.2f} |")


def print_dice(bundle: Bundle, config: RunConfig, cases: list[Case]) -> None:
    """Dice and work of exits, foreground crops and gates."""
    network, classes = bundle.network(), len(config.labels) + 1
    sizes = np.median([np.bincount(c.labels.flatten(), minlength=classes)[1:] for c in cases], axis=0)
    large = sizes >= LARGE if (sizes >= LARGE).any() else sizes >= 0
    seen = [answers(network, case) for case in cases]

    def by_case(maps: list[Tensor]) -> np.ndarray:
        values = [dice(m, c.truth, classes)[large] for m, c in zip(maps, seen, strict=True)]
        return np.nanmean(values, axis=1)

    def mean_dice(maps: list[Tensor]) -> float:
        return float(by_case(maps).mean())

    print(f"{bundle.info.name} {bundle.info.version}, {len(cases)} validation cases")
    print("| exit | work | Dice |\n|---|---|---|")
    for number in range(network.config.exits):
        work = np.mean([case.costs.dense[number] / case.costs.full for case in seen])
        print(
            f"| {number + 1}, everywhere | {work:.2f} | {mean_dice([c.labels[number] for c in seen]):.4f} |"
        )
    for number in range(1, network.config.exits):
        cropped = [in_foreground(case, number) for case in seen]
        work = np.mean([work for _, work in cropped])
        print(
            f"| {number + 1}, around the foreground | {work:.2f} | {mean_dice([m for m, _ in cropped]):.4f} |"
        )
    full = by_case([case.labels[-1] for case in seen])
    if network.gain:
        made = [by_itself(case, network.gain) for case in seen]
        each, spent = by_case([m for m, _ in made]), np.array([w for _, w in made])
        gap = paired_difference(each, full, list(range(len(each))))
        print(f"| auto | {spent.mean():.2f} ({spent.min():.2f} to {spent.max():.2f}) | {each.mean():.4f} |")
        print(f"\nauto against full depth {gap.estimate:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})")
    print("\n| budget | " + " | ".join(GATES) + " | gain against full depth |")
    print("|---|" + "---|" * (len(GATES) + 1))
    for budget in BUDGETS:
        cells, told = [], ""
        for gate in GATES:
            made = [at_budget(case, gate, budget) for case in seen]
            each = by_case([m for m, _ in made])
            cells.append(f"{each.mean():.4f} ({np.mean([w for _, w in made]):.2f})")
            if gate == "gain":
                gap = paired_difference(each, full, list(range(len(each))))
                told = f"{gap.estimate:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
        print(f"| {budget:g} | " + " | ".join(cells) + f" | {told} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("data", help="root of the data set")
    parser.add_argument("--times-alone", action="store_true", help="no Dice")
    chosen = parser.parse_args()
    keep_memory()
    bundle, config, cases = held_back(chosen.bundle, chosen.data)
    if not chosen.times_alone:
        print_dice(bundle, config, cases)
    print_seconds(bundle, cases)


if __name__ == "__main__":
    main()
