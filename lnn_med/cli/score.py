"""Commands that measure a folder of scans: score, status."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lnn_med.allocator import keep_memory
from lnn_med.cli.app import DONE, app, example
from lnn_med.console import RESEARCH_USE, console, counting, set_up_logging, show_json
from lnn_med.errors import ConfigError, require
from lnn_med.options import (
    AllowUnlocked,
    Budget,
    Bundle,
    Depth,
    Device,
    DicomMaps,
    Json,
    Lenient,
    Pdf,
    Runtime,
    Verbose,
)

if TYPE_CHECKING:
    from lnn_med.scoring.cluster import Cluster
    from lnn_med.scoring.runner import RunSummary

TABLES = "scores.csv, scores.parquet, failures.csv, skipped.csv, summary.html, manifest.jsonl, cases/"

Workers = Annotated[int, typer.Option(help="Processes here; each loads the networks once.", min=1)]
Scheduler = Annotated[
    str | None,
    typer.Option(help="A running Dask scheduler, instead of workers here.", metavar="tls://HOST:PORT"),
]
ClusterFile = Annotated[
    Path | None,
    typer.Option("--cluster", help="Workers as jobs of SLURM or PBS, or pods: see docs/clusters.md."),
]
Tls = Annotated[Path | None, typer.Option(help="Folder with ca.pem, cert.pem and key.pem for --scheduler.")]
ScanSeconds = Annotated[float, typer.Option(help="Longest time for one scan, seconds.", min=1)]
ScanMemory = Annotated[float, typer.Option(help="Most memory of a process for one scan, MB.", min=100)]
Table = Annotated[Path | None, typer.Option(help="Participants, joined by case: age, sex, education, mmse.")]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try failed scans again, those in quarantine, too.")
]
Bids = Annotated[bool, typer.Option("--bids", help="Also lay the results out as BIDS derivatives.")]


@app.command(
    epilog=example(
        "lnn-med score scans -o run",
        "lnn-med score scans -o run --workers 4 --table participants.csv",
        "lnn-med score scans -o run --cluster slurm.yaml",
    )
)
def score(
    folder: Annotated[Path, typer.Argument(help="Folder with scans; subfolders are searched.")],
    run: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; the same one resumes it.")],
    bundle: Bundle = None,
    depth: Depth = "auto",
    budget: Budget = None,
    device: Device = "auto",
    runtime: Runtime = "auto",
    allow_unlocked: AllowUnlocked = False,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    cluster: ClusterFile = None,
    tls: Tls = None,
    scan_seconds: ScanSeconds = 900,
    scan_memory: ScanMemory = 8000,
    table: Table = None,
    retry_failed: RetryFailed = False,
    bids: Bids = False,
    dicom_maps: DicomMaps = False,
    pdf: Pdf = False,
    lenient: Lenient = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Measure every scan of a folder; one bad scan never stops the run, finished ones are skipped."""
    set_up_logging(verbose)
    keep_memory()
    if pdf:
        require("typst", "report")  # before any work
    with counting(as_json, "Listing the scans", None) as progress:
        from lnn_med.inference.runtime import RuntimeConfig
        from lnn_med.io.result_files import Extras
        from lnn_med.scoring.limits import Limits
        from lnn_med.scoring.models import BundledModels
        from lnn_med.scoring.runner import Progress
        from lnn_med.scoring.runner import score as run_scoring

        def advance(now: Progress) -> None:
            listing = now.phase == "listing"
            words = "Listing the scans" if listing else f"Measuring, {now.failed} failed"
            progress.update(progress.task_ids[0], completed=now.done, total=now.total, description=words)
            if now.page:
                progress.console.print(f"What the workers do: {now.page}", markup=False)

        RuntimeConfig(depth, budget, device, runtime)  # refuses a wrong option before any work
        models = BundledModels(tuple(bundle or ()), depth, budget, device, runtime, allow_unlocked)
        summary = run_scoring(
            *(folder, run, models, workers, table, retry_failed, lenient),
            progress=advance,
            limits=Limits(scan_seconds, scan_memory),
            cluster=_cluster(scheduler, cluster, tls),
            bids=bids,
            extras=Extras(dicom_maps, pdf),
        )
    _show(summary, as_json)
    return summary.exit_code


@app.command(epilog=example("lnn-med status run", "lnn-med status run --json"))
def status(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Show how far a run of `score` is, also while it works."""
    set_up_logging(verbose)
    from lnn_med.scoring.state import status as status_of

    found = status_of(run)
    if as_json:
        show_json(asdict(found))
        return DONE
    text = console()
    pace = "" if found.median_seconds is None else f", {found.median_seconds:.1f} s a scan (median)"
    memory = "" if found.peak_rss_mb is None else f", at most {found.peak_rss_mb:.0f} MB"
    text.print(
        f"{found.done} of {found.total} scans done, {found.failed} failed, {found.waiting} waiting{pace}"
        f"{memory}; {'running' if found.running else 'not running'}"
    )
    for code, count in found.codes.items():
        text.print(f"  {code}: {count}")
    if found.quarantined:
        text.print(f"  {found.quarantined} of them in quarantine; --retry-failed tries them again")
    text.print(RESEARCH_USE)
    return DONE


def _cluster(scheduler: str | None, file: Path | None, tls: Path | None) -> Cluster | None:
    from lnn_med.scoring.cluster import Cluster

    if scheduler is None and file is None:
        if tls is not None:
            raise ConfigError("--tls goes with --scheduler.")
        return None
    return Cluster(scheduler, file, tls)


def _show(summary: RunSummary, as_json: bool) -> None:
    if as_json:
        show_json(asdict(summary) | {"run": str(summary.run), "waiting": summary.waiting})
        return
    text = console()
    text.print(
        f"{summary.done} of {summary.total} scans done, {summary.failed} failed, "
        f"{summary.waiting} waiting; {summary.scored} measured now in {summary.seconds:.0f} s, "
        f"{summary.skipped} files are no scans"
    )
    text.print(f"Wrote to {summary.run}: {TABLES}", markup=False)
    text.print(RESEARCH_USE)
