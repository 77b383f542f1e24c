"""Numbers as every page writes them: thousands apart by a thin space, decimals by what is measured."""

from __future__ import annotations

import math
import re
from typing import Any

from lnn_med.io.volumetry import NO_VALUE, mm3_text, percent_text

BARE = re.compile(r"\b\d{5,}\b")
GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")  # the comma of 8,388,608


def count_text(count: float) -> str:
    """A whole number."""
    return mm3_text(count)


def column_text(column: str, value: Any) -> str:
    """A value of a column of scores.csv, by the unit in the column's name."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NO_VALUE
    if column.endswith("_mm3"):
        return mm3_text(value)
    return percent_text(value) if column.endswith("_pct") else f"{value:.2f}"


def grouped(words: str) -> str:
    """Words whose numbers are counts, none of them a name or an identifier, with their thousands apart."""
    return BARE.sub(lambda found: count_text(int(found[0])), words)


def as_shown(message: str) -> str:
    """A message of the package, whose numbers are grouped by commas, as a page writes it."""
    return GROUPED.sub("\u202f", message)
