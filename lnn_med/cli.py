"""The command line: each command collects choices, calls one function and shows the answer.

Nothing heavy is imported until a command needs it, so that `--help` answers at once.
Exit codes: 0 done; 2 done, but some items failed; 3 wrong input or configuration; 130 interrupted.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lnn_med.allocator import keep_memory
from lnn_med.console import (
    EVALUATION_COLUMNS,
    RESEARCH_USE,
    console,
    counting,
    evaluation_row,
    set_up_logging,
    show_error,
    show_json,
    show_result,
    show_table,
    working,
)
from lnn_med.errors import ConfigError, LnnMedError
from lnn_med.options import (
    Age,
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
    from lnn_med.inference.predict import Predictor

DONE, SOME_FAILED, REFUSED, INTERRUPTED = 0, 2, 3, 130
UNEXPECTED = 1  # a defect of the program, not of the input
UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer vendors click in some versions

logger = logging.getLogger("lnn_med.cli")  # also when run as a module, where __name__ is __main__

app = typer.Typer(
    name="lnn-med",
    help=f"Brain MRI: regional volumes, a depth map and files from a T1 head scan.\n\n{RESEARCH_USE}",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _show_version(asked: bool) -> None:
    if asked:
        from lnn_med.doctor import version_of

        print(version_of("lnn-med") or "unknown: the package is not installed")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """Options that need no command."""


def _example(*lines: str) -> str:
    """The examples under a command's help."""
    return "Example:\n\n" + "\n\n".join(f"`{line}`" for line in lines) + f"\n\n{RESEARCH_USE}"


@app.command(epilog=_example("lnn-med demo", "lnn-med demo -o demo_out"))
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

        result = run_demo(out, _predictor(bundle), report=report)
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
    epilog=_example(
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

        def report(step: str) -> None:
            logger.info(step)
            progress.update(progress.task_ids[0], description=step)

        check_out(out)
        _keep_input(scan, out)
        volume = read(scan, series=series, lenient=lenient)
        report("Loading the networks")
        predictor = _predictor(bundle, depth, budget, device, runtime)
        report("Measuring")
        prediction = predictor(volume, clinical)
        report("Writing the results")
        files = write_prediction(prediction, out)
    record = result_record(prediction)
    if as_json:
        show_json({"out": str(out), "files": files, "result": record})
        return DONE
    text = console()
    show_result(text, record)
    text.print(f"Wrote to {out}: {', '.join(files)}", markup=False)
    text.print(RESEARCH_USE)
    return DONE


@app.command(epilog=_example("lnn-med score scans -o run", "lnn-med score scans -o run --retry-failed"))
def score(
    folder: Annotated[Path, typer.Argument(help="Folder with scans; subfolders are searched.")],
    run: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; the same one resumes it.")],
    bundle: Bundle = None,
    depth: Depth = "auto",
    budget: Budget = None,
    device: Device = "auto",
    runtime: Runtime = "auto",
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
        models = BundledModels(tuple(bundle or ()), depth, budget, device, runtime)
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


@app.command(epilog=_example("lnn-med status run"))
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


@app.command(
    epilog=_example("lnn-med train hippocampus-t1", "lnn-med train my.yaml -o runs/mine schedule.steps=5000")
)
def train(
    config: Annotated[Path, typer.Argument(help="YAML file, or the name of a configuration that ships.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Values to change.", metavar="KEY=VALUE")
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run; resumes when it exists.")
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Train a bundle; the same command continues an interrupted run. Also runs under torchrun."""
    set_up_logging(verbose)
    keep_memory()
    with counting(as_json, "Training", None) as progress:
        from lnn_med.training.loop import train as run_training

        def advance(step: int, steps: int, losses: dict[str, float]) -> None:
            words = "Training  " + "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
            progress.update(progress.task_ids[0], completed=step, total=steps, description=words)

        bundle = run_training(config, run, overrides or (), progress=advance)
    if bundle is None:
        return DONE  # another process of the team writes, or the run was complete
    if as_json:
        show_json(
            {"bundle": str(bundle.path), "version": bundle.info.version, "metrics": bundle.info.metrics}
        )
    else:
        text = console()
        text.print(f"Bundle {bundle.info.name} {bundle.info.version}: {bundle.path}", markup=False)
        text.print(RESEARCH_USE)
    return DONE


@app.command(epilog=_example("lnn-med evaluate hippocampus-t1 Task04_Hippocampus -o evaluation"))
def evaluate(
    bundle: Annotated[str, typer.Argument(help="Bundle, by name or folder.")],
    dataset: Annotated[Path, typer.Argument(help="Folder with imagesTr/ and labelsTr/.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for cases.csv and summary.json.")],
    split: Annotated[str, typer.Option(help="One of the bundle's splits, or all.")] = "val",
    strip_skull: Annotated[
        bool, typer.Option("--strip-skull", help="Set voxels outside the reference to 0 first.")
    ] = False,
    depth: Depth = "auto",
    budget: Budget = None,
    device: Device = "auto",
    runtime: Runtime = "auto",
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Compare a bundle with reference labels: Dice, NSD, HD95, volume error, with intervals over patients."""
    set_up_logging(verbose)
    keep_memory()
    with counting(as_json, "Evaluating", None) as progress:
        from lnn_med.evaluation.evaluate import evaluate as run_evaluation

        def advance(done: int, total: int) -> None:
            progress.update(progress.task_ids[0], completed=done, total=total)

        summary = run_evaluation(
            *(bundle, dataset, out, split, strip_skull, depth, budget, device, runtime), progress=advance
        )
    if as_json:
        show_json({"out": str(out), "summary": json.loads((out / "summary.json").read_bytes())})
    else:
        text = console()
        rows = [evaluation_row(entry) for entry in (*summary.structures, *summary.groups)]
        show_table(text, "", EVALUATION_COLUMNS, rows)
        text.print(
            f"{summary.n_cases} cases of {summary.n_patients} patients, {len(summary.missing)} missing"
        )
        for case, reason in summary.missing.items():
            text.print(f"  {case}: {reason}", markup=False)
        text.print(f"Wrote to {out}: cases.csv, summary.json", markup=False)
    return SOME_FAILED if summary.missing else DONE


@app.command(epilog=_example("lnn-med bundles", "lnn-med bundles --json"))
def bundles(as_json: Json = False, verbose: Verbose = False) -> int:
    """List the bundles that are installed, with version and the outcome of their hash check."""
    set_up_logging(verbose)
    from lnn_med.doctor import bundle_facts

    facts = bundle_facts()
    if as_json:
        show_json(facts)
    else:
        rows = [
            (each["name"], each["version"], each["job"], "ok" if each["ok"] else each["problem"])
            for each in facts
        ]
        show_table(console(), "", ("bundle", "version", "job", "files"), rows)
    return DONE if all(each["ok"] for each in facts) else SOME_FAILED


@app.command(epilog=_example("lnn-med doctor", "lnn-med doctor --json"))
def doctor(as_json: Json = False, verbose: Verbose = False) -> int:
    """Show versions, processor, memory, what runs fast on this machine and why, and check the bundles."""
    set_up_logging(verbose)
    keep_memory()
    with working(as_json, "Examining this machine"):
        from lnn_med.doctor import as_rows, examine

        facts = examine()
    if as_json:
        show_json(facts)
    else:
        text = console()
        show_table(text, "", ("what", "found"), as_rows(facts))
        for sentence in facts["advice"]:
            text.print(sentence, markup=False)
    return DONE if all(each["ok"] for each in facts["bundles"]) else SOME_FAILED


def main() -> NoReturn:
    """Entry point of `lnn-med`."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command line and give its exit code; errors are said in one line on stderr."""
    arguments = arguments or ["--help"]
    as_json = "--json" in arguments
    signal.signal(signal.SIGTERM, _interrupt)  # a cluster's "stop": leave as after Ctrl-C, without half files
    try:
        code = int(app(args=arguments, prog_name="lnn-med", standalone_mode=False) or DONE)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED  # some versions of typer return it, some raise
    except UsageError as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "lnn-med"
        show_error(ConfigError(f"{message} See: {command} --help."), as_json)
        return REFUSED
    except (LnnMedError, MemoryError) as error:
        show_error(error, as_json)
        return REFUSED
    except Exception as error:
        return _unexpected(error, arguments)
    if code == INTERRUPTED:
        print("Interrupted. Run the same command again.", file=sys.stderr)
    return code


def _unexpected(error: Exception, arguments: list[str]) -> int:
    """A defect: its kind and place. Its words stay inside, they may quote patient data."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
    print(f"Unexpected {type(error).__name__} at {place}; -v shows the calls.", file=sys.stderr)
    if {"-v", "--verbose"} & set(arguments):
        print("".join(traceback.format_list(frames)), file=sys.stderr)
    return UNEXPECTED


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _predictor(
    bundle: list[str] | None,
    depth: str = "auto",
    budget: float | None = None,
    device: str = "auto",
    runtime: str = "auto",
) -> Predictor:
    from lnn_med.inference.predict import Predictor

    return Predictor(tuple(bundle or ()), depth, budget, device, runtime)


def _keep_input(scan: Path, out: Path) -> None:
    """Refuse an output folder whose files include the scan itself: it would be replaced."""
    from lnn_med.io.result_files import OWNED

    if scan.name in OWNED and scan.resolve().parent == out.resolve():
        raise ConfigError(f"--out is the folder of the scan, whose name {scan.name} is that of a result.")


if __name__ == "__main__":
    main()
