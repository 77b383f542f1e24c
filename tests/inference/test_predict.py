"""A whole prediction: maps on the scan's grid, numbers that follow from them, left that stays left."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lnn_med import geometry
from lnn_med.errors import Code, ConfigError, InputError, WarningCode
from lnn_med.inference.bundle import save_bundle
from lnn_med.inference.calibration import Calibration, UsualInput
from lnn_med.inference.percentiles import Curve, Percentiles
from lnn_med.inference.predict import CROP, HEAD, Predictor, asymmetry_pct, predict
from lnn_med.inference.runtime import RuntimeConfig
from lnn_med.models.lnn import LNN
from lnn_med.prediction import DEPTH, HIPPOCAMPUS, SEGMENTATION, UNCERTAINTY, Prediction
from lnn_med.volume import Source, Volume
from tests.inference.heads import HIPPOCAMPUS as BRIGHT
from tests.inference.heads import TINY, head, info, predictor
from tests.phantoms import mirrored, reordered

OLDER = "nobody was that old: the lines are drawn, but there is no percentile"
SIDES = {"L": "R", "R": "L"}


@pytest.fixture(scope="module")
def scan() -> Volume:
    return reordered(head(), "PIR")


@pytest.fixture(scope="module")
def whole(scan: Volume) -> Prediction:
    """The head with both networks."""
    return predictor(HEAD, CROP)(scan)


def named(prediction: Prediction, file: str) -> np.ndarray:
    """The label map with names for integers."""
    names = {0: "", **prediction.label_names[file]}
    return np.array([names.get(n, "?") for n in range(256)])[prediction.maps[file].data]


def swapped(name: str) -> str:
    return "_".join(SIDES.get(part, part) for part in name.split("_"))


def test_age_and_sex_give_percentiles_where_there_are_reference_people(scan: Volume) -> None:
    measure = predictor(HEAD)
    engine = measure.engines[HEAD]
    curve = Curve(False, (3000.0, 0.0, 0.0, 0.0, 0.0), (math.log(500.0), 0.0))
    known = Percentiles(
        "people", "0" * 64, 50, (20, 80), 1.5e6, {"Hippocampus_L": curve, "Hippocampus": curve}
    )
    engine.bundle = replace(engine.bundle, percentiles=known)
    engine.config = RuntimeConfig()
    found = measure(scan, {"age": 60.0, "sex": "F"})
    sizes = {entry.name: entry for entry in found.structures}
    left = sizes["Hippocampus_L"]
    assert left.percentile == pytest.approx(100 * norm.cdf((left.volume_mm3 - 3000) / 500))
    assert sizes["Hippocampus_R"].percentile is None
    both = left.volume_mm3 + sizes["Hippocampus_R"].volume_mm3
    assert found.reference is not None
    assert (found.reference.name, found.reference.age, found.reference.sex) == ("people", 60.0, "F")
    (drawn,) = found.reference.curves  # there is no curve for the ventricles
    assert (drawn.structure, drawn.volume_mm3) == ("Hippocampus", both)
    assert drawn.percentile == pytest.approx(100 * norm.cdf((both - 3000) / 500))
    assert (drawn.ages_years[0], drawn.ages_years[-1]) == (20, 80)
    assert drawn.lines_mm3[50] == pytest.approx([3000.0] * len(drawn.ages_years))
    for clinical, config, remark in (
        ({"age": 60.0}, RuntimeConfig(), "sex is not known"),
        ({"sex": "F"}, RuntimeConfig(), "age is not known"),
        ({"age": math.nan, "sex": "F"}, RuntimeConfig(), "an empty cell of a table"),
        ({"age": 81.0, "sex": "F"}, RuntimeConfig(), OLDER),
        ({"age": 60.0, "sex": "F"}, RuntimeConfig(depth="full"), "people were measured at depth auto"),
        ({"age": 60.0, "sex": "F"}, RuntimeConfig(budget=0.5), "people were measured without a budget"),
    ):
        engine.config = config
        silent = measure(scan, clinical)
        assert all(entry.percentile is None for entry in silent.structures), remark
        percentiles = [curve.percentile for curve in silent.reference.curves] if silent.reference else []
        assert percentiles == ([None] if remark == OLDER else []), remark


def crop_of(volume: Volume) -> Volume:
    """The left hippocampus with 8 voxels around it."""
    corners = np.argwhere((volume.data == BRIGHT) & (np.indices(volume.shape)[0] < volume.shape[0] / 2))
    first, last = np.maximum(corners.min(axis=0) - 8, 0), corners.max(axis=0) + 9
    affine = volume.affine.copy()
    affine[:3, 3] = geometry.voxel_to_mm(volume.affine, first)
    i, j, k = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return Volume(volume.data[i, j, k].copy(), affine)


def test_every_map_lies_on_the_grid_of_the_scan(scan: Volume, whole: Prediction) -> None:
    assert set(whole.maps) == {SEGMENTATION, HIPPOCAMPUS, DEPTH, UNCERTAINTY}
    for volume in whole.maps.values():
        assert volume.shape == scan.shape
        assert np.array_equal(volume.affine, scan.affine)


def test_structures_are_where_they_are_in_the_scan(scan: Volume, whole: Prediction) -> None:
    bright = scan.data == BRIGHT
    for file in (SEGMENTATION, HIPPOCAMPUS):
        names = named(whole, file)
        found = np.isin(names, [name for name in whole.label_names[file].values() if "Hippocampus" in name])
        assert 2 * (found & bright).sum() / (found.sum() + bright.sum()) > 0.85
        centre = geometry.centre_mm(scan.affine, scan.shape)
        for name in set(names[found]):
            middle = geometry.voxel_to_mm(scan.affine, np.argwhere(names == name).mean(axis=0))
            assert ("_L" in name) == (middle[0] < centre[0])


def test_volumes_are_counts_times_the_volume_of_a_voxel(scan: Volume, whole: Prediction) -> None:
    names = Counter[str]()
    for file in (SEGMENTATION, HIPPOCAMPUS):
        names.update(dict(zip(*np.unique(named(whole, file), return_counts=True), strict=True)))
    sizes = {structure.name: structure.volume_mm3 for structure in whole.structures}
    assert sizes == {name: pytest.approx(names[name] * scan.voxel_mm3) for name in sizes}
    assert set(sizes) == set(names) - {""}
    for structure in whole.structures:
        parts = structure.name.split("_")
        assert structure.side == next((part for part in parts if part in SIDES), None)
        assert structure.bundle == (CROP if "Anterior" in parts or "Posterior" in parts else HEAD)


def test_derived_numbers_follow_from_the_volumes(whole: Prediction) -> None:
    sizes = {structure.name: structure.volume_mm3 or 0.0 for structure in whole.structures}
    coarse = sum(size for name, size in sizes.items() if "terior" not in name)
    left, right = (
        sizes[f"Hippocampus_{side}_Anterior"] + sizes[f"Hippocampus_{side}_Posterior"] for side in "LR"
    )
    expected = {
        "icv_mm3": coarse,
        "hippocampus_asymmetry_pct": asymmetry_pct(sizes["Hippocampus_L"], sizes["Hippocampus_R"]),
        "hippocampus_fine_left_mm3": left,
        "hippocampus_fine_right_mm3": right,
        "hippocampus_fine_asymmetry_pct": asymmetry_pct(left, right),
    }
    assert whole.derived == {name: pytest.approx(value) for name, value in expected.items()}
    assert left > right
    assert left == pytest.approx(
        4 / 3 * np.pi * 8 * 15 * 8, rel=0.2
    )  # the ellipsoid, without its blurred rim


def test_depth_adds_up_over_the_networks_and_the_bill_names_both(whole: Prediction) -> None:
    depth = whole.maps[DEPTH].data
    hippocampus = whole.maps[HIPPOCAMPUS].data > 0
    assert set(np.unique(depth)) <= {0, 4, 7, 11}
    assert (depth[hippocampus] == 11).all()
    assert whole.compute.seconds == pytest.approx(0.75)  # three runs of a quarter second
    assert (whole.compute.gflops, whole.compute.gflops_full) == (6.0, 12.0)
    assert sum(whole.compute.depth_histogram.values()) == pytest.approx(1)
    assert whole.compute.depth_histogram[11] == pytest.approx((depth == 11).mean())
    means = {structure.name: structure.mean_depth for structure in whole.structures}
    csf = named(whole, SEGMENTATION) == "CSF"
    assert means["CSF"] == pytest.approx(depth[csf].mean())
    assert [model.bundle for model in whole.models] == [HEAD, CROP]


def test_a_mirrored_head_gives_the_mirrored_answer(scan: Volume, whole: Prediction) -> None:
    other = predictor(HEAD, CROP)(mirrored(scan))
    axis = int(np.argmax(geometry.orientation_of(scan.affine)[:, 0] == 0))
    for file in (SEGMENTATION, HIPPOCAMPUS):
        partners = {number: swapped(name) for number, name in whole.label_names[file].items()}
        numbers = {name: number for number, name in other.label_names[file].items()}
        table = np.array([0, *(numbers[partners[number]] for number in sorted(partners))])
        expected = np.flip(table[whole.maps[file].data], axis)
        assert np.mean(other.maps[file].data != expected) < 1e-5
    here = {structure.name: structure.volume_mm3 for structure in whole.structures}
    there = {structure.name: structure.volume_mm3 for structure in other.structures}
    assert there == {swapped(name): pytest.approx(size, rel=2e-3) for name, size in here.items()}


def test_thick_slices_get_no_fine_labels_and_a_warning() -> None:
    found = predictor(HEAD, CROP)(head((80, 98, 24), (1.5, 1.4, 5.0)))
    assert set(found.maps) == {SEGMENTATION, DEPTH, UNCERTAINTY}
    assert [model.bundle for model in found.models] == [HEAD]
    assert "hippocampus_fine_left_mm3" not in found.derived
    assert [finding.code for finding in found.findings] == [WarningCode.RESOLUTION]
    assert any("Slices of 5 mm" in reason for reason in found.quality.reasons)


def test_an_image_without_brain_fails_and_stops_there() -> None:
    volume = head((80, 98, 88), (1.5, 1.4, 1.3))
    tiny = np.zeros_like(volume.data)
    tiny[30:50, 40:60, 40:60] = 500
    found = predictor(HEAD, CROP)(volume.with_data(tiny))
    assert found.quality.status == "fail"
    assert HIPPOCAMPUS not in found.maps


def test_a_crop_goes_to_the_hippocampus_network_alone() -> None:
    crop = crop_of(head())
    found = predictor(HEAD, CROP)(crop)
    assert [model.bundle for model in found.models] == [CROP]
    assert found.label_names == {SEGMENTATION: {1: "Hippocampus_Anterior", 2: "Hippocampus_Posterior"}}
    assert set(found.maps) == {SEGMENTATION, DEPTH, UNCERTAINTY}
    total = (found.maps[SEGMENTATION].data > 0).sum() * crop.voxel_mm3
    assert found.derived == {"hippocampus_mm3": pytest.approx(total)}
    assert sum(structure.volume_mm3 or 0 for structure in found.structures) == pytest.approx(total)
    note = next(finding for finding in found.findings if finding.code is WarningCode.SIDE_UNKNOWN)
    assert "left" in note.message or "right" in note.message
    assert found.compute.gflops == 4.0  # read both ways


@pytest.mark.parametrize("job", [HEAD, CROP])
@pytest.mark.parametrize(("limit", "unusual"), [(0.1, True), (10.0, False)])
def test_a_scan_unlike_those_of_training_gets_a_warning_and_a_look(
    scan: Volume, job: str, limit: float, unusual: bool
) -> None:
    measure = predictor(job)
    engine = measure.engines[job]
    volume = scan if job == HEAD else crop_of(head())
    summary = engine(np.ones((64, 64, 64), dtype=np.float32), (1.0, 1.0, 1.0)).summary
    away, eye = summary.astype(float) - 1.0, np.eye(len(summary))  # a distance of the root of their number
    usual = UsualInput(tuple(away.tolist()), tuple(map(tuple, eye.tolist())), limit * len(away) ** 0.5)
    engine.bundle = replace(engine.bundle, calibration=Calibration(usual=usual))
    found = measure(volume)
    codes = [finding.code for finding in found.findings]
    assert (WarningCode.OOD in codes) is unusual
    assert any("unlike those it learned from" in reason for reason in found.quality.reasons) is unusual


def test_what_is_neither_head_nor_crop_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        predictor(HEAD, CROP)(head((50, 50, 50), (2.0, 2.0, 2.0)))
    assert refused.value.code is Code.FOV


@pytest.mark.parametrize(("installed", "word"), [(HEAD, "a hippocampus bundle"), (CROP, "whole heads")])
def test_a_network_that_is_not_installed_is_named(installed: str, word: str) -> None:
    volume = crop_of(head()) if installed == HEAD else head((40, 49, 44), (3.0, 2.8, 2.6))
    with pytest.raises(ConfigError, match=word):
        predictor(installed)(volume)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two bundles on disk, with random weights."""
    folder = tmp_path_factory.mktemp("bundles")
    torch.manual_seed(0)
    for name, spacing_mm in ((HEAD, 2.0), (CROP, 1.0)):
        description = info(name, spacing_mm=spacing_mm)
        description = replace(description, network=replace(TINY, classes=1 + len(description.labels)))
        save_bundle(folder / name, description, LNN(description.network), "")
    return [folder / HEAD, folder / CROP]


@pytest.mark.parametrize("depth", ["auto", 1])
def test_bundles_on_disk_measure_a_head(shipped: list[Path], depth: str | int) -> None:
    volume = replace(head((40, 49, 44), (3.0, 2.8, 2.6)), source=Source("head.nii.gz", "nifti", "ab"))
    found = predict(volume, chain=shipped, depth=depth, device="cpu")
    assert found.source.name == "head.nii.gz"
    assert found.models[0].bundle == HEAD
    assert len(found.models[0].weights_sha256) == 64
    assert found.maps[SEGMENTATION].data.max() <= 4
    assert 0 <= found.maps[UNCERTAINTY].data.min() <= found.maps[UNCERTAINTY].data.max() <= 1
    assert set(np.unique(found.maps[DEPTH].data)) <= {0, *TINY.depths}
    assert 0 < found.compute.fraction <= 1
    assert found.compute.attention[0].path in ("block", "dense")
    assert {"lnn-med", "torch", "python"} <= set(found.software)


def test_a_second_scan_gives_the_same_answer_as_the_first(shipped: list[Path]) -> None:
    loaded = Predictor(shipped, device="cpu")
    crop = crop_of(head())
    first, second = loaded(crop), loaded(crop)
    assert np.array_equal(first.maps[SEGMENTATION].data, second.maps[SEGMENTATION].data)
    assert first.structures == second.structures


@pytest.mark.parametrize(
    ("left", "right", "expected"), [(3.0, 1.0, 100.0), (1.0, 3.0, -100.0), (2.0, 2.0, 0.0), (0.0, 0.0, None)]
)
def test_asymmetry_is_the_difference_over_the_mean(left: float, right: float, expected: float | None) -> None:
    assert asymmetry_pct(left, right) == expected
