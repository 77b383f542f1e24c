"""Reads single values out of a DICOM header that may hold anything.

A message names the keyword that is wrong, never its value: values may name a patient.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from lnn_med.errors import Code, InputError

MAX_TEXT = 64  # characters of a description that are kept


@contextmanager
def silent_pydicom() -> Iterator[None]:
    """Keep pydicom from warning and logging: it quotes values, and values may name a patient."""
    log = logging.getLogger("pydicom")
    before = log.disabled
    log.disabled = True
    try:
        with warnings.catch_warnings(), pydicom_config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


def values(header: Dataset, keyword: str) -> tuple[Any, ...]:
    """The values of an element, empty when it is absent, empty or cannot be converted."""
    if keyword not in header:
        return ()
    try:
        value = header[keyword].value
    except Exception:  # pydicom converts here, and its converters raise anything
        return ()
    if value is None or value == "":
        return ()
    return tuple(value) if isinstance(value, (MultiValue, Sequence, list, tuple)) else (value,)


def text(header: Dataset, keyword: str) -> str:
    """The value as one line of printable text of at most 64 characters; empty when absent."""
    joined = "\\".join(str(value) for value in values(header, keyword))
    return "".join(letter if letter.isprintable() else " " for letter in joined).strip()[:MAX_TEXT]


def number(header: Dataset, keyword: str) -> float | None:
    """The first value as a finite number, or None."""
    found = values(header, keyword)
    try:
        first = float(found[0])
    except (IndexError, TypeError, ValueError):
        return None
    return first if math.isfinite(first) else None


def numbers(header: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    """Exactly `count` finite numbers.

    Raises:
        InputError: E_GEOMETRY when they are missing, too few, or not finite.
    """
    try:
        found = tuple(float(value) for value in values(header, keyword))
    except (TypeError, ValueError):
        found = ()
    if len(found) != count or not all(math.isfinite(value) for value in found):
        raise InputError(Code.GEOMETRY, f"{keyword} does not hold {count} finite numbers.")
    return found


def integer(header: Dataset, keyword: str, default: int | None = None) -> int:
    """The value as a whole number.

    Raises:
        InputError: E_TRUNCATED when it is absent and there is no default, E_VR when it is no whole number.
    """
    if keyword not in header and default is None:
        raise InputError(Code.TRUNCATED, f"The header ends without {keyword}.")
    found = values(header, keyword)
    if not found and default is not None and keyword not in header:
        return default
    try:
        return int(found[0])
    except (IndexError, TypeError, ValueError, OverflowError):
        raise InputError(Code.VR, f"{keyword} is not a whole number.") from None
