"""Figures of the whole study: flow of cases, endpoints, comparison with another tool, subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lnn_med.evaluation.protocol import MEAN, OF_PROBABILITIES
from lnn_med.evaluation.report.figures.canvas import DARK, LIGHT, MIDDLE, Record, axes_of, bar
from lnn_med.evaluation.report.sections.wording import METRIC_NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def flow(record: Record) -> Figure:
    """Boxes from received to analysed, with the number lost at each arrow."""
    steps = [(one["step"], one["n"], one["lost"]) for one in record["flow"]["steps"]]
    worst = record["flow"]["counted_worst"]
    steps.append(("analysed", record["flow"]["analysed"], None))
    figure, ((axes,),) = axes_of(1.3)
    for place, (step, n, lost) in enumerate(steps):
        box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": DARK}
        axes.text(place, 0, f"{step}\n{n}", ha="center", va="center", bbox=box, fontsize=9)
        if place:
            axes.annotate(
                "", (place - 0.34, 0), (place - 0.66, 0), arrowprops={"arrowstyle": "->", "color": DARK}
            )
            words = f"−{lost}" if lost is not None else f"{worst} without\nprediction"
            axes.text(place - 0.5, 0.45, words, ha="center", va="bottom", color=MIDDLE)
    axes.set(xlim=(-0.5, len(steps) - 0.5), ylim=(-1, 1.4))
    axes.axis("off")
    return figure


def endpoints(record: Record) -> Figure | None:
    """Each endpoint's estimate and interval beside its threshold."""
    found = record["endpoints"]
    if not found:
        return None
    figure, rows = axes_of(0.9 * len(found) + 0.2, rows=len(found))
    for (axes,), one in zip(rows, found, strict=True):
        number, other = one["number"], one["other_rule"]
        bar(axes, 0, number, filled=True)
        bar(axes, -0.5, other, filled=False)
        axes.axvline(one["threshold"], color=DARK, linestyle="--", linewidth=1.2)
        sign = "≥" if one["higher_is_better"] else "≤"
        words, place = f" {sign} {one['threshold']:g}", (one["threshold"], 1)
        axes.annotate(words, place, (2, -2), ("data", "axes fraction"), "offset points", va="top")
        axes.set(ylim=(-0.9, 0.8), yticks=[0, -0.5])
        name = METRIC_NAMES[one["metric"]]
        if one["metric"] not in OF_PROBABILITIES:
            name = f"{one['statistic']} {name}: "
            name += "all structures" if one["structure"] == MEAN else one["structure"].replace("_", " ")
        axes.set_yticklabels([name, "other missing rule"], fontsize=7)
    return figure


def comparison(record: Record) -> Figure | None:
    """Paired difference of each structure beside 0 and the margin."""
    found = record["comparison"]
    if not found or "gain" not in found["mean"]:
        return None
    rows = [("mean", found["mean"]), *((one["name"], one) for one in found["structures"])]
    rows = [(name, one["gain"]) for name, one in rows if "gain" in one]
    figure, ((axes,),) = axes_of(0.28 * len(rows) + 0.9)
    for place, (_, gain) in enumerate(rows):
        bar(axes, -place, gain, filled=place == 0)
    axes.axvline(0, color=MIDDLE, linewidth=0.8)
    axes.axvline(
        -found["margin"], color=DARK, linestyle="--", linewidth=1.2, label=f"margin −{found['margin']:g}"
    )
    axes.set(
        yticks=[-place for place in range(len(rows))], xlabel="gain in DSC (positive: better than the other)"
    )
    axes.set_yticklabels([name.replace("_", " ") for name, _ in rows])
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1))
    return figure


def subgroups(record: Record) -> Figure | None:
    """Mean and interval of each group."""
    found = record["subgroups"]
    if not found or not found["groups"]:
        return None
    rows: Sequence[Mapping[str, Any]] = found["groups"]
    figure, ((axes,),) = axes_of(0.24 * len(rows) + 1.0)
    for place, one in enumerate(rows):
        bar(axes, -place, one["estimate"], filled=not one["too_few"])
    axes.axvline(found["overall"]["estimate"], color=DARK, linestyle="--", linewidth=1, label="all cases")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1))
    axes.set(
        yticks=[-place for place in range(len(rows))],
        xlabel=f"{METRIC_NAMES[found['metric']]} (open square: too few patients)",
    )
    axes.set_yticklabels([f"{one['column']}: {one['group']} (n = {one['n_patients']})" for one in rows])
    axes.grid(axis="x", color=LIGHT, linewidth=0.5)
    return figure
