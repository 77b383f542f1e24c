"""Commands on the audit log of a run: verify."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lnn_med.cli.app import DONE, SOME_FAILED, app, example
from lnn_med.console import console, set_up_logging, show_json
from lnn_med.options import Json, Verbose

audit = typer.Typer(help="Check the log of who did what, and when.", no_args_is_help=True)
app.add_typer(audit, name="audit")


@audit.callback()
def _group() -> None:
    """Check the log of who did what, and when."""


@audit.command(epilog=example("lnn-med audit verify run", "lnn-med audit verify run --json"))
def verify(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or of the results of one scan.")],
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Walk the chain of hashes of a run's audit log; name the first line that breaks it."""
    set_up_logging(verbose)
    from lnn_med.scoring.audit import verify as verify_chain

    found = verify_chain(run)
    if as_json:
        show_json(asdict(found))
    elif found.intact:
        console().print(
            f"{found.lines} lines, the chain is whole. Its head, to be kept elsewhere: {found.head}"
        )
    else:
        console().print(f"The chain breaks at line {found.broken_line}: {found.problem}.", markup=False)
    return DONE if found.intact else SOME_FAILED
