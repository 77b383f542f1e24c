"""A full validation report of a bundle on its validation fold: disturbed, scored, compared.

    report.py hippocampus-t1 DATA -o docs/reports [--work FOLDER]

Runs `lnn-med stress`, `score` and `validate` with the protocol docs/reports/BUNDLE.yaml; writes BUNDLE.html
and BUNDLE.pdf. The fold's scans are copied beside references that hold the bundle's own integers. With --work
an interrupted run goes on, and a second one only writes the report anew.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np

from lnn_med.cli import run_command
from lnn_med.evaluation.dataset import EvaluationCase, participants, select_cases
from lnn_med.evaluation.labels import group, read_reference
from lnn_med.inference.bundle import Bundle, load_bundle
from lnn_med.io.nifti import write_nifti
from lnn_med.io.tabular import write_csv

PROTOCOLS = Path(__file__).parents[1] / "docs" / "reports"
SPLIT = "val"
PEOPLE = ("case", "patient", "site", "age", "sex")  # columns of the table that the report uses


def main() -> None:
    """Make the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", help="name of a bundle that ships")
    parser.add_argument("data", type=Path, help="folder with imagesTr/ and labelsTr/")
    parser.add_argument("-o", "--out", type=Path, default=PROTOCOLS)
    parser.add_argument("--stress-cases", type=int, default=10, help="cases that are disturbed (default 10)")
    parser.add_argument("--work", type=Path, help="keep scans, run and stress table of this bundle here")
    chosen = parser.parse_args()
    bundle = load_bundle(chosen.bundle)
    with tempfile.TemporaryDirectory(prefix="lnn-med-") as name:
        make(bundle, chosen, chosen.work or Path(name))
    print(f"Wrote {bundle.info.name}.html and {bundle.info.name}.pdf to {chosen.out}")


def make(bundle: Bundle, chosen: argparse.Namespace, work: Path) -> None:
    """Disturb, score, compare; what lies in `work` already is used."""
    copy_fold(bundle, chosen.data, work)
    shutil.copy(PROTOCOLS / f"{bundle.info.name}.yaml", work / "protocol.yaml")
    stress, report = work / "stress.json", work / "report"
    if not stress.is_file():
        lnn_med("stress", chosen.bundle, chosen.data, "-o", stress, "--cases", chosen.stress_cases)
    lnn_med("score", work / "scans", "-o", work / "run", "--bundle", chosen.bundle)
    lnn_med("validate", work / "run", work / "reference", "-o", report, "--protocol", work / "protocol.yaml")
    chosen.out.mkdir(parents=True, exist_ok=True)
    for ending in ("html", "pdf"):
        shutil.copy(report / f"report.{ending}", chosen.out / f"{bundle.info.name}.{ending}")


def copy_fold(bundle: Bundle, data: Path, work: Path) -> None:
    """Scans, references and table of the fold, in folders that hold nothing else."""
    cases = select_cases(data, SPLIT, bundle.info.split).cases
    for folder in ("scans", "reference"):
        shutil.rmtree(work / folder, ignore_errors=True)
        (work / folder).mkdir(parents=True)
    for case in cases:
        shutil.copy(case.image, work / "scans" / case.image.name)
        raw = read_reference(case.reference)
        grouped = raw.with_data(group(raw.data, bundle.info.labels).astype(np.uint8))
        write_nifti(grouped, work / "reference" / f"{case.name}.nii.gz", intent="label")
    write_people(data, cases, work / "reference" / "participants.csv")


def write_people(data: Path, cases: tuple[EvaluationCase, ...], path: Path) -> None:
    """The rows of these cases, where the data set has a table."""
    rows = {row["case"]: row for row in participants(data)}
    if rows:
        people = [{**rows.get(case.name, {}), "case": case.name, "patient": case.patient} for case in cases]
        write_csv(path, people, PEOPLE)


def lnn_med(*arguments: object) -> None:
    """One command of the program; anything but success ends this one."""
    if code := run_command([str(argument) for argument in arguments]):
        raise SystemExit(code)


if __name__ == "__main__":
    main()
