"""Figures of probabilities: ROC, decision curve, reliability of cases and of voxels, selective risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lnn_med.evaluation.report.figures.canvas import DARK, LIGHT, MIDDLE, Record, axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def roc(record: Record) -> Figure | None:
    """Sensitivity against false positive rate, with the locked threshold."""
    found = record["classification"]
    if not found or "thresholds" not in found["without_missing"]["roc"]:
        return None
    figure, ((axes,),) = axes_of(3.0)
    for key, dash, words in (("all", "--", "missing = wrong"), ("without_missing", "-", "without missing")):
        points = found[key]["roc"]
        if "thresholds" in points:
            axes.plot(
                points["false_positive_rate"], points["true_positive_rate"], dash, color=DARK, label=words
            )
    performance = found["without_missing"]["performance"]
    if (
        performance["sensitivity"]["estimate"] is not None
        and performance["specificity"]["estimate"] is not None
    ):
        place = (1 - performance["specificity"]["estimate"], performance["sensitivity"]["estimate"])
        axes.plot(*place, "o", color=DARK, markerfacecolor="white", label=f"threshold {found['threshold']:g}")
    axes.plot([0, 1], [0, 1], ":", color=MIDDLE)
    axes.set(
        xlabel="1 − specificity", ylabel="sensitivity", aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02)
    )
    axes.legend(loc="lower right", bbox_to_anchor=(1.9, 0))
    return figure


def decision(record: Record) -> Figure | None:
    """Net benefit of the model, of treating all, of treating none."""
    found = record["classification"]
    if not found or "model" not in found["without_missing"]["decision"]:
        return None
    curve = found["without_missing"]["decision"]
    figure, ((axes,),) = axes_of(2.4)
    axes.plot(curve["thresholds"], curve["model"], "-", color=DARK, label="model")
    axes.plot(curve["thresholds"], curve["treat_all"], "--", color=DARK, label="treat all")
    axes.axhline(0, color=MIDDLE, linestyle=":", label="treat none")
    top = max(0.05, *curve["model"], *curve["treat_all"])
    axes.set(xlabel="threshold probability", ylabel="net benefit", ylim=(-0.4 * top, 1.1 * top), xlim=(0, 1))
    axes.legend(loc="upper right")
    return figure


def reliability(record: Record) -> Figure | None:
    """Observed share against mean probability of the cases."""
    found = record["classification"]
    if not found or not found["calibration"] or not isinstance(found["calibration"]["diagram"], list):
        return None
    figure, ((axes,),) = axes_of(3.0)
    _diagram(axes, found["calibration"]["diagram"], "observed share", counted=True)
    return figure


def voxels(record: Record) -> Figure | None:
    """Share of right voxels against their confidence, one panel a network."""
    found = record["voxels"]
    if not found:
        return None
    figure, (row,) = axes_of(3.0, columns=len(found))
    for axes, one in zip(row, found, strict=True):
        _diagram(axes, one["diagram"], "share of voxels labelled rightly", counted=False)
        axes.set_title(one["bundle"], fontsize=8)
    return figure


def _diagram(axes: Axes, bins: Sequence[Mapping[str, Any]], ylabel: str, counted: bool) -> None:
    """Reliability diagram with consistency bars; `counted`: write the number beside each point."""
    axes.plot([0, 1], [0, 1], ":", color=MIDDLE)
    for one in bins:
        bar = [one["consistency_low"], one["consistency_high"]]
        axes.plot([one["confidence"]] * 2, bar, color=LIGHT, linewidth=5, solid_capstyle="butt")
        axes.plot(one["confidence"], one["observed"], "o", color=DARK, markersize=4)
        if counted:
            place = (one["confidence"], one["observed"])
            axes.annotate(str(one["n"]), place, (4, 3), textcoords="offset points", fontsize=7)
    axes.set(xlabel="mean probability", ylabel=ylabel, aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.04, 1.06))


def selective(record: Record) -> Figure | None:
    """Mean of 1 - DSC of the most certain share of cases."""
    found = record["selective_risk"]
    if not found or "risk" not in found:
        return None
    figure, ((axes,),) = axes_of(2.2)
    axes.plot(
        found["coverage"], found["risk"], "-o", color=DARK, markersize=3, label="by width of the interval"
    )
    axes.axhline(found["aurc_random"], color=MIDDLE, linestyle="--", label="if width said nothing")
    axes.set(xlabel="share of cases kept, most certain first", ylabel="mean of 1 − DSC", xlim=(0, 1.02))
    axes.set_ylim(0, 1.15 * max(found["aurc_random"], *found["risk"]))
    axes.legend(loc="best")
    return figure
