"""The shipped bundles on real heads: plausible, on the right side, the same however the file is stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lnn_med import Prediction, Predictor, Volume, load_bundle, read
from lnn_med.errors import WarningCode
from lnn_med.geometry import all_orientations
from lnn_med.io.mni_template import mni152_template
from lnn_med.prediction import DEPTH, HIPPOCAMPUS, SEGMENTATION
from tests.phantoms import mirrored, reordered

PAIRS = ("Hippocampus", "Putamen", "ThalamusProper", "LateralVentricle", "Frontal_WM")


@pytest.fixture(scope="module")
def predictor(shipped_bundles: Path) -> Predictor:
    return Predictor()


@pytest.fixture(scope="module")
def template() -> Volume:
    return mni152_template()


@pytest.fixture(scope="module")
def measured(predictor: Predictor, template: Volume) -> Prediction:
    return predictor(template)


def volumes(prediction: Prediction, bundle: str = "brain-t1") -> dict[str, float]:
    return {s.name: s.volume_mm3 or 0.0 for s in prediction.structures if s.bundle == bundle}


def dice(first: np.ndarray, second: np.ndarray) -> float:
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def test_template_volumes_are_plausible(measured: Prediction) -> None:
    coarse, fine = volumes(measured), volumes(measured, "hippocampus-t1")
    for side in ("L", "R"):
        total = fine[f"Hippocampus_{side}_Anterior"] + fine[f"Hippocampus_{side}_Posterior"]
        assert 2_000 <= total <= 5_500
        assert 2_000 <= coarse[f"Hippocampus_{side}"] <= 5_500
    assert 900_000 <= measured.derived["icv_mm3"] <= 2_100_000
    assert measured.quality.status != "fail"


def test_left_structures_lie_on_the_left(measured: Prediction) -> None:
    """RAS mm: the patient's left has smaller x."""
    labels = measured.maps[SEGMENTATION]
    names = {name: index for index, name in measured.label_names[SEGMENTATION].items()}
    for structure in PAIRS:
        x = {}
        for side in ("L", "R"):
            points = np.argwhere(labels.data == names[f"{structure}_{side}"])
            x[side] = float((points @ labels.affine[:3, :3].T + labels.affine[:3, 3])[:, 0].mean())
        assert x["L"] < -5 < 5 < x["R"], structure


def test_fine_labels_lie_on_the_coarse_hippocampus_of_their_side(measured: Prediction) -> None:
    coarse, fine = measured.maps[SEGMENTATION].data, measured.maps[HIPPOCAMPUS].data
    names = {name: index for index, name in measured.label_names[SEGMENTATION].items()}
    for side, parts in (("L", (1, 2)), ("R", (3, 4))):
        overlap = dice(coarse == names[f"Hippocampus_{side}"], np.isin(fine, parts))
        assert overlap > 0.7  # two protocols


@pytest.mark.parametrize("codes", ["LPS", "SRA", "AIL"])
def test_orientation_of_the_file_changes_nothing(
    codes: str, predictor: Predictor, template: Volume, measured: Prediction
) -> None:
    assert codes in all_orientations()
    other = predictor(reordered(template, codes))
    for name in (SEGMENTATION, HIPPOCAMPUS, DEPTH):
        back = reordered(other.maps[name], template.orientation)
        assert np.array_equal(back.data, measured.maps[name].data), name


def test_mirrored_head_comes_out_mirrored(
    predictor: Predictor, template: Volume, measured: Prediction
) -> None:
    other = predictor(mirrored(template))
    before, after = measured.maps[SEGMENTATION].data, mirrored(other.maps[SEGMENTATION]).data
    names = {name: index for index, name in measured.label_names[SEGMENTATION].items()}
    for structure in PAIRS:
        for side, opposite in (("L", "R"), ("R", "L")):
            agreement = dice(
                before == names[f"{structure}_{side}"], after == names[f"{structure}_{opposite}"]
            )
            assert agreement > 0.85, f"{structure}_{side}"


def test_a_normalised_head_gets_a_warning_and_no_percentiles(
    predictor: Predictor, template: Volume, measured: Prediction
) -> None:
    """The template as itself, and as a smaller head that lies elsewhere: as it would come from a scanner."""
    assert WarningCode.TEMPLATE in {found.code for found in measured.findings}
    elsewhere = template.affine.copy()
    elsewhere[:3] /= 1.12
    elsewhere[:3, 3] += (3.0, -24.0, 31.0)
    clinical = {"age": 60.0, "sex": "F"}
    for affine, normalised in ((template.affine, True), (elsewhere, False)):
        found = predictor(replace(template, affine=affine), clinical)
        left = next(entry for entry in found.structures if entry.name == "Hippocampus_L")
        assert (WarningCode.TEMPLATE in {each.code for each in found.findings}) == normalised
        assert (left.percentile is None) == normalised
        assert (found.reference is None) == normalised


def test_attention_runs_on_blocks_of_at_least_4096_tokens(measured: Prediction) -> None:
    head = next(stage for stage in measured.compute.attention if stage.stage.startswith("brain-t1"))
    assert head.path == "block"
    assert head.tokens >= 4096


def test_dementia_is_judged_alike_at_every_depth(template: Volume, measured: Prediction) -> None:
    """It reads the trunk and exit 1, which run at every depth."""
    shallow = Predictor(depth=1)(template)
    for one, other in zip(measured.classification, shallow.classification, strict=True):
        assert one["probability"] is not None
        assert one["probability"] == other["probability"]


@pytest.mark.parametrize("name", ["brain-t1", "hippocampus-t1"])
def test_every_case_of_the_split_is_known_by_its_voxels(name: str) -> None:
    info = load_bundle(name).info
    assert set(info.pixels) == {case for part in info.split.values() for case in part}
    assert len(set(info.pixels.values())) == len(info.pixels)


def test_numbers_equal_the_label_map(measured: Prediction) -> None:
    labels = measured.maps[SEGMENTATION]
    found = volumes(measured)
    for index, name in measured.label_names[SEGMENTATION].items():
        assert found[name] == pytest.approx(int((labels.data == index).sum()) * labels.voxel_mm3)


@pytest.mark.data
def test_real_head_and_its_mirror_image(predictor: Predictor, data_folder: Path) -> None:
    scan = sorted((data_folder / "ixi_brain" / "imagesTr").glob("IXI*.nii.gz"))[0]
    head = read(scan)
    first, second = predictor(head), predictor(mirrored(head))
    for structure in PAIRS:
        for side, opposite in (("L", "R"), ("R", "L")):
            assert volumes(first)[f"{structure}_{side}"] == pytest.approx(
                volumes(second)[f"{structure}_{opposite}"], rel=0.1
            )


@pytest.mark.data
def test_lone_crop_is_read_as_the_left_hippocampus_it_is(predictor: Predictor, data_folder: Path) -> None:
    crops = sorted((data_folder / "hippocampus" / "imagesTr").glob("hippocampus_*.nii.gz"))[:10]
    as_left = ["as a left" in predictor(read(crop)).findings[-1].message for crop in crops]
    mirrored_as_right = [
        "as a right" in predictor(mirrored(read(crop))).findings[-1].message for crop in crops
    ]
    assert sum(as_left) >= 9
    assert sum(mirrored_as_right) >= 9
