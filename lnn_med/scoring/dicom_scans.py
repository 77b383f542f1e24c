"""DICOM files of a folder as scans: one for each series that may be a T1 head scan, or that is broken."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lnn_med.errors import InputError, WarningCode
from lnn_med.io.dicom_choice import shows
from lnn_med.io.dicom_folder import Folder, Series, open_folder
from lnn_med.scoring.manifest import DICOM, Scan, Skipped
from lnn_med.scoring.naming import name_of_path, name_of_series


def dicom_scans(
    folder: Path, files: Sequence[Path], empty: Sequence[Path]
) -> tuple[list[Scan], list[Skipped]]:
    """Group files into series; `empty` are files named like DICOM that hold nothing.

    A file that does not say its series may be a slice of the only series beside it, which is then refused as
    `predict` refuses it. Beside several series, or none, it is a scan of its own and will fail with its code.
    """
    series = [part for one in _series_of(files) for part in _copies_apart(one)]
    uids_in: dict[Path, set[str]] = defaultdict(set)
    for one in series:
        for instance in one.instances:
            uids_in[instance.path.parent].add(one.uid)
    known = {instance.path for one in series for instance in one.instances}
    strays = [path for path in (*files, *empty) if path not in known]
    scans, skipped = [], []
    for one in series:
        paths = [instance.path for instance in one.instances]
        reason = _not_a_scan(one)
        if reason:
            skipped.append(Skipped(_place(folder, paths), WarningCode.MODALITY.value, reason))
            continue
        alone_in = {path.parent for path in paths if len(uids_in[path.parent]) == 1}
        paths += [path for path in strays if path.parent in alone_in]
        scans.append(_scan(folder, one.uid, paths))
    for path in strays:
        if len(uids_in[path.parent]) != 1:
            place = path.relative_to(folder).as_posix()
            scans.append(Scan(name_of_path(place), place, DICOM, None, (place,)))
    return scans, skipped


def _series_of(files: Sequence[Path]) -> Sequence[Series]:
    opened = _opened(files)
    return opened.series if opened else ()


def _copies_apart(series: Series) -> list[Series]:
    """A series that makes no volume because it was copied into several folders: one for each copy."""
    places = {instance.path.parent for instance in series.instances}
    if series.problem is None or len(places) == 1:
        return [series]
    copies = []
    for place in sorted(places):
        alone = _series_of([instance.path for instance in series.instances if instance.path.parent == place])
        copies += [one for one in alone if one.uid == series.uid and one.problem is None]
    return copies if len(copies) == len(places) else [series]


def _opened(files: Sequence[Path]) -> Folder | None:
    """Headers of the files; None when none of them is DICOM."""
    try:
        return open_folder(files) if files else None
    except InputError:
        return None


def _not_a_scan(series: Series) -> str:
    """Why a series is left out; empty when it is to be scored."""
    facts = series.facts
    if facts is None:  # broken: to be listed as a failure
        return ""
    if not facts.is_mr:
        return "A series that is not an MR image."
    if shows(facts) not in ("T1", ""):
        return "A series that is not T1-weighted, or a localizer."
    if series.problem is None and series.stack is None:
        return "A series whose images have no place in the patient."
    return ""


def _scan(folder: Path, uid: str, paths: Sequence[Path]) -> Scan:
    files = tuple(sorted(path.relative_to(folder).as_posix() for path in paths))
    return Scan(name_of_series(uid), _place(folder, paths), DICOM, uid, files)


def _place(folder: Path, paths: Sequence[Path]) -> str:
    """The folder that all files share, or the file itself."""
    if len(paths) == 1:
        return paths[0].relative_to(folder).as_posix()
    return Path(os.path.commonpath([path.parent for path in paths])).relative_to(folder).as_posix()
