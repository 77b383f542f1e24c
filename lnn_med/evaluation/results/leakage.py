"""Section 3: whether the model has met the analysed cases before."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lnn_med import config
from lnn_med.evaluation.comparing import ComparedCase, Comparison
from lnn_med.evaluation.matching import Matched
from lnn_med.evaluation.predicted import PredictionSet
from lnn_med.evaluation.protocol import Protocol
from lnn_med.evaluation.results.installed import installed_bundles
from lnn_med.evaluation.results.voxels import CALIBRATION
from lnn_med.io.provenance import PIXEL_DIGITS
from lnn_med.io.tabular import patients, read_participants

PIXELS = "voxels "  # before a hash, so that it is no case's name
SEEN = ("train", "val", "calibration")  # what a bundle learned from, was chosen by, was calibrated on


def leakage_results(
    comparison: Comparison, matched: Matched, predictions: PredictionSet, protocol: Protocol, folder: Path
) -> dict[str, Any]:
    """Cases of this validation among those that the model was made with.

    Compared are case names and, where both sides have them, hashes of the voxels, patient ids, series UIDs
    and SHA-256 of the scans. A bundle is found by its name and only believed with the weights that made the
    predictions.

    Raises:
        ConfigError: the protocol names a training table that cannot be read.
    """
    seen = _bundle_cases(predictions.models)
    known = {bundle for bundle, _ in seen}
    unknown = sorted({one["name"] for one in predictions.models.get("bundles", ())} - known)
    sources = [f"split of bundle {name}" for name in sorted(known)]
    people: set[str] = set()
    series: set[str] = set()
    hashes: set[str] = set()
    if protocol.training_table:
        rows = read_participants(folder / protocol.training_table)
        seen[("training table", "train")] = {row["case"] for row in rows}
        people = set(patients(rows).values())
        series = {row["series_uid"] for row in rows if row.get("series_uid")}
        hashes = {row["sha256"].lower() for row in rows if row.get("sha256")}
        sources.append("training table of the protocol")
        unknown = []  # the protocol's list is the answer
    found: dict[str, list[str]] = {part: [] for part in SEEN}
    for case in comparison.cases:
        for part in _parts_of(case, seen, people, series, hashes):
            found[part].append(case.name)
    inputs = [one.input_sha256 for one in _predicted(matched) if one.input_sha256]
    voxels = [one.pixels_sha256 for one in _predicted(matched) if one.pixels_sha256]
    hashed = any(name.startswith(PIXELS) for names in seen.values() for name in names)
    return {
        "sources": sources,
        "unknown": unknown,  # bundles whose training cases nobody can tell
        "compared": ["case names"]
        + (["voxels"] if hashed and voxels else [])
        + (["patient ids"] if people else [])
        + (["series UIDs"] if series else [])
        + (["SHA-256 of the scans"] if hashes and inputs else []),
        "found": found,
        "same_scan_twice": sum(count - 1 for count in Counter(inputs).values()) if inputs else None,
    }


def _bundle_cases(models: Mapping[str, Any]) -> dict[tuple[str, str], set[str]]:
    """Names and voxel hashes of cases by bundle and what they were used for.

    A bundle may be calibrated on several splits.
    """
    found = {}
    for name, place in installed_bundles(models).items():
        described = config.load_yaml(place / "bundle.yaml")
        split, pixels = described.get("split") or {}, described.get("pixels") or {}
        used = {part: (part,) for part in SEEN} | {"calibration": calibration_splits(place)}
        for part, splits in used.items():
            cases = {str(case) for one in splits for case in split.get(one, ())}
            found[(name, part)] = cases | {PIXELS + pixels[case] for case in cases if case in pixels}
    return {key: names for key, names in found.items() if names}


def calibration_splits(place: Path) -> tuple[str, ...]:
    """Splits that the calibration.json in the folder of a bundle was fitted on; "calibration" without one."""
    try:
        return tuple(map(str, json.loads((place / CALIBRATION).read_bytes())["splits"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ("calibration",)


def _parts_of(
    case: ComparedCase,
    seen: Mapping[tuple[str, str], set[str]],
    people: set[str],
    series: set[str],
    hashes: set[str],
) -> Sequence[str]:
    """What this case was used for; one that was learned from needs no second word."""
    prediction = case.pair.prediction
    names = {case.name, *case.pair.reference.aliases, *(prediction.aliases if prediction else ())}
    if prediction and prediction.pixels_sha256:
        names.add(PIXELS + prediction.pixels_sha256[:PIXEL_DIGITS])
    if case.pair.reference.patient in people or names & series:
        return SEEN[:1]
    if prediction and prediction.input_sha256 and prediction.input_sha256.lower() in hashes:
        return SEEN[:1]
    parts = [part for part in SEEN if any(names & held for (_, own), held in seen.items() if own == part)]
    return SEEN[:1] if SEEN[0] in parts else parts


def _predicted(matched: Matched) -> list[Any]:
    return [pair.prediction for pair in matched.pairs if pair.prediction] + list(matched.extra)
