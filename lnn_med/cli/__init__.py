"""The command line: each command collects choices, calls one function and shows the answer.

Nothing heavy is imported until a command needs it, so that `--help` answers at once.
Exit codes: 0 done; 2 done, but some items failed; 3 wrong input or configuration; 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from lnn_med.cli import audit, learn, machine, measure, pacs, reference, score, trials, validation, view
from lnn_med.cli.app import app
from lnn_med.cli.run import run_app

__all__ = [
    "app",
    "audit",
    "learn",
    "machine",
    "main",
    "measure",
    "pacs",
    "reference",
    "run_command",
    "score",
    "trials",
    "validation",
    "view",
]


def main() -> NoReturn:
    """Entry point of `lnn-med`."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command line of `lnn-med`; the exit code."""
    return run_app(app, "lnn-med", arguments)
