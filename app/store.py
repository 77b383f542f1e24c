"""Uploads and cases on disk: each has one owner and a name that cannot be guessed, and is deleted in time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKEN_BYTES = 32  # 256 bits
SWEEP_SECONDS = 20.0


def new_token() -> str:
    """A name that cannot be guessed and is safe in a URL and as a folder."""
    return secrets.token_hex(TOKEN_BYTES)


def owner_of(cookie: str, user: str = "") -> str:
    """Who holds this session's cookie, as a hash: the cookie itself is not kept."""
    return hashlib.sha256(f"{cookie}\n{user}".encode()).hexdigest()


@dataclass
class Case:
    """One upload and, once measured, its result.

    `name` is what its owner calls it (shown to nobody else, never logged); `facts` holds age, sex and
    acquisition; `result` says that `out` is complete; `readonly` that it belongs to a run.
    """

    token: str
    owner: str
    folder: Path
    name: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    series: list[dict[str, Any]] = field(default_factory=list)
    job: str | None = None
    result: bool = False
    out: Path = Path()
    study: str = ""
    uploaded_bytes: int = 0
    uploaded_files: int = 0
    seen: float = field(default_factory=time.monotonic)

    @property
    def upload(self) -> Path:
        """Where the uploaded files lie."""
        return self.folder / "upload"

    @property
    def view(self) -> Path:
        """Where the images for the browser lie."""
        return self.folder / "view"


class Store:
    """All cases of a server. Every way to a case goes through its owner."""

    def __init__(self, root: Path | None, keep_seconds: float) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="lnn-med-view-", dir=root))  # mode 0700
        self.keep_seconds = keep_seconds
        self._cases: dict[str, Case] = {}
        self._users: dict[str, str] = {}  # owner -> who is signed in there
        self._lock = threading.Lock()
        self._stop = threading.Event()
        threading.Thread(target=self._sweep, daemon=True, name="case-sweeper").start()

    def new(self, owner: str) -> Case:
        """An empty case of this owner."""
        token = new_token()
        folder = self.root / token
        (folder / "upload").mkdir(parents=True)
        case = Case(token, owner, folder, out=folder / "result")
        with self._lock:
            self._cases[token] = case
        return case

    def find(self, token: str, owner: str) -> Case | None:
        """The case with this token if it is the owner's; None otherwise, whatever the reason."""
        with self._lock:
            case = self._cases.get(token)
        if case is None or not hmac.compare_digest(case.owner, owner):
            return None
        case.seen = time.monotonic()
        return case

    def of(self, owner: str) -> list[Case]:
        """The owner's cases, oldest first."""
        with self._lock:
            return [case for case in self._cases.values() if hmac.compare_digest(case.owner, owner)]

    def drop(self, case: Case) -> None:
        """Delete a case with its files."""
        with self._lock:
            self._cases.pop(case.token, None)
        shutil.rmtree(case.folder, ignore_errors=True)

    def sign_in(self, owner: str, user: str) -> None:
        """Say who uses this browser now; what somebody else left in it is deleted."""
        if self._users.get(owner, user) != user:
            self.forget(owner)
        self._users[owner] = user

    def forget(self, owner: str) -> None:
        """Delete all cases of an owner."""
        self._users.pop(owner, None)
        for case in self.of(owner):
            self.drop(case)

    def close(self) -> None:
        """Delete everything."""
        self._stop.set()
        shutil.rmtree(self.root, ignore_errors=True)

    def _sweep(self) -> None:
        while not self._stop.wait(min(SWEEP_SECONDS, self.keep_seconds / 2)):
            limit = time.monotonic() - self.keep_seconds
            with self._lock:
                old = [case for case in self._cases.values() if case.seen < limit]
            for case in old:
                self.drop(case)
