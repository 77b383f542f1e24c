"""A reliability diagram as an SVG picture: in the ink of the page, so that it reads in both themes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.parts import html

SIDE, LEFT, TOP = 240, 52, 12  # of the square with the axes, SVG units
STRIP = 34  # height of the histogram below it
WIDTH, HEIGHT = LEFT + SIDE + 14, TOP + SIDE + STRIP + 62
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
INK, MARK = "currentColor", "#b35a00"  # the mark has 4.8:1 on white, 3.7:1 on the dark ground
FAINT = 0.45  # opacity of bars


def reliability_picture(bins: Sequence[Mapping[str, Any]], case: Mapping[str, Any], words: str) -> str:
    """`<img>` with the diagram; `case` holds `low` and `high` of its mean confidence, or nothing.

    Args:
        bins: of the bundle's calibration.json.
        case: what is marked on the axis of confidence.
        words: what the picture says, for whoever does not see it.
    """
    parts = [*_frame(), *_case(case), *_counts(bins), *(_bin(one) for one in bins), _line(bins)]
    content = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" font-size="11" fill="{INK}">{"".join(parts)}</svg>'
    )
    return html.picture(content, words, "diagram")


def _x(share: float) -> float:
    return LEFT + SIDE * share


def _y(share: float) -> float:
    return TOP + SIDE * (1 - share)


def _frame() -> list[str]:
    bottom, middle = TOP + SIDE + STRIP, LEFT + SIDE / 2
    lines = [
        f'<rect x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" stroke="{INK}"/>',
        f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="{INK}" stroke-dasharray="5 4"/>',
    ]
    for tick in TICKS:
        lines.append(f'<text x="{LEFT - 6}" y="{_y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
        lines.append(f'<text x="{_x(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    lines.append(f'<text x="{middle}" y="{bottom + 32}" text-anchor="middle">confidence of the label</text>')
    lines.append(
        f'<text transform="translate(13 {TOP + SIDE / 2}) rotate(-90)" text-anchor="middle">'
        "share that was right</text>"
    )
    return lines


def _case(case: Mapping[str, Any]) -> list[str]:
    """A band over the confidence of this case, named below the axis."""
    if not case:
        return []
    low, high = _x(case["low"]), _x(case["high"])
    width, bottom = max(2.0, high - low), TOP + SIDE + STRIP
    return [
        f'<rect x="{low:.1f}" y="{TOP}" width="{width:.1f}" height="{SIDE + STRIP}" fill="{MARK}" '
        f'fill-opacity="0.25" stroke="{MARK}" stroke-dasharray="3 2"/>',
        f'<text x="{LEFT + SIDE}" y="{bottom + 50}" text-anchor="end" font-weight="bold">'
        f'<tspan fill="{MARK}">\u25a8</tspan> this case, mean confidence</text>',
    ]


def _counts(bins: Sequence[Mapping[str, Any]]) -> list[str]:
    """How many voxels each bin holds, as bars below the diagram."""
    most = max((one["n"] for one in bins), default=1)
    bars = []
    for one in bins:
        height = (STRIP - 6) * one["n"] / most
        left, right = _x(one["low"]), _x(one["high"])
        bars.append(
            f'<rect x="{left + 1:.1f}" y="{TOP + SIDE + STRIP - height:.1f}" width="{right - left - 2:.1f}" '
            f'height="{height:.1f}" fill="{INK}" fill-opacity="{FAINT}"/>'
        )
    return bars


def _bin(one: Mapping[str, Any]) -> str:
    """Where a calibrated model would lie (bar), and where this one does (dot)."""
    x = _x(one["confidence"])
    return (
        f'<line x1="{x:.1f}" y1="{_y(one["consistency_low"]):.1f}" x2="{x:.1f}" '
        f'y2="{_y(one["consistency_high"]):.1f}" stroke="{INK}" stroke-opacity="{FAINT}" stroke-width="7"/>'
        f'<circle cx="{x:.1f}" cy="{_y(one["observed"]):.1f}" r="3.2" fill="{INK}"/>'
    )


def _line(bins: Sequence[Mapping[str, Any]]) -> str:
    points = " ".join(f"{_x(one['confidence']):.1f},{_y(one['observed']):.1f}" for one in bins)
    return f'<polyline points="{points}" fill="none" stroke="{INK}" stroke-width="1.4"/>'
