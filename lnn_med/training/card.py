"""The model card of a bundle, written from what the run knows."""

from __future__ import annotations

from typing import Any

from lnn_med.inference.bundle import BundleInfo


def model_card(info: BundleInfo) -> str:
    """Markdown: job, data and its licence, split, validation metrics, limits."""
    metrics, split = info.metrics, info.split
    rows = "\n".join(
        f"| {name} | {value:.3f} | {metrics['median_voxels'][name]} |"
        for name, value in metrics["structures"].items()
    )
    exits = ", ".join(f"{value:.3f}" for value in metrics["dice_exits"])
    gates = ""
    if metrics["dice_auto"] is not None:
        share = 100 * metrics["active_blocks"]
        gates = f", {metrics['dice_auto']:.3f} with gates ({share:.0f} % of the blocks active)"
    return f"""# {info.name} {info.version}

{info.job[0].upper()}{info.job[1:]}. **Research use only; not a medical device.**

## Data
{info.data.get("data", "")}.
Licence: {info.data.get("licence", "")}. Source: {info.data.get("citation", "")}.
Split by blocks of neighbouring case names: {len(split["train"])} cases trained, {len(split["val"])}
validated, {len(split["calibration"])} kept for calibration and never seen by the weights (see bundle.yaml).

## Validation fold
Dice in model space ({info.space.spacing_mm:g} mm), mean over structures of at least 100 voxels:
**{metrics["dice_full"]:.3f}** at full depth{gates}; exits 1 to {len(metrics["dice_exits"])}: {exits}.
The best checkpoint was chosen on this fold, so the value is slightly optimistic.

| structure | Dice | median voxels |
|---|---|---|
{rows}

## How it was trained
{_history(info.training.get("pieces", []))}

## Limits
Trained on {len(split["train"])} scans of one source. Structures below 100 voxels vary by a large share of
their volume.
Not validated for diagnosis, for children, for scans after surgery, for contrasts other than T1.
"""


def _history(pieces: list[dict[str, Any]]) -> str:
    """One line for each piece of training, in order; the next starts from the weights of the one before."""
    lines = []
    for number, piece in enumerate(pieces, start=1):
        schedule, loss = piece.get("schedule", {}), piece.get("loss", {})
        what = "gates alone" if piece.get("only") == "gates" else "trunk and stages"
        line = f"{number}. {piece['steps']} steps of {schedule.get('batch', 1)} ({what}), "
        line += f"{schedule.get('optimizer', 'adamw')} at {schedule.get('learning_rate', 0):g}"
        if loss:
            line += f"; the trunk alone for the first {100 * loss['coarse_share']:.0f} %"
            line += f", class weights frequency^-{loss['frequency_power']:g}"
        lines.append(line + "." + (f" {piece['note']}" if piece.get("note") else ""))
    return "\n".join(lines)
