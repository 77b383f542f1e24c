"""A worker process of the viewer and its pipe: loads the networks once, then does one task after the other.

The processes start with the server, outside any page's script.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import Any, Protocol

from app.work import Predict, Report, describe, prepare
from lnn_med.scoring.models import Models

STOP_SECONDS = 3.0
_starting = threading.Lock()
RESTART_SECONDS = 2.0  # between two starts of a process that cannot load its networks


class Task(Protocol):
    """What a process can do; see `app.work`."""

    def run(self, predict: Predict | None, report: Report) -> dict[str, Any]:
        """Do it, saying where it stands."""
        ...


class Worker:
    """One process and its pipe. Messages: ("stage", text), ("answer", dict), ("error", dict)."""

    def __init__(self, models: Models | None) -> None:
        context = multiprocessing.get_context("spawn")  # a fork beside threads can hang
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_work, args=(theirs, models), daemon=True)
        with _without_main():
            self.process.start()
        theirs.close()
        self.stage = ""
        self._last: tuple[str, Any] = ("", None)

    @property
    def alive(self) -> bool:
        """Whether the process lives."""
        return self.process.is_alive()

    def send(self, task: Task) -> None:
        """Give it a task; it must have none.

        Raises:
            OSError: the process has ended.
        """
        self.stage = ""
        self.pipe.send(task)

    def poll(self, seconds: float) -> bool:
        """Read what the process says; True when the task has ended.

        Raises:
            EOFError: the process has ended.
        """
        while self.pipe.poll(seconds):
            self._last = self.pipe.recv()
            if self._last[0] != "stage":
                return True
            self.stage = self._last[1]
        return False

    def answer(self) -> tuple[dict[str, Any], dict[str, str] | None]:
        """Answer and error of the task that has ended; one of them is empty."""
        kind, content = self._last
        return (content, None) if kind == "answer" else ({}, content)

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.terminate()
        self.process.join(STOP_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main module, which a new process would run again: Streamlit puts the page's script there."""
    with _starting:
        before, empty = sys.modules["__main__"], ModuleType("__main__")
        sys.modules["__main__"] = empty
        try:
            yield
        finally:
            if sys.modules["__main__"] is empty:  # else a page has begun meanwhile
                sys.modules["__main__"] = before


def _work(pipe: Connection, models: Models | None) -> None:
    """The process: load once, then do one task after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")  # libraries quote header values, and those may name a patient
    threading.Thread(target=_end_with_parent, daemon=True).start()
    predict, broken = None, None
    try:
        prepare()
        predict = models.load() if models else None
    except Exception as error:
        broken = describe(error)
        time.sleep(RESTART_SECONDS)
    with suppress(EOFError, BrokenPipeError):
        while True:
            task = pipe.recv()
            if broken is not None:
                pipe.send(("error", broken))
                continue
            try:
                answer = task.run(predict, lambda stage: pipe.send(("stage", stage)))
            except Exception as error:
                pipe.send(("error", describe(error)))
            else:
                pipe.send(("answer", answer))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
