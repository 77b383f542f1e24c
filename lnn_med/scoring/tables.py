"""`scores.csv`, `failures.csv` and `skipped.csv`, made anew from what lies on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from lnn_med.errors import Code
from lnn_med.io.result_files import RESULT
from lnn_med.io.tabular import case_of, write_csv
from lnn_med.scoring.case import CASES_FOLDER
from lnn_med.scoring.ledger import Entry
from lnn_med.scoring.manifest import Scan, Skipped

SCORES_FILE, FAILURES_FILE, SKIPPED_FILE = "scores.csv", "failures.csv", "skipped.csv"
FACT_COLUMNS = ("case", "path", "kind", "series_uid")
RESULT_COLUMNS = ("qc", "qc_reasons", "warnings", "models", "seconds", "fraction")
PERSON_COLUMNS = ("patient", "subject", "participant_id", "age", "sex", "education", "mmse", "site")
FAILURE_COLUMNS = (*FACT_COLUMNS, "code", "message", "remedy", "attempts", "seconds", "ts_utc")
SKIPPED_COLUMNS = ("path", "code", "message")

Person = Mapping[str, str]  # a row of the participants table


def write_scores(run: Path, done: Sequence[Scan], people: Sequence[Person]) -> None:
    """One row a finished case, from its result.json; columns in the order in which they first occur."""
    results = [json.loads((run / CASES_FOLDER / scan.case / RESULT).read_bytes()) for scan in done]
    shared = _shared_names(results)
    rows = [
        {**_facts(scan), **_person(scan, people), **_result(result, shared)}
        for scan, result in zip(done, results, strict=True)
    ]
    known = [name for name in PERSON_COLUMNS if any(name in row for row in people)]
    fixed = [*FACT_COLUMNS, *known, *RESULT_COLUMNS]
    measured = dict.fromkeys(name for row in rows for name in row if name not in fixed)
    write_csv(run / SCORES_FILE, rows, [*fixed, *measured])


def write_failures(run: Path, failed: Iterable[tuple[Scan, Entry, int]]) -> None:
    """One row a case that failed at its last attempt, with the number of attempts."""
    rows = [
        {**_facts(scan), **asdict(entry), "remedy": Code(entry.code).remedy, "attempts": attempts}
        for scan, entry, attempts in failed
    ]
    write_csv(run / FAILURES_FILE, rows, FAILURE_COLUMNS)


def write_skipped(run: Path, skipped: Iterable[Skipped]) -> None:
    """What was found in the folder and is no scan."""
    write_csv(run / SKIPPED_FILE, [asdict(entry) for entry in skipped], SKIPPED_COLUMNS)


def _facts(scan: Scan) -> dict[str, Any]:
    return {"case": scan.case, "path": scan.path, "kind": scan.kind, "series_uid": scan.series_uid}


def _person(scan: Scan, people: Sequence[Person]) -> dict[str, str]:
    """The row of the participants table for this scan: by case, file name, folder name or series UID."""
    if not people:
        return {}
    place = PurePosixPath(scan.path)
    names = [scan.case, case_of(place.name), *reversed(place.parts[:-1]), scan.series_uid]
    by_case = {row["case"]: row for row in people}
    row = next((by_case[name] for name in names if name in by_case), {})
    return {name: row[name] for name in PERSON_COLUMNS if name in row}


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
        row[f"{entry['target']}_probability"] = entry.get("probability")
    for structure in result["structures"]:
        name = structure["name"]
        column = f"{name}@{structure['bundle']}" if name in shared else name
        low, high = structure["interval_mm3"] or (None, None)
        row[f"{column}_mm3"] = structure["volume_mm3"]
        row[f"{column}_low_mm3"], row[f"{column}_high_mm3"] = low, high
    return row
