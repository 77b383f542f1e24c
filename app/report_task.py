"""What a worker process does for the Reports page: compare a run with a reference and write the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.work import Predict, Report

REPORT = "report.json"
FOLDER = "report"  # of a run; the next ones are report-2, report-3, ...


@dataclass(frozen=True)
class MakeReport:
    """`lnn-med validate RUN REFERENCE -o OUT [--protocol FILE]`."""

    run_folder: str
    reference: str
    out: str
    protocol: str | None = None

    def run(self, predict: Predict | None, report: Report) -> dict[str, Any]:
        """The report's files, and whether some references have no analysable prediction."""
        from lnn_med.evaluation.validation import validate

        report("Comparing")

        def advance(done: int, total: int) -> None:
            report(f"Comparing, {done} of {total}" if done < total else "Writing the report")

        protocol = Path(self.protocol) if self.protocol else None
        made = validate(
            Path(self.run_folder), Path(self.reference), Path(self.out), protocol, progress=advance
        )
        return {"files": list(made.files), "problems": made.n_problems, "status": made.record["status"]}


def next_folder(run: Path) -> Path:
    """A folder of the run that holds no report yet."""
    number = 1
    while (folder := run / (FOLDER if number == 1 else f"{FOLDER}-{number}")).exists():
        number += 1
    return folder
