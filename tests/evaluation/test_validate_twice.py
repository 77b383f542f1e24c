"""A second run of the device, scans put in on purpose, series seen in training, label maps with NaN."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lnn_med.errors import ConfigError
from lnn_med.evaluation.intervals import wilson
from lnn_med.evaluation.report.sections.blocks import number, p_value
from lnn_med.evaluation.report.sections.calibration import calibration
from lnn_med.evaluation.report.sections.document import document
from lnn_med.evaluation.report.sections.remarks import remarks
from lnn_med.evaluation.validation import read_study, record_of
from lnn_med.scoring.runner import score
from lnn_med.volume import Volume
from tests.evaluation.label_maps import NAMES, references, truth, write
from tests.scoring.fakes import FakeModels, head, write_head

LABELS = {"A": 1, "B": 2}


def record_in(folder: Path, protocol: str = "id: test\n") -> dict[str, Any]:
    (folder / "protocol.yaml").write_text(protocol)
    labels = LABELS if not (folder / "pred" / "manifest.jsonl").exists() else {}
    study = read_study(
        folder / "pred", folder / "ref", folder / "protocol.yaml", labels, None, lambda *_: None
    )
    return record_of(study, "")


def words(record: Mapping[str, Any], number: int) -> str:
    section = document({**record, "sha256": ""})[number]
    return json.dumps([dict(block) for block in section.blocks], ensure_ascii=False)


def every(change: Callable[[Volume], Volume] = lambda volume: volume) -> dict[str, Volume]:
    return {name: change(truth(seed)) for seed, name in enumerate(NAMES)}


def scored(folder: Path, name: str, count: int = 4) -> None:
    """A run of a fake model over `count` heads, with references of what it should find."""
    for seed in range(count):
        write_head(folder / "scans" / f"case{seed}.nii.gz", seed)
    score(folder / "scans", folder / name, FakeModels(folder / "log"), workers=0)
    maps = {f"case{s}": head(s).with_data((head(s).data > 50).astype("uint8")) for s in range(count)}
    write(folder / "ref", maps)


def change_result(run: Path, case: str, change: Callable[[dict[str, Any]], None]) -> None:
    path = run / "cases" / case / "result.json"
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))


def test_a_second_run_that_gives_the_same_says_so_and_one_that_does_not_says_how_far(tmp_path: Path) -> None:
    scored(tmp_path, "pred")
    score(tmp_path / "scans", tmp_path / "second", FakeModels(tmp_path / "log"), workers=0)
    same = record_in(tmp_path, "rerun: second\n")["rerun"]
    assert (same["n"], same["n_same_maps"], same["same_weights"], same["same_scans"]) == (4, 4, True, True)
    assert (same["largest_changed_share"], same["largest_volume_change_pct"]) == (0, 0)

    def larger(content: dict[str, Any]) -> None:
        content["structures"][0]["volume_mm3"] *= 1.02

    change_result(tmp_path / "second", "case2", larger)
    path = tmp_path / "second" / "cases" / "case1" / "segmentation.nii.gz"
    image = nib.load(path)
    data = np.asarray(image.dataobj).copy()
    labelled = int((data > 0).sum())
    data[tuple(np.argwhere(data > 0)[0])] = 0
    nib.save(nib.Nifti1Image(data, image.affine), path)
    record = record_in(tmp_path, "rerun: second\n")
    other = record["rerun"]
    assert other["n_same_maps"] == 3
    assert other["largest_changed_share"] == pytest.approx(1 / labelled)
    assert other["largest_volume_change_pct"] == pytest.approx(2)
    assert "3 of 4" in words(record, 13)
    assert "a second run of the device" in words(record_in(tmp_path), 13)  # none is named


def test_a_rerun_of_another_study_is_refused(tmp_path: Path) -> None:
    references(tmp_path / "ref")
    write(tmp_path / "pred", every())
    write(tmp_path / "second", {"x": truth()})
    with pytest.raises(ConfigError, match="another study"):
        record_in(tmp_path, "rerun: second\n")
    with pytest.raises(ConfigError, match="`rerun` of the protocol names nowhere"):
        record_in(tmp_path, "rerun: nowhere\n")


def test_scans_put_in_on_purpose_are_in_no_mean_and_count_as_noticed_or_not(tmp_path: Path) -> None:
    scored(tmp_path, "pred", 6)
    table = "case,intended\ncase0,yes\ncase1,\ncase2,no\ncase3,no\ncase4,no\ncase5,1\ngone,no\n"
    (tmp_path / "ref" / "participants.csv").write_text(table)
    change_result(tmp_path / "pred", "case2", lambda one: one.update(qc={"status": "fail", "reasons": ["x"]}))
    change_result(
        tmp_path / "pred", "case3", lambda one: one.update(qc={"status": "review", "reasons": ["x"]})
    )
    record = record_in(tmp_path)
    found = record["detection"]
    assert {case["case"] for case in record["cases"]} == {"case0", "case1", "case5"}
    assert (found["n"], found["fail"], found["review"], found["n_without"]) == (4, 1, 1, 1)
    assert found["detected"]["estimate"] == 0.5  # case4 passed, nobody predicted `gone`
    assert found["detected"]["low"] == pytest.approx(wilson(2, 4).low)
    assert (found["n_others"], found["others"]["estimate"]) == (3, 0)
    assert "put in to test its detection" in words(record, 3)
    assert "4 scans were put in on purpose" in words(record, 9)


def test_without_marked_scans_the_report_says_that_their_detection_was_not_measured(tmp_path: Path) -> None:
    references(tmp_path / "ref")
    write(tmp_path / "pred", every())
    record = record_in(tmp_path)
    assert record["detection"] is None
    assert "no scan is marked as outside the intended use" in words(record, 9)


def test_a_series_of_the_training_table_is_found_by_its_uid(tmp_path: Path) -> None:
    references(tmp_path / "ref")
    write(tmp_path / "pred", every())
    (tmp_path / "ref" / "participants.csv").write_text("case,series_uid\na,1.2.3\nb,1.2.4\n")
    (tmp_path / "training.csv").write_text("case,series_uid\nx,1.2.4\ny,1.2.5\n")
    record = record_in(tmp_path, "training_table: training.csv\n")
    assert record["leakage"]["found"]["train"] == ["b"]
    assert record["leakage"]["compared"] == ["case names", "series UIDs"]


def test_label_maps_with_voxels_that_are_no_numbers_are_named_on_both_sides(tmp_path: Path) -> None:
    references(tmp_path / "ref")
    write(tmp_path / "pred", every())
    for side, name in (("ref", "b"), ("pred", "c")):
        path = tmp_path / side / f"{name}.nii.gz"
        image = nib.load(path)
        data = np.asarray(image.dataobj).astype(np.float32)
        data[0] = np.nan
        nib.save(nib.Nifti1Image(data, image.affine), path)
    record = record_in(tmp_path)
    assert record["segmentation"]["nonfinite"] == {"reference": ["b"], "prediction": ["c"]}
    said = " ".join(remarks(record))
    assert "1 reference holds voxels that are no numbers, taken for background: b." in said
    assert "1 prediction holds voxels that are no numbers, taken for background: c." in said


def test_numbers_that_round_to_nothing_have_no_sign_and_no_p_value_is_zero() -> None:
    assert (number(-0.0004), number(-0.4, 0), number(-0.0006)) == ("0.000", "0", "−0.001")
    assert (p_value(0.0001), p_value(0.0004999), p_value(0.0123), p_value(None)) == (
        *("< 0.001", "< 0.001", "0.012"),
        "–",
    )


@pytest.mark.parametrize(
    ("shares", "said", "unsaid"),
    [
        ((0.91, 0.91), "the same for all 2 structures", " from "),
        ((0.85, 0.93), "from 85.0 % (s0) to 93.0 % (s1)", "the same"),
        ((0.9,), "of s0", "mean of"),
    ],
)
def test_the_span_of_cross_fitted_coverage_is_told_only_where_there_is_one(
    tmp_path: Path, shares: tuple[float, ...], said: str, unsaid: str
) -> None:
    references(tmp_path / "ref")
    write(tmp_path / "pred", every())
    record = record_in(tmp_path)
    exits = {"ece": 0.1, "ace": 0.1, "mce": 0.1, "brier": 0.1, "nll": 0.1}
    one = {
        "bundle": "mine",
        "date": "2026-01-01",
        "n": 9,
        "splits": ["val"],
        "region": "labels",
        "exits": [{"temperature": 1.0, "before": exits, "after": exits, "ece_null": 0.01}],
        "diagram": [],
        "nominal": 0.9,
        "volumes": [
            {"name": f"s{place}", "n": 9, "cross_fitted": share, "width_pct": 20.0}
            for place, share in enumerate(shares)
        ],
    }
    blocks = calibration({**record, "voxels": [one]}).blocks
    (text,) = [block["text"] for block in blocks if "cross-fitted coverage" in str(block.get("text"))]
    assert said in text
    assert unsaid not in text
