"""What readers said about scans: verdicts and edited labels in a folder that outlives the session.

    FOLDER/<SHA-256 of the scan>/<time>_<random>/reader.json, and the files of an edit beside it

No name from outside is part of a path, and nothing in the folder names a patient unless a reader wrote it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.auth import Person
from app.edit_task import PAGE_EDITED, RESULT_EDITED, VOLUMES_EDITED
from app.edits import EDITABLE, FOLDER, edited_name
from app.store import Case
from lnn_med.errors import Code, InputError
from lnn_med.io.result_files import RESULT
from lnn_med.io.tabular import write_json

READER_FILE = "reader.json"
EDITED = (*(edited_name(file) for file in EDITABLE.values()), VOLUMES_EDITED, RESULT_EDITED, PAGE_EDITED)
ACCEPT, EDIT, REJECT = "accept", "edit", "reject"


@dataclass(frozen=True)
class Reading:
    """One stored verdict: its folder and the content of its reader.json."""

    folder: Path
    entry: Mapping[str, Any]


class Readings:
    """All verdicts of a server, by scan."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, scan_sha256: str, user: Person) -> list[Reading]:
        """Verdicts on a scan, newest first: the user's own, and those of studies that they may open."""
        found = []
        for path in sorted((self.folder / scan_sha256).glob(f"[0-9]*/{READER_FILE}"), reverse=True):
            entry = json.loads(path.read_bytes())
            if entry["user"] == user.name or user.may_open(entry["study"]):
                found.append(Reading(path.parent, entry))
        return found

    def keep(self, case: Case, entry: Mapping[str, Any]) -> None:
        """Store a verdict, and with an edit its files, which lie in the case's folder; whole or not at all.

        Raises:
            InputError: E_STORAGE when the folder cannot be written.
        """
        place = self.folder / entry["scan_sha256"]
        temporary = place / f".{secrets.token_hex(8)}.tmp"
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.mkdir(mode=0o700)
            if entry["decision"] == EDIT:
                _copy_edit(case.folder, temporary)
            write_json(temporary / READER_FILE, entry)
            temporary.rename(place / f"{stamp}_{secrets.token_hex(4)}")
        except OSError as error:
            raise InputError(Code.STORAGE, f"The verdict cannot be kept ({error.strerror}).") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def take_up(self, case: Case, user: Person) -> None:
        """Give a case that was just opened the newest verdict on its very labels, with the edit, if any."""
        hashes = label_hashes(case)
        for reading in self.of(scan_sha256(case), user):
            if reading.entry["labels_sha256"] == hashes:
                shutil.copytree(reading.folder, case.folder, dirs_exist_ok=True)
                return


def judged(case: Case, user: Person, decision: str, reason: str) -> dict[str, Any]:
    """A verdict by this user, now, with what it is about: scan, result, labels and models."""
    record = json.loads((case.out / RESULT).read_bytes())
    return {
        "decision": decision,
        "reason": reason,
        "user": user.name,
        "ts_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "study": case.study,
        "scan_sha256": record["input"]["sha256"],
        "result_sha256": sha256_of(case.out / RESULT),
        "labels_sha256": label_hashes(case),
        "model": record["model"],
    }


def verdict_of(case: Case) -> dict[str, Any] | None:
    """The verdict that holds for this case, or None."""
    path = case.folder / READER_FILE
    return json.loads(path.read_bytes()) if path.is_file() else None


def is_edited(case: Case) -> bool:
    """Whether the verdict that holds is the result with a reader's edit."""
    return (verdict_of(case) or {}).get("decision") == EDIT


def scan_sha256(case: Case) -> str:
    """Hash of the scan that a case with a result is about."""
    return str(json.loads((case.out / RESULT).read_bytes())["input"]["sha256"])


def label_hashes(case: Case) -> dict[str, str | None]:
    """Hash of each label map of the model, by file; the same labels give the same bytes."""
    paths = {file: case.out / file for file in EDITABLE.values()}
    return {file: sha256_of(path) for file, path in paths.items() if path.is_file()}


def sha256_of(path: Path) -> str | None:
    """Hash of a small file; None where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _copy_edit(source: Path, target: Path) -> None:
    for name in EDITED:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    if (source / FOLDER).is_dir():  # what was painted, so that the brush can go on
        shutil.copytree(source / FOLDER, target / FOLDER)
