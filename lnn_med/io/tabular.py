"""CSV tables: participants read leniently, results written whole and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.io.files import write_whole

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run a text that begins so
MAX_TABLE_BYTES = 64 * 2**20  # a million participants; a larger file is not a participants table
CASE_COLUMNS = ("case", "image", "path", "participant_id", "subject")  # first one present names the row
PATIENT_COLUMNS = ("patient", "participant_id", "subject")
IMAGE_ENDINGS = (".nii.gz", ".nii")

Row = Mapping[str, Any]


def cell(value: object) -> object:
    """A value as it goes into a CSV file: text that a spreadsheet would run gets a leading apostrophe."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return "'" + value
    return value


def write_csv(path: Path, rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Write a table whole: the file is the old one or the new one, never half.

    Raises:
        InputError: E_STORAGE when the folder is read-only or full.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([cell(column) for column in columns])
    writer.writerows([cell(row.get(column)) for column in columns] for row in rows)
    with write_whole(path) as file:
        file.write(text.getvalue().encode("utf-8", errors="backslashreplace"))  # file names may be no UTF-8


def write_json(path: Path, content: object) -> None:
    """Write JSON whole, as `write_csv` does; values that are not finite must have become None before."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with write_whole(path) as file:
        file.write(text.encode())


def case_of(file_name: str) -> str:
    """File name without folder and image ending: `imagesTr/a.nii.gz` is case `a`."""
    name = file_name.replace("\\", "/").rsplit("/", 1)[-1]
    for ending in IMAGE_ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def read_participants(path: Path) -> list[dict[str, str]]:
    """Rows of a comma or tab separated table; column names in lower case, each row with a `case`.

    Raises:
        InputError: E_NOTFOUND or E_SIZE for the file.
        ConfigError: no column names the cases, or one is named twice.
    """
    if not path.is_file():
        raise InputError(Code.NOTFOUND, f"There is no table {path.name}.")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise InputError(Code.SIZE, f"The table has more than {MAX_TABLE_BYTES >> 20} MiB.")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        rows = [_lower(row) for row in csv.DictReader(stream, delimiter=delimiter)]
    if not rows:
        raise ConfigError(f"{path.name} holds no rows.")
    key = next((column for column in CASE_COLUMNS if column in rows[0]), None)
    if key is None:
        raise ConfigError(
            f"{path.name} has none of the columns {', '.join(CASE_COLUMNS)}; one must name the case."
        )
    for row in rows:
        row["case"] = case_of(row[key])
    return rows


def patients(rows: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Case to patient, as far as the table tells."""
    found: dict[str, str] = {}
    for row in rows:
        patient = next((row[column] for column in PATIENT_COLUMNS if row.get(column)), None)
        if patient:
            found[row["case"]] = patient
    return found


def _lower(row: Mapping[str | None, Any]) -> dict[str, str]:
    """Column names in lower case; cells beyond the header are dropped."""
    return {
        str(name).strip().lower(): (value or "").strip() for name, value in row.items() if name is not None
    }
