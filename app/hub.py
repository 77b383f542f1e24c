"""The one place where pages and routes find the server's store, queue and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.audit import AuditLog
from app.auth import Access
from app.jobs import Jobs
from app.readings import Readings
from app.settings import Settings
from app.store import Store, owner_of

COOKIE = "lnn_med_session"

_current: Hub | None = None


@dataclass(frozen=True)
class Hub:
    """What a server holds; made once, before the first page is shown."""

    settings: Settings
    store: Store
    jobs: Jobs
    audit: AuditLog
    access: Access
    readings: Readings | None = None  # None: verdicts go with the session

    def owner(self, cookies: Mapping[str, str], headers: Mapping[str, str]) -> str | None:
        """Who asks, by the session's cookie and the proxy's user; None without a cookie."""
        cookie = cookies.get(COOKIE, "")
        user = headers.get(self.settings.user_header) if self.settings.auth == "proxy" else ""
        return owner_of(cookie, (user or "").casefold()) if cookie else None

    def close(self) -> None:
        """End the processes and delete everything that was uploaded."""
        self.jobs.close()
        self.store.close()


def open_hub(settings: Settings) -> Hub:
    """Start the processes and make the folders."""
    global _current
    store = Store(settings.data, settings.keep_seconds)
    jobs = Jobs(settings.models, settings.workers, settings.waiting, settings.waiting_of_one)
    audit = AuditLog(settings.readings or store.root)
    readings = Readings(settings.readings) if settings.readings else None
    _current = Hub(settings, store, jobs, audit, Access.read(settings.access), readings)
    return _current


def hub() -> Hub:
    """The hub of this process."""
    if _current is None:
        raise RuntimeError("The viewer is started with `lnn-med view`, not with `streamlit run`.")
    return _current
