"""The rows of the volumetry page, made from a `result.json` record: left, right and total side by side.

Numbers come from the record with its digits; only sums of two sides and shares of ICV are added here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lnn_med.errors import WarningCode

SIDES = ("L", "R")
SIDE_WORDS = {"L": ", left", "R": ", right"}
FIRST = "Hippocampus"  # what the page opens with
NO_VALUE = "\u2013"
NO_REFERENCE = "age or sex not given, or no reference for this method"
W_EDITED = "W_EDITED"
# Why a result with age and sex has no percentiles, by the code of its warning.
NO_REFERENCE_AFTER = {
    W_EDITED: "not given after a reader's edit",
    WarningCode.TEMPLATE.value: "not given: the image seems to be normalised to a template",
}
QC_WORDS = {
    "pass": "PASS: no rule of the quality check was broken",
    "review": "REVIEW: look at the images before you use a number",
    "fail": "FAIL: no numbers are given",
}
LIMITS = (
    "Not a medical device, not validated for diagnosis.",
    "T1 scans of adults only; tumours, resections, children and contrast agent are outside.",
    "Volumes of other tools, protocols and versions differ by hundreds of mm³: compare only volumes of the "
    "same bundle and version.",
    "Two bundles measure the hippocampus by two protocols; both are given and never merged.",
)


@dataclass(frozen=True)
class Cell:
    """One measured structure; None where there is no number."""

    volume_mm3: float | None
    interval_mm3: tuple[float, float] | None = None
    coverage: float | None = None
    mean_depth: float | None = None
    icv_pct: float | None = None
    percentile: float | None = None  # for age, sex and head size


@dataclass(frozen=True)
class Row:
    """A structure of one bundle: both sides and their sum, or one value for a structure without sides."""

    name: str
    bundle: str
    left: Cell | None
    right: Cell | None
    total: Cell

    @property
    def words(self) -> str:
        """The name as a reader says it."""
        return in_words(self.name)


def rows_of(record: Mapping[str, Any]) -> list[Row]:
    """All rows, in the order of the record; a total of two sides has no interval: errors may go together."""
    icv = record["derived"].get("icv_mm3")
    curves = (record.get("reference") or {}).get("curves", ())
    both = {curve["structure"]: curve["percentile"] for curve in curves}
    pairs: dict[tuple[str, str], dict[str | None, Cell]] = {}
    for entry in record["structures"]:
        key = (without_side(entry["name"]), entry["bundle"])
        pairs.setdefault(key, {})[entry["side"]] = _cell(entry, icv)
    rows = [_row(name, bundle, cells, icv, both.get(name)) for (name, bundle), cells in pairs.items()]
    derived = record["derived"]
    if "hippocampus_fine_left_mm3" in derived:
        fine = next(row.bundle for row in rows if row.name.startswith(f"{FIRST}_"))
        left, right = (_plain(derived[f"hippocampus_fine_{word}_mm3"], icv) for word in ("left", "right"))
        rows.append(_row(FIRST, fine, {SIDES[0]: left, SIDES[1]: right}, icv))
    return rows


def first_rows(rows: Sequence[Row]) -> list[Row]:
    """The hippocampus by each bundle, its parts below it: what the page opens with."""
    mine = [row for row in rows if row.name.split("_")[0] == FIRST]
    return sorted(mine, key=lambda row: (row.bundle, row.name != FIRST))


def edited_volumes(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[tuple[str, float, float, str]]:
    """Structures whose volume a reader's edit changed: name in words, mm³ before and after, bundle."""
    found = []
    for old, new in zip(before["structures"], after["structures"], strict=True):
        if old["volume_mm3"] != new["volume_mm3"]:
            name = in_words(old["name"]) + SIDE_WORDS.get(old["side"], "")
            found.append((name, old["volume_mm3"], new["volume_mm3"], old["bundle"]))
    return found


def asymmetries(record: Mapping[str, Any]) -> list[tuple[str, float | None, str]]:
    """Name, percent and words of each asymmetry in the record."""
    found = []
    for name, value in record["derived"].items():
        if name.endswith("_asymmetry_pct"):
            found.append((name.removesuffix("_asymmetry_pct"), value, asymmetry_words(value)))
    return found


def asymmetry_words(percent: float | None) -> str:
    """The sign of 100 (L - R) / ((L + R) / 2) in words."""
    if percent is None:
        return "no value"
    if percent == 0:
        return "left and right are equal"
    return f"the {'left' if percent > 0 else 'right'} one is larger"


def reference_rows(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Measure, value and note of each percentile and of each volume adjusted to head size."""
    reference = record.get("reference")
    if not reference:
        codes = {one["code"] for one in record.get("warnings", ())}
        reasons = (words for code, words in NO_REFERENCE_AFTER.items() if code in codes)
        return [("Percentile for age and sex", NO_VALUE, next(reasons, NO_REFERENCE))]
    low, high = reference["ages_years"]
    people = f"{reference['name']}; {low:.0f} to {high:.0f} years"
    rows = [("Reference people", str(reference["people"]), people)]
    for curve in reference["curves"]:
        name = in_words(curve["structure"])
        known = curve["percentile"] is not None
        note = "same age, sex and head size" if known else "outside the ages of the reference people"
        rows.append((f"{name}, percentile", percentile_text(curve["percentile"]), note))
        rows.append(
            (
                f"{name}, both sides, ICV-adjusted",
                f"{mm3_text(curve['adjusted_mm3'])} mm³",
                "as in a head of usual size; residual method",
            )
        )
    return rows


def percentile_text(percentile: float | None) -> str:
    """Whole percentile: `<1`, `37`, `>99`; a dash where there is none."""
    if percentile is None:
        return NO_VALUE
    if percentile < 1:
        return "<1"
    return ">99" if percentile > 99 else f"{percentile:.0f}"


def saved_pct(record: Mapping[str, Any]) -> float:
    """Share of the full network's work that was not spent, percent."""
    return 100.0 * (1.0 - float(record["compute"]["fraction"]))


def mm3_text(value: float | None) -> str:
    """A volume as whole mm³, its thousands apart by a thin space that does not break the line."""
    return NO_VALUE if value is None else f"{value:,.0f}".replace(",", "\u202f")


def age_text(years: float | None) -> str:
    """Completed years, as people say their age."""
    return "not given" if years is None else f"{math.floor(years)} years"


def percent_text(value: float | None, digits: int = 1) -> str:
    """Percent with a true minus sign."""
    return NO_VALUE if value is None else f"{value:.{digits}f} %".replace("-", "\u2212")


def interval_text(cell: Cell) -> str:
    """ "2 754 to 3 366", or nothing without an interval."""
    if cell.interval_mm3 is None:
        return ""
    low, high = cell.interval_mm3
    return f"{mm3_text(low)} to {mm3_text(high)}"


def without_side(name: str) -> str:
    """`Hippocampus_L_Anterior` -> `Hippocampus_Anterior`."""
    return "_".join(part for part in name.split("_") if part not in SIDES)


def in_words(name: str) -> str:
    """A structure's name for people: `LateralVentricle` -> `Lateral ventricle`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"^(\d(?:rd|th))", r"\1 ", without_side(name)))
    words = [word if word.isupper() else word.lower() for word in spaced.replace("_", " ").split()]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def _cell(entry: Mapping[str, Any], icv: float | None) -> Cell:
    edges = entry["interval_mm3"]
    return Cell(
        volume_mm3=entry["volume_mm3"],
        interval_mm3=(edges[0], edges[1]) if edges else None,
        coverage=entry["coverage"],
        mean_depth=entry["mean_depth"],
        icv_pct=_share(entry["volume_mm3"], icv),
        percentile=entry["percentile"],
    )


def _plain(volume_mm3: float | None, icv: float | None) -> Cell:
    return Cell(volume_mm3, icv_pct=_share(volume_mm3, icv))


def _share(volume_mm3: float | None, icv: float | None) -> float | None:
    return 100 * volume_mm3 / icv if volume_mm3 is not None and icv else None


def _row(
    name: str,
    bundle: str,
    cells: Mapping[str | None, Cell],
    icv: float | None,
    both_percentile: float | None = None,
) -> Row:
    left, right = (cells.get(side) for side in SIDES)
    if None in cells:
        return Row(name, bundle, left, right, cells[None])
    values = [cell.volume_mm3 for cell in (left, right) if cell is not None]
    known = [value for value in values if value is not None]
    total = sum(known) if len(known) == len(SIDES) else None
    # The reference people were measured by one bundle: the one that gives the sides their percentiles.
    compared = all(cell is not None and cell.percentile is not None for cell in (left, right))
    plain = replace(_plain(total, icv), percentile=both_percentile if compared else None)
    return Row(name, bundle, left, right, plain)
