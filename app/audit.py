"""Audit log: one JSON line for each event, each carrying the hash of the line before. No patient data."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lnn_med.scoring.models import package_version

FIRST_HASH = "0" * 64


class AuditLog:
    """Append-only: who did what to which object, when and why."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def write(self, actor: str, action: str, obj: str, reason: str = "", **hashes: str | None) -> None:
        """Append one event; `obj` is a hash or series UID, `reason` a short word and never free text."""
        with self._lock:
            last = self._last()
            entry: dict[str, Any] = {
                "seq": last["seq"] + 1 if last else 1,
                "ts_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "actor": actor,
                "action": action,
                "object": obj,
                "before_hash": hashes.get("before"),
                "after_hash": hashes.get("after"),
                "reason": reason,
                "software_version": package_version(),
                "prev_hash": last["hash"] if last else FIRST_HASH,
            }
            entry["hash"] = hash_of(entry)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def _last(self) -> dict[str, Any] | None:
        if not self.path.is_file():
            return None
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return json.loads(lines[-1]) if lines else None


def hash_of(entry: dict[str, Any]) -> str:
    """SHA-256 over the entry without its own hash, keys sorted."""
    content = {name: value for name, value in entry.items() if name != "hash"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
