"""A reader's edit: the voxels that were painted, and nothing else, in the scan's own grid."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from app.edit_picture import edit_picture
from app.edit_task import PAGE_EDITED, RESULT_EDITED, VOLUMES_EDITED, StoreEdit
from app.edits import edited_name, edited_record, keep, parsed, pending
from app.images import write_images
from lnn_med.errors import InputError
from lnn_med.inference import depth_scale
from lnn_med.inference.depth_scale import DepthScale, Exits
from lnn_med.io import read
from lnn_med.io.nifti import write_nifti
from lnn_med.io.result_files import write_prediction
from lnn_med.io.volumetry import NO_REFERENCE_AFTER, NO_VALUE, W_EDITED, mm3_text
from lnn_med.io.volumetry_pdf import Edited, page_content, write_page
from lnn_med.prediction import SEGMENTATION
from tests.app.stand_in import stand_in_prediction
from tests.phantoms import phantom, reordered

SCALE = DepthScale(30, (Exits("brain-t1", (11, 13, 15)),))
LEFT, RIGHT = 1, 2


@pytest.fixture(autouse=True)
def _no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_scale, "depth_scale", lambda: SCALE)


def message_of(offsets: np.ndarray, labels: np.ndarray) -> bytes:
    return offsets.astype("<u4").tobytes() + labels.astype(np.uint8).tobytes()


def measured(folder: Path, codes: str = "PIR", status: str = "review") -> np.ndarray:
    """A result and its images; the label map as the browser has it, flat with x fastest."""
    write_nifti(reordered(phantom((22, 26, 18), (3.2, 3.8, 4.6)), codes), folder / "scan.nii")
    scan = read(folder / "scan.nii")
    write_prediction(stand_in_prediction(scan, status), folder / "out")
    write_images(scan, folder / "out", folder / "view")
    return np.fromfile(folder / "view" / "segmentation.bin", np.uint8)


def store(folder: Path) -> dict[str, Any]:
    fields = {"user": "ann", "ts_utc": "2026-11-22T10:00:00+00:00"}
    task = StoreEdit(str(folder / "out"), str(folder), str(folder / "view"), {"age": 71.0}, fields)
    return task.run(None, lambda stage: None)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA", "IPL"])
def test_painted_voxels_land_where_the_browser_painted_them(codes: str, tmp_path: Path) -> None:
    shown = measured(tmp_path, codes)
    painted = np.flatnonzero(shown == LEFT)[::3]
    keep(message_of(painted, np.full(len(painted), RIGHT)), "segmentation", tmp_path)
    answer = store(tmp_path)
    before, after = (
        nib.load(path) for path in (tmp_path / "out" / SEGMENTATION, tmp_path / edited_name(SEGMENTATION))
    )
    np.testing.assert_array_equal(before.affine, after.affine)
    assert int(before.header["sform_code"]) == int(after.header["sform_code"])
    turned = nib.as_closest_canonical(after)
    expected = shown.copy()
    expected[painted] = RIGHT
    np.testing.assert_array_equal(np.asarray(turned.dataobj).ravel(order="F"), expected)
    assert answer["edit"]["changed_voxels"] == {SEGMENTATION: len(painted)}
    assert answer["user"] == "ann"


def test_volumes_follow_the_edit_and_the_original_stays(tmp_path: Path) -> None:
    shown = measured(tmp_path)
    original = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    record = json.loads(original["result.json"])
    painted = np.flatnonzero(shown == LEFT)[:10]
    keep(message_of(painted, np.zeros(10)), "segmentation", tmp_path)
    store(tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == original
    edited = json.loads((tmp_path / RESULT_EDITED).read_bytes())
    voxel = nib.load(tmp_path / "out" / SEGMENTATION).header.get_zooms()
    was, now = record["structures"][0], edited["structures"][0]
    assert now["volume_mm3"] == pytest.approx(was["volume_mm3"] - 10 * np.prod(voxel), abs=0.06)
    assert (now["interval_mm3"], now["coverage"]) == (None, None)
    assert edited["structures"][1:] == record["structures"][1:]
    left, right = now["volume_mm3"], edited["structures"][1]["volume_mm3"]
    asymmetry = 200 * (left - right) / (left + right)
    assert edited["derived"]["hippocampus_asymmetry_pct"] == pytest.approx(asymmetry, abs=0.06)
    assert edited["warnings"][-1]["code"] == W_EDITED
    rows = list(csv.DictReader((tmp_path / VOLUMES_EDITED).open()))
    assert [float(row["volume_mm3"]) for row in rows] == [one["volume_mm3"] for one in edited["structures"]]


def test_what_was_said_of_the_networks_volumes_is_not_said_of_edited_ones() -> None:
    left = {"name": "Hippocampus_L", "volume_mm3": 4.0, "interval_mm3": [3.0, 5.0], "coverage": 0.9}
    left |= {"mean_depth": 15.0, "percentile": 40.0}
    right = left | {"name": "Hippocampus_R"}
    record = {
        "qc": {"status": "pass"}, "structures": [left, right], "derived": {}, "reference": {"curves": []},
        "warnings": [],
    }  # fmt: skip
    before = np.array([1, 1, 1, 1, 2, 2, 2, 2], np.uint8).reshape(2, 2, 2)
    after = before.copy()
    after[0, 0, 0] = 0
    tables = {SEGMENTATION: {"1": "Hippocampus_L", "2": "Hippocampus_R"}}
    edited = edited_record(record, tables, {SEGMENTATION: (before, after)}, before, 1.0)
    assert edited["structures"][0] == left | {
        "volume_mm3": 3.0, "interval_mm3": None, "coverage": None, "percentile": None, "mean_depth": 1.0
    }  # fmt: skip
    assert edited["structures"][1] == right
    assert edited["reference"] is None
    same = edited_record(record, tables, {SEGMENTATION: (before, before)}, before, 1.0)
    assert same["reference"] == record["reference"]


def test_an_edit_that_changes_nothing_changes_no_number(tmp_path: Path) -> None:
    shown = measured(tmp_path)
    same = np.flatnonzero(shown == LEFT)[:5]
    keep(message_of(same, np.full(5, LEFT)), "segmentation", tmp_path)
    assert store(tmp_path)["edit"]["changed_voxels"] == {SEGMENTATION: 0}
    record, edited = (
        json.loads(path.read_bytes()) for path in (tmp_path / "out/result.json", tmp_path / RESULT_EDITED)
    )
    assert edited["structures"] == record["structures"]
    assert edited["derived"] == pytest.approx(record["derived"])


def test_the_page_after_an_edit_shows_the_edited_volumes_and_says_who(tmp_path: Path) -> None:
    shown = measured(tmp_path)
    painted = np.flatnonzero(shown == LEFT)[:10]
    keep(message_of(painted, np.zeros(10)), "segmentation", tmp_path)
    store(tmp_path)
    record, edited = (
        json.loads(path.read_bytes()) for path in (tmp_path / "out/result.json", tmp_path / RESULT_EDITED)
    )
    made = Edited("ann", "2026-11-22T10:00:00+00:00", edited, b"")
    content = page_content(record, {"age": 71.0}, False, made)
    assert content["edited"] == "Edited by reader: ann, 2026-11-22T10:00:00+00:00."
    before, after = (mm3_text(one["structures"][0]["volume_mm3"]) for one in (record, edited))
    assert before != after
    assert content["changed"] == [["Hippocampus, left", "brain-t1", before, after]]
    assert content["first"][0][2] == after  # and no interval beside it
    assert any(W_EDITED in reason for reason in content["reasons"])
    assert ["Percentile for age and sex", NO_VALUE, NO_REFERENCE_AFTER[W_EDITED]] in content["facts"]
    assert page_content(record, {"age": 71.0}, False)["edited"] == ""
    write_page(tmp_path / "out", {"age": 71.0}, tmp_path / "model.pdf")
    page = (tmp_path / PAGE_EDITED).read_bytes()
    assert page.startswith(b"%PDF")
    assert page != (tmp_path / "model.pdf").read_bytes()


def test_an_edit_that_was_taken_back_leaves_no_map_behind(tmp_path: Path) -> None:
    shown = measured(tmp_path)
    keep(message_of(np.flatnonzero(shown == LEFT)[:5], np.zeros(5)), "segmentation", tmp_path)
    store(tmp_path)
    keep(b"", "segmentation", tmp_path)
    store(tmp_path)
    assert not (tmp_path / edited_name(SEGMENTATION)).exists()
    record, edited = (
        json.loads(path.read_bytes()) for path in (tmp_path / "out/result.json", tmp_path / RESULT_EDITED)
    )
    assert edited["structures"] == record["structures"]


def test_the_picture_of_an_edit_shows_the_edited_outline(tmp_path: Path) -> None:
    shown = measured(tmp_path)
    assert not (tmp_path / PAGE_EDITED).exists()
    tables = json.loads((tmp_path / "out" / "labels.json").read_bytes())
    record = json.loads((tmp_path / "out" / "result.json").read_bytes())
    labels = read(tmp_path / "out" / SEGMENTATION)
    same = labels.with_data(labels.data.astype(np.uint8))
    erased = same.with_data(np.where(same.data == LEFT, 0, same.data).astype(np.uint8))
    assert (shown == LEFT).any()
    one, other = (
        np.asarray(
            Image.open(io.BytesIO(edit_picture(record, tmp_path / "view", {SEGMENTATION: maps}, tables)))
        )
        for maps in (same, erased)
    )
    model = np.asarray(Image.open(tmp_path / "out" / "thumbnail.png"))
    assert one.shape == model.shape
    panels = slice(62, -72)  # between the words above and below
    assert np.abs(one[panels].astype(int) - model[panels]).max() <= 2  # grey comes from 16-bit codes
    assert one.shape != other.shape or (one[panels] != other[panels]).any()


def test_a_failed_result_stays_without_numbers(tmp_path: Path) -> None:
    shown = measured(tmp_path, status="fail")
    painted = np.flatnonzero(shown == LEFT)[:4]
    keep(message_of(painted, np.zeros(4)), "segmentation", tmp_path)
    store(tmp_path)
    edited = json.loads((tmp_path / RESULT_EDITED).read_bytes())
    assert {one["volume_mm3"] for one in edited["structures"]} == {None}
    assert set(edited["derived"].values()) == {None}


@pytest.mark.parametrize(
    ("offsets", "labels", "cut"),
    [
        ([100], [1], 0),  # beyond the last voxel of 100
        ([5], [9], 0),  # a label that the map does not have
        ([5], [1], 1),  # cut short
    ],
)
def test_an_edit_that_cannot_be_is_refused(offsets: list[int], labels: list[int], cut: int) -> None:
    message = message_of(np.array(offsets), np.array(labels))
    with pytest.raises(InputError, match="does not fit"):
        parsed(message[: len(message) - cut], 100, [1, 2])


def test_an_edit_waits_for_the_reader_and_is_taken_back_when_empty(tmp_path: Path) -> None:
    assert pending(tmp_path) == {}
    keep(message_of(np.arange(7), np.ones(7)), "segmentation", tmp_path)
    assert pending(tmp_path) == {"segmentation": 7}
    keep(b"", "segmentation", tmp_path)
    assert pending(tmp_path) == {}
