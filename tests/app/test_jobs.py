"""The queue: fair, bounded, and not to be taken down by a job."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from app.jobs import CANCELLED, DONE, FAILED, LIGHT, BusyError, Job, Jobs
from app.work import describe
from lnn_med.errors import Code, ConfigError, InputError

PATIENCE_SECONDS = 120.0  # a busy machine starts a process in half a minute
NONE = lambda answer: None  # noqa: E731


@dataclass(frozen=True)
class Note:
    """Writes its name into a file, after a while."""

    path: str
    name: str = ""
    seconds: float = 0.0
    fail: str = ""

    def run(self, predict: Any, report: Callable[[str], None]) -> dict[str, Any]:
        report(f"at {self.name}")
        time.sleep(self.seconds)
        if self.fail == "die":
            os._exit(9)
        if self.fail:
            raise InputError(Code.FORMAT, "The content is odd.")
        with open(self.path, "a") as file:
            file.write(self.name)
        return {"name": self.name}


@pytest.fixture(scope="module")
def jobs() -> Iterator[Jobs]:
    one = Jobs(models=None, workers=0, waiting=4, waiting_of_one=3)  # type: ignore[arg-type]
    yield one
    one.close()


def finish(job: Job) -> Job:
    end = time.monotonic() + PATIENCE_SECONDS
    while job.open and time.monotonic() < end:
        time.sleep(0.05)
    assert not job.open
    return job


def test_an_answer_arrives_before_the_job_counts_as_done(jobs: Jobs, tmp_path: Path) -> None:
    answers: list[dict[str, Any]] = []
    job = jobs.submit("ann", LIGHT, Note(str(tmp_path / "log"), "a"), answers.append)
    assert finish(job).state == DONE
    assert answers == [{"name": "a"}]
    assert jobs.find(job.token, "ann") is job
    assert jobs.find(job.token, "bob") is None


def test_turns_go_round_the_owners_and_the_queue_has_an_end(jobs: Jobs, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    first = jobs.submit("ann", LIGHT, Note(log, "0", 1.0), NONE)
    while first.state == "waiting":
        time.sleep(0.02)
    of_ann = [jobs.submit("ann", LIGHT, Note(log, name), NONE) for name in "12"]
    of_bob = jobs.submit("bob", LIGHT, Note(log, "B"), NONE)
    third = jobs.submit("ann", LIGHT, Note(log, "3"), NONE)
    with pytest.raises(BusyError):
        jobs.submit("bob", LIGHT, Note(log), NONE)  # four wait already
    assert jobs.ahead_of(third) == 3
    for job in (*of_ann, of_bob, third):
        finish(job)
    assert Path(log).read_text() == "0B123"


def test_one_owner_cannot_fill_the_queue(jobs: Jobs, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    first = jobs.submit("ann", LIGHT, Note(log, "", 0.6), NONE)
    while first.state == "waiting":
        time.sleep(0.02)
    waiting = [jobs.submit("ann", LIGHT, Note(log), NONE) for _ in range(3)]
    with pytest.raises(BusyError, match="3 of your scans"):
        jobs.submit("ann", LIGHT, Note(log), NONE)
    for job in (first, *waiting):
        finish(job)


def test_a_cancelled_job_stops_and_leaves_nothing(jobs: Jobs, tmp_path: Path) -> None:
    log = tmp_path / "log"
    running = jobs.submit("ann", LIGHT, Note(str(log), "x", 60), NONE)
    waiting = jobs.submit("ann", LIGHT, Note(str(log), "y"), NONE)
    while running.stage != "at x":
        time.sleep(0.02)
    jobs.cancel(waiting)
    jobs.cancel(running)
    assert finish(running).state == CANCELLED
    assert waiting.state == CANCELLED
    assert finish(jobs.submit("ann", LIGHT, Note(str(log), "z"), NONE)).state == DONE
    assert log.read_text() == "z"


def test_a_replaced_process_does_not_run_the_page_that_streamlit_calls_main(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ModuleType("__main__")
    page.__file__ = str(tmp_path / "page.py")
    (tmp_path / "page.py").write_text("raise RuntimeError('a page outside its server')\n")
    monkeypatch.setitem(sys.modules, "__main__", page)
    log = str(tmp_path / "log")
    finish(jobs.submit("ann", LIGHT, Note(log, fail="die"), NONE))
    assert finish(jobs.submit("ann", LIGHT, Note(log, "on"), NONE)).state == DONE
    assert sys.modules["__main__"] is page


def test_a_refusal_comes_with_code_and_remedy_and_a_dead_process_is_replaced(
    jobs: Jobs, tmp_path: Path
) -> None:
    log = str(tmp_path / "log")
    refused = finish(jobs.submit("ann", LIGHT, Note(log, fail="odd"), NONE))
    assert refused.state == FAILED
    assert refused.error == {
        "code": "E_FORMAT", "message": "The content is odd.", "remedy": Code.FORMAT.remedy
    }  # fmt: skip
    dead = finish(jobs.submit("ann", LIGHT, Note(log, fail="die"), NONE))
    assert dead.error is not None
    assert dead.error["code"] == "E_RESOURCE"
    assert finish(jobs.submit("ann", LIGHT, Note(log, "on"), NONE)).state == DONE


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("ZZCANARY^JOHN"), "E_INTERNAL", "ValueError"),
        (MemoryError(), "E_RESOURCE", "memory"),
        (ConfigError("depth is 9"), "E_CONFIG", "depth is 9"),
    ],
)
def test_foreign_errors_are_told_without_their_words(error: Exception, code: str, said: str) -> None:
    try:
        raise error
    except Exception as caught:
        told = describe(caught)
    assert told["code"] == code
    assert said in told["message"]
    assert "CANARY" not in told["message"]
