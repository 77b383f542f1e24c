"""What is known of predictions, wherever they come from: label maps, results, or why there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lnn_med.errors import InputError
from lnn_med.io.files import sha256_of

RUN, FOLDER, MASKS = "run", "folder", "masks"


@dataclass(frozen=True)
class LabelFile:
    """A label map and what its integers mean; `mask_of` names the structure of a yes/no mask."""

    path: Path
    names: Mapping[int, str] = field(default_factory=dict)
    mask_of: str | None = None


@dataclass(frozen=True)
class PredictedCase:
    """What is known of one case: its maps and result, or the code and reason for having none."""

    case: str
    aliases: tuple[str, ...] = ()  # other names under which a reference may know it
    maps: tuple[LabelFile, ...] = ()
    result: Mapping[str, Any] | None = None  # content of result.json
    code: str | None = None
    reason: str | None = None
    image: Path | None = None
    input_sha256: str | None = None
    pixels_sha256: str | None = None  # see `lnn_med.io.provenance`
    files_sha256: str | None = None  # of the label maps


@dataclass(frozen=True)
class PredictionSet:
    """All predictions of one source; `names` is its own label table, `table_from` the file that holds it."""

    kind: str
    cases: tuple[PredictedCase, ...]
    names: Mapping[int, str] = field(default_factory=dict)
    table_from: str | None = None
    models: Mapping[str, Any] = field(default_factory=dict)
    scored_utc: str | None = None  # last entry of the run's ledger
    skipped: int = 0


def hash_of(paths: Sequence[Path]) -> str | None:
    """Hash over the files, None when one cannot be read: the comparison then says why."""
    try:
        return sha256_of(paths)
    except InputError:
        return None
