"""A run: every scan of a folder scored once, resumable at any moment, with tables of scores and failures."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.io.result_files import Extras
from lnn_med.io.tabular import read_participants, write_json
from lnn_med.scoring import audit
from lnn_med.scoring.bids import write_derivatives
from lnn_med.scoring.case import WORK_FOLDER
from lnn_med.scoring.cluster import Cluster
from lnn_med.scoring.ledger import DONE, FAILED, Entry
from lnn_med.scoring.limits import Limits
from lnn_med.scoring.manifest import build_manifest, write_manifest
from lnn_med.scoring.models import BundledModels, Models
from lnn_med.scoring.participants import Participants
from lnn_med.scoring.pool import score_in_pool, score_inline
from lnn_med.scoring.run_lock import made_and_locked
from lnn_med.scoring.state import RUN_FILE, RunState
from lnn_med.scoring.summary import write_summary
from lnn_med.scoring.tables import write_failures, write_scores, write_skipped
from lnn_med.scoring.waiting import Waiting

logger = logging.getLogger(__name__)

ALL_DONE, SOME_FAILED, INTERRUPTED = 0, 2, 130


@dataclass(frozen=True)
class Progress:
    """Where a run stands; `phase` is "listing" (done: files and scans looked at) or "scoring".

    `page` is the address of a cluster's dashboard on this machine, told once.
    """

    phase: str
    done: int
    total: int | None = None
    failed: int = 0
    case: str = ""
    state: str = ""
    page: str = ""


@dataclass(frozen=True)
class RunSummary:
    """How a start of a run ended. `scored` and `failed_now` were worked on now, the others were so before."""

    run: Path
    exit_code: int
    total: int
    done: int
    failed: int
    scored: int
    failed_now: int
    skipped: int
    seconds: float

    @property
    def waiting(self) -> int:
        """Scans that an interrupted run has not come to."""
        return self.total - self.done - self.failed


Report = Callable[[Progress], None]


def score(
    folder: Path,
    run: Path,
    models: Models | None = None,
    workers: int = 1,
    table: Path | None = None,
    retry_failed: bool = False,
    lenient: bool = False,
    progress: Report = lambda progress: None,
    limits: Limits | None = None,
    cluster: Cluster | None = None,
    bids: bool = False,
    extras: Extras | None = None,
) -> RunSummary:
    """Score every scan below a folder into `run`; the same call later goes on where it stopped.

    A case is scored anew when its bytes, its age or sex, the weights, the options or the package's version
    have changed.

    Args:
        folder: NIfTI files, DICOM series and zips in any layout.
        run: results: cases/<case>/ as predict writes them, scores.csv, scores.parquet, failures.csv,
            skipped.csv, summary.html, manifest.jsonl, ledger.jsonl.
        models: what scores a scan; None takes the shipped bundles.
        workers: processes; 0 scores in this one, without protection against crashes and without limits.
        table: participants, joined by case: age, sex, education and MMSE reach the networks and the page,
            what else is known of them scores.csv.
        retry_failed: try scans again that failed before, those in quarantine, too.
        lenient: also read DICOM files without preamble.
        progress: called often, from this process.
        limits: time and memory that one scan may take in a worker.
        cluster: workers on other machines, instead of processes here; `folder` and `run` lie where they see
            them under the same path.
        bids: also lay the results out as BIDS derivatives.
        extras: files of a case that are written only when they are asked for.

    Raises:
        ConfigError: options or table that cannot be used, or a run that another process works on.
        InputError: E_NOTFOUND or E_FORMAT for the folder, E_STORAGE for `run`, also when it fills up: the
            same call goes on; E_NETWORK for a cluster.
    """
    if workers < 0:
        raise ConfigError(f"{workers} workers cannot work; 0 or more are needed.")
    if cluster is not None:
        cluster.check()
    began = time.monotonic()
    people = Participants(read_participants(table) if table else ())
    models = models or BundledModels()
    extras = extras or Extras()
    asked = {} if extras == Extras() else {"extras": asdict(extras)}
    description = {**models.describe(), **asked}
    folder, run = folder.resolve(), run.resolve()
    manifest = build_manifest(folder, lambda count: progress(Progress("listing", count)))
    with made_and_locked(run):
        shutil.rmtree(run / WORK_FOLDER, ignore_errors=True)
        write_json(run / RUN_FILE, {"folder": str(folder), "models": description})
        scans = [replace(scan, clinical=people.clinical(scan)) for scan in manifest.scans]
        write_manifest(run, scans)
        write_skipped(run, manifest.skipped)
        state = RunState(run, scans, description)
        _recover(state)
        tasks = state.tasks(folder, retry_failed, lenient, extras)
        audit.record(run, audit.Event("score begins", f"run with {len(tasks)} scans", state.models_key))
        with ExitStack() as resources:
            waiting = Waiting(tasks)
            if cluster is None or not tasks:
                entries = _here(waiting, models, workers, limits or Limits())
            else:
                client = resources.enter_context(cluster.opened())
                progress(Progress("scoring", 0, len(tasks), page=cluster.page(client)))
                entries = _there(waiting, models, client, limits or Limits())
            counts, interrupted = _work_off(entries, len(tasks), state, progress)
        _write_tables(state, people, bids)
        outcome = f"{counts[DONE]} done, {counts[FAILED]} failed{', interrupted' if interrupted else ''}"
        audit.record(run, audit.Event("score ends", f"run with {len(tasks)} scans", reason=outcome))
    done, failed = len(state.done()), len(state.failed())
    return RunSummary(
        run=run,
        exit_code=INTERRUPTED if interrupted else SOME_FAILED if failed else ALL_DONE,
        total=len(manifest.scans),
        done=done,
        failed=failed,
        scored=counts[DONE],
        failed_now=counts[FAILED],
        skipped=len(manifest.skipped),
        seconds=time.monotonic() - began,
    )


def _recover(state: RunState) -> None:
    """Give results their lines in ledger and audit log that lay in place when an earlier start was killed."""
    for entry in state.unrecorded():
        state.ledger.append(entry)
        audit.record(state.run, state.event(entry))


def _here(waiting: Waiting, models: Models, workers: int, limits: Limits) -> Generator[Entry, None, None]:
    if workers == 0:
        return score_inline(waiting, models.load)
    return score_in_pool(waiting, models.load, workers, limits)


def _there(waiting: Waiting, models: Models, client: Any, limits: Limits) -> Generator[Entry, None, None]:
    from lnn_med.scoring.dask_pool import score_on_cluster  # distributed is an extra

    return score_on_cluster(waiting, models, client, limits)


def _work_off(
    entries: Generator[Entry, None, None], total: int, state: RunState, progress: Report
) -> tuple[Counter[str], bool]:
    """Put each attempt into ledger and audit log; returns counts by state, and whether it was interrupted.

    Raises:
        InputError: E_STORAGE: no other scan would find a place either.
    """
    counts: Counter[str] = Counter()
    progress(Progress("scoring", 0, total))
    try:
        with _terminable(), closing(entries):
            for entry in entries:
                state.ledger.append(entry)
                audit.record(state.run, state.event(entry))
                logger.info("%s: %s %s in %.1f s", entry.case, entry.state, entry.code or "", entry.seconds)
                if entry.code == Code.STORAGE.value:
                    raise InputError(Code.STORAGE, f"{entry.message} {counts[DONE]} scans are done.")
                counts[entry.state] += 1
                ended = counts[DONE] + counts[FAILED]
                progress(Progress("scoring", ended, total, counts[FAILED], entry.case, entry.state))
    except KeyboardInterrupt:
        return counts, True
    return counts, False


def _write_tables(state: RunState, people: Participants, bids: bool) -> None:
    """What a start leaves for people to read, made anew from what lies on the disk."""
    done, failed = state.done(), state.failed()
    scores = write_scores(state.run, done, people)
    write_failures(state.run, failed)
    last = {scan.case: state.ledger.last(scan.case, state.key(scan)) for scan in done}
    seconds = {case: entry.seconds for case, entry in last.items() if entry and entry.seconds}
    write_summary(state.run, len(state.scans), scores.rows, scores.measured, failed, seconds)
    if bids:
        write_derivatives(state.run, done)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does; a cluster sends it before it kills."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
