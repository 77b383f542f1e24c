"""Sections 1 and 13: what made the predictions, and what is needed to compute this report again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from lnn_med.evaluation.comparing import Comparison
from lnn_med.evaluation.matching import Matched
from lnn_med.evaluation.predicted import RUN, PredictionSet, hash_of
from lnn_med.evaluation.references import ReferenceSet

SHOWN_PACKAGES = (
    "lnn-med",
    "numpy",
    "scipy",
    "statsmodels",
    "pandas",
    "surface-distance",
    "matplotlib",
    "typst",
)
REPOSITORY = Path(__file__).parents[3]


def device_results(predictions: PredictionSet, comparison: Comparison) -> dict[str, Any]:
    """Models with version and hash of their weights, the run's options and software."""
    models = predictions.models
    result = next((case.result for case in comparison.cases if case.result), {})
    return {
        "kind": predictions.kind,
        "bundles": [
            {key: bundle.get(key) for key in ("name", "version", "weights_sha256")}
            for bundle in models.get("bundles", ())
        ],
        "options": {
            key: value
            for key, value in models.get("options", {}).items()
            if key != "bundle" and value is not None
        },
        "config_sha256": _hash(models) if models else None,
        "software": dict(result.get("software", {})),
        "stated_use": result.get("intended_use"),
        "scored_utc": predictions.scored_utc,
        "n_models_used": _models_used(comparison),
    }


def reproducibility_results(
    matched: Matched, references: ReferenceSet, predictions: PredictionSet, command: str
) -> dict[str, Any]:
    """Hashes of everything that went in, versions, hardware; no path and no time of this computation."""
    found = [pair.prediction for pair in matched.pairs if pair.prediction] + list(matched.extra)
    inputs = {one.case: one.input_sha256 for one in found if one.input_sha256}
    outputs = {one.case: one.files_sha256 for one in found if one.files_sha256}
    truth = {one.case: hash_of([one.labels]) for one in references.cases if one.labels}
    versions = {name: _version(name) for name in SHOWN_PACKAGES}
    return {
        "command": command,
        "lock_sha256": _hash(_all_versions()),
        "versions": versions,
        "python": platform.python_version(),
        "commit": _commit(),
        "hardware": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "scans_sha256": _hash(inputs) if inputs else None,
        "predictions_sha256": _hash(outputs) if outputs else None,
        "references_sha256": _hash(truth) if truth else None,
        "from_run": predictions.kind == RUN,
    }


def _models_used(comparison: Comparison) -> dict[str, int]:
    """How many results name each model, as `name version hash`."""
    counted: dict[str, int] = {}
    for case in comparison.cases:
        for model in case.result.get("model", ()):
            name = f"{model['bundle']} {model['version']} {model['weights_sha256'][:8]}"
            counted[name] = counted.get(name, 0) + 1
    return dict(sorted(counted.items()))


def _hash(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _all_versions() -> dict[str, str]:
    return {str(one.metadata["Name"]): one.version for one in metadata.distributions()}


def _commit() -> str | None:
    """Commit of the checkout that the package runs from, read without git; None for an installed package."""
    git = REPOSITORY / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        name = head.removeprefix("ref: ")
        if name == head:
            return head
        if (git / name).is_file():
            return (git / name).read_text().strip()
        packed = (git / "packed-refs").read_text().splitlines()
    except OSError:
        return None
    return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
