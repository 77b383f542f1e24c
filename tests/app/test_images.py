"""What the browser is sent: turned, never resampled, and mapped back to the same millimetres."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app import images
from app.images import write_images
from lnn_med import geometry
from lnn_med.inference import depth_scale
from lnn_med.inference.depth_scale import DepthScale, Exits
from lnn_med.io import read
from lnn_med.io.nifti import write_nifti
from lnn_med.io.result_files import write_prediction
from lnn_med.volume import Volume
from tests.app.stand_in import EVIDENCE_OF, stand_in_prediction
from tests.phantoms import MARKER, marker_mm, phantom, reordered

SCALE = DepthScale(30, (Exits("brain-t1", (11, 13, 15)), Exits("hippocampus-t1", (11, 13, 15))))


@pytest.fixture(autouse=True)
def _no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_scale, "depth_scale", lambda: SCALE)


def written(volume: Volume, folder: Path, clinical: dict | None = None) -> tuple[dict, NDArray[np.uint16]]:
    """Description and codes of the scan, (x, y, z) with x growing to the right."""
    write_nifti(volume, folder / "scan.nii")
    scan = read(folder / "scan.nii")
    write_prediction(stand_in_prediction(scan, clinical=clinical), folder / "out")
    write_images(scan, folder / "out", folder / "view")
    meta = json.loads((folder / "view" / "meta.json").read_bytes())
    codes = np.fromfile(folder / "view" / "scan.bin", np.uint16).reshape(meta["shape"], order="F")
    return meta, codes


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA", "AIL", "IPL"])
def test_every_orientation_is_turned_to_the_same_pictures(codes: str, tmp_path: Path) -> None:
    volume = phantom((22, 26, 18), (3.2, 3.8, 4.6))
    meta, found = written(reordered(volume, codes), tmp_path)
    assert geometry.axis_codes(np.array(meta["affine"])) == "RAS"
    values = found * meta["scan"]["slope"] + meta["scan"]["intercept"]
    np.testing.assert_array_equal(values, volume.data)
    np.testing.assert_allclose(meta["affine"], volume.affine, atol=1e-3)


def test_the_marker_has_its_millimetres_and_its_voxel_in_the_file(tmp_path: Path) -> None:
    scan = reordered(phantom(), "PSL")
    meta, codes = written(scan, tmp_path)
    middle = np.argwhere(codes * meta["scan"]["slope"] + meta["scan"]["intercept"] == MARKER).mean(axis=0)
    mm = geometry.voxel_to_mm(np.array(meta["affine"]), middle)
    np.testing.assert_allclose(mm, marker_mm(phantom()), atol=1e-3)
    in_file = geometry.voxel_to_mm(np.array(meta["scan_affine_inverse"]), mm)
    np.testing.assert_allclose(in_file, np.argwhere(scan.data == MARKER).mean(axis=0), atol=1e-3)


def test_labels_depth_and_points_lie_on_the_marker(tmp_path: Path) -> None:
    meta, codes = written(reordered(phantom(), "LPS"), tmp_path)
    inside = codes * meta["scan"]["slope"] + meta["scan"]["intercept"] == MARKER
    for name, value in (("segmentation", 1), ("depth", 15)):
        layer = np.fromfile(tmp_path / "view" / f"{name}.bin", np.uint8).reshape(meta["shape"], order="F")
        assert (layer[inside] == value).all()
        assert int(layer.sum(dtype=np.int64)) == meta["sums"][name]
    left = next(one for one in meta["layers"][0]["labels"] if one["name"] == "Hippocampus_L")
    assert np.linalg.norm(np.array(left["point_mm"]) - marker_mm(phantom())) < 3
    depth = next(layer for layer in meta["layers"] if layer["kind"] == "depth")
    assert depth["maximum"] == 30
    assert {one["blocks"]: one["words"] for one in depth["values"]}[15] == "brain-t1 exit 3"


def test_evidence_is_a_layer_about_zero_on_a_scale_that_no_case_changes(tmp_path: Path) -> None:
    clinical = {"age": 72.0, "sex": "F"}
    meta, codes = written(reordered(phantom(), "LPS"), tmp_path, clinical)
    (layer,) = (one for one in meta["layers"] if one["id"] == "evidence")
    assert (layer["maximum"], layer["zero"], layer["steps"]) == (images.EVIDENT, 128, 127)
    shown = np.fromfile(tmp_path / "view" / "evidence.bin", np.uint8).reshape(meta["shape"], order="F")
    labels = np.fromfile(tmp_path / "view" / "segmentation.bin", np.uint8).reshape(meta["shape"], order="F")
    for label, value in ((0, 0.0), *EVIDENCE_OF.items()):
        (code,) = np.unique(shown[labels == label])
        clipped = min(max(value, -images.EVIDENT), images.EVIDENT)
        assert (code - 128.0) / 127 * images.EVIDENT == pytest.approx(clipped, abs=images.EVIDENT / 254)
    assert int(shown.sum(dtype=np.int64)) == meta["sums"]["evidence"]
    assert meta["layers"][-1] is layer  # last, so that keys of the others stay


def test_without_evidence_there_is_no_layer(tmp_path: Path) -> None:
    meta, _ = written(phantom(), tmp_path)
    assert "evidence" not in [one["id"] for one in meta["layers"]]


@pytest.mark.parametrize(
    ("values", "worst"),
    [
        ([-1024.0, 0.0, 3071.0], 0.0),  # whole numbers within 16 bits: exact
        ([0.0, 1e-3, 2e-3], 1e-7),
        ([0.0, 12.5, 1e6], 8.0),  # half a step of 1e6 / 65535
        ([7.0, 7.0, 7.0], 0.0),  # constant
    ],
)
def test_intensities_survive_16_bits(values: list[float], worst: float) -> None:
    data = np.array(values).reshape(3, 1, 1)
    codes, scale = images._as_16_bit(data)
    assert np.abs(codes * scale["slope"] + scale["intercept"] - data).max() <= worst


def test_the_depth_in_words_names_each_way_to_the_same_sum() -> None:
    both = ("brain-t1", "hippocampus-t1")
    assert SCALE.words(0, both) == "not computed"
    assert SCALE.words(11, both) == "brain-t1 exit 1"
    assert SCALE.words(22, both) == "brain-t1 exit 1 + hippocampus-t1 exit 1"
    assert SCALE.words(24, both) == "brain-t1 + hippocampus-t1, exits 1 + 2 or 2 + 1"
    assert SCALE.words(13, ("hippocampus-t1",)) == "hippocampus-t1 exit 2"
