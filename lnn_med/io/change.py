"""Change of each volume since an earlier scan of the same person, measured by the same version of a bundle.

An interval of the change joins those of both scans: it holds when both hold, so its coverage is at least the
sum of theirs less one, whatever links the errors of the two scans. It is wider than a measured repeatability
would allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lnn_med.io.result_record import MM3_DIGITS, PERCENT_DIGITS
from lnn_med.io.volumetry import NO_VALUE, SIDE_WORDS, in_words, mm3_text, percent_text

# Two scans of an unchanged person differ by less in 95 of 100 pairs if the within-subject variation is 2 %,
# the target for the hippocampus. Not measured for the shipped weights.
REPEATABILITY_PCT = 5.5
SPACING_TOLERANCE_MM = 0.05  # headers of one protocol differ by less


@dataclass(frozen=True)
class Change:
    """Volume of one structure at an earlier scan and now; intervals are (low, high), None without them."""

    name: str
    side: str | None
    bundle: str
    earlier_mm3: float
    now_mm3: float
    change_mm3: float
    interval_mm3: tuple[float, float] | None
    change_pct: float | None  # None where the earlier volume is 0
    interval_pct: tuple[float, float] | None
    coverage: float | None  # at least, of both intervals

    @property
    def words(self) -> str:
        """The structure as a reader says it."""
        return in_words(self.name) + SIDE_WORDS.get(self.side or "", "")

    @property
    def beyond_repeatability(self) -> bool:
        """Whether the change is larger than REPEATABILITY_PCT."""
        return self.change_pct is not None and abs(self.change_pct) > REPEATABILITY_PCT


def refusal(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> str | None:
    """Why no change can be given for these two records, in a sentence; None where it can."""
    if "fail" in (now["qc"]["status"], earlier["qc"]["status"]):
        return "The quality check of one of the scans failed, so there are no volumes to compare."
    if now["input"]["sha256"] == earlier["input"]["sha256"]:
        return "Both are the same scan."
    if not _common(now, earlier):
        return (
            "Different versions measured the two scans; measure the earlier one again with the present one."
        )
    return None


def changes(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> list[Change]:
    """Changes of the structures that both records of `result.json` hold, in the order of `now`.

    Bundles whose version or weights differ are left out, and so is all where `refusal` says why.
    """
    if refusal(now, earlier):
        return []
    common = _common(now, earlier)
    before = {_key(one): one for one in earlier["structures"]}
    pairs = [(one, before[_key(one)]) for one in now["structures"] if _key(one) in before]
    return [
        _change(new, old)
        for new, old in pairs
        if new["bundle"] in common and None not in (new["volume_mm3"], old["volume_mm3"])
    ]


def same_spacing(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Whether the voxels of both scans have the same size, in whatever order their axes run."""
    mine, theirs = (sorted(record["input"]["spacing_mm"]) for record in (now, earlier))
    return all(abs(one - other) <= SPACING_TOLERANCE_MM for one, other in zip(mine, theirs, strict=True))


def signed_mm3_text(value: float) -> str:
    """A change as whole mm³ with its sign, a true minus."""
    return ("+" if round(value) > 0 else "\u2212" if round(value) < 0 else "") + mm3_text(abs(value))


def signed_percent_text(value: float | None) -> str:
    """A change in percent with its sign."""
    return NO_VALUE if value is None else ("+" if value > 0 else "") + percent_text(value)


def _common(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> set[str]:
    """Bundles that measured both scans in the same version: with weights, calibration and depth alike."""
    mine, theirs = (
        {each["bundle"]: (each["version"], each["weights_sha256"]) for each in record["model"]}
        for record in (now, earlier)
    )
    return {bundle for bundle, version in mine.items() if theirs.get(bundle) == version}


def _key(structure: Mapping[str, Any]) -> tuple[str, str]:
    return structure["name"], structure["bundle"]


def _change(new: Mapping[str, Any], old: Mapping[str, Any]) -> Change:
    now_mm3, earlier_mm3 = new["volume_mm3"], old["volume_mm3"]
    edges, edges_pct, coverage = None, None, None
    if new["interval_mm3"] and old["interval_mm3"]:
        (low, high), (old_low, old_high) = new["interval_mm3"], old["interval_mm3"]
        edges = (round(low - old_high, MM3_DIGITS), round(high - old_low, MM3_DIGITS))
        if old_low > 0:
            edges_pct = (_percent(low, old_high), _percent(high, old_low))
        coverage = round(new["coverage"] + old["coverage"] - 1, 4)
    return Change(
        name=new["name"],
        side=new["side"],
        bundle=new["bundle"],
        earlier_mm3=earlier_mm3,
        now_mm3=now_mm3,
        change_mm3=round(now_mm3 - earlier_mm3, MM3_DIGITS),
        interval_mm3=edges,
        change_pct=_percent(now_mm3, earlier_mm3) if earlier_mm3 > 0 else None,
        interval_pct=edges_pct,
        coverage=coverage,
    )


def _percent(now: float, earlier: float) -> float:
    return round(100 * (now - earlier) / earlier, PERCENT_DIGITS) + 0.0
