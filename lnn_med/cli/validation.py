"""Commands that judge predictions against a reference: validate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lnn_med.cli.app import DONE, SOME_FAILED, app, example
from lnn_med.console import RESEARCH_USE, console, counting, set_up_logging, show_json
from lnn_med.options import Json, Verbose

if TYPE_CHECKING:
    from lnn_med.evaluation.validation import Validation


@app.command(
    epilog=example(
        "lnn-med validate run labelsTr -o report --protocol protocol.yaml",
        "lnn-med validate nnunet labelsTs -o report --labels Anterior=1,Posterior=2 --against run",
    )
)
def validate(
    predictions: Annotated[
        Path,
        typer.Argument(
            help="Run of `score`, or a folder of label maps from any tool.", metavar="PREDICTIONS"
        ),
    ],
    reference: Annotated[
        Path, typer.Argument(help="Folder of label maps and/or table of diagnoses and people (CSV).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")],
    protocol: Annotated[
        Path | None,
        typer.Option(help="Endpoints, thresholds, margins and rules, fixed before.", metavar="YAML"),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="What the reference's integers mean.", metavar="NAME=INT,...")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Other predictions for the same references.", metavar="OTHER")
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Compare predictions with a reference: report.json, report.html and report.pdf for a trial."""
    set_up_logging(verbose)
    with counting(as_json, "Comparing", None) as progress:
        from lnn_med.evaluation.protocol import parse_labels
        from lnn_med.evaluation.validation import validate as run_validation

        def advance(done: int, total: int) -> None:
            words = "Comparing" if done < total else "Writing the report"
            progress.update(progress.task_ids[0], completed=done, total=total, description=words)

        done = run_validation(predictions, reference, out, protocol, parse_labels(labels), against, advance)
    if as_json:
        show_json(
            {"out": str(out), "files": list(done.files), "status": done.record["status"], **_verdicts(done)}
        )
    else:
        _show(done, out)
    return SOME_FAILED if done.n_problems else DONE


def _verdicts(done: Validation) -> dict[str, object]:
    from lnn_med.evaluation.report.sections.remarks import remarks

    record = done.record
    found = {key: record[key] for key in ("flow", "endpoints", "failures")}
    found |= {"against": _gains(record)} if _gains(record) else {}
    return {**found, **_main_numbers(record), "remarks": remarks(record)}


def _main_numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    """Mean DSC and AUC, where they were measured, by the protocol's rule for missing predictions."""
    key = "all" if record["protocol"]["missing"] == "worst" else "without_missing"
    segmentation, classification = record["segmentation"], record["classification"]
    found = {}
    if segmentation:
        found["mean_dsc"] = segmentation["mean"][key]["dsc"]
    if classification:
        found["auc"] = classification[key]["auc"]
    return found


def _gains(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the comparison with other predictions shows, by metric; empty without one."""
    found = {}
    if record["comparison"]:
        found["dsc"] = record["comparison"]["mean"]
    if record["comparison_auc"]:
        found["auc"] = record["comparison_auc"]
    return found


def _show(done: Validation, out: Path) -> None:
    from lnn_med.evaluation.report.sections.blocks import interval
    from lnn_med.evaluation.report.sections.primary import endpoint_rule
    from lnn_med.evaluation.report.sections.remarks import remarks

    text, record = console(), done.record
    flow = ", ".join(f"{step['n']} {step['step']}" for step in record["flow"]["steps"])
    text.print(f"{flow}, {record['flow']['analysed']} analysed")
    if record["labels"]:
        text.print(f"Meaning of the integers: {record['labels']['source']}", markup=False)
    for name, found in _main_numbers(record).items():
        text.print(f"{name.replace('_', ' ')}: {interval(found)}, n = {found['n']}", markup=False)
    for one in record["endpoints"]:
        number = one["number"]["estimate"]
        shown = "-" if number is None else f"{number:.4g}"
        text.print(f"{endpoint_rule(one)[0]}: {shown}, {one['verdict']}", markup=False)
    for name, found in _gains(record).items():
        text.print(f"Against the other, {name}: {found.get('words') or found.get('note')}", markup=False)
    for words in remarks(record):
        text.print(f"Note: {words}", markup=False)
    for row in record["failures"]:
        text.print(f"  {row['case']}: {row['code']}, {row['counted']}", markup=False)
    text.print(f"{record['status']}. Wrote to {out}: {', '.join(done.files)}", markup=False)
    text.print(RESEARCH_USE)
