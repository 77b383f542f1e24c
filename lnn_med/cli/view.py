"""The command `view`: the clinician's viewer in a browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lnn_med.cli.app import DONE, app, example
from lnn_med.console import set_up_logging
from lnn_med.errors import ConfigError, require
from lnn_med.options import Verbose

Folder = Annotated[Path | None, typer.Option(help="Folder of runs that the cohort page may open.")]
Access = Annotated[Path | None, typer.Option(help="YAML file of users, roles and studies.")]
Readings = Annotated[
    Path | None,
    typer.Option(help="Folder that keeps verdicts, edits and the audit log; else they go with the session."),
]


@app.command(epilog=example("lnn-med view", "lnn-med view --port 8600 --runs runs --readings readings"))
def view(
    port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65_535)] = 8501,
    auth: Annotated[str, typer.Option(help="Who may come in.", metavar="none|oidc|proxy")] = "none",
    access: Access = None,
    runs: Folder = None,
    readings: Readings = None,
    verbose: Verbose = False,
) -> int:
    """Open the viewer: drop a scan, see the volumes and the images, accept or reject."""
    set_up_logging(verbose)
    require("streamlit", "app")
    if runs is not None and not runs.is_dir():
        raise ConfigError("--runs is no folder; give the folder that holds the runs of `score`.")
    if readings is not None and not (readings.is_dir() and os.access(readings, os.W_OK)):
        raise ConfigError("--readings is no folder that can be written; make it first.")
    settings = require("app.settings", "app").Settings(
        port=port,
        auth=auth,
        access=access,
        runs=runs and runs.resolve(),
        readings=readings and readings.resolve(),
    )
    require("app.server", "app").serve(settings)
    return DONE
