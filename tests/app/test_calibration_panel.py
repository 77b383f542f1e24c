"""The calibration panel: what the bundle measured, and where this case lies."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from app.bundles import BUNDLES, SUMS, WEIGHTS, calibration_of, cards
from app.confidence import confidence_bounds, mean_confidence
from app.parts.reliability import NOT_KEPT, calibration_panel
from lnn_med.evaluation.results.installed import version_of
from lnn_med.inference.classifier_bundle import is_classifier

MODEL = {"bundle": "tiny-t1", "version": "1.0", "weights_sha256": "a" * 64}
BIN = {"low": 0.8, "high": 0.9, "n": 40, "confidence": 0.85, "observed": 0.8, "consistency_low": 0.75,
       "consistency_high": 0.95}  # fmt: skip
EXIT = {"before": {"ece": 0.0311, "n": 40}, "after": {"ece": 0.0122, "n": 40}, "ece_null": 0.0021,
        "diagram": [BIN]}  # fmt: skip
CALIBRATION = {"date": "2026-01-02", "splits": ["val"], "cases": 17, "measured": {"exits": [EXIT, EXIT]}}


@pytest.mark.parametrize("classes", [2, 3, 51])
@pytest.mark.parametrize("spread", [0.05, 0.5, 5.0])
def test_the_largest_probability_lies_between_the_bounds(classes: int, spread: float) -> None:
    p = np.random.default_rng(0).dirichlet(np.full(classes, spread), 2000)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
    low, high = confidence_bounds(entropy, classes)
    largest = p.max(axis=1)
    assert (low - 1e-4 <= largest).all()
    assert (largest <= high + 1e-4).all()


@pytest.mark.parametrize(
    ("p", "low", "high"),
    [
        ((1.0, 0, 0), 1.0, 1.0),
        ((1 / 3, 1 / 3, 1 / 3), 1 / 3, 1 / 3),
        ((0.5, 0.5, 0), 0.5, 0.7734),  # the upper one solves h(p) + (1 - p) log 2 = log 2
    ],
)
def test_bounds_of_known_entropies(p: tuple[float, ...], low: float, high: float) -> None:
    entropy = -sum(share * np.log(share) for share in p if share)
    found = confidence_bounds(np.array([entropy]), 3)
    assert [float(bound[0]) for bound in found] == pytest.approx([low, high], abs=2e-3)


def test_the_mean_is_over_the_labelled_voxels_alone() -> None:
    entropy = np.array([[[0.0, 0.0, np.log(2)]]])
    assert mean_confidence(entropy, entropy == 0, 2) == {"low": 1.0, "high": 1.0, "voxels": 2}
    assert mean_confidence(entropy, entropy >= 0, 2)["low"] == pytest.approx(2.5 / 3, abs=1e-3)
    assert mean_confidence(entropy, entropy > 9, 2) == {}


def picture_of(panel: str) -> str:
    data = re.search(r"base64,([^\"]+)", panel)
    assert data is not None
    return base64.b64decode(data[1]).decode()


def test_the_panel_shows_the_cohort_its_errors_and_this_case() -> None:
    panel = calibration_panel(MODEL, CALIBRATION, {"low": 0.9, "high": 0.95, "voxels": 1234}, 1)
    said = (
        "17 scans",
        "40 voxels",
        "Exit 1, last of this case",
        "0.90 to 0.95",
        "1\u202f234 labelled voxels",
    )
    for text in (*said, "0.0311", "0.0122", "0.0021"):
        assert text in panel, text
    assert "this case" in picture_of(panel)
    assert picture_of(panel).count("<circle") == 1


def test_nothing_is_invented_without_a_calibration_or_a_confidence() -> None:
    assert NOT_KEPT in calibration_panel(MODEL, None, {"low": 0.9, "high": 0.95, "voxels": 1}, 1)
    panel = calibration_panel(MODEL, CALIBRATION, {}, None)
    assert "not marked" in panel
    assert "this case" not in picture_of(panel)


def test_a_calibration_belongs_to_its_weights(tmp_path: Path) -> None:
    place = tmp_path / "tiny-t1"
    place.mkdir()
    (place / SUMS).write_text(f"{'a' * 64}  {WEIGHTS}\n")
    (place / "bundle.yaml").write_text("name: tiny-t1\nversion: '1.0'\n")
    assert calibration_of(MODEL, tmp_path) is None
    (place / "calibration.json").write_text(json.dumps(CALIBRATION))
    assert calibration_of(MODEL, tmp_path) == CALIBRATION
    assert calibration_of(MODEL | {"weights_sha256": "b" * 64}, tmp_path) is None
    assert calibration_of(MODEL | {"version": "0.9"}, tmp_path) is None  # the same weights, calibrated anew


@pytest.mark.parametrize("name", [name for name in sorted(cards()) if not is_classifier(name)])
def test_every_shipped_bundle_that_labels_fills_the_panel(name: str) -> None:
    sums = (BUNDLES / name / SUMS).read_text().splitlines()
    weights = next(line.split()[0] for line in sums if line.endswith(WEIGHTS))
    model = {"bundle": name, "version": str(version_of(BUNDLES / name)), "weights_sha256": weights}
    panel = calibration_panel(model, calibration_of(model), {}, None)
    assert "null" in panel
    assert "<polyline" in picture_of(panel)
