"""What a watch did, one JSON line each, appended and never changed; it holds hashes, no UIDs.

A line is written after the deed, so a line that says "sent" is true. The end may be torn when the machine
stops; a torn line counts for nothing, and what it would have said is done again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from lnn_med.errors import Code, InputError

JOURNAL_FILE = "ledger.jsonl"
FETCHED, STARTED, STOPPED, SCORED, SENT = "fetched", "started", "stopped", "scored", "sent"
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class Line:
    """One deed. `key`: hash of the images of the study, so that a study with more images is another one."""

    study: str  # hash of its UID, and name of its folder
    key: str
    state: str
    images: int = 0
    file: str | None = None  # that was sent
    result: str | None = None  # folder of the result
    code: str | None = None
    message: str | None = None
    ts_utc: str = ""


class Journal:
    """Appends lines and answers what was done before."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL_FILE
        self._lines: dict[tuple[str, str], list[Line]] = {}
        for line in read_journal(folder):
            self._remember(line)

    def append(self, line: Line) -> None:
        """Write a line with the time of now to the disk.

        Raises:
            InputError: E_STORAGE.
        """
        stamped = replace(line, ts_utc=datetime.now(UTC).isoformat(timespec="milliseconds"))
        values = {name: value for name, value in asdict(stamped).items() if value is not None}
        try:
            with self.path.open("ab+") as stream:
                # A torn line is ended first: the next one must not be glued to it.
                begin = b"\n" if stream.tell() and not self._ends_whole() else b""
                stream.write(begin + json.dumps(values).encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise InputError(Code.STORAGE, f"The ledger cannot be written ({error.strerror}).") from error
        self._remember(stamped)

    def lines(self, study: str, key: str) -> list[Line]:
        """What was done with a study of exactly these images, oldest first."""
        return list(self._lines.get((study, key), ()))

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as stream:
            stream.seek(-1, os.SEEK_END)
            return stream.read(1) == b"\n"

    def _remember(self, line: Line) -> None:
        self._lines.setdefault((line.study, line.key), []).append(line)


def read_journal(folder: Path) -> Iterator[Line]:
    """All whole lines, oldest first; none when there is no ledger yet."""
    path = folder / JOURNAL_FILE
    if not path.is_file():
        return
    for raw in path.read_bytes().splitlines():
        try:
            values = json.loads(raw)
        except ValueError:  # torn when the machine stopped
            continue
        if isinstance(values, dict) and {"study", "key", "state"} <= values.keys():
            yield Line(**{name: values[name] for name in _NAMES if name in values})


_NAMES = tuple(field.name for field in fields(Line))
