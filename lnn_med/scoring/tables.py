"""`scores.csv`, `scores.parquet`, `failures.csv`, `skipped.csv`: made anew from what lies on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lnn_med.errors import Code
from lnn_med.io.files import write_whole
from lnn_med.io.result_files import RESULT
from lnn_med.io.tabular import write_csv
from lnn_med.scoring.case import CASES_FOLDER
from lnn_med.scoring.ledger import Entry
from lnn_med.scoring.manifest import Scan, Skipped
from lnn_med.scoring.participants import Participants

PARQUET_FILE = "scores.parquet"
SCORES_FILE, FAILURES_FILE, SKIPPED_FILE = "scores.csv", "failures.csv", "skipped.csv"
FACT_COLUMNS = ("case", "path", "kind", "series_uid")
RESULT_COLUMNS = ("qc", "qc_reasons", "warnings", "models", "seconds", "fraction")
FAILURE_COLUMNS = (*FACT_COLUMNS, "code", "message", "remedy", "attempts", "quarantined", "seconds", "ts_utc")
SKIPPED_COLUMNS = ("path", "code", "message")

WORD_ENDINGS = ("_set", "_known", "_abstained")  # of columns of a classifier that hold words
NUMBERS = frozenset({"age", "education", "mmse", "seconds", "fraction"})  # besides what was measured


@dataclass(frozen=True)
class ScoreTable:
    """The rows of scores.csv; `measured` are the columns whose numbers come from the networks."""

    rows: Sequence[Mapping[str, Any]]
    columns: Sequence[str]
    measured: Sequence[str]


def write_scores(run: Path, done: Sequence[Scan], people: Participants) -> ScoreTable:
    """One row a finished case, from its result.json; columns in the order in which they first occur."""
    results = [json.loads((run / CASES_FOLDER / scan.case / RESULT).read_bytes()) for scan in done]
    shared = _shared_names(results)
    rows = [
        {**_facts(scan), **people.row_of(scan), **_result(result, shared)}
        for scan, result in zip(done, results, strict=True)
    ]
    fixed = [*FACT_COLUMNS, *people.columns, *RESULT_COLUMNS]
    found = list(dict.fromkeys(name for row in rows for name in row if name not in fixed))
    targets = {entry["target"] for result in results for entry in result["classification"]}
    words = {f"{target}{ending}" for target in targets for ending in WORD_ENDINGS}
    table = ScoreTable(rows, [*fixed, *found], [name for name in found if name not in words])
    write_csv(run / SCORES_FILE, rows, table.columns)
    _write_parquet(run / PARQUET_FILE, table)
    return table


def _write_parquet(path: Path, table: ScoreTable) -> None:
    """The same rows with types: numbers are float64, all else is text; what is missing is null."""
    import pyarrow
    from pyarrow import parquet

    numbers = NUMBERS | set(table.measured)
    columns = {}
    for name in table.columns:
        values = [row.get(name) for row in table.rows]
        if name in numbers:
            columns[name] = pyarrow.array([_number(value) for value in values], pyarrow.float64())
        else:
            columns[name] = pyarrow.array([_text(value) for value in values], pyarrow.string())
    with write_whole(path) as file:
        parquet.write_table(pyarrow.table(columns), file)


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:  # a participants table may hold "n/a"
        return None


def _text(value: Any) -> str | None:
    """Text that UTF-8 can hold: names of files may be bytes of any kind."""
    return None if value is None else str(value).encode(errors="backslashreplace").decode()


def write_failures(run: Path, failed: Iterable[tuple[Scan, Entry, int]]) -> None:
    """One row a case that failed at its last attempt, with the number of attempts."""
    rows = [
        {
            **_facts(scan),
            **asdict(entry),
            "remedy": Code(entry.code).remedy,
            "attempts": attempts,
            "quarantined": "yes" if entry.quarantined else "",
        }
        for scan, entry, attempts in failed
    ]
    write_csv(run / FAILURES_FILE, rows, FAILURE_COLUMNS)


def write_skipped(run: Path, skipped: Iterable[Skipped]) -> None:
    """What was found in the folder and is no scan."""
    write_csv(run / SKIPPED_FILE, [asdict(entry) for entry in skipped], SKIPPED_COLUMNS)


def _facts(scan: Scan) -> dict[str, Any]:
    return {"case": scan.case, "path": scan.path, "kind": scan.kind, "series_uid": scan.series_uid}


def _shared_names(results: Iterable[Mapping[str, Any]]) -> set[str]:
    """Structures that more than one bundle measures: their columns name the bundle, and are never merged."""
    bundles: dict[str, set[str]] = {}
    for result in results:
        for structure in result["structures"]:
            bundles.setdefault(structure["name"], set()).add(structure["bundle"])
    return {name for name, owners in bundles.items() if len(owners) > 1}


def _result(result: Mapping[str, Any], shared: set[str]) -> dict[str, Any]:
    """The numbers of one result, with the digits that result.json has."""
    row: dict[str, Any] = {
        "qc": result["qc"]["status"],
        "qc_reasons": "; ".join(result["qc"]["reasons"]),
        "warnings": " ".join(sorted({warning["code"] for warning in result["warnings"]})),
        "models": "; ".join(
            f"{model['bundle']} {model['version']} {model['weights_sha256'][:8]}" for model in result["model"]
        ),
        "seconds": result["compute"]["seconds"],
        "fraction": result["compute"]["fraction"],
        **result["derived"],
    }
    for entry in result["classification"]:
        target = entry["target"]
        row[f"{target}_probability"] = entry.get("probability")
        chosen, known, reason = (entry.get(key) for key in ("prediction_set", "known", "abstained"))
        row[f"{target}_set"] = None if chosen is None else "; ".join(map(str, chosen))
        row[f"{target}_known"] = None if known is None else " ".join(known)
        row[f"{target}_abstained"] = reason
    for structure in result["structures"]:
        name = structure["name"]
        column = f"{name}@{structure['bundle']}" if name in shared else name
        low, high = structure["interval_mm3"] or (None, None)
        row[f"{column}_mm3"] = structure["volume_mm3"]
        row[f"{column}_low_mm3"], row[f"{column}_high_mm3"] = low, high
    return row
