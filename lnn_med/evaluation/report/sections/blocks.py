"""What a section is made of, and how numbers are written: the same digits wherever they stand.

A block is a plain mapping with a `kind`: text, missing, facts, table, figure, pictures or verdict.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Block = dict[str, Any]
_NUMBER = re.compile(r"([+\-−]|< ?)?[\d.,]+( |%|,|$)|–")  # a hash may begin with digits, too
DASH = "–"


@dataclass(frozen=True)
class Section:
    """A numbered section; it is never without blocks."""

    number: int
    title: str
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError(f"Section {self.number} is empty; say in words what was not measured.")


def text(words: str) -> Block:
    """A paragraph."""
    return {"kind": "text", "text": words}


def heading(words: str) -> Block:
    """A heading inside a section."""
    return {"kind": "heading", "text": words}


def missing(why: str) -> Block:
    """What the report does not hold, and why."""
    return {"kind": "missing", "text": f"not measured: {why}"}


def facts(rows: Sequence[tuple[str, Any]]) -> Block:
    """Names and values; a value of None or "" is written as "not stated"."""
    shown = [(name, "not stated" if value in (None, "") else str(value)) for name, value in rows]
    return {"kind": "facts", "rows": shown}


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> Block:
    """A table; a column is aligned right when its cells begin like numbers."""
    cells = [[DASH if value is None else str(value) for value in row] for row in rows]
    right = [
        index > 0 and bool(cells) and all(_NUMBER.match(row[index]) or not row[index] for row in cells)
        for index in range(len(columns))
    ]
    return {
        "kind": "table",
        "title": title,
        "columns": list(columns),
        "rows": cells,
        "right": right,
        "note": note,
    }


def figure(key: str, title: str, alt: str) -> Block:
    """A figure by its key in the figures; `alt` says in words what it shows."""
    return {"kind": "figure", "key": key, "title": title, "alt": alt}


def verdict(outcome: str, words: str) -> Block:
    """A decision; the outcome stands in words, never in colour alone."""
    return {"kind": "verdict", "outcome": outcome, "text": words}


def number(value: Any, digits: int = 3) -> str:
    """A number with fixed digits, a dash for None; what rounds to 0 has no sign."""
    if value is None:
        return DASH
    words = f"{value:.{digits}f}"
    return f"{0:.{digits}f}" if float(words) == 0 else words.replace("-", "−")


def p_value(value: float | None, digits: int = 3) -> str:
    """A p-value; one that would round to 0 is written as an upper bound, since none is 0."""
    least = 10.0**-digits
    return f"< {least:.{digits}f}" if value is not None and value < least else number(value, digits)


def interval(found: Mapping[str, Any] | None, digits: int = 3) -> str:
    """`0.782 (0.616 to 0.921)`; a dash for a number that does not exist."""
    if found is None or found.get("estimate") is None:
        return DASH
    if found.get("low") is None or found.get("high") is None:
        return f"{number(found['estimate'], digits)} (no interval)"
    low, high = number(found["low"], digits), number(found["high"], digits)
    return f"{number(found['estimate'], digits)} ({low} to {high})"


def why(found: Mapping[str, Any] | None) -> str:
    """The note of a number, for the text beside it."""
    return str((found or {}).get("note") or "")


def percent(value: float | None, digits: int = 0) -> str:
    """0.95 as `95 %`."""
    return DASH if value is None else f"{100 * value:.{digits}f} %"


def several(count: int, one: str, many: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{count} {one if count == 1 else many}"


def listed(names: Sequence[str], limit: int = 12) -> str:
    """Names in a row, shortened when there are many."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
