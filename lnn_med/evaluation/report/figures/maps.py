"""Figures of label maps: DSC of each structure, Bland-Altman plots of the volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lnn_med.evaluation.report.figures.canvas import DARK, LIGHT, MIDDLE, Record, axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 6  # Bland-Altman plots; of more structures the first are shown


TALLEST_IN = 8.2  # a page of the PDF, less its caption
MAX_POINTS = 12  # structures; of more, points would only blacken the boxes


def dsc(record: Record) -> Figure | None:
    """Box and points of the DSC of each structure."""
    if record["segmentation"] is None:
        return None
    names = [one["name"] for one in record["segmentation"]["structures"]]
    if not names:
        return None
    columns = []
    for name in names:
        cases = [case["structures"].get(name) for case in record["cases"]]
        columns.append([one["dsc"] for one in cases if one is not None])
    figure, ((axes,),) = axes_of(min(0.26 * len(names) + 0.8, TALLEST_IN))
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
    for place, values in zip(places, columns, strict=True) if len(names) <= MAX_POINTS else ():
        axes.plot(values, _spread(place, len(values)), ".", color=DARK, markersize=2.5, alpha=0.6)
    axes.set(xlim=(-0.02, 1.02), xlabel="DSC (missing predictions at 0)", yticks=places)
    axes.set_ylim(places[-1] - 0.7, 0.7)
    axes.set_yticklabels([name.replace("_", " ") for name in names], fontsize=8 if len(names) < 30 else 6.5)
    return figure


def _spread(middle: float, count: int) -> list[float]:
    """Heights a little apart, the same in every run."""
    return [middle + 0.18 * ((index * 7) % 5 - 2) / 2 for index in range(count)]


def bland_altman(record: Record) -> Figure | None:
    """Difference against mean of both volumes, for MAX_PANELS structures."""
    found = record["volumetry"]
    if found is None:
        return None
    shown = drawn(found)[:MAX_PANELS]
    if not shown:
        return None
    columns = min(len(shown), 2)
    rows = -(-len(shown) // columns)
    figure, panels = axes_of(2.1 * rows + 0.2, columns, rows)
    flat = [axes for row in panels for axes in row]
    for axes, one in zip(flat, shown, strict=False):
        _agreement_panel(axes, record, one)
    for axes in flat[len(shown) :]:
        axes.axis("off")
    return figure


def drawn(volumetry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Structures that a Bland-Altman plot could be drawn of."""
    return [one for one in volumetry["structures"] if "bias" in one["bland_altman"] and one["n"] > 1]


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
