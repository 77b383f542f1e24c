"""References: a folder of label maps, a table with diagnoses and people, or both."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.evaluation.dataset import IMAGES, LABELS
from lnn_med.io.files import regular_files
from lnn_med.io.tabular import IMAGE_ENDINGS, PATIENT_COLUMNS, case_of, read_participants
from lnn_med.scoring.naming import name_of_path, unique_names

TABLES = ("reference.csv", "participants.csv", "participants.tsv")  # beside or above the label maps
MAP_COLUMNS = ("label", "reference", "label_map")  # path of a label map, from the table's folder
EMPTY_CELLS = frozenset({"", "nan", "na", "n/a", "none", "null", "-", "."})
NO = frozenset({"0", "no", "false", "n"})
# Other spellings of the columns that the report uses.
SAME_COLUMN = {
    "gender": "sex",
    "manufacturer": "vendor",
    "scanner_vendor": "vendor",
    "field": "field_t",
    "magneticfieldstrength": "field_t",
    "field_strength": "field_t",
    "field_strength_t": "field_t",
    "slicethickness": "slice_mm",
    "slice_thickness": "slice_mm",
    "slice_thickness_mm": "slice_mm",
    "stage": "diagnosis",
    "disease_stage": "diagnosis",
    "session": "visit",
    "patient_id": "patient",
    "patientid": "patient",
    "subject_id": "subject",
}
USED_COLUMNS = (
    *("case", "image", "path", *PATIENT_COLUMNS, *MAP_COLUMNS, "eligible", "exclusion_reason", "visit"),
    *("sha256", "series_uid", "age", "sex", "site", "scanner", "vendor", "field_t", "slice_mm", "diagnosis"),
    "intended",
)
OUTSIDE_USE = "put in to test its detection: outside the intended use"
AGE_YEARS = (0.0, 120.0)  # outside it a number is no age

_BIDS_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")


@dataclass(frozen=True)
class ReferenceCase:
    """One case of the reference; `row` holds its cells that are not empty, by column."""

    case: str
    patient: str
    aliases: tuple[str, ...] = ()
    labels: Path | None = None
    image: Path | None = None  # of a data set folder; only for pictures
    row: Mapping[str, str] = field(default_factory=dict)
    excluded: str | None = None  # reason, when the table says that the case is not eligible


@dataclass(frozen=True)
class ReferenceSet:
    """All references; `remarks` are sentences about the table that a reader must know."""

    cases: tuple[ReferenceCase, ...]
    columns: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    patients_from: str = "the names of the cases"
    remarks: tuple[str, ...] = ()


def read_references(path: Path, used: Sequence[str] = ()) -> ReferenceSet:
    """Find the references at a path.

    Args:
        path: folder of label maps (a Decathlon folder with labelsTr/ also works), with a table in it if there
            is one; or the table itself, whose column `label` may lead to label maps.
        used: further columns that the protocol uses.

    Raises:
        InputError: E_NOTFOUND, or E_FORMAT when there is neither a label map nor a table.
        ConfigError: the table names a case twice, or a label map that is not there.
    """
    if path.is_file() and path.suffix.lower() in (".csv", ".tsv"):
        return _assembled({}, path, path.parent, used)
    if not path.is_dir():
        raise InputError(Code.NOTFOUND, "There is no folder or table of references at this path.")
    place = path / LABELS if (path / LABELS).is_dir() else path
    maps = _maps(place)
    table = next((path / name for name in TABLES if (path / name).is_file()), None)
    if not maps and table is None:
        raise InputError(Code.FORMAT, "The reference folder holds neither a label map nor a table.")
    found = _assembled(maps, table, path, used)
    images = path / IMAGES
    return _with_images(found, images) if images.is_dir() else found


def column_of(name: str) -> str:
    """A column as it is called here: lower case, other spellings brought to one."""
    return SAME_COLUMN.get(name.strip().lower(), name.strip().lower())


def is_empty(cell: str | None) -> bool:
    """Whether a cell says nothing: empty, NaN, NA, none."""
    return cell is None or cell.strip().lower() in EMPTY_CELLS


def number(cell: str | None) -> float | None:
    """The finite number in a cell, None when there is none."""
    if is_empty(cell):
        return None
    try:
        value = float(str(cell).replace(",", "."))
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _maps(folder: Path) -> dict[str, Path]:
    """Label maps below a folder by case name."""
    files, _ = regular_files(folder)
    paths = [path for path in files if path.name.lower().endswith(IMAGE_ENDINGS)]
    places = [path.relative_to(folder).as_posix() for path in paths]
    names = unique_names([name_of_path(place) for place in places], places)
    return dict(zip(names, paths, strict=True))


def _assembled(maps: dict[str, Path], table: Path | None, folder: Path, used: Sequence[str]) -> ReferenceSet:
    """Label maps and rows joined by case name."""
    rows = _rows(table) if table else []
    columns = tuple(rows[0]) if rows else ()
    by_case = {row["case"]: row for row in rows}
    maps = dict(maps)
    for row in rows:
        named = next((row[column] for column in MAP_COLUMNS if not is_empty(row.get(column))), None)
        if named and row["case"] not in maps:
            maps[row["case"]] = _named_map(folder, named)
    remarks = _remarks(rows, maps)
    cases = tuple(
        _case(name, maps.get(name), by_case.get(name, {})) for name in sorted({*maps, *by_case}, key=str)
    )
    known = {*USED_COLUMNS, *map(column_of, used)}
    unused = tuple(column for column in columns if column not in known)
    column = next((name for name in PATIENT_COLUMNS if name in columns), None)
    patients_from = f"column {column} of the table" if column else ReferenceSet.patients_from
    return ReferenceSet(cases, columns, unused, patients_from, remarks)


def _rows(table: Path) -> list[dict[str, str]]:
    rows = read_participants(table)
    rows = [{column_of(name): cell for name, cell in row.items()} for row in rows]
    named = [row["case"] for row in rows]
    if any(is_empty(name) for name in named):
        raise ConfigError(f"{table.name}: {sum(map(is_empty, named))} rows do not name their case.")
    twice = [name for name, count in Counter(named).items() if count > 1]
    if twice:
        raise ConfigError(
            f"{table.name} has several rows for {len(twice)} cases; each case needs one row. A patient with "
            "two scans has two cases and one patient id."
        )
    return rows


def _named_map(folder: Path, named: str) -> Path:
    """The label map of a cell; it has to lie below the table's folder."""
    path = (folder / named).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(Code.PATH, "The table names a label map outside its own folder.")
    return path


def _case(name: str, labels: Path | None, row: Mapping[str, str]) -> ReferenceCase:
    cells = {column: cell.strip() for column, cell in row.items() if not is_empty(cell)}
    patient = next((cells[column] for column in PATIENT_COLUMNS if column in cells), None)
    found = _BIDS_SUBJECT.match(name)
    excluded = None
    if cells.get("eligible", "1").lower() in NO:
        excluded = cells.get("exclusion_reason", "not eligible by the table, no reason given")
    elif cells.get("intended", "1").lower() in NO:
        excluded = OUTSIDE_USE
    aliases = [case_of(labels.name)] if labels else []
    aliases += [cells[column] for column in ("series_uid",) if column in cells]
    return ReferenceCase(
        case=name,
        patient=patient or (found.group() if found else name),
        aliases=tuple(aliases),
        labels=labels,
        row=cells,
        excluded=excluded,
    )


def _remarks(rows: Sequence[Mapping[str, str]], maps: Mapping[str, Path]) -> tuple[str, ...]:
    """What in the table could mislead: cells that are no numbers, people without id, cases without row."""
    remarks = []
    for column, (low, high) in {"age": AGE_YEARS, "field_t": (0, 20), "slice_mm": (0, 50)}.items():
        cells = [row[column] for row in rows if column in row and not is_empty(row[column])]
        bad = sum((value := number(cell)) is None or not low <= value <= high for cell in cells)
        if bad:
            words = f"{bad} of {len(cells)} cells hold no plausible number and count as missing."
            remarks.append(f"Column {column}: {words}")
    has_ids = any(column in row for row in rows for column in PATIENT_COLUMNS)
    without = sum(all(is_empty(row.get(column)) for column in PATIENT_COLUMNS) for row in rows)
    if has_ids and without:
        remarks.append(f"{without} rows have no patient id; each counts as a patient of its own.")
    missing = len(set(maps) - {row["case"] for row in rows})
    if rows and missing:
        remarks.append(f"{missing} label maps have no row in the table; their people are unknown.")
    return tuple(remarks)


def _with_images(found: ReferenceSet, folder: Path) -> ReferenceSet:
    from dataclasses import replace

    paths = {case_of(path.name): path for path in folder.iterdir() if path.name.endswith(IMAGE_ENDINGS)}
    cases = tuple(replace(one, image=paths.get(one.case)) for one in found.cases)
    return replace(found, cases=cases)
