"""Section 13: a second run of the device on the same scans, held against the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lnn_med.errors import ConfigError, InputError
from lnn_med.evaluation.labels import read_reference
from lnn_med.evaluation.predicted import PredictedCase, PredictionSet
from lnn_med.evaluation.predictions import read_predictions
from lnn_med.evaluation.protocol import Protocol
from lnn_med.evaluation.results.values import plain


def rerun_results(
    predictions: PredictionSet, protocol: Protocol, folder: Path, structures: Sequence[str]
) -> dict[str, Any] | None:
    """How far two runs agree, case by case; None when the protocol names no second one.

    Args:
        predictions: the first run.
        protocol: its `rerun` is the second.
        folder: of the protocol.
        structures: names that make a file a mask of that structure.

    Raises:
        ConfigError: no scan of the second run has the name of one of the first.
    """
    if not protocol.rerun:
        return None
    second = read_predictions(folder / protocol.rerun, tuple(structures))
    theirs = {case.case: case for case in second.cases}
    pairs = [(case, theirs[case.case]) for case in predictions.cases if case.case in theirs]
    if not pairs:
        raise ConfigError("No scan of `rerun` has the name of one of the predictions; it is another study.")
    compared = [(one, two) for one, two in pairs if one.code is None and two.code is None]
    voxels = [_changed_voxels(one, two) for one, two in compared]
    volumes = [change for one, two in compared for change in _changes(_volumes(one), _volumes(two), 100.0)]
    chances = [change for one, two in compared for change in _changes(_chances(one), _chances(two), None)]
    return plain(
        {
            "n": len(compared),
            "n_first": len(predictions.cases),
            "n_other_outcome": sum((one.code is None) != (two.code is None) for one, two in pairs),
            "same_weights": _weights(predictions) == _weights(second),
            "same_scans": _same([(one.input_sha256, two.input_sha256) for one, two in pairs]),
            "n_same_maps": sum(one == 0 for one in voxels),
            "n_incomparable": sum(one is None for one in voxels),
            "largest_changed_share": max((one for one in voxels if one is not None), default=None),
            "largest_volume_change_pct": max(volumes, default=None),
            "largest_probability_change": max(chances, default=None),
        }
    )


def _changed_voxels(one: PredictedCase, two: PredictedCase) -> float | None:
    """Share of the labelled voxels that differ; None where the maps cannot be compared."""
    if one.files_sha256 is not None and one.files_sha256 == two.files_sha256:
        return 0.0
    if len(one.maps) != len(two.maps):
        return None
    changed = labelled = 0
    for first, second in zip(one.maps, two.maps, strict=True):
        try:
            a, b = (read_reference(each.path).data for each in (first, second))
        except InputError:
            return None
        if a.shape != b.shape:
            return None
        changed += int((a != b).sum())
        labelled += int(((a > 0) | (b > 0)).sum())
    return changed / max(labelled, 1)


def _changes(first: dict[str, float], second: dict[str, float], relative: float | None) -> list[float]:
    """Absolute change of each number that both hold; times `relative` over the first, where it is given."""
    shared = [(value, second[name]) for name, value in first.items() if name in second]
    if relative is None:
        return [abs(b - a) for a, b in shared]
    return [relative * abs(b - a) / a for a, b in shared if a > 0]


def _volumes(case: PredictedCase) -> dict[str, float]:
    found = (case.result or {}).get("structures", ())
    return {
        f"{one.get('bundle')} {one['name']} {one.get('side')}": one["volume_mm3"]
        for one in found
        if one.get("volume_mm3") is not None
    }


def _chances(case: PredictedCase) -> dict[str, float]:
    found = (case.result or {}).get("classification", ())
    return {one["target"]: one["probability"] for one in found if one.get("probability") is not None}


def _weights(predictions: PredictionSet) -> list[str]:
    """Version and weights of each bundle."""
    found = predictions.models.get("bundles", ())
    return sorted(f"{one.get('version')} {one.get('weights_sha256')}" for one in found)


def _same(pairs: Sequence[tuple[str | None, str | None]]) -> bool | None:
    """Whether all hashes that both sides know agree; None when none is known."""
    known = [(one, two) for one, two in pairs if one and two]
    return all(one == two for one, two in known) if known else None
