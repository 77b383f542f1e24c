"""Robustness of a predictor whose weaknesses are known, and its table in the report."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.evaluation.protocol import Protocol
from lnn_med.evaluation.report.sections.rest import robustness
from lnn_med.evaluation.results.stress import stress_results
from lnn_med.evaluation.stress import stress
from lnn_med.evaluation.stress_table import (
    COLUMNS,
    Disturbed,
    absolute_change_pct,
    hippocampus_change_pct,
    repeat_table,
)
from lnn_med.io.nifti import write_nifti
from lnn_med.prediction import SEGMENTATION, Compute, Prediction, Quality
from lnn_med.transforms.disturb import DISTURBANCES
from lnn_med.volume import Source, Volume

SHAPE = (26, 24, 22)
AFFINE = np.array([[0, 0, 1.5, -9], [-1, 0, 0, 40], [0, 2, 0, 7], [0, 0, 0, 1]], dtype=float)
TISSUE, BRIGHT = 400.0, 1000.0
N_DISTURBED = sum(len(levels) for levels in DISTURBANCES.values())


@dataclass(frozen=True)
class FakeLabel:
    index: int
    name: str
    sources: tuple[int, ...]


@dataclass(frozen=True)
class FakeInfo:
    labels: tuple[FakeLabel, ...] = (
        FakeLabel(1, "Hippocampus_L", (48,)),
        FakeLabel(2, "Cortex_L", (102, 103)),
        FakeLabel(3, "Small", (7,)),
    )
    split: dict[str, list[str]] = field(default_factory=lambda: {"val": ["a", "b", "c"]})
    name: str = "fake-t1"
    version: str = "1.2.3"


@dataclass(frozen=True)
class FakeBundle:
    info: FakeInfo = field(default_factory=FakeInfo)
    weights_sha256: str = "ab" * 32


def scan_of(seed: int) -> tuple[Volume, Volume]:
    raw = np.zeros(SHAPE, dtype=np.int16)
    raw[3 : 9 + seed, 4:10, 4:11] = 48
    raw[12:20, 10:16, 4:9], raw[12:20, 10:16, 9:12] = 102, 103
    raw[22, 22, 20] = 7
    image = np.full(SHAPE, 100.0, dtype=np.float32)
    image[raw == 48], image[raw > 100] = BRIGHT, TISSUE
    return Volume(image, AFFINE), Volume(raw, AFFINE)


def by_threshold(volume: Volume) -> Prediction:
    """Finds both structures by brightness alone, so that a bias field, but no change of axes, misleads it."""
    labels = np.zeros(volume.shape, dtype=np.uint8)
    labels[volume.data > 350], labels[volume.data > 480] = 12, 11
    return Prediction(
        scan=volume,
        source=Source("case", "nifti", "0"),
        models=(),
        maps={SEGMENTATION: volume.with_data(labels)},
        label_names={SEGMENTATION: {11: "Hippocampus_L", 12: "Cortex_L"}},
        structures=(),
        derived={},
        quality=Quality("pass"),
        compute=Compute(0.5, 2.0, 8.0, {1: 1.0}, ()),
        software={},
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir()
    for seed, case in enumerate("abc"):
        image, raw = scan_of(seed)
        write_nifti(image, folder / "imagesTr" / f"{case}.nii.gz")
        write_nifti(raw, folder / "labelsTr" / f"{case}.nii.gz")
    (folder / "participants.csv").write_text("case,patient,visit\na,P1,1\nb,P1,1\nc,P2,1\n")
    return folder


@pytest.fixture(scope="module")
def record(data: Path) -> dict:
    seen: list[tuple[int, int]] = []
    found = stress(FakeBundle(), data, data / "stress.json", by_threshold, progress=lambda *n: seen.append(n))
    assert seen == [(n, 3 * (1 + N_DISTURBED)) for n in range(1, 3 * (1 + N_DISTURBED) + 1)]
    return found


def of(record: dict, kind: str) -> list[dict]:
    return [one for one in record["results"] if one["disturbance"] == kind]


def test_what_a_threshold_is_blind_to_costs_nothing_and_what_it_sees_costs_dice(record: dict) -> None:
    assert record["undisturbed"]["estimate"] == 1  # the structure of one voxel is not judged
    for one in of(record, "orientation"):
        assert one["dsc"]["estimate"] == 1
        assert one["dsc_change"]["estimate"] == one["volume_change_pct"]["estimate"] == 0
    strong = of(record, "bias field")[-1]
    assert strong["dsc_change"]["estimate"] < -0.02
    assert strong["volume_change_pct"]["estimate"] > 1


def test_intervals_are_over_patients(record: dict) -> None:
    one = of(record, "noise")[0]
    assert (one["n"], one["dsc"]["n_patients"]) == (3, 2)


def test_the_file_is_the_record_and_every_row_has_every_column(record: dict, data: Path) -> None:
    assert json.loads((data / "stress.json").read_text()) == record
    assert record["columns"] == list(COLUMNS)
    assert len(record["rows"]) == 1 + N_DISTURBED
    assert {len(row) for row in record["rows"]} == {len(COLUMNS)}


def test_repeat_scans_of_one_visit_give_wcv_and_rc(record: dict) -> None:
    table = record["repeatability"]
    row = next(row for row in table["rows"] if row[0] == "Hippocampus_L")
    assert row[1:3] == [1, 2]
    first, second = (6 * 6 * 7, 7 * 6 * 7)
    wcv = 100 * abs(first - second) / 2**0.5 / ((first + second) / 2)
    assert row[3].startswith(f"{wcv:.2f} ")
    assert repeat_table({"A": [(1.0, ("P1", "1")), (2.0, ("P2", "1"))]}) is None


def test_the_report_shows_both_tables(record: dict, data: Path) -> None:
    found = stress_results(Protocol(stress_result="stress.json"), data)
    blocks = robustness({"stress": found, "repeats": "none"}).blocks
    assert [block["kind"] for block in blocks] == ["table", "table"]
    assert blocks[0]["title"] == record["title"]
    assert blocks[0]["note"] == record["note"]


@pytest.mark.parametrize(
    "content",
    ["[]", '{"columns": ["a"], "rows": [[1, 2]]}', '{"rows": []}', "no json",
     '{"columns": ["a"], "rows": [[1]], "repeatability": {"columns": ["a"], "rows": [[1, 2]]}}'],
)  # fmt: skip
def test_a_file_that_is_no_result_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "stress.json").write_text(content)
    with pytest.raises(ConfigError, match="stress_result"):
        stress_results(Protocol(stress_result="stress.json"), tmp_path)


def test_a_refused_scan_has_no_dice_and_no_volume_and_is_counted(data: Path, tmp_path: Path) -> None:
    def picky(volume: Volume) -> Prediction:
        if volume.orientation == "LPS":
            raise InputError(Code.FOV, "Not this one.")
        return by_threshold(volume)

    found = stress(FakeBundle(), data, tmp_path / "stress.json", picky, most=2)
    refused = of(found, "orientation")[0]
    assert (refused["n"], refused["n_refused"], refused["n_flagged"]) == (2, 2, 2)
    assert refused["dsc"]["estimate"] == 0
    assert refused["volume_change_pct"]["estimate"] is None
    assert of(found, "orientation")[1]["n_refused"] == 0


def test_the_number_of_cases_must_be_positive(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 or more"):
        stress(FakeBundle(), data, tmp_path / "stress.json", by_threshold, most=0)
    assert not (tmp_path / "stress.json").exists()


def test_changes_of_volume_by_hand() -> None:
    before = {"Hippocampus_L": 100.0, "Hippocampus_R": 300.0, "Cortex": 0.0}
    after = {"Hippocampus_L": 110.0, "Hippocampus_R": 270.0, "Cortex": 5.0}
    one = Disturbed("noise", "1", "P", {}, {}, before, after, "pass")
    assert absolute_change_pct(one) == pytest.approx((10 + 10) / 2)
    assert hippocampus_change_pct(one) == pytest.approx(-5)
