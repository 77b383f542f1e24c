"""The chain of an audit log: each line carries a hash of itself and that of the line before.

A line that was edited, removed or inserted breaks the chain at its place. The head, number and hash of the
last line, is kept apart, so that lines cut off the end are missed, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

GENESIS = "0" * 64  # what the first line has as the hash of its predecessor
RECOVERED = "recover torn line"  # the event that vouches for a line that a stopped machine left unfinished


@dataclass(frozen=True)
class Line:
    """An event as it stands in the log."""

    seq: int
    ts_utc: str
    actor: str
    action: str
    object: str
    before_hash: str | None
    after_hash: str | None
    reason: str
    software_version: str
    prev_hash: str
    hash: str = ""

    def digest(self) -> str:
        """The hash that the line must have."""
        content = {name: value for name, value in asdict(self).items() if name != "hash"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Verdict:
    """Whether a chain is whole; if not, the first line that breaks it, counted from 1, and how.

    `head` is the hash of the last line of a whole chain: written down elsewhere, it proves the log later.
    """

    intact: bool
    lines: int
    broken_line: int | None = None
    problem: str | None = None
    head: str | None = None


def parse(piece: bytes) -> Line | None:
    """The line that bytes stand for, whatever its hash; None when they are no line."""
    try:
        values = json.loads(piece)
        line = Line(**values) if isinstance(values, dict) else None
    except (ValueError, TypeError):
        return None
    if line is None or type(line.seq) is not int:
        return None
    return line if all(isinstance(getattr(line, name), str) for name in _TEXTS) else None


def walk(raw: bytes, head: Mapping[str, Any] | None) -> Verdict:
    """Judge the bytes of a log by its lines and its head (`seq`, `hash`), None where that is missing."""
    pieces = raw.split(b"\n")
    torn = pieces.pop()
    seq, previous, last = 0, GENESIS, 0
    for number, piece in enumerate(pieces, start=1):
        line = parse(piece)
        if line is None:
            following = parse(pieces[number]) if number < len(pieces) else None
            if following and _vouches(following, piece):
                continue
            return Verdict(False, len(pieces), number, "it is no line of an audit log (edited or torn)")
        problem = _problem(line, seq, previous)
        if problem:
            return Verdict(False, len(pieces), number, problem)
        seq, previous, last = line.seq, line.hash, number
    if torn:
        return Verdict(False, len(pieces) + 1, len(pieces) + 1, "it has no end (truncated)")
    if head is None:
        return Verdict(False, last, last, "its head is missing or unreadable, so lines may be cut off")
    # A stop between the two writes leaves the head one call behind; it is then somewhere in the chain.
    if head["seq"] > seq or not _contains(pieces, head):
        cut = f"line {head['seq']} was the last one, by the head of the log (removed at the end)"
        return Verdict(False, last, last + 1, cut)
    return Verdict(True, last, head=previous)


def _problem(line: Line, seq: int, previous: str) -> str | None:
    """How a line breaks the chain, or None."""
    if line.hash != line.digest():
        return "its content does not match its hash (edited)"
    if line.seq > seq + 1:
        return f"its number is {line.seq} and follows {seq} (lines before it were removed)"
    if line.seq <= seq:
        return f"its number is {line.seq} and follows {seq} (inserted or repeated)"
    if line.prev_hash != previous:
        return "it does not carry the hash of the line before it (that one was replaced or inserted)"
    return None


def _vouches(line: Line, piece: bytes) -> bool:
    return line.action == RECOVERED and line.before_hash == hashlib.sha256(piece).hexdigest()


def _contains(pieces: Sequence[bytes], head: Mapping[str, Any]) -> bool:
    lines = (parse(piece) for piece in reversed(pieces))
    return any(line is not None and (line.seq, line.hash) == (head["seq"], head["hash"]) for line in lines)


_TEXTS = tuple(field.name for field in fields(Line) if field.name not in ("seq", "before_hash", "after_hash"))
