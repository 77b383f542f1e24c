"""The command `view`: the clinician's viewer in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lnn_med.cli.app import DONE, app, example
from lnn_med.console import set_up_logging
from lnn_med.errors import ConfigError, require
from lnn_med.options import Verbose

Folder = Annotated[Path | None, typer.Option(help="Folder of runs that the cohort page may open.")]
Access = Annotated[Path | None, typer.Option(help="YAML file of users, roles and studies.")]
Audit = Annotated[Path | None, typer.Option(help="Audit log to append to; without it, none is kept.")]


@app.command(epilog=example("lnn-med view", "lnn-med view --port 8600 --runs runs"))
def view(
    port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65_535)] = 8501,
    auth: Annotated[str, typer.Option(help="Who may come in.", metavar="none|oidc|proxy")] = "none",
    access: Access = None,
    runs: Folder = None,
    audit: Audit = None,
    verbose: Verbose = False,
) -> int:
    """Open the viewer: drop a scan, see the volumes and the images, accept or reject."""
    set_up_logging(verbose)
    require("streamlit", "app")
    if runs is not None and not runs.is_dir():
        raise ConfigError("--runs is no folder; give the folder that holds the runs of `score`.")
    settings = require("app.settings", "app").Settings(
        port=port, auth=auth, access=access, runs=runs and runs.resolve(), audit=audit
    )
    require("app.server", "app").serve(settings)
    return DONE
