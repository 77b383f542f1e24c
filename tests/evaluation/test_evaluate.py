"""Evaluation of a made data set with a predictor whose answers are known."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.evaluation.evaluate import evaluate
from lnn_med.io.nifti import write_nifti
from lnn_med.prediction import SEGMENTATION, Compute, Prediction, Quality, Structure
from lnn_med.volume import Source, Volume

SHAPE = (24, 22, 20)
AFFINE = np.array([[0, 0, 1.5, -9], [-1, 0, 0, 40], [0, 2, 0, 7], [0, 0, 0, 1]], dtype=float)  # axes turned
VOXEL_MM3 = 3.0
RAW = {"Hippocampus_L": 48, "Hippocampus_R": 47, "Cortex_L": 102}  # integers of the data set
SECOND_CORTEX = 103  # belongs to Cortex_L, too
SKULL = 5  # a label of the data set that the bundle does not know


@dataclass(frozen=True)
class FakeLabel:
    index: int
    name: str
    sources: tuple[int, ...]


@dataclass(frozen=True)
class FakeInfo:
    labels: Sequence[FakeLabel]
    split: Mapping[str, Sequence[str]]
    name: str = "fake-t1"
    version: str = "1.2.3"


@dataclass(frozen=True)
class FakeBundle:
    info: FakeInfo
    weights_sha256: str = "ab" * 32


BUNDLE = FakeBundle(
    FakeInfo(
        labels=(
            FakeLabel(1, "Hippocampus_L", (48,)),
            FakeLabel(2, "Hippocampus_R", (47,)),
            FakeLabel(3, "Cortex_L", (102, 103)),
        ),
        split={"train": ["case0"], "val": ["case1", "case2", "case3"], "calibration": ["gone"]},
    )
)
PREDICTED_VALUES = {11: "Hippocampus_L", 12: "Hippocampus_R", 13: "Cortex_L"}  # not the bundle's indices


def truth(case: int) -> np.ndarray:
    """Raw reference: a hippocampus of 3 x 4 x 5 voxels on each side, cortex in two raw labels."""
    data = np.zeros(SHAPE, dtype=np.int16)
    data[2:5, 3:7, 4:9] = RAW["Hippocampus_L"]
    data[12:15, 3:7, 4 : 9 + case % 2] = RAW["Hippocampus_R"]
    data[2:8, 10:16, 4:9] = RAW["Cortex_L"]
    data[8:12, 10:16, 4:9] = SECOND_CORTEX
    data[20:22, 2:20, 2:18] = SKULL
    return data


def image_of(raw: np.ndarray) -> np.ndarray:
    """An image whose grey values are the raw labels, on a bright background."""
    return (raw + 10).astype(np.float32)


class Oracle:
    """Predicts perfectly from the grey values, shifted by one voxel for chosen cases; records what it saw."""

    def __init__(self, shifted: Sequence[int] = (), refused: Sequence[int] = ()) -> None:
        self.shifted, self.refused, self.seen = shifted, refused, []

    def __call__(self, volume: Volume) -> Prediction:
        number = len(self.seen)
        self.seen.append(volume)
        if number in self.refused:
            raise InputError(Code.FOV, "The field of view misses the structure.")
        grey = volume.data - 10
        labels = np.zeros(volume.shape, dtype=np.uint8)
        for value, name in PREDICTED_VALUES.items():
            labels[grey == RAW[name]] = value
        labels[grey == SECOND_CORTEX] = 13
        if number in self.shifted:
            labels = np.roll(labels, 1, axis=0)
        return Prediction(
            scan=volume,
            source=Source("case", "nifti", "0"),
            models=(),
            maps={SEGMENTATION: volume.with_data(labels)},
            label_names={SEGMENTATION: PREDICTED_VALUES},
            structures=(Structure("Hippocampus_L", "L", "fake-t1", 181.5, None, None, 2.0),),
            derived={},
            quality=Quality("pass"),
            compute=Compute(0.5, 2.0, 8.0, {1: 1.0}, ()),
            software={},
        )


def make_dataset(folder: Path, cases: Sequence[str] = ("case0", "case1", "case2", "case3")) -> Path:
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    for number, case in enumerate(cases):
        raw = truth(number)
        write_nifti(Volume(image_of(raw), AFFINE), folder / "imagesTr" / f"{case}.nii.gz")
        write_nifti(Volume(raw, AFFINE), folder / "labelsTr" / f"{case}.nii.gz")
    (folder / "imagesTr" / "._case1.nii.gz").write_bytes(b"resource fork")
    (folder / "labelsTr" / "._case1.nii.gz").write_bytes(b"resource fork")
    return folder


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "cases.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_perfect_predictions_of_the_held_out_cases_score_one(tmp_path: Path) -> None:
    summary = evaluate(BUNDLE, make_dataset(tmp_path / "data"), tmp_path / "out", predictor=Oracle())
    assert summary.n_cases == 3
    assert summary.n_seen_in_training == 0
    for structure in summary.structures:
        assert (structure.dsc.estimate, structure.nsd.estimate, structure.hd95_mm.estimate) == (1, 1, 0)
        assert structure.error_mm3.estimate == 0
    rows = rows_of(tmp_path / "out")
    assert {row["case"] for row in rows} == {"case1", "case2", "case3"}
    left = next(row for row in rows if row["structure"] == "Hippocampus_L")
    assert float(left["volume_mm3"]) == float(left["reference_mm3"]) == 60 * VOXEL_MM3
    assert float(left["reported_mm3"]) == 181.5


def test_several_source_labels_are_one_structure(tmp_path: Path) -> None:
    evaluate(BUNDLE, make_dataset(tmp_path / "data"), tmp_path / "out", predictor=Oracle())
    cortex = next(row for row in rows_of(tmp_path / "out") if row["structure"] == "Cortex_L")
    assert int(cortex["reference_voxels"]) == 10 * 6 * 5


def test_a_shift_of_one_voxel_gives_the_dice_of_paper_and_pencil(tmp_path: Path) -> None:
    summary = evaluate(
        BUNDLE, make_dataset(tmp_path / "data"), tmp_path / "out", predictor=Oracle(shifted=(0, 1, 2))
    )
    hippocampus = summary.structures[0]
    assert hippocampus.dsc.estimate == pytest.approx(2 / 3)
    assert hippocampus.hd95_mm.estimate == pytest.approx(1.0)  # the spacing along the shifted axis


def test_a_refused_scan_counts_with_the_worst_values_and_is_left_out_in_the_second_table(
    tmp_path: Path,
) -> None:
    summary = evaluate(
        BUNDLE, make_dataset(tmp_path / "data"), tmp_path / "out", predictor=Oracle(refused=(1,))
    )
    assert summary.missing == {"case2": "E_FOV"}
    first, second = summary.structures[0], summary.without_missing[0]
    assert (first.n_cases, first.n_missing, first.dsc.estimate) == (3, 1, pytest.approx(2 / 3))
    assert (second.n_cases, second.n_missing, second.dsc.estimate) == (2, 0, 1.0)
    assert first.error_mm3.n_values == 2
    row = next(row for row in rows_of(tmp_path / "out") if row["case"] == "case2")
    assert (row["state"], row["code"], row["dsc"], row["volume_mm3"]) == ("missing", "E_FOV", "0.0", "")


def test_an_unreadable_image_is_a_missing_prediction(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data")
    (data / "imagesTr" / "case3.nii.gz").write_bytes(b"")
    summary = evaluate(BUNDLE, data, tmp_path / "out", predictor=Oracle())
    assert summary.missing == {"case3": "E_EMPTY"}


def test_a_broken_reference_stops_the_evaluation_and_writes_nothing(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data")
    moved = AFFINE.copy()
    moved[0, 3] += 4
    write_nifti(Volume(truth(2), moved), data / "labelsTr" / "case2.nii.gz")
    with pytest.raises(InputError, match=r"4\.00 mm off") as caught:
        evaluate(BUNDLE, data, tmp_path / "out", predictor=Oracle())
    assert caught.value.code is Code.GEOMETRY
    assert not (tmp_path / "out").exists()


def test_groups_hold_large_structures_and_hippocampi(tmp_path: Path) -> None:
    summary = evaluate(
        BUNDLE, make_dataset(tmp_path / "data"), tmp_path / "out", predictor=Oracle(shifted=(0, 1, 2))
    )
    groups = {group.name: group for group in summary.groups}
    assert groups["structures of >= 100 voxels"].structures == ("Cortex_L",)
    assert groups["hippocampi"].structures == ("Hippocampus_L", "Hippocampus_R")
    assert groups["hippocampi"].dsc.estimate == pytest.approx(2 / 3)
    assert groups["all structures"].dsc.estimate == pytest.approx((2 / 3 + 2 / 3 + 0.9) / 3)


def test_strip_skull_blanks_everything_outside_the_reference(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data")
    predictor = Oracle()
    evaluate(BUNDLE, data, tmp_path / "out", strip_skull=True, predictor=predictor)
    inside = truth(1) > 0  # any label, also one that the bundle does not know
    seen = predictor.seen[0].data
    assert (seen[~inside] == 0).all()
    np.testing.assert_array_equal(seen[inside], image_of(truth(1))[inside])
    predictor = Oracle()
    evaluate(BUNDLE, data, tmp_path / "out", predictor=predictor)
    assert (predictor.seen[0].data[~inside] == 10).all()


def test_all_takes_every_pair_and_says_how_many_were_trained_on(tmp_path: Path) -> None:
    summary = evaluate(BUNDLE, make_dataset(tmp_path / "data"), tmp_path / "out", "all", predictor=Oracle())
    assert (summary.n_cases, summary.n_seen_in_training) == (4, 1)


def test_split_cases_that_the_data_set_lacks_are_named(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", ["case0", "case1"])
    assert evaluate(BUNDLE, data, tmp_path / "out", predictor=Oracle()).absent == ("case2", "case3")


def test_wrong_splits_and_folders_are_refused(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data")
    with pytest.raises(ConfigError, match="no split `test`; choose one of train, val, calibration, all"):
        evaluate(BUNDLE, data, tmp_path / "out", split="test", predictor=Oracle())
    with pytest.raises(ConfigError, match="Use split `all`"):
        evaluate(BUNDLE, data, tmp_path / "out", split="calibration", predictor=Oracle())
    with pytest.raises(InputError) as caught:
        evaluate(BUNDLE, tmp_path / "nowhere", tmp_path / "out", predictor=Oracle())
    assert caught.value.code is Code.NOTFOUND


def test_a_prediction_of_other_structures_is_refused(tmp_path: Path) -> None:
    other = FakeBundle(FakeInfo((FakeLabel(1, "Amygdala_L", (48,)),), BUNDLE.info.split))
    with pytest.raises(ConfigError, match="must share structures"):
        evaluate(other, make_dataset(tmp_path / "data"), tmp_path / "out", predictor=Oracle())


def test_scans_of_one_patient_are_one_cluster(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data")
    table = "image,subject\n" + "".join(
        f"imagesTr/case{n}.nii.gz,{'twice' if n < 3 else 'once'}\n" for n in range(4)
    )
    (data / "participants.csv").write_text(table)
    summary = evaluate(BUNDLE, data, tmp_path / "out", predictor=Oracle())
    assert summary.n_patients == 2
    assert summary.structures[0].dsc.n_patients == 2


def test_bids_names_tell_the_patient(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", ["sub-01_ses-1_T1w", "sub-01_ses-2_T1w", "sub-02_T1w"])
    assert evaluate(BUNDLE, data, tmp_path / "out", "all", predictor=Oracle()).n_patients == 2


def test_summary_file_repeats_what_was_returned(tmp_path: Path) -> None:
    summary = evaluate(BUNDLE, make_dataset(tmp_path / "data"), tmp_path / "out", predictor=Oracle())
    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert written["bundle"] == "fake-t1"
    assert written["tolerance_mm"] == summary.tolerance_mm == 1.0
    assert written["structures"][0]["dsc"]["estimate"] == summary.structures[0].dsc.estimate
    assert written["structures"][0]["dsc"]["method"] == "percentile"
    assert written["mean_fraction"] == 0.25


def test_progress_is_told_after_each_case(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    evaluate(
        BUNDLE,
        make_dataset(tmp_path / "data"),
        tmp_path / "out",
        predictor=Oracle(),
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_scan_of_the_wrong_kind_is_a_missing_prediction(tmp_path: Path) -> None:
    class OnlyCrops(Oracle):
        def __call__(self, volume: Volume) -> Prediction:
            if len(self.seen) == 1:
                self.seen.append(volume)
                raise ConfigError("This scan needs another bundle.")
            return super().__call__(volume)

    summary = evaluate(BUNDLE, make_dataset(tmp_path / "data"), tmp_path / "out", predictor=OnlyCrops())
    assert summary.missing == {"case2": "E_CONFIG"}
