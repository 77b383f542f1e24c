"""The cases of a data set folder: `imagesTr/NAME` with its reference `labelsTr/NAME`, and whose they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.io.tabular import IMAGE_ENDINGS, case_of, patients, read_participants

IMAGES = "imagesTr"
LABELS = "labelsTr"
PARTICIPANTS = "participants.csv"
ALL = "all"

_BIDS_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")


@dataclass(frozen=True)
class EvaluationCase:
    """One image with its reference, and the patient it belongs to."""

    name: str
    patient: str
    image: Path
    reference: Path


@dataclass(frozen=True)
class Selection:
    """Cases to evaluate, and names of the split that the data set does not hold."""

    cases: tuple[EvaluationCase, ...]
    absent: tuple[str, ...]


def select_cases(dataset: Path, split: str, splits: Mapping[str, Sequence[str]]) -> Selection:
    """Cases of one of the bundle's splits, or of the whole data set (`all`).

    Raises:
        InputError: E_NOTFOUND when the folder is not a data set.
        ConfigError: unknown split, or none of its cases is there.
    """
    images, references = _files(dataset / IMAGES), _files(dataset / LABELS)
    available = sorted(images.keys() & references.keys())
    if split != ALL and split not in splits:
        raise ConfigError(f"The bundle has no split `{split}`; choose one of {', '.join([*splits, ALL])}.")
    wanted = available if split == ALL else list(splits[split])
    present = [name for name in wanted if name in references and name in images]
    if not present:
        raise ConfigError(
            f"None of the {len(wanted)} cases of split `{split}` is among the {len(available)} pairs of "
            f"{dataset.name}. Use split `{ALL}` for a data set that the bundle does not know."
        )
    whose = patient_of(dataset, present)
    cases = tuple(EvaluationCase(name, whose[name], images[name], references[name]) for name in present)
    return Selection(cases, tuple(name for name in wanted if name not in set(present)))


def patient_of(dataset: Path, names: Iterable[str]) -> dict[str, str]:
    """Patient of each case: from the participants table, else the `sub-` part of its name, else its name."""
    known = patients(participants(dataset))
    return {name: known.get(name) or _subject_in(name) for name in names}


def participants(dataset: Path) -> list[dict[str, str]]:
    """Rows of the data set's participants table; none when it has no table."""
    table = dataset / PARTICIPANTS
    return read_participants(table) if table.is_file() else []


def _files(folder: Path) -> dict[str, Path]:
    """Image files by case name; names that begin with a dot are droppings of an operating system."""
    if not folder.is_dir():
        raise InputError(Code.NOTFOUND, f"A data set needs the folder {folder.name}.")
    paths = (path for path in folder.iterdir() if not path.name.startswith("."))
    return {case_of(path.name): path for path in paths if path.name.lower().endswith(IMAGE_ENDINGS)}


def _subject_in(name: str) -> str:
    match = _BIDS_SUBJECT.match(name)
    return match.group() if match else name
