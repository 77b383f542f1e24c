"""Runs killed again and again, at random moments: in the end they are as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lnn_med.io.provenance import PROVENANCE
from lnn_med.io.result_files import RESULT
from lnn_med.scoring import audit
from lnn_med.scoring.case import CASES_FOLDER, WORK_FOLDER
from lnn_med.scoring.ledger import DONE, read_ledger
from lnn_med.scoring.runner import score
from lnn_med.scoring.tables import SCORES_FILE
from tests.scoring.fakes import FakeModels
from tests.scoring.test_interrupted import assert_equal_runs, write_scans
from tests.scoring.test_runner import _is_zombie, log_of, table, wait_for

SEED = 6
PATIENCE_S = 900  # until a process is at work; a busy machine is slow
SCANS, BROKEN = 40, 2
KILLS_ALONE, STARTS_WITH_WORKER = 16, 2  # two kills each of the latter: its worker, then itself
SCAN_S = 0.05


def forked(work: Callable[[], Any]) -> int:
    """A process that does `work`, without the seconds that Python takes to start; its number."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def killed(pid: int) -> bool:
    """Kill a process of ours; whether it was still at work."""
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def workers_of(pid: int) -> list[int]:
    """Processes that score for a runner, asked of the system."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == pid and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def finished(run: Path) -> int:
    return len(list((run / CASES_FOLDER).glob("*/DONE.json")))


def kill_at_random(run: Path, pid: int, draw: random.Random, with_worker: bool = False) -> int:
    """Kill a runner after a scan, while one is written, or somewhere else; how many processes were killed."""

    def is_time() -> bool:
        return finished(run) >= finished_before + scans and (
            not writing or any((run / WORK_FOLDER).glob("*"))
        )

    finished_before, scans, writing, kills = finished(run), draw.randint(0, 1), draw.random() < 0.5, 0
    wait_for(lambda: is_time() or _is_zombie(pid), PATIENCE_S)
    if with_worker:
        wait_for(lambda: workers_of(pid) or _is_zombie(pid), PATIENCE_S)
        time.sleep(draw.uniform(0, SCAN_S))
        (worker,) = workers_of(pid)
        os.kill(worker, signal.SIGKILL)
        kills += 1
    time.sleep(draw.uniform(0, SCAN_S))
    orphans = workers_of(pid)
    kills += killed(pid)
    for orphan in orphans:  # it ends when it misses its runner
        wait_for(lambda: _is_zombie(orphan) or not Path(f"/proc/{orphan}").exists(), PATIENCE_S)  # noqa: B023
    return kills


@pytest.mark.slow
def test_killed_twenty_times_a_run_loses_nothing_and_scores_nothing_twice(tmp_path: Path) -> None:
    scans, run, draw = write_scans(tmp_path / "scans", SCANS, BROKEN), tmp_path / "run", random.Random(SEED)
    models = FakeModels(tmp_path / "log.txt", seconds=SCAN_S)
    starts = [0] * KILLS_ALONE + [1] * STARTS_WITH_WORKER
    draw.shuffle(starts)
    kills = 0
    for workers in starts:
        pid = forked(lambda: score(scans, run, models, workers=workers))  # noqa: B023
        kills += kill_at_random(run, pid, draw, with_worker=bool(workers))
    assert kills == KILLS_ALONE + 2 * STARTS_WITH_WORKER == 20
    assert 0 < finished(run) < SCANS
    summary = score(scans, run, FakeModels(models.log), workers=0, retry_failed=True)
    assert (summary.done, summary.failed, summary.waiting) == (SCANS, BROKEN, 0)
    score(scans, tmp_path / "undisturbed", FakeModels(tmp_path / "other.txt"), workers=0)
    assert_equal_runs(run, tmp_path / "undisturbed")
    done = Counter(entry.case for entry in read_ledger(run) if entry.state == DONE)
    assert len(done) == SCANS
    assert set(done.values()) == {1}
    assert len(log_of(models, "predict")) <= SCANS + kills  # each kill costs the one scan in hand, at most
    assert audit.verify(run).intact


def without_times(path: Path) -> bytes:
    """A file of a result without the seconds that the networks took."""
    if path.name != RESULT:
        return path.read_bytes()
    record = json.loads(path.read_bytes())
    del record["compute"]["seconds"]
    return json.dumps(record).encode()


@pytest.mark.data
@pytest.mark.slow
def test_killed_on_real_scans_the_shipped_networks_give_the_same_files(
    data_folder: Path, tmp_path: Path
) -> None:
    scans, runs, draw = tmp_path / "scans", (tmp_path / "run", tmp_path / "undisturbed"), random.Random(SEED)
    scans.mkdir()
    crops = sorted((data_folder / "hippocampus" / "imagesTr").glob("*.nii.gz"))[:4]
    for path in crops:
        os.symlink(path, scans / path.name)

    def command(run: Path) -> list[str]:
        return [sys.executable, "-m", "lnn_med.cli", "score", str(scans), "-o", str(run), "--json"]

    for number in range(2):
        pid = forked(lambda: os.execv(sys.executable, command(runs[0])))
        kill_at_random(runs[0], pid, draw, with_worker=bool(number % 2))
    for run in runs:
        assert os.waitpid(forked(lambda: os.execv(sys.executable, command(run))), 0)[1] == 0  # noqa: B023
    names = [path.relative_to(runs[1]) for path in sorted((runs[1] / CASES_FOLDER).glob("*/*"))]
    assert names == [path.relative_to(runs[0]) for path in sorted((runs[0] / CASES_FOLDER).glob("*/*"))]
    for name in names:
        if name.name != PROVENANCE:  # it tells when the networks ran
            assert without_times(runs[0] / name) == without_times(runs[1] / name), name
    rows, expected = ([{**row, "seconds": ""} for row in table(run / SCORES_FILE)] for run in runs)
    assert rows == expected
    assert len(rows) == len(crops)
    done = Counter(entry.case for entry in read_ledger(runs[0]) if entry.state == DONE)
    assert set(done.values()) == {1}
