"""Predictions to be validated: a run of `lnn-med score`, or a folder of label maps from any tool."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lnn_med.errors import Code, ConfigError, InputError, WarningCode
from lnn_med.evaluation.references import is_empty, number
from lnn_med.io.files import regular_files, sha256_of
from lnn_med.io.result_files import LABEL_MAPS, LABELS, RESULT
from lnn_med.io.tabular import IMAGE_ENDINGS, case_of, read_participants
from lnn_med.prediction import SEGMENTATION
from lnn_med.scoring.case import CASES_FOLDER, done_key
from lnn_med.scoring.ledger import DONE, FAILED, Entry, read_ledger
from lnn_med.scoring.manifest import MANIFEST_FILE, NIFTI, Scan, read_manifest
from lnn_med.scoring.naming import name_of_path, unique_names
from lnn_med.scoring.runner import RUN_FILE
from lnn_med.scoring.tables import SCORES_FILE

RUN, FOLDER, MASKS = "run", "folder", "masks"
DATASET_JSON = "dataset.json"  # nnU-Net copies it beside its predictions
MASK_FOLDER = "segmentations"  # TotalSegmentator's, below one folder a case
NOT_SCORED = "The run has not come to this scan."
GONE = "The run finished this scan, but its result is gone."
PROBABILITY_COLUMN = "_probability"
MAX_TABLE_BYTES = 2**20


@dataclass(frozen=True)
class LabelFile:
    """A label map and what its integers mean; `mask_of` names the structure of a yes/no mask."""

    path: Path
    names: Mapping[int, str] = field(default_factory=dict)
    mask_of: str | None = None


@dataclass(frozen=True)
class PredictedCase:
    """What is known of one case: its maps and result, or the code and reason for having none."""

    case: str
    aliases: tuple[str, ...] = ()  # other names under which a reference may know it
    maps: tuple[LabelFile, ...] = ()
    result: Mapping[str, Any] | None = None  # content of result.json
    code: str | None = None
    reason: str | None = None
    image: Path | None = None
    input_sha256: str | None = None
    files_sha256: str | None = None  # of the label maps


@dataclass(frozen=True)
class PredictionSet:
    """All predictions of one source; `names` is its own label table, `table_from` the file that holds it."""

    kind: str
    cases: tuple[PredictedCase, ...]
    names: Mapping[int, str] = field(default_factory=dict)
    table_from: str | None = None
    models: Mapping[str, Any] = field(default_factory=dict)
    scored_utc: str | None = None  # last entry of the run's ledger
    skipped: int = 0


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
    return _folder(path, frozenset(structures))


def hash_of(paths: Sequence[Path]) -> str | None:
    """Hash over the files, None when one cannot be read: the comparison then says why."""
    try:
        return sha256_of(paths)
    except InputError:
        return None


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
        image=image if image is not None and image.is_file() else None,
        files_sha256=hash_of([one.path for one in maps]),
    )


def _folder(folder: Path, structures: frozenset[str]) -> PredictionSet:
    files, odd = regular_files(folder)
    maps = [path for path in files if path.name.lower().endswith(IMAGE_ENDINGS)]
    scores = _probabilities(folder / SCORES_FILE)
    if not maps and not scores:
        raise InputError(Code.FORMAT, f"Among {len(files)} files of the predictions there is no label map.")
    names, table_from = _own_table(folder)
    masks = [path for path in maps if path.parent != folder and case_of(path.name) in structures]
    if masks:
        return PredictionSet(MASKS, _mask_cases(folder, masks), {}, None, skipped=len(files) - len(masks))
    places = [path.relative_to(folder).as_posix() for path in maps]
    unique = unique_names([name_of_path(place) for place in places], places)
    cases = tuple(
        PredictedCase(
            case=name,
            aliases=tuple(dict.fromkeys((case_of(path.name), *reversed(Path(place).parts[:-1])))),
            maps=(LabelFile(path, names),),
            files_sha256=hash_of([path]),
        )
        for name, path, place in zip(unique, maps, places, strict=True)
    )
    cases = _with_probabilities(cases, scores)
    ordered = tuple(sorted(cases, key=lambda one: one.case))
    return PredictionSet(FOLDER, ordered, names, table_from, skipped=len(files) - len(maps) + len(odd))


def _probabilities(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Probabilities by case from columns TARGET_probability of a table beside the label maps.

    Raises:
        ConfigError: a cell that is neither empty nor a probability.
    """
    if not path.is_file():
        return {}
    found: dict[str, list[dict[str, Any]]] = {}
    for row in read_participants(path):
        entries = []
        for column, cell in row.items():
            if column.endswith(PROBABILITY_COLUMN) and not is_empty(cell):
                value = number(cell)
                if value is None or not 0 <= value <= 1:
                    raise ConfigError(
                        f"{path.name}: column {column} holds a cell that is no probability of 0 to 1."
                    )
                target = column.removesuffix(PROBABILITY_COLUMN)
                entries.append({"target": target, "probability": value})
        found[row["case"]] = entries
    return found


def _with_probabilities(
    cases: tuple[PredictedCase, ...], scores: Mapping[str, list[dict[str, Any]]]
) -> tuple[PredictedCase, ...]:
    known = {case.case for case in cases}
    joined = [
        replace(case, result={"classification": scores[case.case]}) if case.case in scores else case
        for case in cases
    ]
    joined += [
        PredictedCase(name, result={"classification": entries})
        for name, entries in scores.items()
        if name not in known
    ]
    return tuple(joined)


def _mask_cases(folder: Path, masks: list[Path]) -> tuple[PredictedCase, ...]:
    """One case for each folder of masks; a last folder `segmentations` is no part of its name."""
    by_place: dict[Path, list[Path]] = {}
    for path in masks:
        place = path.parent.parent if path.parent.name == MASK_FOLDER else path.parent
        by_place.setdefault(place, []).append(path)
    cases = []
    for place, paths in sorted(by_place.items()):
        below = place.relative_to(folder).as_posix()
        maps = tuple(LabelFile(path, mask_of=case_of(path.name)) for path in sorted(paths))
        aliases = (place.name,)
        cases.append(PredictedCase(name_of_path(below), aliases, maps, files_sha256=hash_of(sorted(paths))))
    return tuple(cases)


def _own_table(folder: Path) -> tuple[dict[int, str], str | None]:
    """Label table beside the maps: labels.json or nnU-Net's dataset.json; empty when there is none.

    Raises:
        ConfigError: the file is there and cannot be understood.
    """
    for name in (LABELS, DATASET_JSON):
        path = folder / name
        if path.is_file():
            return _table_of(path), name
    return {}, None


def _table_of(path: Path) -> dict[int, str]:
    trouble = ConfigError(f"{path.name} beside the predictions holds no label table; remove or correct it.")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise trouble
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise trouble from error
    table = content.get("labels", content.get(SEGMENTATION, content)) if isinstance(content, dict) else None
    if not isinstance(table, dict) or not table:
        raise trouble
    if all(str(key).isdigit() for key in table):  # {"1": "name"}: Decathlon and labels.json
        found = {int(key): str(value) for key, value in table.items()}
    elif all(isinstance(value, int) for value in table.values()):  # {"name": 1}: nnU-Net
        found = {int(value): str(key) for key, value in table.items()}
    else:
        raise trouble  # regions of nnU-Net: several integers for a name
    return {integer: name for integer, name in found.items() if integer != 0}
