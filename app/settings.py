"""What an operator may set for the viewer, and the limits that hold for everyone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lnn_med.errors import ConfigError
from lnn_med.scoring.models import BundledModels, Models

AUTH_KINDS = ("none", "oidc", "proxy")
ADDRESS = "127.0.0.1"  # the viewer is reached from other machines through a proxy with TLS, never directly


@dataclass(frozen=True)
class Settings:
    """One server's settings.

    `runs` is the folder whose subfolders the cohort page may open; `access` the YAML file of who may do what.
    """

    port: int = 8501
    auth: str = "none"
    models: Models = field(default_factory=BundledModels)
    runs: Path | None = None
    access: Path | None = None
    secrets: Mapping[str, Any] | None = None  # [auth] of st.login, for oidc
    workers: int = 1  # each holds the networks in memory (about 1 GB)
    waiting: int = 12  # jobs in the queue, all users together
    waiting_of_one: int = 4
    upload_files: int = 20_000  # a thin-slice study exported with all its series
    upload_file_bytes: int = 2 << 30  # as the readers allow
    upload_total_bytes: int = 4 << 30
    keep_seconds: float = 3600.0  # without a look at it, a case is deleted
    user_header: str = "X-Forwarded-User"  # proxy: set by the proxy, which must strip it from outside
    readings: Path | None = None  # verdicts, edits and audit log stay here; None: they go with the session
    data: Path | None = None  # folder for uploads and results; None: a private temporary one

    def __post_init__(self) -> None:
        if self.auth not in AUTH_KINDS:
            raise ConfigError(f"--auth is {self.auth!r}; it must be one of {', '.join(AUTH_KINDS)}.")
        if self.auth != "none" and self.access is None:
            raise ConfigError(f"--auth {self.auth} needs --access FILE, which says who may see what.")
