"""Figures of the report as SVG: shapes and dashes tell things apart, so that grey is enough."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = Mapping[str, Any]
Draw = Callable[[Record], "Figure | None"]

WIDTH_IN = 7.0  # of the text of an A4 page
DARK, MIDDLE, LIGHT = "#1a1a1a", "#6b6b6b", "#c8c8c8"
MAX_PANELS = 6  # Bland-Altman plots; of many structures the largest are shown
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "lnn-med",  # ids of the SVG do not change between runs
    "svg.fonttype": "path",  # the same on machines with other fonts
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MIDDLE,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def figures(record: Record) -> dict[str, str]:
    """Every figure that the record gives, as SVG by key; the same record gives the same text."""
    import matplotlib

    matplotlib.use("svg")
    found: dict[str, str] = {}
    with matplotlib.rc_context(STYLE):
        for key, draw in DRAWERS.items():
            figure = draw(record)
            if figure is not None:
                found[key] = _svg(figure)
    return found


def _svg(figure: Figure) -> str:
    import matplotlib.pyplot as plt

    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return stream.getvalue()


def _axes(height_in: float, columns: int = 1, rows: int = 1) -> tuple[Figure, Any]:
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(WIDTH_IN, height_in), squeeze=False)


def _flow(record: Record) -> Figure:
    steps = [(one["step"], one["n"], one["lost"]) for one in record["flow"]["steps"]]
    worst = record["flow"]["counted_worst"]
    steps.append(("analysed", record["flow"]["analysed"], None))
    figure, ((axes,),) = _axes(1.3)
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


def _endpoints(record: Record) -> Figure | None:
    found = record["endpoints"]
    if not found:
        return None
    figure, rows = _axes(0.9 * len(found) + 0.2, rows=len(found))
    for (axes,), one in zip(rows, found, strict=True):
        number, other = one["number"], one["other_rule"]
        _bar(axes, 0, number, filled=True)
        _bar(axes, -0.5, other, filled=False)
        axes.axvline(one["threshold"], color=DARK, linestyle="--", linewidth=1.2)
        sign = "≥" if one["higher_is_better"] else "≤"
        words, place = f" {sign} {one['threshold']:g}", (one["threshold"], 1)
        axes.annotate(words, place, (2, -2), ("data", "axes fraction"), "offset points", va="top")
        axes.set(ylim=(-0.9, 0.8), yticks=[0, -0.5])
        axes.set_yticklabels(
            [f"{one['metric']} {one['structure'].replace('_', ' ')}", "other missing rule"], fontsize=7
        )
    return figure


def _bar(axes: Axes, height: float, found: Mapping[str, Any], filled: bool) -> None:
    """An estimate with its interval; filled or open tells two kinds apart."""
    if found.get("estimate") is None:
        return
    if found.get("low") is not None and found.get("high") is not None:
        axes.plot(
            [found["low"], found["high"]], [height, height], color=DARK, linewidth=1.6 if filled else 1.0
        )
    face = DARK if filled else "white"
    axes.plot(found["estimate"], height, "s", color=DARK, markerfacecolor=face, markersize=5)


def _comparison(record: Record) -> Figure | None:
    found = record["comparison"]
    if not found or "gain" not in found["mean"]:
        return None
    rows = [("mean", found["mean"]), *((one["name"], one) for one in found["structures"])]
    rows = [(name, one["gain"]) for name, one in rows if "gain" in one]
    figure, ((axes,),) = _axes(0.28 * len(rows) + 0.9)
    for place, (_, gain) in enumerate(rows):
        _bar(axes, -place, gain, filled=place == 0)
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


def _dsc(record: Record) -> Figure | None:
    if record["segmentation"] is None:
        return None
    names = [one["name"] for one in record["segmentation"]["structures"]]
    if not names:
        return None
    columns = []
    for name in names:
        cases = [case["structures"].get(name) for case in record["cases"]]
        columns.append([one["dsc"] for one in cases if one is not None])
    figure, ((axes,),) = _axes(0.26 * len(names) + 0.8)
    places = [-place for place in range(len(names))]
    axes.boxplot(
        columns,
        positions=places,
        orientation="horizontal",
        widths=0.55,
        whis=(0, 100),
        medianprops={"color": DARK, "linewidth": 1.6},
        boxprops={"color": MIDDLE},
        whiskerprops={"color": MIDDLE},
        capprops={"color": MIDDLE},
    )
    for place, values in zip(places, columns, strict=True):
        axes.plot(values, _spread(place, len(values)), ".", color=DARK, markersize=2.5, alpha=0.6)
    axes.set(xlim=(-0.02, 1.02), xlabel="DSC (missing predictions at 0)", yticks=places)
    axes.set_yticklabels([name.replace("_", " ") for name in names])
    return figure


def _spread(middle: float, count: int) -> list[float]:
    """Heights a little apart, the same in every run."""
    return [middle + 0.18 * ((index * 7) % 5 - 2) / 2 for index in range(count)]


def _bland_altman(record: Record) -> Figure | None:
    found = record["volumetry"]
    if found is None:
        return None
    ready = [one for one in found["structures"] if "bias" in one["bland_altman"] and one["n"] > 1]
    shown = ready[:MAX_PANELS]
    if not shown:
        return None
    columns = min(len(shown), 2)
    rows = -(-len(shown) // columns)
    figure, panels = _axes(2.1 * rows + 0.2, columns, rows)
    flat = [axes for row in panels for axes in row]
    for axes, one in zip(flat, shown, strict=False):
        _agreement_panel(axes, record, one)
    for axes in flat[len(shown) :]:
        axes.axis("off")
    return figure


def _agreement_panel(axes: Axes, record: Record, one: Mapping[str, Any]) -> None:
    cases = [case["structures"].get(one["name"]) for case in record["cases"]]
    pairs = [
        (case["volume_mm3"], case["reference_mm3"])
        for case in cases
        if case and case["volume_mm3"] is not None and case["state"] != "missing"
    ]
    axes.plot(
        [(a + b) / 2 for a, b in pairs], [a - b for a, b in pairs], "o", color=DARK, markersize=3, alpha=0.7
    )
    agreement = one["bland_altman"]
    for key, dash in (("bias", "-"), ("lower", "--"), ("upper", "--")):
        part = agreement[key]
        if part["estimate"] is None:
            continue
        axes.axhline(part["estimate"], color=DARK, linestyle=dash, linewidth=1)
        if part["low"] is not None:
            axes.axhspan(part["low"], part["high"], color=LIGHT, alpha=0.5, linewidth=0)
    axes.set_title(one["name"].replace("_", " "), fontsize=8)
    axes.set(xlabel="mean of both, mm³", ylabel="difference, mm³")


def _roc(record: Record) -> Figure | None:
    found = record["classification"]
    if not found or "thresholds" not in found["without_missing"]["roc"]:
        return None
    figure, ((axes,),) = _axes(3.0)
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


def _decision(record: Record) -> Figure | None:
    found = record["classification"]
    if not found or "model" not in found["without_missing"]["decision"]:
        return None
    curve = found["without_missing"]["decision"]
    figure, ((axes,),) = _axes(2.4)
    axes.plot(curve["thresholds"], curve["model"], "-", color=DARK, label="model")
    axes.plot(curve["thresholds"], curve["treat_all"], "--", color=DARK, label="treat all")
    axes.axhline(0, color=MIDDLE, linestyle=":", label="treat none")
    top = max(0.05, *curve["model"], *curve["treat_all"])
    axes.set(xlabel="threshold probability", ylabel="net benefit", ylim=(-0.4 * top, 1.1 * top), xlim=(0, 1))
    axes.legend(loc="upper right")
    return figure


def _reliability(record: Record) -> Figure | None:
    found = record["classification"]
    if not found or not found["calibration"] or not isinstance(found["calibration"]["diagram"], list):
        return None
    figure, ((axes,),) = _axes(3.0)
    axes.plot([0, 1], [0, 1], ":", color=MIDDLE)
    for one in found["calibration"]["diagram"]:
        bar = [one["consistency_low"], one["consistency_high"]]
        axes.plot([one["confidence"]] * 2, bar, color=LIGHT, linewidth=5, solid_capstyle="butt")
        axes.plot(one["confidence"], one["observed"], "o", color=DARK, markersize=4)
        axes.annotate(
            str(one["n"]),
            (one["confidence"], one["observed"]),
            (4, 3),
            textcoords="offset points",
            fontsize=7,
        )
    axes.set(
        xlabel="mean probability",
        ylabel="observed share",
        aspect="equal",
        xlim=(-0.02, 1.02),
        ylim=(-0.04, 1.06),
    )
    return figure


def _selective(record: Record) -> Figure | None:
    found = record["selective_risk"]
    if not found or "risk" not in found:
        return None
    figure, ((axes,),) = _axes(2.2)
    axes.plot(
        found["coverage"], found["risk"], "-o", color=DARK, markersize=3, label="by width of the interval"
    )
    axes.axhline(found["aurc_random"], color=MIDDLE, linestyle="--", label="if width said nothing")
    axes.set(xlabel="share of cases kept, most certain first", ylabel="mean of 1 − DSC", xlim=(0, 1.02))
    axes.set_ylim(bottom=0)
    axes.legend(loc="best")
    return figure


def _subgroups(record: Record) -> Figure | None:
    found = record["subgroups"]
    if not found or not found["groups"]:
        return None
    rows: Sequence[Mapping[str, Any]] = found["groups"]
    figure, ((axes,),) = _axes(0.24 * len(rows) + 0.8)
    for place, one in enumerate(rows):
        _bar(axes, -place, one["estimate"], filled=not one["too_few"])
    axes.set(
        yticks=[-place for place in range(len(rows))],
        xlabel=f"{found['metric']} (open square: too few patients)",
    )
    axes.set_yticklabels([f"{one['column']}: {one['group']} (n = {one['n_patients']})" for one in rows])
    axes.grid(axis="x", color=LIGHT, linewidth=0.5)
    return figure


DRAWERS: dict[str, Draw] = {
    "flow": _flow,
    "endpoints": _endpoints,
    "comparison": _comparison,
    "dsc": _dsc,
    "bland_altman": _bland_altman,
    "roc": _roc,
    "decision": _decision,
    "reliability": _reliability,
    "selective": _selective,
    "subgroups": _subgroups,
}
