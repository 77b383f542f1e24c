"""The stored answer of the built-in case: volumes that shipped weights must give again.

`python -m lnn_med.scoring.stored_answer RESULT.json` prints the entry of a trusted result, to be put into
stored_answers.json beside this file when weights or the gain of their calibration change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ANSWERS = Path(__file__).with_name("stored_answers.json")
# Processors round differently in bf16 (bitwise the same only on one kind). Between two of them, 52 volumes of
# the template differed by at most 0.12 %, those below 1.5 cm³ by at most 3 mm³.
TOLERANCE, TOLERANCE_MM3 = 0.003, 6.0


def key_of_weights(record: Mapping[str, Any]) -> str:
    """The weights of a `result.json` record, as one name."""
    return " ".join(f"{model['bundle']}:{model['weights_sha256'][:16]}" for model in record["model"])


def volumes_of(record: Mapping[str, Any]) -> dict[str, float | None]:
    """Volume of each structure by `name@bundle`, mm³."""
    return {f"{one['name']}@{one['bundle']}": one["volume_mm3"] for one in record["structures"]}


def stored_answer(record: Mapping[str, Any]) -> dict[str, float | None] | None:
    """What these weights gave when they were stored; None when there is no answer of theirs."""
    answers = json.loads(ANSWERS.read_bytes()) if ANSWERS.is_file() else {}
    return answers.get(key_of_weights(record))


def differing(record: Mapping[str, Any], answer: Mapping[str, float | None]) -> list[str]:
    """Names of the structures whose volume is not the stored one."""
    found = volumes_of(record)
    return [name for name in sorted({*found, *answer}) if not _same(found.get(name), answer.get(name))]


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return False
    return abs(one - other) <= max(TOLERANCE_MM3, TOLERANCE * max(abs(one), abs(other)))


if __name__ == "__main__":
    trusted = json.loads(Path(sys.argv[1]).read_bytes())
    print(json.dumps({key_of_weights(trusted): volumes_of(trusted)}, indent=1))
