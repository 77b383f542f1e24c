"""The bundles that made the predictions, where they are installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lnn_med import config
from lnn_med.errors import ConfigError

BUNDLES = Path(__file__).parents[2] / "bundles"


def installed_bundles(models: Mapping[str, Any], same_version: bool = False) -> dict[str, Path]:
    """Folder of each bundle of a run by name.

    A bundle is only believed with the weights that were used, and, with `same_version`, as calibrated then.
    """
    named = models.get("options", {}).get("bundle") or ()
    found = {}
    for bundle in models.get("bundles", ()):
        for place in (BUNDLES / bundle["name"], *(Path(name) for name in named)):
            version = bundle.get("version") if same_version else None
            if _weights_of(place) == bundle["weights_sha256"] and version in (None, version_of(place)):
                found[bundle["name"]] = place
                break
    return found


def version_of(place: Path) -> str | None:
    """What the description of a bundle says; None where there is none."""
    try:
        return str(config.load_yaml(place / "bundle.yaml").get("version"))
    except ConfigError:
        return None


def _weights_of(place: Path) -> str | None:
    try:
        lines = (place / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return next((line.split()[0] for line in lines if line.endswith("weights.safetensors")), None)
