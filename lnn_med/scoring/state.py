"""Where a run stands: which scans are done, failed or waiting with today's input, weights and options."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from lnn_med.errors import Code
from lnn_med.io.files import sha256_of
from lnn_med.io.result_files import RESULT, Extras
from lnn_med.scoring import audit
from lnn_med.scoring.case import CASES_FOLDER, Task, done_key
from lnn_med.scoring.ledger import DONE, FAILED, Entry, Ledger
from lnn_med.scoring.manifest import Scan, read_manifest
from lnn_med.scoring.models import key_of
from lnn_med.scoring.run_lock import is_locked

RUN_FILE = "run.json"
FOUND = "Finished when its runner was ended; found at the next start."  # so its time is not known
# Reasons that lie in the moment, not in the scan: the next start tries again. What took too much memory or
# time comes again within a run, see `Waiting`.
PASSING = frozenset({Code.STORAGE.value, Code.CHANGED.value})


class RunState:
    """The scans of the manifest under the keys that input, weights and options give them."""

    def __init__(self, run: Path, scans: Sequence[Scan], description: Mapping[str, Any]) -> None:
        self.run, self.scans, self.models_key = run, scans, key_of(description)
        self.ledger = Ledger(run)
        self._sha256 = {scan.case: scan.sha256 for scan in scans}

    def key(self, scan: Scan) -> str:
        """What must be equal for a result to be still the right one."""
        facts = {"input": scan.sha256, "series_uid": scan.series_uid, "models": self.models_key}
        return key_of(facts | ({"clinical": scan.clinical} if scan.clinical else {}))

    def done(self) -> list[Scan]:
        """Scans whose result lies in its place."""
        return [scan for scan in self.scans if done_key(self.run, scan.case) == self.key(scan)]

    def unrecorded(self) -> list[Entry]:
        """Lines that the ledger lacks: of results in their place whose runner was killed."""
        lines = []
        for scan in self.done():
            entry = self.ledger.last(scan.case, self.key(scan))
            if entry is None or entry.state != DONE:
                lines.append(Entry(scan.case, self.key(scan), DONE, 0.0, message=FOUND))
        return lines

    def failed(self) -> list[tuple[Scan, Entry, int]]:
        """Scans whose last attempt failed for good, with that attempt and how many there were."""
        done = {scan.case for scan in self.done()}
        failures = []
        for scan in self.scans:
            entry = self.ledger.last(scan.case, self.key(scan))
            if scan.case not in done and entry is not None and entry.state == FAILED:
                failures.append((scan, entry, self.ledger.attempts(scan.case, self.key(scan))))
        return failures

    def tasks(self, folder: Path, retry_failed: bool, lenient: bool, extras: Extras) -> list[Task]:
        """What a start has to do; failures only when they may pass or are to be tried again."""
        settled = {scan.case for scan in self.done()}
        if not retry_failed:
            settled |= {scan.case for scan, entry, _ in self.failed() if entry.code not in PASSING}
        return [
            Task(
                *(str(folder), str(self.run), scan, key, lenient),
                attempt=self.ledger.attempts(scan.case, key) + 1,
                extras=extras,
            )
            for scan in self.scans
            if scan.case not in settled and (key := self.key(scan))
        ]

    def event(self, entry: Entry) -> audit.Event:
        """What the audit log says of an attempt: the hash of the input, and of the result."""
        sha256 = self._sha256[entry.case]
        result = self.run / CASES_FOLDER / entry.case / RESULT
        after = sha256_of([result]) if entry.state == DONE and result.is_file() else None
        action = "scored" if entry.state == DONE else "failed"
        scan = audit.object_of("scan", sha256, entry.case)
        return audit.Event(action, scan, sha256, after, entry.code or "")


@dataclass(frozen=True)
class RunStatus:
    """What lies in a run's folder; `running` tells whether a process works on it.

    `quarantined` scans, a part of the failed ones, ended their process each time and are left alone.
    """

    total: int
    done: int
    failed: int
    waiting: int
    running: bool
    codes: Mapping[str, int]
    median_seconds: float | None
    last_utc: str | None
    quarantined: int = 0
    peak_rss_mb: float | None = None


def status(run: Path) -> RunStatus:
    """Where a run stands, also while it works.

    Raises:
        InputError: E_NOTFOUND when the folder holds no run.
    """
    scans = read_manifest(run)
    state = RunState(run, scans, json.loads((run / RUN_FILE).read_bytes())["models"])
    failed = [entry for _, entry, _ in state.failed()]
    entries = [entry for scan in scans if (entry := state.ledger.last(scan.case, state.key(scan)))]
    seconds = [entry.seconds for entry in entries if entry.state == DONE and entry.seconds]
    done = len(state.done())
    return RunStatus(
        total=len(scans),
        done=done,
        failed=len(failed),
        waiting=len(scans) - done - len(failed),
        running=is_locked(run),
        codes=dict(Counter(str(entry.code) for entry in failed).most_common()),
        median_seconds=median(seconds) if seconds else None,
        last_utc=max((entry.ts_utc for entry in entries), default=None),
        quarantined=sum(entry.quarantined for entry in failed),
        peak_rss_mb=max((entry.peak_rss_mb for entry in entries if entry.peak_rss_mb), default=None),
    )
