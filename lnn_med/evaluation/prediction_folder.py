"""A folder of label maps from any tool, with what lies beside them: label table, masks, probabilities."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.evaluation.predicted import FOLDER, MASKS, LabelFile, PredictedCase, PredictionSet, hash_of
from lnn_med.evaluation.references import is_empty, number
from lnn_med.io.files import regular_files
from lnn_med.io.result_files import LABELS
from lnn_med.io.tabular import IMAGE_ENDINGS, case_of, read_participants
from lnn_med.prediction import SEGMENTATION
from lnn_med.scoring.naming import name_of_path, unique_names
from lnn_med.scoring.tables import SCORES_FILE

DATASET_JSON = "dataset.json"  # nnU-Net copies it beside its predictions
MASK_FOLDER = "segmentations"  # TotalSegmentator's, below one folder a case
PROBABILITY_COLUMN = "_probability"
MAX_TABLE_BYTES = 2**20


def read_folder(folder: Path, structures: frozenset[str]) -> PredictionSet:
    """Label maps, one file a case or one mask a structure, with the table of integers and scores beside them.

    Args:
        folder: that holds the maps, at any depth.
        structures: names that make a file a mask of that structure.

    Raises:
        InputError: E_FORMAT when it holds neither a label map nor a probability.
        ConfigError: a table beside the maps that cannot be understood.
    """
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
