"""Figures of the report as SVG, readable in grey."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lnn_med.evaluation.report.figures import chances, maps, overview
from lnn_med.evaluation.report.figures.canvas import STYLE, Record, svg_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[Record], "Figure | None"]

DRAWERS: dict[str, Draw] = {
    "flow": overview.flow,
    "endpoints": overview.endpoints,
    "comparison": overview.comparison,
    "dsc": maps.dsc,
    "bland_altman": maps.bland_altman,
    "roc": chances.roc,
    "decision": chances.decision,
    "reliability": chances.reliability,
    "voxels": chances.voxels,
    "selective": chances.selective,
    "subgroups": overview.subgroups,
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
                found[key] = svg_of(figure)
    return found
