"""The audit log: who did what to which object and when, as a chain of hashes that shows later changes.

One JSON line an event, only ever appended, and beside it the head: number and hash of the last line. Part
11-like: whoever may write both files can write a new chain, so keep the hash that `verify` prints elsewhere.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lnn_med.errors import Code, InputError
from lnn_med.io.files import write_whole
from lnn_med.scoring.audit_chain import GENESIS, RECOVERED, Line, Verdict, parse, walk
from lnn_med.scoring.models import package_version

AUDIT_FILE, HEAD_FILE = "audit.jsonl", "audit.head.json"
ACTOR_VARIABLE = "LNN_MED_ACTOR"
TAIL_BYTES = 1 << 16  # lines are shorter


@dataclass(frozen=True)
class Event:
    """What happened. `object` and `reason` name no patient; hashes: of the object before and after."""

    action: str
    object: str
    before_hash: str | None = None
    after_hash: str | None = None
    reason: str = ""


def record(folder: Path, *events: Event) -> Line:
    """Append events to the log of a folder, which other processes may do at the same time.

    The actor is the user of the system, or what LNN_MED_ACTOR says.

    Returns:
        The last line.

    Raises:
        InputError: E_STORAGE when the log cannot be written.
        ValueError: no event is given.
    """
    if not events:
        raise ValueError("There is no event to record.")
    try:
        with _locked(folder):
            return _append(folder, events)
    except OSError as error:
        raise InputError(Code.STORAGE, f"The audit log cannot be written ({error.strerror}).") from error


def verify(folder: Path) -> Verdict:
    """Walk the chain from its first line.

    Raises:
        InputError: E_NOTFOUND when the folder holds no audit log.
    """
    path = folder / AUDIT_FILE
    if not path.is_file():
        raise InputError(Code.NOTFOUND, f"The folder holds no audit log ({AUDIT_FILE}).")
    with _locked(folder, must_write=False):
        raw, head = path.read_bytes(), _read_head(folder)
    return walk(raw, head)


def actor() -> str:
    """Who works: LNN_MED_ACTOR, or the user of the system."""
    try:
        return os.environ.get(ACTOR_VARIABLE) or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def object_of(kind: str, sha256: str | None, name: str = "") -> str:
    """How the log names a scan: by the hash of its bytes, never by a name that may be a patient's."""
    if sha256:
        return f"{kind} sha256:{sha256}"
    return f"{kind} name-sha256:{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()}"


def _append(folder: Path, events: tuple[Event, ...]) -> Line:
    path = folder / AUDIT_FILE
    last, torn, unended = _tail(path)
    pending = list(events)
    if torn:
        fragment = hashlib.sha256(torn).hexdigest()
        reason = "The machine stopped while a line was written."
        pending.insert(0, Event(RECOVERED, AUDIT_FILE, before_hash=fragment, reason=reason))
    seq, previous = (last.seq, last.hash) if last else (0, GENESIS)
    lines = []
    for event in pending:
        seq += 1
        lines.append(_line(seq, previous, event))
        previous = lines[-1].hash
    text = "".join(json.dumps(asdict(line)) + "\n" for line in lines)
    with path.open("ab", buffering=0) as file:
        file.write((b"\n" if unended else b"") + text.encode())
        os.fsync(file.fileno())
    with write_whole(folder / HEAD_FILE) as head:
        head.write(json.dumps({"seq": seq, "hash": previous}).encode() + b"\n")
    return lines[-1]


def _line(seq: int, previous: str, event: Event) -> Line:
    values: dict[str, Any] = {
        "seq": seq,
        "ts_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "actor": actor(),
        **asdict(event),
        "software_version": package_version(),
        "prev_hash": previous,
    }
    return Line(**values, hash=Line(**values).digest())


def _tail(path: Path) -> tuple[Line | None, bytes, bool]:
    """The last whole line, the bytes of an unfinished one behind it, and whether the file has no line end."""
    if not path.is_file():
        return None, b"", False
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        pieces = file.read().split(b"\n")
    unended = bool(pieces[-1])
    whole = parse(pieces[-1])
    torn = b"" if whole and whole.hash == whole.digest() else pieces.pop()
    lines = [line for piece in pieces if (line := parse(piece)) is not None]
    return (lines[-1] if lines else None), torn, unended


def _read_head(folder: Path) -> dict[str, Any] | None:
    try:
        head = json.loads((folder / HEAD_FILE).read_bytes())
        return {"seq": int(head["seq"]), "hash": str(head["hash"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _locked(folder: Path, must_write: bool = True) -> Iterator[None]:
    """Wait for other writers; the system frees the lock of a dead one. A read-only log has none."""
    import fcntl

    try:
        descriptor = os.open(folder / AUDIT_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        if must_write:
            raise
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
