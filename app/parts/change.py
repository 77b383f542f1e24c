"""The change of each volume since an earlier scan, beside which the present one is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.parts import html
from lnn_med.io.change import (
    REPEATABILITY_PCT,
    Change,
    changes,
    refusal,
    same_spacing,
    signed_mm3_text,
    signed_percent_text,
)
from lnn_med.io.volumetry import FIRST, NO_VALUE, mm3_text

BAND = f"±{REPEATABILITY_PCT:g} %"
HEAD = ("Structure", "Earlier, mm³", "Now, mm³", "Change, mm³", "Change", BAND, "Bundle")
OWN_CHECK = "That both scans are of one person is for you to check."


def change_tables(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> tuple[str, str]:
    """Two pieces of HTML from two records: the hippocampus with what the numbers mean, and all the others."""
    reason = refusal(now, earlier)
    if reason:
        return f"<p>No change since the earlier scan is given. {html.text(reason)}</p>", ""
    found = changes(now, earlier)
    first = [one for one in found if one.name.split("_")[0] == FIRST]
    others = [one for one in found if one not in first]
    shown, rest = (first, others) if first else (others, [])
    top = html.table("Change since the earlier scan", HEAD, list(map(_cells, shown)), words=(5, 6))
    below = html.table("Change of the other structures", HEAD, list(map(_cells, rest)), words=(5, 6))
    return top + _notes(found, now, earlier), below if rest else ""


def _cells(one: Change) -> tuple[str, ...]:
    mm3 = [signed_mm3_text(edge) for edge in one.interval_mm3 or ()]
    percent = [signed_percent_text(edge) for edge in one.interval_pct or ()]
    return (
        html.text(one.words),
        mm3_text(one.earlier_mm3),
        mm3_text(one.now_mm3),
        _with_interval(signed_mm3_text(one.change_mm3), mm3),
        _with_interval(signed_percent_text(one.change_pct), percent),
        NO_VALUE if one.change_pct is None else "beyond" if one.beyond_repeatability else "within",
        html.text(one.bundle),
    )


def _with_interval(value: str, edges: Sequence[str]) -> str:
    return value + (f'<br><span class="quiet">{" to ".join(edges)}</span>' if edges else "")


def _notes(found: Sequence[Change], now: Mapping[str, Any], earlier: Mapping[str, Any]) -> str:
    words = []
    coverages = sorted({one.coverage for one in found if one.coverage is not None})
    if coverages:
        words.append(
            f"Below each change: an interval that holds with at least {100 * coverages[0]:.0f} %, made of "
            "the intervals of both scans, whatever links their errors."
        )
    words.append(
        f"{BAND}: two scans of an unchanged person differ by less in 95 of 100 pairs if the measurement "
        "varies by 2 % within a person; this was not measured for these weights."
    )
    if not same_spacing(now, earlier):
        words.append("The scans have different voxel sizes, which alone changes volumes.")
    words.append(f"No yearly rate: dates of scans are not kept. {OWN_CHECK}")
    return f'<p class="quiet">{html.text(" ".join(words))}</p>'
