"""The scans of a run scored on this machine: in this process, or in slots that are replaced when they die.

`concurrent.futures` gives up the whole pool when a worker dies and cannot say over which item.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from multiprocessing.connection import wait

from lnn_med.errors import LnnMedError
from lnn_med.scoring.case import score_case
from lnn_med.scoring.ledger import Entry
from lnn_med.scoring.limits import Limits
from lnn_med.scoring.slot import Load, Slot
from lnn_med.scoring.waiting import Waiting

MAX_FAILED_STARTS = 3  # in a row; one may be bad luck with memory, three are a rule
LOOK_SECONDS = 0.25  # between looks at time and memory of the slots


class WorkerError(LnnMedError):
    """Workers that cannot load the models: no scan would fare better with another one."""


def score_inline(waiting: Waiting, load: Load) -> Generator[Entry, None, None]:
    """Score in this process, one scan after the other, without limits: for notebooks and scripts."""
    predict = load()
    while (task := waiting.take()) is not None:
        yield waiting.judged(task, score_case(task, predict))


def score_in_pool(
    waiting: Waiting, load: Load, workers: int, limits: Limits | None = None
) -> Generator[Entry, None, None]:
    """Score in slots; entries come in the order in which attempts end.

    Raises:
        WorkerError: workers cannot load the models.
    """
    limits = limits or Limits()
    threads = max(1, available_cpus() // workers)
    pool = [Slot(load, threads, limits) for _ in range(min(workers, len(waiting)))]
    failed_starts = 0
    try:
        while pool:
            for slot in _awake(pool):
                message = slot.receive()
                if message is None:
                    pool.remove(slot)
                    slot.close()
                    failed_starts = 0 if slot.ready else failed_starts + 1
                    if failed_starts >= MAX_FAILED_STARTS:
                        raise WorkerError(START_ADVICE)
                    if slot.task is not None:
                        yield waiting.judged(slot.task, slot.lost())
                    if len(waiting) > len([other for other in pool if not other.ready]):
                        pool.append(Slot(load, threads, limits))
                    continue
                if message.broken is not None:
                    raise WorkerError(message.broken)
                ended, slot.ready, failed_starts = slot.task, True, 0
                entry = None
                if message.entry is not None and ended is not None:
                    entry = waiting.judged(ended, message.entry)
                slot.give(waiting.take() if slot.usable else None)
                if entry is not None:
                    yield entry
            for slot in pool:
                slot.enforce()
    finally:
        for slot in pool:
            slot.stop()
        for slot in pool:
            slot.close()


def available_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


START_ADVICE = (
    f"{MAX_FAILED_STARTS} worker processes in a row ended before they were ready. Is the memory full? "
    'In a script, call score below `if __name__ == "__main__":`, or use workers=0.'
)


def _awake(pool: list[Slot]) -> list[Slot]:
    """The slots that have something to say or are dead; none when it is time to look at all of them."""
    spoken = wait([slot.pipe for slot in pool], timeout=LOOK_SECONDS)
    return [slot for slot in pool if slot.pipe in spoken]
