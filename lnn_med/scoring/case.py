"""One scan: read, measured, and its folder put in place whole with DONE.json, or a failure with its code."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lnn_med.errors import Code, InputError, described
from lnn_med.io import read
from lnn_med.io.result_files import Extras, write_prediction
from lnn_med.io.tabular import write_json
from lnn_med.prediction import Prediction
from lnn_med.scoring.ledger import DONE, FAILED, Entry
from lnn_med.scoring.limits import peak_rss_mb
from lnn_med.scoring.locked import execution_of
from lnn_med.scoring.manifest import DICOM, NIFTI, Scan
from lnn_med.volume import Volume

CASES_FOLDER = "cases"
WORK_FOLDER = ".work"  # of the run: same file system as the cases, so that a rename is whole
DONE_FILE = "DONE.json"

Clinical = Mapping[str, float | str]  # age, sex, education, mmse
Predict = Callable[[Volume, Clinical], Prediction]


@dataclass(frozen=True)
class Task:
    """What a worker needs for one scan."""

    folder: str
    run: str
    scan: Scan
    key: str
    lenient: bool = False
    attempt: int = 1
    extras: Extras = field(default_factory=Extras)


def score_case(task: Task, predict: Predict) -> Entry:
    """Score one scan; whatever goes wrong with it becomes an entry, never an exception.

    The case's folder appears by one rename, with `DONE.json` inside that carries the key.
    """
    began = time.monotonic()
    try:
        _score(task, predict)
    except Exception as error:  # one bad scan never stops the run
        code, message = described(error)
        return _entry(task, began, FAILED, code.value, message)
    return _entry(task, began, DONE)


def done_key(run: Path, case: str) -> str | None:
    """The key under which a case is finished, or None."""
    try:
        return str(json.loads((run / CASES_FOLDER / case / DONE_FILE).read_bytes())["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _score(task: Task, predict: Predict) -> None:
    scan, run = task.scan, Path(task.run)
    began = datetime.now(UTC)
    prediction = predict(_read(task), scan.clinical)
    work = run / WORK_FOLDER / f"{scan.case}.{secrets.token_hex(4)}"  # other machines may share the run
    try:
        shutil.rmtree(work, ignore_errors=True)
        extras = replace(task.extras, facts=scan.clinical)
        write_prediction(prediction, work, execution_of(predict, began), extras=extras)
        write_json(work / DONE_FILE, _done(task))
        _put_in_place(work, run / CASES_FOLDER / scan.case)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read(task: Task) -> Volume:
    """Read the files of the manifest, and only those: a folder may hold other series."""
    scan, folder = task.scan, Path(task.folder)
    if scan.kind != DICOM or scan.series_uid is None:
        volume = read(folder / scan.path, lenient=task.lenient)
        # Only here: the hash of a DICOM series covers its slices in their order in space.
        if scan.kind == NIFTI and scan.sha256 and volume.source and volume.source.sha256 != scan.sha256:
            raise InputError(Code.CHANGED, "The file is not the one that the manifest lists.")
        return _named(volume, scan)
    from lnn_med.io.dicom_series import read_series  # pydicom takes its time to import

    volume = read_series([folder / file for file in scan.files], scan.series_uid, task.lenient)
    return _named(volume, scan)


def _named(volume: Volume, scan: Scan) -> Volume:
    """The volume under its name in the manifest; bytes that are no UTF-8 are written out, for JSON."""
    assert volume.source is not None
    name = Path(scan.path).name.encode(errors="backslashreplace").decode()
    return replace(volume, source=replace(volume.source, name=name))


def _done(task: Task) -> dict[str, Any]:
    scan = task.scan
    return {"case": scan.case, "key": task.key, "input_sha256": scan.sha256, "series_uid": scan.series_uid}


def _put_in_place(work: Path, target: Path) -> None:
    """Rename the finished folder to its place; an older result is moved out of the way just before."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = work.with_name(work.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.rename(target, old)
    os.rename(work, target)
    shutil.rmtree(old, ignore_errors=True)


def _entry(
    task: Task, began: float, state: str, code: str | None = None, message: str | None = None
) -> Entry:
    seconds = round(time.monotonic() - began, 3)
    return Entry(task.scan.case, task.key, state, seconds, code, message, peak_rss_mb(), task.attempt)
