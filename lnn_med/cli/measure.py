"""Commands that measure one scan: demo, predict."""

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
    set_up_logging,
    show_json,
    show_result,
    show_table,
    working,
)
from lnn_med.errors import ConfigError, require
from lnn_med.options import (
    Age,
    AllowUnlocked,
    Budget,
    Bundle,
    Depth,
    Device,
    DicomMaps,
    Education,
    Json,
    Lenient,
    Mmse,
    Pdf,
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
    dicom_maps: DicomMaps = False,
    pdf: Pdf = False,
    lenient: Lenient = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Measure one scan: label maps, volumes with intervals, depth map and a picture go into a folder."""
    set_up_logging(verbose)
    keep_memory()
    clinical = clinical_values(age, sex, education, mmse)
    if pdf:
        require("typst", "report")  # before any work
    with working(as_json, "Reading the scan") as progress:
        from lnn_med.io import read
        from lnn_med.io.result_files import Extras, check_out, write_prediction
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
        extras = Extras(dicom_maps, pdf, clinical)
        files = write_prediction(prediction, out, execution_of(measure, began), extras=extras)
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
