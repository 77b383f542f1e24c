"""Jobs of the viewer: a bounded, fair queue in front of the worker processes.

A process that dies costs its job and is replaced; cancelling a running job ends its process, for a network
cannot be stopped in the middle otherwise.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from app.store import new_token
from app.work import describe
from app.worker import STOP_SECONDS, Task, Worker
from lnn_med.errors import Code
from lnn_med.scoring.models import Models

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
LIGHT, HEAVY = "light", "heavy"  # without networks: answers at once, also while heavy ones are busy
POLL_SECONDS = 0.1
REMEMBERED = 9  # durations from which the time left is estimated
KEPT_JOBS = 500


class BusyError(Exception):
    """The queue is full; the text says so to the user."""


@dataclass
class Job:
    """One task of one owner and where it stands."""

    token: str
    owner: str
    kind: str
    task: Task
    then: Callable[[dict[str, Any]], None]  # what to do with the answer, before the job counts as done
    state: str = WAITING
    stage: str = "Waiting"
    error: dict[str, str] | None = None
    began: float = 0.0
    ended: float = 0.0
    expected_seconds: float | None = None
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def open(self) -> bool:
        """Whether it is still to be waited for."""
        return self.state in (WAITING, RUNNING)

    @property
    def seconds_left(self) -> float | None:
        """Estimate from earlier jobs; None before the first."""
        if self.expected_seconds is None or self.state != RUNNING:
            return None
        return max(0.0, self.expected_seconds - (time.monotonic() - self.began))


class Jobs:
    """The queue and its processes."""

    def __init__(self, models: Models, workers: int, waiting: int, waiting_of_one: int) -> None:
        self.limits = (waiting, waiting_of_one)
        self._queue: list[Job] = []
        self._jobs: dict[str, Job] = {}
        self._served: dict[str, int] = {}
        self._durations: dict[str, deque[float]] = {
            LIGHT: deque(maxlen=REMEMBERED),
            HEAVY: deque(maxlen=REMEMBERED),
        }
        self._change = threading.Condition()
        self._stop = threading.Event()
        lanes = [(LIGHT, None)] + [(HEAVY, models)] * workers
        self._threads = [
            threading.Thread(target=self._serve, args=lane, daemon=True, name=f"jobs-{lane[0]}")
            for lane in lanes
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, owner: str, kind: str, task: Task, then: Callable[[dict[str, Any]], None]) -> Job:
        """Queue a task.

        Raises:
            BusyError: too many are waiting.
        """
        with self._change:
            every, mine = self.limits
            if len(self._queue) >= every:
                raise BusyError(f"{every} scans are waiting already. Try again in a few minutes.")
            if sum(job.owner == owner for job in self._queue) >= mine:
                raise BusyError(
                    f"{mine} of your scans are waiting already. Wait until one is done, or cancel one."
                )
            job = Job(new_token(), owner, kind, task, then)
            self._queue.append(job)
            self._jobs[job.token] = job
            for old in list(self._jobs.values())[:-KEPT_JOBS]:
                if not old.open:
                    del self._jobs[old.token]
            self._change.notify_all()
        return job

    def find(self, token: str | None, owner: str) -> Job | None:
        """The owner's job with this token."""
        job = self._jobs.get(token or "")
        return job if job is not None and job.owner == owner else None

    def ahead_of(self, job: Job) -> int:
        """How many jobs of the same kind were queued earlier."""
        with self._change:
            same = [other for other in self._queue if other.kind == job.kind]
        return same.index(job) if job in same else 0

    def cancel(self, job: Job) -> None:
        """Take it out of the queue, or end the process that works on it."""
        with self._change:
            job.cancel.set()
            if job in self._queue:
                self._queue.remove(job)
                job.state, job.stage = CANCELLED, "Cancelled"

    def close(self) -> None:
        """End all processes."""
        self._stop.set()
        with self._change:
            self._change.notify_all()
        for thread in self._threads:
            thread.join(STOP_SECONDS + 1)

    def _next(self, kind: str) -> Job | None:
        """The first job of the owner who was served longest ago."""
        with self._change:
            mine = [job for job in self._queue if job.kind == kind]
            if not mine:
                self._change.wait(POLL_SECONDS * 5)
                return None
            job = min(mine, key=lambda one: self._served.get(one.owner, -1))
            self._queue.remove(job)
            self._served[job.owner] = 1 + max(self._served.values(), default=0)
            return job

    def _serve(self, kind: str, models: Models | None) -> None:
        worker = Worker(models)
        try:
            while not self._stop.is_set():
                if not worker.alive:
                    worker = Worker(models)
                job = self._next(kind)
                if job is not None:
                    self._run(job, worker)
                    if job.state == DONE:
                        self._durations[kind].append(job.ended - job.began)
        finally:
            worker.end()

    def _run(self, job: Job, worker: Worker) -> None:
        durations = self._durations[job.kind]
        job.expected_seconds = median(durations) if durations else None
        job.state, job.stage, job.began = RUNNING, "Starting", time.monotonic()
        try:
            worker.send(job.task)
            while not worker.poll(POLL_SECONDS):
                if job.cancel.is_set() or self._stop.is_set():
                    worker.end()
                    job.state, job.stage = CANCELLED, "Cancelled"
                    return
                job.stage = worker.stage or job.stage
            answer, error = worker.answer()
            if error is None:
                job.then(answer)
            job.error = error
        except (EOFError, OSError):
            worker.end()
            message = "The process that worked on this scan was ended by the system."
            job.error = {"code": Code.RESOURCE.value, "message": message, "remedy": Code.RESOURCE.remedy}
        except Exception as error:
            job.error = describe(error)
        job.ended = time.monotonic()
        job.state = DONE if job.error is None else FAILED
        job.stage = "Done" if job.error is None else "Failed"
