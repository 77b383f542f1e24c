"""A run: every scan of a folder scored once, resumable at any moment, with tables of scores and failures."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.io.files import sha256_of
from lnn_med.io.result_files import RESULT
from lnn_med.io.tabular import read_participants, write_json
from lnn_med.scoring import audit
from lnn_med.scoring.case import CASES_FOLDER, WORK_FOLDER, Task, done_key
from lnn_med.scoring.ledger import DONE, FAILED, Entry, Ledger
from lnn_med.scoring.manifest import Scan, build_manifest, read_manifest, write_manifest
from lnn_med.scoring.models import BundledModels, Models, key_of
from lnn_med.scoring.pool import score_in_pool, score_inline
from lnn_med.scoring.tables import Person, write_failures, write_scores, write_skipped

logger = logging.getLogger(__name__)

RUN_FILE = "run.json"
LOCK_FILE = ".lock"
ALL_DONE, SOME_FAILED, INTERRUPTED = 0, 2, 130
# Reasons that lie in the machine or the moment, not in the scan: the next start tries again.
TRANSIENT = frozenset({Code.STORAGE.value, Code.CHANGED.value, Code.RESOURCE.value})


@dataclass(frozen=True)
class Progress:
    """Where a run stands; `phase` is "listing" (done: files and scans looked at) or "scoring"."""

    phase: str
    done: int
    total: int | None = None
    failed: int = 0
    case: str = ""
    state: str = ""


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


@dataclass(frozen=True)
class RunStatus:
    """What lies in a run's folder; `running` tells whether a process works on it."""

    total: int
    done: int
    failed: int
    waiting: int
    running: bool
    codes: Mapping[str, int]
    median_seconds: float | None
    last_utc: str | None


def score(
    folder: Path,
    run: Path,
    models: Models | None = None,
    workers: int = 1,
    table: Path | None = None,
    retry_failed: bool = False,
    lenient: bool = False,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> RunSummary:
    """Score every scan below a folder into `run`; the same call later goes on where it stopped.

    A case is scored anew when its bytes, the weights, the options or the package's version have changed.

    Args:
        folder: NIfTI files, DICOM series and zips in any layout.
        run: results: cases/<case>/ as predict writes them, scores.csv, failures.csv, skipped.csv,
            manifest.jsonl.
        models: what scores a scan; None takes the shipped bundles.
        workers: processes; 0 scores in this one, without protection against crashes.
        table: participants with age and sex, joined to scores.csv by case.
        retry_failed: try scans again that failed before.
        lenient: also read DICOM files without preamble.
        progress: called often, from this process.

    Raises:
        ConfigError: options or table that cannot be used, or a run that another process works on.
        InputError: E_NOTFOUND or E_FORMAT for the folder, E_STORAGE for `run`.
    """
    if workers < 0:
        raise ConfigError(f"{workers} workers cannot work; 0 or more are needed.")
    began = time.monotonic()
    people = read_participants(table) if table else []
    models = models or BundledModels()
    description = models.describe()
    manifest = build_manifest(folder, lambda count: progress(Progress("listing", count)))
    with _made_and_locked(run):
        shutil.rmtree(run / WORK_FOLDER, ignore_errors=True)
        write_json(run / RUN_FILE, {"folder": str(folder.resolve()), "models": description})
        write_manifest(run, manifest.scans)
        write_skipped(run, manifest.skipped)
        state = _State(run, manifest.scans, description)
        tasks = [
            Task(str(folder), str(run), scan, state.key(scan), lenient) for scan in state.todo(retry_failed)
        ]
        audit.record(run, audit.Event("score begins", f"run with {len(tasks)} scans", state.models_key))
        counts, interrupted = _work_off(tasks, models, workers, state, progress)
        state.write_tables(people)
        outcome = f"{counts[DONE]} done, {counts[FAILED]} failed{', interrupted' if interrupted else ''}"
        audit.record(run, audit.Event("score ends", f"run with {len(tasks)} scans", reason=outcome))
    done, failed = len(state.done()), len(state.failed())
    exit_code = INTERRUPTED if interrupted else SOME_FAILED if failed else ALL_DONE
    return RunSummary(
        run=run,
        exit_code=exit_code,
        total=len(manifest.scans),
        done=done,
        failed=failed,
        scored=counts[DONE],
        failed_now=counts[FAILED],
        skipped=len(manifest.skipped),
        seconds=time.monotonic() - began,
    )


def status(run: Path) -> RunStatus:
    """Where a run stands, also while it works.

    Raises:
        InputError: E_NOTFOUND when the folder holds no run.
    """
    scans = read_manifest(run)
    description = json.loads((run / RUN_FILE).read_bytes())["models"]
    state = _State(run, scans, description)
    failed = [entry for _, entry, _ in state.failed()]
    entries = [entry for scan in scans if (entry := state.ledger.last(scan.case, state.key(scan)))]
    seconds = [entry.seconds for entry in entries if entry.state == DONE]
    done = len(state.done())
    return RunStatus(
        total=len(scans),
        done=done,
        failed=len(failed),
        waiting=len(scans) - done - len(failed),
        running=_is_locked(run),
        codes=dict(Counter(str(entry.code) for entry in failed).most_common()),
        median_seconds=median(seconds) if seconds else None,
        last_utc=max((entry.ts_utc for entry in entries), default=None),
    )


class _State:
    """Which scans of the manifest are done or failed with today's input, weights and options."""

    def __init__(self, run: Path, scans: Sequence[Scan], description: Mapping[str, Any]) -> None:
        self.run, self.scans, self.models_key = run, scans, key_of(description)
        self.ledger = Ledger(run)

    def key(self, scan: Scan) -> str:
        return key_of({"input": scan.sha256, "series_uid": scan.series_uid, "models": self.models_key})

    def done(self) -> list[Scan]:
        return [scan for scan in self.scans if done_key(self.run, scan.case) == self.key(scan)]

    def failed(self) -> list[tuple[Scan, Entry, int]]:
        done = {scan.case for scan in self.done()}
        failures = []
        for scan in self.scans:
            entry = self.ledger.last(scan.case, self.key(scan))
            if scan.case not in done and entry is not None and entry.state == FAILED:
                failures.append((scan, entry, self.ledger.attempts(scan.case, self.key(scan))))
        return failures

    def todo(self, retry_failed: bool) -> list[Scan]:
        settled = {scan.case for scan in self.done()}
        settled |= {
            scan.case for scan, entry, _ in self.failed() if not retry_failed and entry.code not in TRANSIENT
        }
        return [scan for scan in self.scans if scan.case not in settled]

    def event(self, entry: Entry) -> audit.Event:
        """What the audit log says of an attempt: the hash of the input, and of the result."""
        sha256 = next(scan.sha256 for scan in self.scans if scan.case == entry.case)
        result = self.run / CASES_FOLDER / entry.case / RESULT
        after = sha256_of([result]) if entry.state == DONE and result.is_file() else None
        action = "scored" if entry.state == DONE else "failed"
        return audit.Event(
            action, audit.object_of("scan", sha256, entry.case), sha256, after, entry.code or ""
        )

    def write_tables(self, people: Sequence[Person]) -> None:
        write_scores(self.run, self.done(), people)
        write_failures(self.run, self.failed())


def _work_off(
    tasks: Sequence[Task],
    models: Models,
    workers: int,
    state: _State,
    progress: Callable[[Progress], None],
) -> tuple[Counter[str], bool]:
    """Score the tasks, each into the ledger; returns counts by state, and whether it was interrupted."""
    counts: Counter[str] = Counter()
    progress(Progress("scoring", 0, len(tasks)))
    entries = score_in_pool(tasks, models.load, workers) if workers else score_inline(tasks, models.load)
    try:
        with _terminable(), closing(entries):
            for entry in entries:
                state.ledger.append(entry)
                audit.record(state.run, state.event(entry))
                counts[entry.state] += 1
                logger.info("%s: %s %s in %.1f s", entry.case, entry.state, entry.code or "", entry.seconds)
                done = counts.total()
                progress(Progress("scoring", done, len(tasks), counts[FAILED], entry.case, entry.state))
    except KeyboardInterrupt:
        return counts, True
    return counts, False


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


@contextmanager
def _made_and_locked(run: Path) -> Iterator[None]:
    """Make the folder of the run and keep other processes out; the system frees the lock of a dead one.

    Raises:
        InputError: E_STORAGE.
        ConfigError: another process works on the run.
    """
    import fcntl

    try:
        run.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(Code.STORAGE, f"The run's folder cannot be written ({error.strerror}).") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                "Another process works on this run; wait for it or choose another -o."
            ) from error
        yield
    finally:
        os.close(descriptor)


def _is_locked(run: Path) -> bool:
    import fcntl

    try:
        descriptor = os.open(run / LOCK_FILE, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
