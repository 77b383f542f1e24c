"""Runs of `score` below the server's folder of runs, each a study of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from app.auth import Person
from lnn_med.io.result_files import RESULT
from lnn_med.scoring.case import CASES_FOLDER
from lnn_med.scoring.manifest import DICOM, Scan, read_manifest
from lnn_med.scoring.runner import RUN_FILE
from lnn_med.scoring.tables import FAILURES_FILE, SCORES_FILE

REFERENCES = "references"  # folder beside the runs


@dataclass(frozen=True)
class Run:
    """A run by the name of its folder, which is also the study's name for access."""

    name: str
    path: Path

    def scores(self) -> pd.DataFrame:
        """scores.csv, or an empty table while there is none."""
        path = self.path / SCORES_FILE
        return pd.read_csv(path, dtype={"case": str}) if path.is_file() else pd.DataFrame({"case": []})

    def failures(self) -> pd.DataFrame:
        """failures.csv, or an empty table."""
        path = self.path / FAILURES_FILE
        return pd.read_csv(path) if path.is_file() else pd.DataFrame()

    def scan(self, case: str) -> tuple[Scan, Path] | None:
        """The scan of a finished case and the folder that the run read from."""
        if not (self.path / CASES_FOLDER / case / RESULT).is_file():
            return None
        folder = Path(json.loads((self.path / RUN_FILE).read_bytes())["folder"])
        return next(((scan, folder) for scan in read_manifest(self.path) if scan.case == case), None)

    def result(self, case: str) -> Path:
        """Folder of a case's files."""
        return self.path / CASES_FOLDER / case


def runs_of(folder: Path | None, user: Person) -> list[Run]:
    """The runs directly below `folder` that this user may open, by name."""
    if folder is None:
        return []
    found = [Run(path.parent.name, path.parent) for path in sorted(folder.glob(f"*/{RUN_FILE}"))]
    return [run for run in found if user.may_open(run.name)]


def references_of(folder: Path | None) -> dict[str, Path]:
    """Folders of reference labels or tables that `validate` may be run against, by name."""
    places = sorted((folder / REFERENCES).glob("*/")) if folder is not None else []
    return {place.name: place for place in places}


def protocols_of(folder: Path | None) -> dict[str, Path]:
    """Protocols of `validate` beside the references, by the name of their file."""
    return {path.name: path for path in sorted((folder / REFERENCES).glob("*.yaml"))} if folder else {}


def files_of(scan: Scan, folder: Path) -> tuple[str, ...]:
    """Full paths of a DICOM case's files; empty for NIfTI."""
    return tuple(str(folder / file) for file in scan.files) if scan.kind == DICOM else ()


def numeric_columns(scores: pd.DataFrame) -> list[str]:
    """Columns of volumes and derived values that can be plotted, intervals left out."""
    chosen = [name for name in scores if str(name).endswith(("_mm3", "_pct", "_probability"))]
    return [str(name) for name in chosen if not str(name).endswith(("_low_mm3", "_high_mm3"))]


def plain(value: Any) -> str:
    """A cell of words as text."""
    return "" if pd.isna(value) else str(value)
