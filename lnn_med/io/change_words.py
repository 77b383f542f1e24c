"""What pages say about the change since an earlier scan: rows of texts and notes from two records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
TITLE, TITLE_OTHERS = "Change since the earlier scan", "Change of the other structures"
HEAD = ("Structure", "Earlier, mm³", "Now, mm³", "Change, mm³", "Change", BAND, "Bundle")
REFUSED = "No change since the earlier scan is given."
OWN_CHECK = "That both scans are of one person is for you to check."
EDIT_LEFT_OUT = "A reader edited labels of one of these scans; the change is between the model's own volumes."


@dataclass(frozen=True)
class ChangeRow:
    """One structure; intervals are empty where there are none."""

    structure: str
    earlier: str
    now: str
    change_mm3: str
    interval_mm3: str
    change_pct: str
    interval_pct: str
    band: str  # within or beyond it
    bundle: str


@dataclass(frozen=True)
class ChangeWords:
    """`refusal` says why there is nothing else; `first` is the hippocampus, or all where there is none."""

    refusal: str
    first: tuple[ChangeRow, ...] = ()
    others: tuple[ChangeRow, ...] = ()
    notes: str = ""


def change_words(now: Mapping[str, Any], earlier: Mapping[str, Any], edited: bool = False) -> ChangeWords:
    """What a page says.

    Args:
        now: the model's record of the present scan.
        earlier: the model's record of the earlier scan.
        edited: a reader edited one of them, which is not in the records and will be said.
    """
    reason = refusal(now, earlier)
    if reason:
        return ChangeWords(f"{REFUSED} {reason}")
    found = changes(now, earlier)
    first = [one for one in found if one.name.split("_")[0] == FIRST]
    others = [one for one in found if one not in first]
    shown, rest = (first, others) if first else (others, [])
    notes = _notes(found, now, earlier) + ([EDIT_LEFT_OUT] if edited else [])
    return ChangeWords("", tuple(map(_row, shown)), tuple(map(_row, rest)), " ".join(notes))


def _row(one: Change) -> ChangeRow:
    return ChangeRow(
        structure=one.words,
        earlier=mm3_text(one.earlier_mm3),
        now=mm3_text(one.now_mm3),
        change_mm3=signed_mm3_text(one.change_mm3),
        interval_mm3=" to ".join(map(signed_mm3_text, one.interval_mm3 or ())),
        change_pct=signed_percent_text(one.change_pct),
        interval_pct=" to ".join(map(signed_percent_text, one.interval_pct or ())),
        band=NO_VALUE if one.change_pct is None else "beyond" if one.beyond_repeatability else "within",
        bundle=one.bundle,
    )


def _notes(found: Sequence[Change], now: Mapping[str, Any], earlier: Mapping[str, Any]) -> list[str]:
    words = []
    coverages = sorted({one.coverage for one in found if one.coverage is not None})
    if coverages:
        words.append(
            f"With each change: an interval that holds with at least {100 * coverages[0]:.0f} %, made of "
            "the intervals of both scans, whatever links their errors."
        )
    words.append(
        f"{BAND}: two scans of an unchanged person differ by less in 95 of 100 pairs if the measurement "
        "varies by 2 % within a person; this was not measured for these weights."
    )
    if not same_spacing(now, earlier):
        words.append("The scans have different voxel sizes, which alone changes volumes.")
    words.append(f"No yearly rate: dates of scans are not kept. {OWN_CHECK}")
    return words
