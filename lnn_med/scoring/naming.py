"""Names of cases: safe on every file system, unique in a run, and the same at every start."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence

from lnn_med.io.tabular import IMAGE_ENDINGS

MAX_LETTERS = 100  # file systems allow 255 bytes; temporary names add to it
HASH_LETTERS = (
    12  # of SHA-256; two of a million series share it with a chance of 0.2 %, and then are told apart
)
SUFFIX_LETTERS = 8
OTHER_ENDINGS = (".zip", ".dcm", ".dicom", ".ima", ".dic")

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def name_of_path(path: str) -> str:
    """`sub-01/T1w.nii.gz` becomes `sub-01_T1w`: letters, digits, dot, dash and underscore remain."""
    stem = path.replace(os.sep, "/")
    for ending in (*IMAGE_ENDINGS, *OTHER_ENDINGS):
        if stem.lower().endswith(ending):
            stem = stem[: -len(ending)]
            break
    name = _UNSAFE.sub("_", stem.replace("/", "_")).strip("._-") or "scan"
    return name if len(name) <= MAX_LETTERS else f"{name[:MAX_LETTERS]}-{_short_hash(path, SUFFIX_LETTERS)}"


def name_of_series(series_uid: str) -> str:
    """Short hash of a SeriesInstanceUID: a UID can hold a hospital's numbers, and is never part of a path."""
    return _short_hash(series_uid, HASH_LETTERS)


def unique_names(names: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Names that differ also where letters have no case; those that collide all get a hash of their path.

    All of them, because a rule such as "the second one" would rename a case when another file is added.
    """
    seen = Counter(name.casefold() for name in names)
    return [
        name if seen[name.casefold()] == 1 else f"{name}-{_short_hash(path, SUFFIX_LETTERS)}"
        for name, path in zip(names, paths, strict=True)
    ]


def _short_hash(text: str, letters: int) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest()[:letters]
