"""UIDs as they come from a network: checked by the standard's rules, shown only as hashes."""

from __future__ import annotations

import hashlib
import re

from lnn_med.errors import Code, InputError

MAX_LETTERS = 64
HASH_LETTERS = 16  # 64 bits: two of a million studies share it with a chance of 3 in 10^8
WRONG_UID = Code.UID  # the code of every UID that is malformed or not the one asked for

# PS3.5 section 9.1: numbers joined by dots, none with a leading zero except 0 itself, 64 letters at most.
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")


def is_uid(text: str) -> bool:
    """Whether a text is a UID by PS3.5 section 9.1."""
    return len(text) <= MAX_LETTERS and _UID.fullmatch(text) is not None


def check_uid(value: object, what: str) -> str:
    """The value as a UID.

    Args:
        value: anything that a peer sent.
        what: the keyword, for the message; the value itself is never repeated.

    Raises:
        InputError: it is no UID.
    """
    text = str(value) if value is not None else ""
    if not is_uid(text):
        raise InputError(
            WRONG_UID,
            f"{what} has {len(text)} characters and is no UID; numbers and dots, at most {MAX_LETTERS}, are.",
        )
    return text


def shown(uid: str) -> str:
    """What stands for a UID in logs, ledgers and file names: the start of its SHA-256.

    A UID can hold a hospital's own numbers and leads to the patient wherever the archive can be asked.
    """
    return hashlib.sha256(uid.encode("utf-8", errors="surrogateescape")).hexdigest()[:HASH_LETTERS]
