"""Chooses the T1 head scan among the series of a folder, by rules that a person can check.

1. What a series shows is judged by, in this order: AcquisitionContrast, SeriesDescription, ProtocolName,
   the times (RepetitionTime, EchoTime, InversionTime), SequenceName. The first that gives a verdict counts.
2. Series that show something else than T1, and localizers, are left out.
3. The others are ranked by `Rank`; the first criterion in which two differ decides.
4. Two series of equal rank are not told apart by their order: the choice is left to the user.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lnn_med.io.dicom_facts import Facts

HEAD_MM = 100.0  # a head scan covers at least this much along each axis; hippocampus crops 50
FINE_MM = 1.5  # coarsest spacing at which fine labels of the hippocampus are drawn
MANY_SLICES = 16  # localizers have fewer, head scans more
SPACING_STEP_MM = 0.25  # spacings within such a step count as equal
SHORT_TE_MS = 30.0  # T1 spin echo 8-25 ms, gradient echo 2-10 ms
LONG_TE_MS = 60.0  # T2, FLAIR, diffusion
T1_SPIN_ECHO_TR_MS = (200.0, 1200.0)
T1_INVERSION_MS = (500.0, 1400.0)  # MPRAGE 800-1100; FLAIR 1700-2800
SPOILED_TR_MS = 50.0
SPOILED_FLIP_DEGREES = 8.0  # below it a spoiled gradient echo is nearer to proton density

_T1 = re.compile(r"\b(T1\w*|MP2?RAGE\w*|F?SPGR|BRAVO|TFL3D\w*|TURBOFLASH|3DT1\w*)\b")
_MAPS = re.compile(r"\b(T1 ?MAP\w*|T1RHO|T1_?VALUE\w*|INV ?\d|MOLLI)\b")
_OTHER = re.compile(
    r"\b(T2\w*|FLAIR\w*|DARK FLUID|PD|PDW|STIR|DWI\w*|DTI\w*|DIFF\w*|EP2D\w*|EPI|ADC|TRACEW?|FA|SWI|SWAN"
    r"|QSM|HEMO|FIELD ?MAP\w*|GRE FIELD\w*|B0|FMRI|BOLD|ASL|PCASL|TOF|MRA|ANGIO\w*|PERF\w*|DSC|DCE|CISS"
    r"|FIESTA|HASTE|MRS|CSI)\b"
)
_LOCALIZER = re.compile(
    r"\b(LOC|LOCALI[SZ]ER\w*|SCOUT\w*|SURVEY\w*|3 ?PLANE|AAHEAD\w*|SMARTBRAIN|TOPOGRAM|CALIBRATION)\b"
)
_CONTRAST = re.compile(r"(\+ ?C\b|\bPOST\b|POST$|\bGD\b|\bGAD\w*|\bCE\b|\bKM\b|\bCONTRAST\b)")
_PROJECTIONS = {"MIP", "MINIP", "MAX_IP", "MIN_IP", "PROJECTION IMAGE", "SCREEN SAVE", "CSA REPORT"}


class Rank(NamedTuple):
    """What makes a series the better T1 head scan; a larger value wins, earlier criteria first."""

    says_t1: bool
    covers_head: bool
    many_slices: bool
    original: bool  # ImageType ORIGINAL, not derived or reformatted
    fine: bool
    no_contrast: bool  # the networks learned from scans without contrast agent
    spacing_steps: int  # coarsest spacing in steps, negative: finer is larger


@dataclass(frozen=True)
class Candidate:
    """A series that could be chosen, with its block of voxels."""

    facts: Facts
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


def shows(facts: Facts) -> str:
    """ "T1", "other", "localizer", "projection" or "" when the header does not tell."""
    image_type = {part.strip().upper() for part in str(facts.tag("ImageType") or "").split("\\")}
    names = _names(facts)
    if image_type & {"LOCALIZER"} or any(_LOCALIZER.search(name) for name in names):
        return "localizer"
    if image_type & _PROJECTIONS:
        return "projection"
    verdicts = (
        _by_contrast(facts),
        *(_by_name(name) for name in names),
        _by_times(facts),
        _by_name(_words(str(facts.tag("SequenceName") or ""))),
    )
    return next((verdict for verdict in verdicts if verdict), "")


def rank(candidate: Candidate) -> Rank:
    """The rank of a series that shows T1 or does not tell."""
    facts = candidate.facts
    extent = [count * mm for count, mm in zip(candidate.shape, candidate.spacing_mm, strict=True)]
    image_type = str(facts.tag("ImageType") or "ORIGINAL").upper()
    coarsest = max(candidate.spacing_mm)
    return Rank(
        says_t1=shows(facts) == "T1",
        covers_head=min(extent) >= HEAD_MM,
        many_slices=candidate.shape[2] >= MANY_SLICES,
        original=image_type.startswith("ORIGINAL") and "MPR" not in image_type,
        fine=coarsest <= FINE_MM,
        no_contrast=not has_contrast(facts),
        spacing_steps=-round(coarsest / SPACING_STEP_MM),
    )


def has_contrast(facts: Facts) -> bool:
    """Whether the scan was made with contrast agent, by its header or its name."""
    return facts.contrast_agent or any(map(_CONTRAST.search, _names(facts)))


def best(candidates: Sequence[Candidate]) -> int | None:
    """Index of the series that wins, or None when there is none or no clear one."""
    ranks = [rank(candidate) for candidate in candidates]
    if not ranks or ranks.count(max(ranks)) != 1:
        return None
    return ranks.index(max(ranks))


def explain(winner: Candidate, others: Sequence[Candidate]) -> str:
    """One sentence on why the winner won, for the table."""
    if not others:
        return "the only series that may be a T1 head scan"
    mine, second = rank(winner), max(rank(other) for other in others)
    deciding = next(name for name in Rank._fields if getattr(mine, name) != getattr(second, name))
    return f"ranks first by: {deciding.replace('_', ' ')}"


def _names(facts: Facts) -> list[str]:
    return [_words(facts.description), _words(facts.protocol)]


def _words(name: str) -> str:
    return re.sub(r"[^A-Z0-9+]+", " ", name.upper())


def _by_contrast(facts: Facts) -> str:
    contrast = str(facts.tag("AcquisitionContrast") or "").upper()
    return "" if contrast in ("", "UNKNOWN", "MIXED") else "T1" if contrast == "T1" else "other"


def _by_name(name: str) -> str:
    if _MAPS.search(name):
        return "other"
    t1, other = _T1.search(name), set(_OTHER.findall(name)) - {"FLAIR"}  # there is a T1 FLAIR
    if t1:
        return "" if other else "T1"
    return "other" if _OTHER.search(name) else ""


def _by_times(facts: Facts) -> str:
    repetition, echo = facts.tag("RepetitionTime"), facts.tag("EchoTime")
    inversion, flip = facts.tag("InversionTime"), facts.tag("FlipAngle")
    if not repetition or not echo:
        return ""
    if echo >= LONG_TE_MS:
        return "other"
    if echo > SHORT_TE_MS:
        return ""
    if inversion and T1_INVERSION_MS[0] <= inversion <= T1_INVERSION_MS[1]:
        return "T1"
    spin_echo = "SE" in str(facts.tag("ScanningSequence") or "").upper()
    if spin_echo and T1_SPIN_ECHO_TR_MS[0] <= repetition <= T1_SPIN_ECHO_TR_MS[1]:
        return "T1"
    spoiled = not spin_echo and repetition <= SPOILED_TR_MS and (flip or 0) >= SPOILED_FLIP_DEGREES
    return "T1" if spoiled else ""
