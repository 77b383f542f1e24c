"""Histograms as inline SVG, which need no script and follow the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT, FOOT = 280, 90, 16  # pixels; the foot holds the ends of the axis
BINS = 24


def histogram(title: str, values: Sequence[float], unit: str) -> str:
    """A histogram with its median as a line; empty text without values."""
    finite = [float(value) for value in values if math.isfinite(value)]
    if not finite:
        return ""
    counts, edges = np.histogram(finite, bins=BINS)
    low, high = float(edges[0]), float(edges[-1])
    step, scale = WIDTH / BINS, (HEIGHT - FOOT) / float(counts.max())
    bars = "".join(
        f'<rect x="{number * step:.1f}" y="{HEIGHT - FOOT - count * scale:.1f}" '
        f'width="{step - 1:.1f}" height="{count * scale:.1f}"/>'
        for number, count in enumerate(counts)
        if count
    )
    middle = float(np.median(finite))
    x = (middle - low) / (high - low) * WIDTH
    words = f"{len(finite)} scans, median {middle:.4g} {unit}"
    return (
        f"<figure><figcaption>{escape(title)}<br><small>{escape(words)}</small></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}: {escape(words)}">'
        f'{bars}<line class="median" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{HEIGHT - FOOT}"/>'
        f'<text x="0" y="{HEIGHT - 3}">{low:.4g}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT - 3}" text-anchor="end">{high:.4g}</text></svg></figure>'
    )
