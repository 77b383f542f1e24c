"""The scans that wait: what is tried once more, behind all others, and what is put into quarantine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from lnn_med.errors import Code
from lnn_med.scoring.case import Task
from lnn_med.scoring.ledger import RETRY, Entry

MAX_ATTEMPTS = 2  # a process that was ended may be bad luck; twice over the same scan is a rule


class Waiting:
    """A queue of scans that takes back what failed for lack of memory, time or a process that died."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = deque(tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self) -> Task | None:
        """The next scan; None when there is none."""
        return self._tasks.popleft() if self._tasks else None

    def judged(self, task: Task, entry: Entry) -> Entry:
        """The entry as it goes into the ledger: final, to be tried again, or in quarantine."""
        if entry.code != Code.RESOURCE.value:
            return entry
        if task.attempt >= MAX_ATTEMPTS:
            return replace(entry, quarantined=True)
        self._tasks.append(replace(task, attempt=task.attempt + 1))
        return replace(entry, state=RETRY)
