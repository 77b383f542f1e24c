"""Run one command line: exit codes, errors in one line, interruption."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import typer

from lnn_med.cli.app import DONE, INTERRUPTED, REFUSED, SOME_FAILED, UNEXPECTED
from lnn_med.console import show_error
from lnn_med.errors import Code, ConfigError, InputError, LnnMedError

UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer vendors click in some versions


def run_app(app: typer.Typer, name: str, arguments: list[str]) -> int:
    """Run one command line of the program `name` and give its exit code; errors are one line on stderr."""
    arguments = arguments or ["--help"]
    as_json = "--json" in arguments
    signal.signal(signal.SIGTERM, _interrupt)  # a cluster's "stop": leave as after Ctrl-C, without half files
    try:
        code = int(app(args=arguments, prog_name=name, standalone_mode=False) or DONE)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED  # some versions of typer return it, some raise
    except UsageError as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        context = getattr(error, "ctx", None)
        command = context.command_path if context else name
        show_error(ConfigError(f"{message} See: {command} --help."), as_json)
        return REFUSED
    except (LnnMedError, MemoryError) as error:
        show_error(error, as_json)
        passing = isinstance(error, InputError) and error.code is Code.NETWORK
        return SOME_FAILED if passing else REFUSED
    except Exception as error:
        return _unexpected(error, arguments)
    if code == INTERRUPTED:
        print("Interrupted. Run the same command again.", file=sys.stderr)
    return code


def _unexpected(error: Exception, arguments: list[str]) -> int:
    """A defect: its kind and place. Its words stay inside, they may quote patient data."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
    print(f"Unexpected {type(error).__name__} at {place}; -v shows the calls.", file=sys.stderr)
    if {"-v", "--verbose"} & set(arguments):
        print("".join(traceback.format_list(frames)), file=sys.stderr)
    return UNEXPECTED


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt
