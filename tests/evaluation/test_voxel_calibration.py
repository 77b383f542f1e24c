"""Section 9: calibration of voxels, taken from the bundle that made the predictions and from no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lnn_med.evaluation.report.figures import figures
from lnn_med.evaluation.report.sections.calibration import _voxels
from lnn_med.evaluation.results.voxels import voxel_results
from lnn_med.training.calibration_fit import Sample, reliability

SHA = "cd" * 32


def calibration() -> dict:
    """As `lnn-med calibrate` writes it, of a network with two exits and labels at random."""
    import torch

    generator = torch.Generator().manual_seed(1)
    samples = [
        Sample(torch.randn(2, 400, 3, generator=generator), torch.randint(0, 3, (400,), generator=generator))
        for _ in range(6)
    ]
    volumes = {
        "A": {"quantile": 2.0, "n": 6, "cross_fitted": 0.8, "width_pct": 30.0},
        "B": {"quantile": 3.0, "n": 6, "cross_fitted": 1.0, "width_pct": 50.0},
        "Rare": {"quantile": None, "n": 1, "cross_fitted": None, "width_pct": None},
    }
    return {
        "date": "2026-01-31",
        "splits": ["val", "calibration"],
        "cases": 6,
        "temperature": [1.5, 2.5],
        "coverage": 0.9,
        "volumes": volumes,
        "measured": reliability(samples) | {"region": "all voxels"},
    }


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "SHA256SUMS").write_text(f"{SHA}  weights.safetensors\n")
    (tmp_path / "calibration.json").write_text(json.dumps(calibration()))
    return tmp_path


def models(bundle: Path, sha256: str = SHA) -> dict:
    return {"options": {"bundle": [str(bundle)]}, "bundles": [{"name": "mine", "weights_sha256": sha256}]}


def test_the_calibration_of_the_bundle_that_was_used_is_shown(bundle: Path) -> None:
    (found,) = voxel_results(models(bundle))
    text, exits, coverage, picture = _voxels([found])
    assert "mine" in text["text"]
    assert "2026-01-31" in text["text"]
    measured = calibration()["measured"]["exits"]
    assert [row[0] for row in exits["rows"]] == ["1", "2"]
    assert exits["rows"][1][2] == f"{measured[1]['before']['ece']:.4f} → {measured[1]['after']['ece']:.4f}"
    assert "90.0 %, as the mean of 2 structures" in coverage["text"]
    assert picture["key"] == "voxels"


def test_its_reliability_diagram_is_drawn(bundle: Path) -> None:
    rest = dict.fromkeys(
        ("comparison", "segmentation", "volumetry", "classification", "selective_risk", "subgroups")
    )
    flow = {"steps": [], "analysed": 0, "counted_worst": 0}
    record = {**rest, "flow": flow, "endpoints": [], "cases": [], "voxels": voxel_results(models(bundle))}
    assert "<svg" in figures(record)["voxels"]
    assert "voxels" not in figures(record | {"voxels": []})


def test_other_weights_a_missing_or_a_strange_calibration_are_not_measured(bundle: Path) -> None:
    assert voxel_results(models(bundle, "0" * 64)) == []
    (bundle / "calibration.json").write_text('{"date": "2026-01-31"}')
    assert voxel_results(models(bundle)) == []
    (bundle / "calibration.json").unlink()
    assert voxel_results(models(bundle)) == []
    assert voxel_results({}) == []
    (block,) = _voxels([])
    assert block["kind"] == "missing"
    assert "lnn-med calibrate" in block["text"]
