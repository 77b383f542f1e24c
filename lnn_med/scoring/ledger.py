"""The ledger of a run: one JSON line for each attempt at a case, appended and never changed.

A line is written after the result lies in its place, so a line that says "done" is true. The end of the file
may be torn when the machine stops; a torn line is left where it is and counts for nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from lnn_med.errors import Code, InputError

LEDGER_FILE = "ledger.jsonl"
DONE, FAILED, RETRY = "done", "failed", "retry"


@dataclass(frozen=True)
class Entry:
    """One attempt. `key`: hash of input, weights and options; `code` and `message` tell of a failure.

    `state` is "done", "failed" (for good, or until the next start), or "retry": to come again in this run.
    `peak_rss_mb` is what the process held at most, the networks included.
    """

    case: str
    key: str
    state: str
    seconds: float
    code: str | None = None
    message: str | None = None
    peak_rss_mb: float | None = None
    attempt: int = 1
    quarantined: bool = False  # it ended its process at each attempt, and is left alone
    ts_utc: str = ""


class Ledger:
    """Appends entries; knows the last one and the number of attempts of each case and key."""

    def __init__(self, run: Path) -> None:
        self.path = run / LEDGER_FILE
        self._last: dict[tuple[str, str], Entry] = {}
        self._attempts: dict[tuple[str, str], int] = {}
        for entry in read_ledger(run):
            self._remember(entry)

    def append(self, entry: Entry) -> Entry:
        """Write an entry with the time of now to the disk.

        Raises:
            InputError: E_STORAGE.
        """
        stamped = _with_time(entry)
        line = json.dumps(asdict(stamped)) + "\n"
        try:
            with self.path.open("ab+") as stream:
                if _ends_torn(stream):
                    line = "\n" + line
                stream.write(line.encode())
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise InputError(Code.STORAGE, f"The ledger cannot be written ({error.strerror}).") from error
        self._remember(stamped)
        return stamped

    def last(self, case: str, key: str) -> Entry | None:
        """The latest attempt with the same input, weights and options."""
        return self._last.get((case, key))

    def attempts(self, case: str, key: str) -> int:
        """How often the case was tried with the same input, weights and options."""
        return self._attempts.get((case, key), 0)

    def _remember(self, entry: Entry) -> None:
        place = entry.case, entry.key
        self._last[place] = entry
        self._attempts[place] = self._attempts.get(place, 0) + 1


def read_ledger(run: Path) -> list[Entry]:
    """All whole lines of the ledger, oldest first; none when there is no ledger yet."""
    path = run / LEDGER_FILE
    if not path.is_file():
        return []
    entries = []
    for line in path.read_bytes().splitlines():
        try:
            values = json.loads(line)
        except ValueError:  # torn when the machine stopped
            continue
        if isinstance(values, dict) and {"case", "key", "state", "seconds"} <= values.keys():
            entries.append(Entry(**{name: values[name] for name in _NAMES if name in values}))
    return entries


_NAMES = tuple(field.name for field in fields(Entry))


def _with_time(entry: Entry) -> Entry:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return replace(entry, ts_utc=now)


def _ends_torn(stream: BinaryIO) -> bool:
    """Whether the last line has no end: the next entry must not be glued to it."""
    if stream.seek(0, os.SEEK_END) == 0:
        return False
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) != b"\n"
