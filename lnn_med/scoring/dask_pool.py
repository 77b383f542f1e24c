"""The scans of a run scored by the workers of a Dask cluster; rows come back, files go over the shared disk.

Each worker keeps a slot, so that a crash, a hang or too much memory costs one scan and no worker. A worker
that is lost with its machine is Dask's matter: it gives the scan to another one.
"""

from __future__ import annotations

import atexit
import multiprocessing
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

from lnn_med.errors import Code, InputError, LnnMedError
from lnn_med.scoring.case import Predict, Task, score_case
from lnn_med.scoring.ledger import FAILED, Entry
from lnn_med.scoring.limits import Limits
from lnn_med.scoring.models import Models, key_of
from lnn_med.scoring.pool import LOOK_SECONDS, START_ADVICE, WorkerError, available_cpus
from lnn_med.scoring.run_lock import LOCK_FILE
from lnn_med.scoring.slot import Slot
from lnn_med.scoring.waiting import Waiting

AHEAD = 2  # scans given out for each thread of a worker: one in work, one at hand
FEWEST_AHEAD = 4  # while workers are still to come

_slots: dict[tuple[int, str], Slot] = {}  # of this worker, by thread and models
_inline: dict[str, Predict] = {}


def score_on_cluster(
    waiting: Waiting, models: Models, client: Any, limits: Limits
) -> Generator[Entry, None, None]:
    """Score with the workers of a `distributed.Client`; entries come in the order in which attempts end.

    Raises:
        WorkerError: a worker cannot load the models, has other ones, or does not see the files.
        InputError: E_NETWORK when the scheduler is lost.
    """
    from distributed import as_completed

    key = key_of(models.describe())
    ended, running = as_completed(loop=client.loop, raise_errors=False), dict[str, tuple[Any, Task]]()

    def fill() -> None:
        ahead = max(FEWEST_AHEAD, AHEAD * sum(client.nthreads().values()))
        while len(running) < ahead and (task := waiting.take()) is not None:
            future = client.submit(score_there, task, models, key, limits, pure=False)
            running[future.key] = future, task
            ended.add(future)

    try:
        fill()
        for future in ended:
            _, task = running.pop(future.key)
            entry = waiting.judged(task, _entry(future, task))
            fill()
            yield entry
    finally:
        client.cancel([future for future, _ in running.values()])


def score_there(task: Task, models: Models, key: str, limits: Limits) -> Entry:
    """Score one scan in a worker of the cluster; runs there."""
    if not (Path(task.run) / LOCK_FILE).exists() or not Path(task.folder).exists():
        raise WorkerError("A worker does not see the folders of the run; they must lie on a shared disk.")
    try:
        if multiprocessing.current_process().daemon:  # it may have no process of its own
            return score_case(task, _loaded(models, key))
        return _run(_slot(models, key, limits), task)
    except LnnMedError as error:  # as a kind that travels: it is made from one text
        raise WorkerError(str(error)) from None


def _loaded(models: Models, key: str) -> Predict:
    if key not in _inline:
        _check(models, key)
        _inline[key] = models.load()
    return _inline[key]


def _slot(models: Models, key: str, limits: Limits) -> Slot:
    place = threading.get_ident(), key
    slot = _slots.get(place)
    if slot is None or not slot.usable or not slot.process.is_alive():
        _check(models, key)
        slot = _slots[place] = Slot(models.load, available_cpus(), limits)
        atexit.register(slot.stop)
        message = slot.receive()
        if message is None or message.broken is not None:
            del _slots[place]
            raise WorkerError(START_ADVICE if message is None else str(message.broken))
        slot.ready = True
    return slot


def _run(slot: Slot, task: Task) -> Entry:
    slot.give(task)
    while not slot.pipe.poll(LOOK_SECONDS):
        slot.enforce()
    message = slot.receive()
    if message is not None and message.entry is not None:
        return message.entry
    entry = slot.lost()
    slot.close()
    return entry


def _check(models: Models, key: str) -> None:
    """Refuse a worker whose bundles or package are not those of the run."""
    if key_of(models.describe()) != key:
        raise WorkerError("A worker has another version of the package or other bundles than this machine.")


def _entry(future: Any, task: Task) -> Entry:
    """What became of a scan; the loss of its workers is a failure of this scan, as it may be its cause."""
    from distributed.scheduler import KilledWorker

    if future.status == "finished":
        entry: Entry = future.result()
        return entry
    error = future.exception() if future.status == "error" else None
    if isinstance(error, KilledWorker):
        message = "The workers that scored this scan were lost one after the other."
        return Entry(task.scan.case, task.key, FAILED, 0.0, Code.RESOURCE.value, message, None, task.attempt)
    if isinstance(error, LnnMedError):
        raise error
    kind = type(error).__name__ if error is not None else future.status
    raise InputError(Code.NETWORK, f"The scheduler was lost ({kind}).")
