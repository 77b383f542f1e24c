"""Commands that measure scans: demo, predict, score, status."""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lnn_med.allocator import keep_memory
from lnn_med.cli.app import DONE, SOME_FAILED, app, example, predictor
from lnn_med.console import (
    RESEARCH_USE,
    console,
    counting,
    set_up_logging,
    show_json,
    show_result,
    show_table,
    working,
)
from lnn_med.errors import ConfigError
from lnn_med.options import (
    Age,
    AllowUnlocked,
    Budget,
    Bundle,
    Depth,
    Device,
    Education,
    Json,
    Lenient,
    Mmse,
    Runtime,
    Series,
    Sex,
    Verbose,
    clinical_values,
)

if TYPE_CHECKING:
    from lnn_med.volume import Source

logger = logging.getLogger(__name__)


@app.command(epilog=example("lnn-med demo", "lnn-med demo -o demo_out"))
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("demo_out"),
    bundle: Bundle = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Run the whole job on the MNI152 template, as NIfTI and as DICOM, and compare the two."""
    set_up_logging(verbose)
    keep_memory()
    with working(as_json, "Loading the networks") as progress:
        from lnn_med.demo import TOLERANCE, run_demo
        from lnn_med.io.result_record import result_record

        def report(step: str) -> None:
            progress.update(progress.task_ids[0], description=step)

        # Its results are no one's data, so a bundle of your own needs no leave; it is marked all the same.
        result = run_demo(out, predictor(bundle, allow_unlocked=True), report=report)
    record = result_record(result.nifti)
    rows = [
        (each.name, each.nifti_mm3, each.dicom_mm3, each.relative if each.agrees else "DIFFERS")
        for each in result.differences
    ]
    if as_json:
        differences = [asdict(each) | {"agrees": each.agrees} for each in result.differences]
        show_json(
            {"out": str(out), "agrees": result.agrees, "differences": differences, "files": result.files}
        )
    else:
        text = console()
        show_result(text, record)
        worst = max((each.relative for each in result.differences), default=float("inf"))
        text.print(
            f"{len(rows)} volumes from NIfTI and DICOM: largest difference {100 * worst:.3f} % "
            f"(limit {100 * TOLERANCE:g} %), {'they agree' if result.agrees else 'they DIFFER'}"
        )
        if not result.agrees:
            differing = [row for row in rows if row[-1] == "DIFFERS"]
            show_table(text, "", ("structure", "NIfTI, mm³", "DICOM, mm³", ""), differing)
        text.print(f"Wrote {len(result.files)} files:")
        for file in result.files:
            text.print(f"  {out / file}", markup=False)
        text.print(RESEARCH_USE)
    return DONE if result.agrees else SOME_FAILED


@app.command(
    epilog=example(
        "lnn-med predict head.nii.gz -o result", "lnn-med predict dicom_folder -o result --depth full --json"
    )
)
def predict(
    scan: Annotated[Path, typer.Argument(help="NIfTI file, DICOM file, or folder or zip of DICOM files.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    age: Age = None,
    sex: Sex = None,
    education: Education = None,
    mmse: Mmse = None,
    bundle: Bundle = None,
    depth: Depth = "auto",
    budget: Budget = None,
    device: Device = "auto",
    runtime: Runtime = "auto",
    series: Series = None,
    allow_unlocked: AllowUnlocked = False,
    lenient: Lenient = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Measure one scan: label maps, volumes with intervals, depth map and a picture go into a folder."""
    set_up_logging(verbose)
    keep_memory()
    clinical = clinical_values(age, sex, education, mmse)
    with working(as_json, "Reading the scan") as progress:
        from lnn_med.io import read
        from lnn_med.io.result_files import check_out, write_prediction
        from lnn_med.io.result_record import result_record
        from lnn_med.scoring.locked import execution_of

        def report(step: str) -> None:
            logger.info(step)
            progress.update(progress.task_ids[0], description=step)

        began = datetime.now(UTC)
        check_out(out)
        _keep_input(scan, out)
        volume = read(scan, series=series, lenient=lenient)
        report("Loading the networks")
        measure = predictor(bundle, depth, budget, device, runtime, allow_unlocked)
        report("Measuring")
        prediction = measure(volume, clinical)
        report("Writing the results")
        files = write_prediction(prediction, out, execution_of(measure, began))
        files += _record(out, prediction.source)
    record = result_record(prediction)
    if as_json:
        show_json({"out": str(out), "files": files, "result": record})
        return DONE
    text = console()
    show_result(text, record)
    text.print(f"Wrote to {out}: {', '.join(files)}", markup=False)
    text.print(RESEARCH_USE)
    return DONE


@app.command(epilog=example("lnn-med score scans -o run", "lnn-med score scans -o run --retry-failed"))
def score(
    folder: Annotated[Path, typer.Argument(help="Folder with scans; subfolders are searched.")],
    run: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; the same one resumes it.")],
    bundle: Bundle = None,
    depth: Depth = "auto",
    budget: Budget = None,
    device: Device = "auto",
    runtime: Runtime = "auto",
    allow_unlocked: AllowUnlocked = False,
    workers: Annotated[int, typer.Option(help="Processes; each loads the networks once.", min=1)] = 1,
    table: Annotated[Path | None, typer.Option(help="Table of participants, joined by case.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed scans again.")] = False,
    lenient: Lenient = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Measure every scan of a folder; one bad scan never stops the run, finished ones are skipped."""
    set_up_logging(verbose)
    keep_memory()
    with counting(as_json, "Listing the scans", None) as progress:
        from lnn_med.inference.runtime import RuntimeConfig
        from lnn_med.scoring.models import BundledModels
        from lnn_med.scoring.runner import Progress
        from lnn_med.scoring.runner import score as run_scoring

        def advance(now: Progress) -> None:
            listing = now.phase == "listing"
            words = "Listing the scans" if listing else f"Measuring, {now.failed} failed"
            progress.update(progress.task_ids[0], completed=now.done, total=now.total, description=words)

        RuntimeConfig(depth, budget, device, runtime)  # refuses a wrong option before any work
        models = BundledModels(tuple(bundle or ()), depth, budget, device, runtime, allow_unlocked)
        summary = run_scoring(*(folder, run, models, workers, table, retry_failed, lenient), progress=advance)
    if as_json:
        show_json(asdict(summary) | {"run": str(summary.run), "waiting": summary.waiting})
    else:
        text = console()
        text.print(
            f"{summary.done} of {summary.total} scans done, {summary.failed} failed, "
            f"{summary.waiting} waiting; {summary.scored} measured now in {summary.seconds:.0f} s, "
            f"{summary.skipped} files are no scans"
        )
        text.print(
            f"Wrote to {run}: scores.csv, failures.csv, skipped.csv, manifest.jsonl, cases/", markup=False
        )
        text.print(RESEARCH_USE)
    return summary.exit_code


@app.command(epilog=example("lnn-med status run"))
def status(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Show how far a run of `score` is, also while it works."""
    set_up_logging(verbose)
    from lnn_med.scoring.runner import status as status_of

    found = status_of(run)
    if as_json:
        show_json(asdict(found))
        return DONE
    text = console()
    pace = "" if found.median_seconds is None else f", {found.median_seconds:.1f} s a scan (median)"
    text.print(
        f"{found.done} of {found.total} scans done, {found.failed} failed, {found.waiting} waiting{pace}; "
        f"{'running' if found.running else 'not running'}"
    )
    for code, count in found.codes.items():
        text.print(f"  {code}: {count}")
    text.print(RESEARCH_USE)
    return DONE


def _record(out: Path, source: Source) -> list[str]:
    """Note the measurement in the audit log of the results; the names of the log's files."""
    from lnn_med.io.files import sha256_of
    from lnn_med.io.result_files import RESULT
    from lnn_med.scoring import audit

    scan = audit.object_of("scan", source.sha256, source.name)
    audit.record(out, audit.Event("predict", scan, source.sha256, sha256_of([out / RESULT])))
    return [audit.AUDIT_FILE, audit.HEAD_FILE]


def _keep_input(scan: Path, out: Path) -> None:
    """Refuse an output folder whose files include the scan itself: it would be replaced."""
    from lnn_med.io.result_files import OWNED

    if scan.name in OWNED and scan.resolve().parent == out.resolve():
        raise ConfigError(f"--out is the folder of the scan, whose name {scan.name} is that of a result.")
