"""Worker processes that each load the models once; one that dies costs its scan and is replaced.

`concurrent.futures` gives up the whole pool when a worker dies and cannot say over which item; here each
worker has its own pipe, so it is known. Processes are spawned: a fork beside the threads of torch can hang.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from time import monotonic

from lnn_med.errors import Code, LnnMedError
from lnn_med.scoring.case import Predict, Task, score_case
from lnn_med.scoring.ledger import FAILED, Entry

MAX_FAILED_STARTS = 3  # in a row; one may be bad luck with memory, three are a rule
STOP_SECONDS = 5.0  # a worker that does not end by then is killed; its half result is never seen
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Load = Callable[[], Predict]  # found by name in the other process, so no lambda and no inner function


class WorkerError(LnnMedError):
    """Workers that cannot load the models: no scan would fare better with another one."""


@dataclass(frozen=True)
class _Message:
    """What a worker sends: that it is ready, why it cannot be, or the entry of its scan."""

    entry: Entry | None = None
    broken: str | None = None


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    task: Task | None = None
    began: float = 0.0
    ready: bool = False


def score_inline(tasks: Iterable[Task], load: Load) -> Generator[Entry, None, None]:
    """Score in this process, one scan after the other: for notebooks and scripts."""
    predict = load()
    for task in tasks:
        yield score_case(task, predict)


def score_in_pool(tasks: Iterable[Task], load: Load, workers: int) -> Generator[Entry, None, None]:
    """Score with worker processes; entries come in the order in which scans are finished.

    Raises:
        WorkerError: workers cannot load the models.
    """
    waiting = deque(tasks)
    threads = max(1, available_cpus() // workers)
    pool = [_start(load, threads) for _ in range(min(workers, len(waiting)))]
    failed_starts = 0
    try:
        while pool:
            for worker in _awake(pool):
                message = _receive(worker)
                if message is None:
                    pool.remove(worker)
                    failed_starts = 0 if worker.ready else failed_starts + 1
                    if failed_starts >= MAX_FAILED_STARTS:
                        raise WorkerError(_START_ADVICE)
                    if worker.task is not None:
                        yield _lost(worker)
                    if len(waiting) > len([other for other in pool if not other.ready]):
                        pool.append(_start(load, threads))
                    continue
                if message.broken is not None:
                    raise WorkerError(message.broken)
                worker.ready, worker.task, failed_starts = True, None, 0
                _give(worker, waiting)
                if message.entry is not None:
                    yield message.entry
    finally:
        _stop(pool)


def available_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_START_ADVICE = (
    f"{MAX_FAILED_STARTS} worker processes in a row ended before they were ready. Is the memory full? "
    'In a script, call score below `if __name__ == "__main__":`, or use workers=0.'
)


def _start(load: Load, threads: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, load), daemon=True)
    with _thread_limit(threads):
        process.start()
    theirs.close()  # so that the death of the worker ends the pipe
    return _Worker(process, ours)


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


def _awake(pool: list[_Worker]) -> list[_Worker]:
    """Wait until workers have something to say or are dead."""
    spoken = wait([worker.pipe for worker in pool])
    return [worker for worker in pool if worker.pipe in spoken]


def _receive(worker: _Worker) -> _Message | None:
    """The next message; None when the worker is dead."""
    try:
        message = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(STOP_SECONDS)
        return None
    return message if isinstance(message, _Message) else None


def _give(worker: _Worker, waiting: deque[Task]) -> None:
    """Hand out the next scan, or nothing: then the worker ends. A dead one is noticed at the next wait."""
    task = waiting.popleft() if waiting else None
    worker.task, worker.began = task, monotonic()
    with suppress(OSError):
        worker.pipe.send(task)


def _lost(worker: _Worker) -> Entry:
    """The failure of the scan at which a worker died."""
    task = worker.task
    assert task is not None
    code = worker.process.exitcode
    how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
    message = f"The worker process was ended {how} while it scored this scan."
    seconds = round(monotonic() - worker.began, 3)
    return Entry(task.scan.case, task.key, FAILED, seconds, Code.RESOURCE.value, message)


def _stop(pool: list[_Worker]) -> None:
    """End workers that are still there, by force if need be."""
    for worker in pool:
        worker.process.terminate()
    for worker in pool:
        worker.process.join(STOP_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


def _work(pipe: Connection, load: Load) -> None:
    """What a worker does: load once, then score what comes until nothing comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the runner decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")  # libraries quote header values, and those may name a patient
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        predict = load()
    except Exception as error:
        reason = str(error) if isinstance(error, LnnMedError) else f"The models cannot be loaded: {error!r}"
        pipe.send(_Message(broken=reason))
        return
    with suppress(EOFError, BrokenPipeError):
        pipe.send(_Message())
        while (task := pipe.recv()) is not None:
            pipe.send(_Message(entry=score_case(task, predict)))


def _end_with_parent() -> None:
    """Without its runner a worker would go on unseen, and score beside the next start of the run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
