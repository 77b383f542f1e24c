"""The change of each volume since an earlier scan, beside which the present one is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.parts import html
from lnn_med.io.change_words import HEAD, TITLE, TITLE_OTHERS, ChangeRow, change_words


def change_tables(now: Mapping[str, Any], earlier: Mapping[str, Any], edited: bool) -> tuple[str, str]:
    """Two pieces of HTML from two records: the hippocampus with what the numbers mean, and all the others."""
    words = change_words(now, earlier, edited)
    if words.refusal:
        return f"<p>{html.text(words.refusal)}</p>", ""
    top = html.table(TITLE, HEAD, list(map(_cells, words.first)), words=(5, 6))
    below = html.table(TITLE_OTHERS, HEAD, list(map(_cells, words.others)), words=(5, 6))
    return top + f'<p class="quiet">{html.text(words.notes)}</p>', below if words.others else ""


def _cells(row: ChangeRow) -> tuple[str, ...]:
    return (
        html.text(row.structure),
        row.earlier,
        row.now,
        _with_interval(row.change_mm3, row.interval_mm3),
        _with_interval(row.change_pct, row.interval_pct),
        row.band,
        html.text(row.bundle),
    )


def _with_interval(value: str, interval: str) -> str:
    return value + (f'<br><span class="quiet">{interval}</span>' if interval else "")
