"""What the shipped bundles say about themselves, read without loading a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lnn_med
from lnn_med.evaluation.results.installed import version_of

BUNDLES = Path(lnn_med.__file__).parent / "bundles"
WEIGHTS, CALIBRATION, CARD, SUMS = (
    "weights.safetensors",
    "calibration.json",
    "model_card.md",
    "SHA256SUMS",
)


def cards(folder: Path = BUNDLES) -> dict[str, str]:
    """Model card of each bundle by its name, in Markdown."""
    found = sorted(folder.glob(f"*/{CARD}"))
    return {path.parent.name: path.read_text(encoding="utf-8") for path in found}


def calibration_of(model: Mapping[str, Any], folder: Path = BUNDLES) -> dict[str, Any] | None:
    """calibration.json of the very bundle that a result names; None for another version or without one."""
    place = folder / str(model["bundle"])
    path, sums = place / CALIBRATION, place / SUMS
    if not path.is_file() or not sums.is_file():
        return None
    if f"{model['weights_sha256']}  {WEIGHTS}" not in sums.read_text(encoding="utf-8").splitlines():
        return None
    if model["version"] != version_of(place):
        return None
    return json.loads(path.read_bytes())
