"""Who was scanned: the row of a participants table for each scan, and what the networks use of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from lnn_med.errors import ConfigError
from lnn_med.io.tabular import case_of
from lnn_med.scoring.manifest import Scan

logger = logging.getLogger(__name__)

COLUMNS = ("patient", "subject", "participant_id", "age", "sex", "education", "mmse", "site")
# Years, years, points; as the options of predict.
RANGES = {"age": (0, 120), "education": (0, 40), "mmse": (0, 30)}
SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}  # a number would mean one thing here, another there

Person = Mapping[str, str]  # a row of the table


class Participants:
    """The rows of a table by case; where rows of one case differ, a value could be another visit's: left out.

    Args:
        rows: as `read_participants` gives them.

    Raises:
        ConfigError: a number that age, education or MMSE cannot have.
    """

    def __init__(self, rows: Iterable[Person] = ()) -> None:
        self._by_case: dict[str, Person] = {}
        present: set[str] = set()
        doubtful = set()
        for number, row in enumerate(rows, start=1):
            _check(row, number)
            present |= row.keys()
            known = self._by_case.setdefault(row["case"], row)
            if known != row:
                doubtful.add(row["case"])
                self._by_case[row["case"]] = {
                    name: value if row.get(name) == value else "" for name, value in known.items()
                }
        self.columns = [name for name in COLUMNS if name in present]
        if doubtful:
            logger.warning("%d cases have rows that differ; what differs is left out.", len(doubtful))

    def row_of(self, scan: Scan) -> Person:
        """The row for a scan, found by case, file name, folder name or series UID; empty without one."""
        place = PurePosixPath(scan.path)
        names = [scan.case, case_of(place.name), *reversed(place.parts[:-1]), scan.series_uid]
        row = next((self._by_case[name] for name in names if name and name in self._by_case), {})
        return {name: row[name] for name in self.columns if name in row}

    def clinical(self, scan: Scan) -> dict[str, float | str]:
        """Age, education (years), MMSE and sex (F, M) of a scan, as far as the table tells."""
        row = self.row_of(scan)
        numbers = {name: _number(row.get(name, "")) for name in RANGES}
        values = {**numbers, "sex": SEXES.get(row.get("sex", "").casefold())}
        return {name: value for name, value in sorted(values.items()) if value is not None}


def _check(row: Person, number: int) -> None:
    for name, (least, most) in RANGES.items():
        value = _number(row.get(name, ""))
        if value is not None and not least <= value <= most:
            raise ConfigError(
                f"Row {number} of the table: {name} is {value:g}; {least} to {most} is possible. "
                "Leave the cell empty where it is not known."
            )


def _number(text: str) -> float | None:
    """None for an empty cell, "n/a" and whatever else is no number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
