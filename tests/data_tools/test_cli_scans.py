"""`lnn-data series` and `convert` on series made for the purpose."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid

from lnn_med.io import read
from tests.data_tools.conftest import Run
from tests.dicom_factory import save_all, slices, small_phantom


@pytest.fixture
def two_series(tmp_path: Path) -> Path:
    """A folder with two series of one patient that both can be volumes."""
    for name, description in (("a", "T1\x1b[31m"), ("b", "T1 again")):
        headers = slices(small_phantom(), SeriesDescription=description, SeriesInstanceUID=generate_uid())
        save_all(headers, tmp_path / "in" / name)
    return tmp_path / "in"


def test_series_shows_whole_uids_and_no_signs_that_steer_a_terminal(
    two_series: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("series", two_series, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["images"] for row in rows] == [12, 12]
    assert run("series", two_series) == 0
    shown = capsys.readouterr().out
    assert all(row["series_uid"] in shown for row in rows)
    assert "T1 again" in shown
    assert "\x1b" not in shown


def test_convert_refuses_to_choose_and_converts_what_is_named(
    two_series: Path, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scan.nii.gz"
    assert run("convert", two_series, out) == 3
    refusal = capsys.readouterr().err
    assert "E_SERIES" in refusal
    assert not out.exists()
    assert run("series", two_series, "--json") == 0
    uid = json.loads(capsys.readouterr().out)[1]["series_uid"]
    assert uid in refusal
    assert run("convert", two_series, out, "--series", uid, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    written = read(out)
    assert summary["shape"] == list(written.shape)
    np.testing.assert_allclose(summary["spacing_mm"], written.spacing_mm, atol=1e-5)
    assert summary["orientation"] == written.orientation


def test_convert_refuses_what_is_not_there_or_not_nifti(tmp_path: Path, run: Run) -> None:
    save_all(slices(small_phantom()), tmp_path / "in")
    assert run("convert", tmp_path / "absent", tmp_path / "out.nii.gz") == 3
    assert run("convert", tmp_path / "in", tmp_path / "out.mgz") == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
