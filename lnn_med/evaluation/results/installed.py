"""The bundles that made the predictions, where they are installed with the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

BUNDLES = Path(__file__).parents[2] / "bundles"


def installed_bundles(models: Mapping[str, Any]) -> dict[str, Path]:
    """Folder of each bundle of a run by name; a bundle is only believed with the weights that were used."""
    named = models.get("options", {}).get("bundle") or ()
    found = {}
    for bundle in models.get("bundles", ()):
        places = [BUNDLES / bundle["name"], *(Path(name) for name in named)]
        same = (place for place in places if _weights_of(place) == bundle["weights_sha256"])
        if place := next(same, None):
            found[bundle["name"]] = place
    return found


def _weights_of(place: Path) -> str | None:
    try:
        lines = (place / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return next((line.split()[0] for line in lines if line.endswith("weights.safetensors")), None)
