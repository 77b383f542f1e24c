"""The run's log as a picture."""

from __future__ import annotations

import json
from pathlib import Path

from lnn_med.errors import require


def draw_curve(log: Path, picture: Path) -> None:
    """Draw losses and validation Dice over steps from a log.jsonl into a PNG."""
    require("matplotlib", extra="report").use("Agg")
    from matplotlib import pyplot as plt

    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    losses = [row for row in rows if "exit_1" in row]
    scores = [row for row in rows if "validation" in row]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
    for name in sorted({key for row in losses for key in row if key.startswith("exit_")}):
        points = [(row["step"], row[name]) for row in losses if name in row]
        left.plot(*zip(*points, strict=True), label=name.replace("_", " "), linewidth=0.8)
    left.set(xlabel="step", ylabel="loss (cross-entropy + 1 - Dice)")
    if losses:
        left.legend()
    if scores:
        steps = [row["step"] for row in scores]
        for number in range(max(len(row["validation"]["dice_exits"]) for row in scores)):
            exits = [(row["step"], *row["validation"]["dice_exits"][number : number + 1]) for row in scores]
            points = [point for point in exits if len(point) == 2]
            right.plot(*zip(*points, strict=True), marker="o", label=f"exit {number + 1}")
        gated = [row["validation"]["dice_auto"] or float("nan") for row in scores]
        right.plot(steps, gated, "k--", label="gates")
        right.legend()
    right.set(xlabel="step", ylabel="validation Dice")
    figure.savefig(picture, dpi=110)
    plt.close(figure)
