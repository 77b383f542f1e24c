"""Predictions to be validated: a run of `lnn-med score`, or a folder of label maps from any tool."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from lnn_med.errors import Code, ConfigError, InputError, WarningCode
from lnn_med.evaluation.predicted import RUN, LabelFile, PredictedCase, PredictionSet, hash_of
from lnn_med.evaluation.prediction_folder import read_folder
from lnn_med.io.provenance import PROVENANCE
from lnn_med.io.result_files import LABEL_MAPS, LABELS, RESULT
from lnn_med.io.tabular import case_of
from lnn_med.prediction import SEGMENTATION
from lnn_med.scoring.case import CASES_FOLDER, done_key
from lnn_med.scoring.ledger import DONE, FAILED, Entry, read_ledger
from lnn_med.scoring.manifest import MANIFEST_FILE, NIFTI, Scan, read_manifest
from lnn_med.scoring.naming import name_of_path
from lnn_med.scoring.runner import RUN_FILE

NOT_SCORED = "The run has not come to this scan."
GONE = "The run finished this scan, but its result is gone."


def read_predictions(path: Path, structures: tuple[str, ...] = ()) -> PredictionSet:
    """Find the predictions below a path.

    Args:
        path: a run's folder, or a folder of label maps; in the latter also one mask a structure, as
            `CASE/STRUCTURE.nii.gz` or `CASE/segmentations/STRUCTURE.nii.gz`.
        structures: names that make a file a mask of that structure.

    Raises:
        InputError: E_NOTFOUND when there is no such folder, E_FORMAT when it holds no label map.
        ConfigError: cases of a run give one integer two meanings.
    """
    if not path.is_dir():
        raise InputError(Code.NOTFOUND, "There is no folder of predictions at this path.")
    if (path / MANIFEST_FILE).is_file():
        return _run(path)
    return read_folder(path, frozenset(structures))


def _run(run: Path) -> PredictionSet:
    description = json.loads((run / RUN_FILE).read_bytes())
    ledger = read_ledger(run)
    last = {entry.case: entry for entry in ledger if entry.state in (DONE, FAILED)}
    source = Path(description["folder"])
    cases = tuple(_scored(run, source, scan, last.get(scan.case)) for scan in read_manifest(run))
    names: dict[int, str] = {}
    for case in cases:
        for table in (one.names for one in case.maps if one.path.name == SEGMENTATION):
            for integer, name in table.items():
                if names.setdefault(integer, name) != name:
                    raise ConfigError(
                        f"Label {integer} is {name} in one case of the run and {names[integer]} in another. "
                        "Heads and crops were scored together: map the reference with --labels NAME=INTEGER."
                    )
    last_utc = max((entry.ts_utc for entry in ledger if entry.ts_utc), default=None)
    return PredictionSet(RUN, cases, names, LABELS, description["models"], last_utc)


def _scored(run: Path, source: Path, scan: Scan, entry: Entry | None) -> PredictedCase:
    """One line of the manifest with what the run made of it."""
    place = Path(scan.path)
    aliases = [case_of(place.name), name_of_path(scan.path), *reversed(place.parts[:-1])]
    aliases += [scan.series_uid] if scan.series_uid else []
    known = PredictedCase(scan.case, tuple(dict.fromkeys(aliases)), input_sha256=scan.sha256)
    folder = run / CASES_FOLDER / scan.case
    if done_key(run, scan.case) is None:
        if entry is None:
            return replace(known, code=Code.NOTFOUND.value, reason=NOT_SCORED)
        return replace(known, code=entry.code or Code.NOTFOUND.value, reason=entry.message or GONE)
    result = json.loads((folder / RESULT).read_bytes())
    tables = json.loads((folder / LABELS).read_bytes())
    maps = tuple(
        LabelFile(folder / name, {int(number): text for number, text in tables[name].items()})
        for name in LABEL_MAPS
        if name in tables
    )
    hidden = any(one["code"] == WarningCode.PHI_PIXELS.value for one in result["warnings"])
    image = source / scan.path if scan.kind == NIFTI and not hidden else None
    return replace(
        known,
        maps=maps,
        result=result,
        pixels_sha256=_pixels(folder),
        image=image if image is not None and image.is_file() else None,
        files_sha256=hash_of([one.path for one in maps]),
    )


def _pixels(folder: Path) -> str | None:
    """Hash of the scan's voxels; None from runs that did not note it."""
    record = folder / PROVENANCE
    if not record.is_file():
        return None
    found = json.loads(record.read_bytes())["input"].get("pixels_sha256")
    return str(found) if found else None
