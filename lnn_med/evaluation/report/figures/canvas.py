"""What all figures share: style, size, an estimate with its interval. Shapes and dashes tell things apart."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = Mapping[str, Any]

WIDTH_IN = 7.0  # of the text of an A4 page
DARK, MIDDLE, LIGHT = "#1a1a1a", "#6b6b6b", "#c8c8c8"
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


def svg_of(figure: Figure) -> str:
    """The figure as SVG text; it is closed."""
    import matplotlib.pyplot as plt

    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return stream.getvalue()


def axes_of(height_in: float, columns: int = 1, rows: int = 1) -> tuple[Figure, Any]:
    """A figure as wide as the text with (rows, columns) axes."""
    import matplotlib.pyplot as plt

    gap = {"wspace": 0.06} if columns > 1 else {}  # a label of the right axes keeps off the left ones
    return plt.subplots(rows, columns, figsize=(WIDTH_IN, height_in), squeeze=False, gridspec_kw=gap)


def bar(axes: Axes, height: float, found: Mapping[str, Any], filled: bool) -> None:
    """An estimate with its interval; filled or open tells two kinds apart."""
    if found.get("estimate") is None:
        return
    if found.get("low") is not None and found.get("high") is not None:
        axes.plot(
            [found["low"], found["high"]], [height, height], color=DARK, linewidth=1.6 if filled else 1.0
        )
    face = DARK if filled else "white"
    axes.plot(found["estimate"], height, "s", color=DARK, markerfacecolor=face, markersize=5)
