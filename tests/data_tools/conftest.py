"""Running `lnn-data` inside the test's process."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator

import pytest

from data_tools import cli

Run = Callable[..., int]


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs one command line, gives its exit code, and leaves logging as it was."""
    own, root = logging.getLogger("lnn_med"), logging.getLogger()
    state = own.level, own.propagate, list(own.handlers), list(root.handlers)
    with warnings.catch_warnings():
        yield lambda *arguments: cli.run([str(argument) for argument in arguments])
    own.level, own.propagate, own.handlers[:], root.handlers[:] = state
