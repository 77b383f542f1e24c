"""Says what each series of a folder is, and picks the one to read: the T1 head scan, or the named one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lnn_med import geometry
from lnn_med.errors import Code, Finding, InputError, WarningCode
from lnn_med.io.dicom_choice import Candidate, best, explain, shows
from lnn_med.io.dicom_folder import Folder, Series, check_one_patient
from lnn_med.io.dicom_pixels import ImageFile, read_block

_LOOKS = {"other": "not T1-weighted", "localizer": "a localizer", "projection": "a projection or screenshot"}


@dataclass(frozen=True)
class SeriesInfo:
    """One row of the table of series; `description` is free text and may name a patient."""

    series_uid: str
    modality: str
    description: str
    images: int
    shape: tuple[int, int, int] | None
    spacing_mm: tuple[float, float, float] | None
    orientation: str
    usable: bool  # a volume can be made of it, and it is no localizer or projection
    reason: str  # why it is usable or not, chosen or not; free of patient data
    chosen: bool  # the one that `read_series` takes without being told


def series_table(folder: Folder) -> list[SeriesInfo]:
    """A row for each series, in the order of their UIDs; broken files that do not say theirs come last.

    Raises:
        InputError: what is wrong with them when there are no others.
    """
    if not folder.series:
        raise folder.homeless[0]
    candidates = _candidates(folder)
    winner = None if _blocking(folder) else best(list(candidates.values()))
    winning = list(candidates)[winner] if winner is not None else None
    return [_row(one, winning, candidates) for one in folder.series] + _homeless_rows(folder)


def pick_t1(folder: Folder) -> tuple[Series, tuple[Finding, ...]]:
    """The series that is clearly the T1 head scan.

    Raises:
        InputError: E_SERIES with the table when none is, E_MIXED for several patients, or what is wrong with
            a broken file that may belong to it.
    """
    if problem := _blocking(folder):
        raise problem
    candidates = _candidates(folder)
    winner = best(list(candidates.values()))
    if winner is None:
        raise _no_choice(folder, len(candidates))
    chosen = folder.named(list(candidates)[winner])
    assert chosen is not None
    skipped = len(folder.series) - len(candidates)
    if not skipped:
        return chosen, ()
    kinds = "not MR, not T1-weighted, localizers or no volumes"
    note = f"Skipped {skipped} of {len(folder.series)} series: {kinds}."
    return chosen, (Finding(WarningCode.MODALITY, note),)


def pick_named(folder: Folder, uid: str) -> tuple[Series, tuple[Finding, ...]]:
    """The series with this UID, whatever it shows.

    Raises:
        InputError: E_SERIES when it is not there or cannot be a volume, else what is wrong with it.
    """
    if folder.homeless:
        raise folder.homeless[0]
    series = folder.named(uid)
    if series is None:
        raise InputError(Code.SERIES, f"No series has the UID that was named.\n{_format(folder)}\n")
    if series.problem:
        _try_pixels(series)
        raise series.problem
    if not _is_volume(series) or series.facts is None:
        raise InputError(Code.SERIES, f"The named series cannot be read as a volume: {_why_not(series)}.")
    looks = _LOOKS.get(shows(series.facts))
    findings = (Finding(WarningCode.MODALITY, f"The named series looks like {looks}."),) if looks else ()
    return series, findings


def format_table(rows: Sequence[SeriesInfo]) -> str:
    """The table as text without descriptions, fit for messages and logs."""
    return "\n".join(
        f"  {row.series_uid}  {row.modality or '-'}  {row.images} images  {_times(row.shape)} voxels  "
        f"{_times(row.spacing_mm)} mm  {row.orientation or '-'}  {row.reason}"
        for row in rows
    )


def _row(series: Series, winning: str | None, candidates: dict[str, Candidate]) -> SeriesInfo:
    facts, block = series.facts, series.stack
    if series.uid not in candidates:
        reason = _why_not(series)
    elif series.uid == winning:
        others = [candidate for uid, candidate in candidates.items() if uid != winning]
        reason = explain(candidates[winning], others)
    else:
        reason = (
            "may be a T1 head scan, ranks behind"
            if winning
            else "may be a T1 head scan, not clearly the best"
        )
    return SeriesInfo(
        series_uid=series.uid,
        modality=facts.modality if facts else "",
        description=facts.description if facts else "",
        images=len(series.instances),
        shape=block.shape if block else None,
        spacing_mm=geometry.spacing_mm(block.affine) if block else None,
        orientation=geometry.axis_codes(block.affine) if block else "",
        usable=_is_usable(series),
        reason=reason,
        chosen=series.uid == winning,
    )


def _homeless_rows(folder: Folder) -> list[SeriesInfo]:
    if not folder.homeless:
        return []
    first = folder.homeless[0]
    reason = f"{first.code.value}: {first.detail}"
    return [SeriesInfo("unknown", "", "", len(folder.homeless), None, None, "", False, reason, False)]


def _is_volume(series: Series) -> bool:
    return series.is_mr and series.stack is not None


def _is_usable(series: Series) -> bool:
    return _is_volume(series) and series.facts is not None and shows(series.facts) in ("T1", "other", "")


def _why_not(series: Series) -> str:
    """Why a series is no candidate for a T1 head scan."""
    if series.facts and not series.facts.is_mr:
        return "not an MR image"
    if series.problem:
        return f"{series.problem.code.value}: {series.problem.detail}"
    if series.stack is None:
        return "its images have no place in the patient"
    return _LOOKS[shows(series.facts)] if series.facts else "not an image"


def _candidates(folder: Folder) -> dict[str, Candidate]:
    """Series that may be T1 head scans, by UID."""
    return {
        one.uid: Candidate(one.facts, one.stack.shape, geometry.spacing_mm(one.stack.affine))
        for one in folder.series
        if one.is_mr and one.facts and one.stack and shows(one.facts) in ("T1", "")
    }


def _blocking(folder: Folder) -> InputError | None:
    """What forbids any choice: a broken file of unknown series, several patients, a broken T1 series."""
    if folder.homeless:
        return folder.homeless[0]
    try:
        check_one_patient(folder.series)
    except InputError as problem:
        return problem
    return _better_but_broken(folder)


def _better_but_broken(folder: Folder) -> InputError | None:
    """The problem of a damaged series that shows T1: a lesser one must not silently take its place."""
    for one in folder.series:
        if not one.problem or one.problem.code is Code.SHAPE or not one.facts or not one.facts.is_mr:
            continue
        if shows(one.facts) == "T1" and "DERIVED" not in str(one.facts.tag("ImageType")).upper():
            return one.problem
    return None


def _no_choice(folder: Folder, candidates: int) -> InputError:
    """Why no series can be taken: what is wrong with them where all are broken, or the table."""
    problems = [one.problem for one in folder.series if one.problem]
    if len(problems) == len(folder.series):
        _try_pixels(folder.series[0])
        return problems[0]
    verdict = (
        f"{candidates} may be T1 head scans and none is clearly the best"
        if candidates
        else "none is a T1 scan"
    )
    return InputError(Code.SERIES, f"Of {len(folder.series)} series {verdict}.\n{_format(folder)}\n")


def _try_pixels(series: Series) -> None:
    """Decode a single slice before it is refused for being single: broken pixels are the better reason."""
    if series.problem and series.problem.code is Code.SHAPE and len(series.placed) == 1:
        (instance, frame), *_ = series.placed
        if instance.place and instance.pixels:
            rows, columns = frame.shape
            read_block([ImageFile(instance.place, instance.pixels, ((frame, 0),))], (columns, rows, 1))


def _format(folder: Folder) -> str:
    return format_table(series_table(folder))


def _times(values: Sequence[float] | None) -> str:
    return " x ".join(f"{value:.4g}" for value in values) if values else "-"
