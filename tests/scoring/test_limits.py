"""Scans that crash, hang or eat memory: each costs its own row, once more tried, then left alone."""

from __future__ import annotations

import os
from mmap import mmap
from pathlib import Path

import pytest

from lnn_med.errors import Code, ConfigError
from lnn_med.scoring.case import Task
from lnn_med.scoring.ledger import DONE, FAILED, RETRY, Entry, read_ledger
from lnn_med.scoring.limits import Limits, peak_rss_mb, reset_peak, resident_mb
from lnn_med.scoring.manifest import Scan
from lnn_med.scoring.runner import score
from lnn_med.scoring.state import status
from lnn_med.scoring.waiting import MAX_ATTEMPTS, Waiting
from tests.scoring.fakes import GREED_MB, FakeModels, write_head
from tests.scoring.test_runner import log_of, table


def task(case: str, attempt: int = 1) -> Task:
    return Task(
        "scans", "run", Scan(case, f"{case}.nii", "nifti", None, (f"{case}.nii",)), "key", attempt=attempt
    )


def entry(case: str, code: Code | None) -> Entry:
    return Entry(case, "key", FAILED if code else DONE, 1.0, code.value if code else None)


def test_only_what_may_pass_comes_again_behind_all_others() -> None:
    waiting = Waiting([task("a"), task("b"), task("c")])
    first, second = waiting.take(), waiting.take()
    assert first is not None
    assert second is not None
    assert waiting.judged(first, entry("a", Code.RESOURCE)).state == RETRY
    assert waiting.judged(second, entry("b", Code.GEOMETRY)) == entry("b", Code.GEOMETRY)
    left = [waiting.take() for _ in range(len(waiting))]
    assert [(one.scan.case, one.attempt) for one in left if one] == [("c", 1), ("a", 2)]
    last = waiting.judged(task("a", MAX_ATTEMPTS), entry("a", Code.RESOURCE))
    assert (last.state, last.quarantined, len(waiting)) == (FAILED, True, 0)


def test_a_scan_that_hangs_and_one_that_eats_memory_cost_their_rows(tmp_path: Path) -> None:
    scans, run, models = tmp_path / "scans", tmp_path / "run", FakeModels(tmp_path / "log.txt")
    write_head(scans / "good.nii")
    score(scans, tmp_path / "alone", FakeModels(tmp_path / "alone.txt"), workers=0)
    pace = read_ledger(tmp_path / "alone")[0].seconds
    for number, name in enumerate(["greedy.nii", "hang.nii"]):
        write_head(scans / name, number)
    limits = Limits(seconds=2 + 10 * pace, memory_mb=GREED_MB - 100.0)  # a busy machine is slow
    summary = score(scans, run, models, limits=limits)
    assert (summary.exit_code, summary.done, summary.failed, summary.failed_now) == (2, 1, 2, 2)
    failures = {row["case"]: row for row in table(run / "failures.csv")}
    assert {row["code"] for row in failures.values()} == {"E_RESOURCE"}
    assert {(row["attempts"], row["quarantined"]) for row in failures.values()} == {("2", "yes")}
    assert "The scan took more than" in failures["hang"]["message"]
    assert "MB of memory" in failures["greedy"]["message"]
    attempts = [(one.case, one.attempt, one.state) for one in read_ledger(run) if one.case == "hang"]
    assert attempts == [("hang", 1, "retry"), ("hang", 2, "failed")]
    peaks = {one.case: one.peak_rss_mb or 0 for one in read_ledger(run)}
    assert peaks["greedy"] > limits.memory_mb > peaks["good"] > 0  # type: ignore[operator]
    assert status(run).quarantined == 2

    again = score(scans, run, models, limits=limits)
    assert (again.failed_now, again.failed) == (0, 2)  # in quarantine
    assert len(log_of(models, "predict hang")) == 2


def test_a_limit_must_be_above_zero() -> None:
    with pytest.raises(ConfigError, match="time"):
        Limits(seconds=0)
    with pytest.raises(ConfigError, match="memory"):
        Limits(memory_mb=-1)


def test_memory_is_measured() -> None:
    if resident_mb(os.getpid()) is None:
        pytest.skip("this system does not tell")
    reset_peak()
    before = peak_rss_mb()
    with mmap(-1, 256 << 20) as block:  # from the system itself: malloc may hold pages of earlier tests
        block.write(bytes(1) * (256 << 20))
        high = peak_rss_mb()
    reset_peak()
    low = peak_rss_mb()
    assert before is not None
    assert high is not None
    assert low is not None
    assert high > before + 128
    assert low < high - 128
    assert resident_mb(2**30) is None
