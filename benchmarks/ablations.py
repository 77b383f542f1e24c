"""What each part is worth: trains the configurations of benchmarks/ablations with the same seed and steps.

    ablations.py DATA -o RUNS                                  all of brain-t1's
    ablations.py DATA -o RUNS --only trunk trunk_deeper        some
    ablations.py DATA -o RUNS --seeds 1 2 3
    ablations.py DATA -o RUNS --base hippocampus-t1 --exit 1   all of hippocampus-t1's, compared at exit 1

A run that is complete is not trained again, one that was interrupted goes on. The table is sorted by Dice of
the validation fold at the exit that is compared, the deepest trained one if none is named; the difference to
the first configuration is paired over its cases (means over the seeds; structures of at least 100 voxels in
the case) with a 95 % bootstrap interval. Seconds a step are of this machine and of that moment.
"""

from __future__ import annotations

import argparse
import json
import statistics
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lnn_med.allocator import keep_memory
from lnn_med.config import load_yaml
from lnn_med.evaluation.statistics import paired_difference
from lnn_med.models.layer_attention import LayerAttentionStage
from lnn_med.models.lnn import LNN
from lnn_med.training.datasets import load_cases
from lnn_med.training.loop import LOG, train
from lnn_med.training.run_config import RunConfig, read_run_config
from lnn_med.training.validate import validate

FOLDER = Path(__file__).with_name("ablations")
SHAPE = (96, 112, 112)  # model grid of a whole head at 2 mm, for FLOPs
COLUMNS = ("every exit, last seed", "trunk, M parameters", "trunk, GFLOPs", "s a step", "retrievals skipped")


class Found(NamedTuple):
    """One run: Dice of the validation fold at every exit, of each case at the one compared, seconds a step,
    retrievals left out at last."""

    exits: list[float]
    cases: list[float]
    seconds: float
    skipped: str


def run(path: Path, folder: Path, overrides: list[str], number: int) -> Found:
    """Train, or read what was trained; exit `number` is compared (0: the deepest trained)."""
    bundle = train(path, folder, overrides)
    rows = [json.loads(row) for row in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    steps = [row for row in rows if "minutes" in row]
    spent = [
        60 * (b["minutes"] - a["minutes"]) / (b["step"] - a["step"])
        for a, b in pairwise(steps)
        if b["minutes"] > a["minutes"]  # a run that went on starts its clock anew
    ]
    results = [row["validation"] for row in rows if "validation" in row]
    if bundle is None:
        raise SystemExit(f"{folder.name}: no bundle was written.")
    config, exits = read_run_config(path, overrides), len(results[-1]["dice_exits"])
    held_back = load_cases(config.data, bundle.info.split["val"], config.space, config.labels)
    network = bundle.network()
    cases = [validate(network, [case], config, exits)["dice_exits"][number - 1] for case in held_back]
    stages = [part for part in network.modules() if isinstance(part, LayerAttentionStage)]
    skipped = ", ".join(f"{int(stage.skipped.sum())} of {len(stage.blocks)}" for stage in stages)
    return Found(results[-1]["dice_exits"], cases, statistics.median(spent), skipped or "-")


def work(config: RunConfig) -> tuple[float, float]:
    """Millions of parameters of the trunk and its GFLOPs on a whole head."""
    network = LNN(config.network)
    return sum(p.numel() for p in network.trunk.parameters()) / 1e6, network.costs(SHAPE).trunk / 1e9


def main() -> None:
    """Train and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="root of the data set of the configurations' bundle")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--base", default="brain-t1", help="bundle whose configurations are meant")
    parser.add_argument("--only", nargs="+", help="names of configurations")
    parser.add_argument("--exit", type=int, default=0, help="exit to compare; the deepest trained when 0")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    chosen = parser.parse_args()
    keep_memory()
    known = {path.stem: load_yaml(path)["base"] for path in sorted(FOLDER.glob("*.yaml"))}
    names = chosen.only or [name for name, base in known.items() if base == chosen.base]
    rows, cases = [], {}
    for name in names:
        path = FOLDER / f"{name}.yaml"
        parts, gflops = work(read_run_config(path, [f"data.root={chosen.data}"]))
        found = [
            run(
                path, chosen.out / f"{name}-{seed}", [f"data.root={chosen.data}", f"seed={seed}"], chosen.exit
            )
            for seed in chosen.seeds
        ]
        dice = [each.exits[chosen.exit - 1] for each in found]
        cases[name] = np.mean([each.cases for each in found], axis=0)
        rows.append((statistics.mean(dice), name, parts, gflops, dice, found[-1]))
        print(f"{name}: {dice}", flush=True)
    print(f"\n| configuration | Dice (each seed) | against {names[0]} | {' | '.join(COLUMNS)} |")
    print("|---" * (3 + len(COLUMNS)) + "|")
    for mean, name, parts, gflops, dice, last in sorted(rows, reverse=True):
        each = ", ".join(f"{value:.4f}" for value in dice)
        apart = paired_difference(cases[name], cases[names[0]], list(range(len(cases[name]))))
        told = "" if name == names[0] else f"{apart.estimate:+.4f} ({apart.low:+.4f} to {apart.high:+.4f})"
        exits = ", ".join(f"{value:.4f}" for value in last.exits)
        cells = f"{exits} | {parts:.2f} | {gflops:.1f} | {last.seconds:.2f} | {last.skipped}"
        print(f"| {name} | {mean:.4f} ({each}) | {told} | {cells} |")


if __name__ == "__main__":
    main()
