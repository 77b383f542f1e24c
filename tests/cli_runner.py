"""Runs command lines inside the test's process and leaves it as it was: a real one owns its process."""

from __future__ import annotations

import logging
import signal
import warnings
from contextlib import ExitStack
from unittest.mock import patch

from lnn_med import cli


def run(*arguments: object) -> int:
    """The exit code of `lnn-med ARGUMENTS`."""
    own, root, stop = logging.getLogger("lnn_med"), logging.getLogger(), signal.getsignal(signal.SIGTERM)
    level, handlers, root_handlers = own.level, list(own.handlers), list(root.handlers)
    try:
        with ExitStack() as quiet, warnings.catch_warnings():
            for module in (cli.learn, cli.machine, cli.measure, cli.score):
                quiet.enter_context(patch.object(module, "keep_memory"))
            return cli.run_command([str(argument) for argument in arguments])
    finally:
        own.setLevel(level)
        own.handlers[:], root.handlers[:] = handlers, root_handlers
        signal.signal(signal.SIGTERM, stop)
