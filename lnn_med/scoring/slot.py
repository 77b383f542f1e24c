"""A slot: one process that loads the models once and scores scan after scan, within limits.

Whatever happens to the process costs its scan and nothing else. It is spawned: a fork beside the threads of
torch can hang. Its own pipe tells over which scan it died.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from time import monotonic

from lnn_med.errors import Code, LnnMedError
from lnn_med.scoring.case import Predict, Task, score_case
from lnn_med.scoring.ledger import FAILED, Entry
from lnn_med.scoring.limits import Limits, offer_to_oom_killer, reset_peak, resident_mb

STOP_SECONDS = 5.0  # a process that does not end by then is killed; its half result is never seen
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Load = Callable[[], Predict]  # found by name in the other process, so no lambda and no inner function


@dataclass(frozen=True)
class Message:
    """What the process sends: that it is ready, why it cannot be, or the entry of its scan."""

    entry: Entry | None = None
    broken: str | None = None


class Slot:
    """Starts the process at once; `ready` turns true when it has loaded the models."""

    def __init__(self, load: Load, threads: int, limits: Limits) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, load), daemon=True)
        with _thread_limit(threads):
            self.process.start()
        theirs.close()  # so that the death of the process ends the pipe
        self.limits, self.ready = limits, False
        self.task: Task | None = None
        self._began, self._peak_mb = 0.0, 0.0
        self._ended_for: str | None = None

    def give(self, task: Task | None) -> None:
        """Hand out a scan, or nothing: then the process ends. A dead one is noticed when it is read from."""
        self.task, self._began, self._peak_mb = task, monotonic(), 0.0
        with suppress(OSError):
            self.pipe.send(task)

    @property
    def usable(self) -> bool:
        """Whether it may get another scan: not when it was ended just as it finished one."""
        return self._ended_for is None

    def receive(self) -> Message | None:
        """Wait for the next message; None when the process is dead."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(STOP_SECONDS)
            return None
        return message if isinstance(message, Message) else None

    def enforce(self) -> None:
        """End the process if its scan takes more than it may; `receive` then says that it is dead."""
        if self.task is None or self._ended_for is not None:
            return
        held_mb = resident_mb(self.process.pid or 0) or 0.0
        self._peak_mb = max(self._peak_mb, held_mb)
        seconds, memory_mb = self.limits.seconds, self.limits.memory_mb
        if seconds is not None and monotonic() - self._began > seconds:
            self._ended_for = f"The scan took more than {seconds:g} s."
        elif memory_mb is not None and held_mb > memory_mb:
            self._ended_for = f"The scan took {held_mb:.0f} MB of memory; {memory_mb:g} MB are allowed."
        if self._ended_for is not None:
            self.process.kill()

    def lost(self) -> Entry:
        """The failure of the scan at which the process died."""
        task = self.task
        assert task is not None
        code = self.process.exitcode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        message = self._ended_for or f"The worker process was ended {how} while it scored this scan."
        seconds, peak_mb = round(monotonic() - self._began, 3), round(self._peak_mb, 1) or None
        resource = Code.RESOURCE.value
        return Entry(task.scan.case, task.key, FAILED, seconds, resource, message, peak_mb, task.attempt)

    def stop(self) -> None:
        """Ask the process to end."""
        self.process.terminate()

    def close(self) -> None:
        """Wait for its end, by force if need be."""
        self.process.join(STOP_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


@contextmanager
def _thread_limit(threads: int) -> Iterator[None]:
    """Environment in which a process starts that shares the machine; a lower limit of the user stays."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    for name, value in before.items():
        os.environ[name] = str(min(threads, int(value))) if value and value.isdigit() else str(threads)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(pipe: Connection, load: Load) -> None:
    """What the process does: load once, then score what comes until nothing comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the runner decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")  # libraries quote header values, and those may name a patient
    threading.Thread(target=_end_with_parent, daemon=True).start()
    offer_to_oom_killer()
    try:
        predict = load()
    except Exception as error:
        reason = str(error) if isinstance(error, LnnMedError) else f"The models cannot be loaded: {error!r}"
        pipe.send(Message(broken=reason))
        return
    with suppress(EOFError, BrokenPipeError):
        pipe.send(Message())
        while (task := pipe.recv()) is not None:
            reset_peak()
            pipe.send(Message(entry=score_case(task, predict)))


def _end_with_parent() -> None:
    """Without its runner a process would go on unseen, and score beside the next start of the run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
