"""The viewer's audit log: the package's chain of hashes, with the name of whoever is signed in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lnn_med.scoring.audit import Event, record


@dataclass(frozen=True)
class SignedEvent(Event):
    """An event of a user of the viewer, who is not the user of the system."""

    actor: str = ""


class AuditLog:
    """Who did what to which object, when and why, in one folder; `lnn-med audit verify FOLDER` checks it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(
        self,
        actor: str,
        action: str,
        obj: str,
        reason: str = "",
        before: str | None = None,
        after: str | None = None,
    ) -> None:
        """Append one event; `obj` names a scan by its hash, `reason` is a short word and never free text.

        Raises:
            InputError: E_STORAGE when the log cannot be written.
        """
        record(self.folder, SignedEvent(action, obj, before, after, reason, actor))
