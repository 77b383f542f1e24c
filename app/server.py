"""Start the viewer: processes, routes and guards first, then Streamlit around the pages."""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.settings import ADDRESS, Settings
from lnn_med.errors import ConfigError

PRIMARY = "#1f6fd6"  # white letters on it have a contrast of 4.9:1
SCRIPT = Path(__file__).parent / "streamlit_app.py"


def streamlit_options(settings: Settings) -> dict[str, Any]:
    """What Streamlit is told; nothing is read from a file in the user's home that says otherwise."""
    return {
        "server.address": ADDRESS,
        "server.port": settings.port,
        "server.headless": True,
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.maxUploadSize": 1,  # MB; the viewer's own upload is used, this one is closed
        "server.disconnectedSessionTTL": 60,
        "server.enableStaticServing": False,
        "server.enableAgentApi": False,
        "browser.serverAddress": "localhost" if settings.auth == "none" else ADDRESS,  # else it asks outside
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",  # a trace may quote header values
        "client.toolbarMode": "minimal",
        "client.showErrorLinks": False,
        "client.showSidebarNavigation": False,  # names of pages before the sign-in; ours stands at the top
        "theme.light.primaryColor": PRIMARY,
        "theme.dark.primaryColor": PRIMARY,
        "runner.magicEnabled": False,
        "logger.level": "critical",  # its tracebacks quote what an error says, and that may be patient data
        "logger.hideWelcomeMessage": True,
    }


def serve(settings: Settings) -> None:
    """Serve until interrupted; everything that was uploaded is deleted at the end."""
    _check_login(settings)
    os.environ.setdefault("STREAMLIT_BROWSER_GATHER_USAGE_STATS", "false")
    import streamlit as st
    from starlette.middleware import Middleware

    from app.hub import open_hub
    from app.routes import make_routes
    from app.security import Guard

    logging.getLogger("uvicorn.access").disabled = True  # addresses hold tokens
    hub = open_hub(settings)

    @asynccontextmanager
    async def lifespan(app: st.App) -> AsyncIterator[None]:
        try:
            yield
        finally:
            hub.close()

    app = st.App(
        SCRIPT,
        routes=make_routes(hub),
        middleware=[Middleware(Guard, hub=hub)],
        lifespan=lifespan,
        secrets=dict(settings.secrets) if settings.secrets else None,
        on_script_error=_log_kind_only,
    )
    print(f"LNN-Med viewer: http://localhost:{settings.port}   Research use only: not a medical device.")
    print("Stop it with Ctrl-C; uploads and results of the session are deleted then.", flush=True)
    try:
        app.run(config=streamlit_options(settings))
    finally:
        hub.close()


def _check_login(settings: Settings) -> None:
    """Refuse to start with a login that cannot work, before anything is open."""
    if settings.auth != "oidc" or settings.secrets:
        return
    for folder in (Path.cwd(), Path.home()):
        path = folder / ".streamlit" / "secrets.toml"
        if path.is_file() and "auth" in tomllib.loads(path.read_text(encoding="utf-8")):
            return
    raise ConfigError("--auth oidc needs [auth] in .streamlit/secrets.toml: the provider, id and secret.")


def _log_kind_only(error: Exception) -> bool:
    """An error of a page in the log by kind and place; its words may quote a header."""
    import traceback

    import streamlit as st

    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    logging.getLogger("app").error("Unexpected %s at %s", type(error).__name__, place)
    st.error(f"E_INTERNAL: {type(error).__name__} at {place}. Report this defect; the scan may be fine.")
    return True
