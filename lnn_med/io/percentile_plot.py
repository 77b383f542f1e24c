"""Percentile lines by age with the patient marked, as SVG, from a `result.json` record.

Lines differ by stroke and carry their number, so the plot can be read in grey. Beyond the ages of the
reference people the ground is grey and no line is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from lnn_med.io.volumetry import in_words

WIDTH, HEIGHT = 360, 250  # of one structure's panel, px
LEFT, RIGHT, TOP, BOTTOM = 50, 34, 34, 42  # margins, px
MM3_IN_CM3 = 1000.0
STROKES = {5: "1 3", 25: "5 3", 50: "", 75: "5 3", 95: "1 3"}  # dash patterns; the outermost are dotted
FONTS = "sans-serif, 'Libertinus Serif'"  # the second is the page's, which knows no others
TICKS = 4
LABEL_PX = 10.0  # between the numbers of lines that end close together
STEPS = (1, 2, 2.5, 5, 10)  # that a scale may count in, times a power of ten


def percentile_plot(record: Mapping[str, Any]) -> str | None:
    """A panel a structure, side by side; None where the record has no reference people."""
    reference = record.get("reference")
    if not reference or not reference["curves"]:
        return None
    panels = [
        f'<g transform="translate({number * WIDTH} 0)">{_panel(curve, reference)}</g>'
        for number, curve in enumerate(reference["curves"])
    ]
    width = WIDTH * len(panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" '
        f'height="{HEIGHT}" font-family="{FONTS}" font-size="11" role="img" '
        f'aria-label="{escape(_told(reference), {chr(34): "&quot;"})}">'
        f'<rect width="{width}" height="{HEIGHT}" fill="#fff"/>{"".join(panels)}</svg>'
    )


def _told(reference: Mapping[str, Any]) -> str:
    names = ", ".join(in_words(curve["structure"]) for curve in reference["curves"])
    return f"Volume by age with percentile lines of {reference['name']}: {names}"


class _Scale:
    """Carries years and cm³ to pixels of a panel."""

    def __init__(self, ages: Sequence[float], values: Sequence[float]) -> None:
        self.first, self.last = min(ages), max(ages)
        self.step = tick_step(max(values) - min(values))
        self.low = math.floor(min(values) / self.step) * self.step
        self.high = math.ceil(max(values) / self.step) * self.step

    def x(self, years: float) -> float:
        return LEFT + (years - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, cm3: float) -> float:
        return HEIGHT - BOTTOM - (cm3 - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def tick_step(extent: float) -> float:
    """A round step that divides an extent into about TICKS parts; 1 for an extent of 0."""
    if extent <= 0:
        return 1.0
    raw = extent / TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    return next(step * power for step in STEPS if step * power >= raw * (1 - 1e-9))


def _panel(curve: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    lines = {
        int(number): [value / MM3_IN_CM3 for value in line] for number, line in curve["lines_mm3"].items()
    }
    patient, age = curve["volume_mm3"] / MM3_IN_CM3, reference["age_years"]
    ages = curve["ages_years"]
    scale = _Scale([*ages, age], [patient, *(value for line in lines.values() for value in line)])
    parts = [
        _text(LEFT, 20, f"{in_words(curve['structure'])}, both sides, cm³", weight="bold"),
        _beyond(scale, reference["ages_years"]),
        _axes(scale),
    ]
    for number, line in lines.items():
        points = " ".join(f"{scale.x(a):.1f},{scale.y(v):.1f}" for a, v in zip(ages, line, strict=True))
        width, dashes = (2 if number == 50 else 1), STROKES.get(number, "")
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="#333" stroke-width="{width}" '
            f'stroke-dasharray="{dashes or "none"}"/>'
        )
    heights = spread([scale.y(line[-1]) for line in lines.values()])
    for number, height in zip(lines, heights, strict=True):
        parts.append(_text(scale.x(ages[-1]) + 4, height + 4, str(number)))
    x, y = scale.x(age), scale.y(patient)
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="none" stroke="#a00000" stroke-width="2.5"/>')
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.5" fill="#a00000"/>')
    return "".join(parts)


def spread(heights: Sequence[float]) -> list[float]:
    """Heights of labels, moved a little so that neighbours are LABEL_PX apart; their order stays."""
    order = sorted(range(len(heights)), key=lambda n: heights[n])
    moved = [heights[n] for n in order]
    for _ in range(len(moved) ** 2):  # each pass parts touching neighbours evenly; few passes are needed
        for n in range(len(moved) - 1):
            missing = LABEL_PX - (moved[n + 1] - moved[n])
            if missing > 0:
                moved[n] -= missing / 2
                moved[n + 1] += missing / 2
    found = [0.0] * len(moved)
    for n, value in zip(order, moved, strict=True):
        found[n] = value
    return found


def _beyond(scale: _Scale, known: Sequence[float]) -> str:
    """Grey ground where there were no reference people."""
    found = []
    for first, last in ((scale.first, known[0]), (known[1], scale.last)):
        if last > first:
            x, width = scale.x(first), scale.x(last) - scale.x(first)
            size = f'width="{width:.1f}" height="{HEIGHT - TOP - BOTTOM}"'
            found.append(f'<rect x="{x:.1f}" y="{TOP}" {size} fill="#d5d5d5"/>')
    return "".join(found)


def _axes(scale: _Scale) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#000"/>']
    value = scale.low
    while value <= scale.high + scale.step / 2:
        parts.append(_text(LEFT - 6, scale.y(value) + 4, f"{value:.4g}", anchor="end"))
        parts.append(f'<path d="M{LEFT - 3} {scale.y(value):.1f}h3" stroke="#000"/>')
        value += scale.step
    decade = math.ceil(scale.first / 10) * 10
    while decade <= scale.last:
        parts.append(_text(scale.x(decade), bottom + 16, str(decade), anchor="middle"))
        parts.append(f'<path d="M{scale.x(decade):.1f} {bottom}v3" stroke="#000"/>')
        decade += 10
    parts.append(_text((LEFT + right) / 2, HEIGHT - 8, "age, years", anchor="middle"))
    return "".join(parts)


def _text(x: float, y: float, words: str, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="#000">'
        f"{escape(words)}</text>"
    )
