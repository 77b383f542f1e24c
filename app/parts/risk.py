"""What the classifiers say: the number with its set and its test, what moved it, and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.parts import html
from lnn_med.io.risk_words import (
    HEAD,
    HEAD_DRIVERS,
    HEAD_EVIDENCE,
    NOTE_DRIVERS,
    NOTE_EVIDENCE,
    TITLE,
    TITLE_DRIVERS,
    TITLE_EVIDENCE,
    TITLE_LIMITS,
    risk_words,
)


def risk_panel(record: Mapping[str, Any]) -> str:
    """Answers and limits; empty where no classifier was asked."""
    words = risk_words(record)
    if not words.rows:
        return ""
    rows = [
        (html.text(name), f'<span class="big">{html.text(value)}</span>', html.text(note))
        for name, value, note in words.rows
    ]
    limits = "".join(f"<li>{html.text(limit)}</li>" for limit in words.limits)
    return (
        html.table(TITLE, HEAD, rows, words=(2,))
        + f'<div class="quiet"><b>{html.text(TITLE_LIMITS)}</b><ul>{limits}</ul></div>'
    )


def risk_reasons(record: Mapping[str, Any]) -> str:
    """What moved the number and where the network saw evidence; empty where there is none."""
    words = risk_words(record)
    shown = []
    for title, head, rows, note in (
        (TITLE_DRIVERS, HEAD_DRIVERS, words.drivers, NOTE_DRIVERS),
        (TITLE_EVIDENCE, HEAD_EVIDENCE, words.evidence, NOTE_EVIDENCE),
    ):
        if rows:
            cells = [tuple(map(html.text, row)) for row in rows]
            shown.append(html.table(title, head, cells) + f'<p class="quiet">{html.text(note)}</p>')
    return "".join(shown)
