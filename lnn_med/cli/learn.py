"""Commands that make and examine bundles: train, evaluate, calibrate, stress."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lnn_med.allocator import keep_memory
from lnn_med.cli.app import DONE, SOME_FAILED, app, example
from lnn_med.console import (
    EVALUATION_COLUMNS,
    RESEARCH_USE,
    console,
    counting,
    evaluation_row,
    set_up_logging,
    show_json,
    show_table,
)
from lnn_med.errors import ConfigError
from lnn_med.options import Budget, Depth, Device, Json, Runtime, Verbose

if TYPE_CHECKING:
    from lnn_med.inference.bundle import Bundle
    from lnn_med.inference.classifier_bundle import ClassifierBundle


@app.command(
    epilog=example("lnn-med train hippocampus-t1", "lnn-med train my.yaml -o runs/mine schedule.steps=5000")
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
        from lnn_med.training.classifier_config import is_classifier_run
        from lnn_med.training.loop import find_config
        from lnn_med.training.loop import train as run_training

        def advance(step: int, steps: int, losses: dict[str, float]) -> None:
            words = "Training  " + "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
            progress.update(progress.task_ids[0], completed=step, total=steps, description=words)

        bundle: Bundle | ClassifierBundle | None
        if is_classifier_run(find_config(config)):
            from lnn_med.training.dementia import train_classifier

            bundle = train_classifier(find_config(config), run, overrides or (), progress=advance)
        else:
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


@app.command(epilog=example("lnn-med evaluate hippocampus-t1 Task04_Hippocampus -o evaluation"))
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


@app.command(epilog=example("lnn-med calibrate brain-t1 ixi_brain -o calibrated"))
def calibrate(
    bundle: Annotated[str, typer.Argument(help="Bundle, by name or folder.")],
    dataset: Annotated[
        Path, typer.Argument(help="Folder with imagesTr/ and labelsTr/ of the bundle's splits.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for a calibrated copy; default: in place.")
    ] = None,
    coverage: Annotated[float, typer.Option(help="Of volume intervals, 0 to 1.")] = 0.9,
    static: Annotated[
        bool,
        typer.Option(
            "--static",
            help="Measure instead, in place, what --runtime openvino loses of Dice in bfloat16; where that "
            "is unknown or above 0.001, it computes in float32.",
        ),
    ] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Fit temperatures, where depth pays, volume intervals and usual input, on cases no weight has seen.

    Percentiles of the bundle go, and classifiers that read it (dementia-t1) have to be trained anew.
    """
    set_up_logging(verbose)
    keep_memory()
    if static:
        if out is not None:
            raise ConfigError("--static changes the bundle in place; leave out --out.")
        return _measure_static(bundle, dataset, as_json)
    with counting(as_json, "Calibrating", None) as progress:
        from lnn_med.training.calibrate import calibrate as run_calibration

        def advance(done: int, total: int) -> None:
            progress.update(progress.task_ids[0], completed=done, total=total)

        made = run_calibration(bundle, dataset, out, coverage, progress=advance)
    found = made.calibration
    exits, auto = found.measured["exits"], found.measured["auto"]
    if as_json:
        volumes = {name: asdict(entry) for name, entry in found.volumes.items()}
        known = {"bundle": str(made.path), "cases": found.cases, "exits": exits, "auto": auto}
        show_json(known | {"volumes": volumes})
        return DONE
    text = console()
    rows = [
        (n, t, each["before"]["ece"], each["after"]["ece"], each["ece_null"])
        for n, (t, each) in enumerate(zip(found.temperature, exits, strict=True), start=1)
    ]
    show_table(text, "", ("exit", "temperature", "ECE before", "ECE after", "ECE of chance"), rows)
    depths = [
        (each["times_coarser"], each["dice_full"], each["dice_auto"], each["work"], *each["blocks"])
        for each in auto
    ]
    share = (f"blocks that leave at exit {n}" for n in range(1, 1 + len(exits)))
    show_table(text, "", ("times coarser", "Dice, full", "Dice, auto", "work", *share), depths)
    intervals = [(name, v.quantile, v.n, v.cross_fitted, v.width_pct) for name, v in found.volumes.items()]
    show_table(text, "", ("structure", "quantile", "cases", "coverage", "width, %"), intervals)
    text.print(f"{found.cases} cases; wrote {made.path}", markup=False)
    return DONE


def _measure_static(bundle: str, dataset: Path, as_json: bool) -> int:
    with counting(as_json, "Comparing", None) as progress:
        from lnn_med.inference.bundle import load_bundle
        from lnn_med.training.static_dice import measure_static_dice

        def advance(done: int, total: int) -> None:
            progress.update(progress.task_ids[0], completed=done, total=total)

        made = measure_static_dice(load_bundle(bundle), dataset, advance)
    changes = made.calibration.static_bf16
    if as_json:
        show_json({"bundle": str(made.path), "dice_change": changes})
        return DONE
    rows = [(n, f"{change:+.5f}") for n, change in enumerate(changes, start=1)]
    show_table(console(), "", ("exit", "change of Dice in bfloat16"), rows)
    console().print(f"Wrote {made.path}", markup=False)
    return DONE


@app.command(epilog=example("lnn-med stress hippocampus-t1 Task04_Hippocampus -o stress.json --cases 10"))
def stress(
    bundle: Annotated[str, typer.Argument(help="Bundle, by name or folder.")],
    dataset: Annotated[Path, typer.Argument(help="Folder with imagesTr/ and labelsTr/.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Result, as `stress_result` of a protocol.")],
    split: Annotated[str, typer.Option(help="One of the bundle's splits, or all.")] = "val",
    cases: Annotated[
        int | None, typer.Option(help="At most so many cases, spread over the split.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the disturbances.")] = 0,
    depth: Depth = "auto",
    budget: Budget = None,
    device: Device = "auto",
    runtime: Runtime = "auto",
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Disturb scans (noise, field, blur, motion, ghosts, rotation, thick slices, axis order) and compare."""
    set_up_logging(verbose)
    keep_memory()
    with counting(as_json, "Disturbing", None) as progress:
        from lnn_med.evaluation.stress import stress as run_stress
        from lnn_med.inference.bundle import load_bundle
        from lnn_med.inference.predict import Predictor

        def advance(done: int, total: int) -> None:
            progress.update(progress.task_ids[0], completed=done, total=total)

        model = load_bundle(bundle)
        networks = Predictor((model.path,), depth, budget, device, runtime)
        record = run_stress(model, dataset, out, networks, split, cases, seed, advance)
    if as_json:
        show_json(record)
        return DONE
    text = console()
    for found in (record, record["repeatability"]):
        if found:
            show_table(text, found["title"], found["columns"], found["rows"])
    text.print(f"{record['note']}\nWrote {out.name}", markup=False)
    text.print(RESEARCH_USE)
    return DONE
