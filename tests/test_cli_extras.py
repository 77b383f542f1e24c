"""The command line's files on request: `predict` and `score` with --pdf and --dicom-maps."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pydicom
import pytest

from lnn_med import cli
from lnn_med.io.nifti import write_nifti
from lnn_med.prediction import Prediction
from lnn_med.volume import Volume
from tests.cli_runner import run
from tests.dicom_factory import STUDY_UID, save_all, slices
from tests.dicom_results import check, predicted, tiny_phantom
from tests.predictions import threshold_prediction

MAPS, PAGE, DOCUMENT = {"depth.dcm", "uncertainty.dcm"}, "report.pdf", "report.dcm"
PARAMETRIC_MAP, ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.30", "1.2.840.10008.5.1.4.1.1.104.1"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float | str]]:
    """What the networks are told of the patient; labels and maps come from the tests."""
    seen: list[dict[str, float | str]] = []

    def measure(volume: Volume, clinical: Mapping[str, float | str]) -> Prediction:
        seen.append(dict(clinical))
        dicom = volume.source is not None and volume.source.series_uid is not None
        return predicted(volume) if dicom else threshold_prediction(volume)

    monkeypatch.setattr(cli.measure, "predictor", lambda *options: measure)
    return seen


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return save_all(slices(tiny_phantom()), tmp_path / "series")


def names(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def test_dicom_input_gets_maps_and_page_as_dicom_of_its_study(
    series: Path, tmp_path: Path, asked: list[dict[str, float | str]], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("typst")
    out = tmp_path / "out"
    options = ("--dicom-maps", "--pdf", "--age", "71", "--sex", "f", "--json")
    assert run("predict", series, "-o", out, *options) == 0
    assert asked == [{"age": 71.0, "sex": "F"}]
    told = json.loads(capsys.readouterr().out)
    assert {*MAPS, PAGE, DOCUMENT} <= set(told["files"]) == names(out)
    for name in sorted(MAPS):
        assert pydicom.dcmread(out / name).SOPClassUID == PARAMETRIC_MAP
    document = pydicom.dcmread(out / DOCUMENT)
    assert document.SOPClassUID == ENCAPSULATED_PDF
    content = (out / PAGE).read_bytes()
    assert document.EncapsulatedDocument[: document.EncapsulatedDocumentLength] == content
    for name in (*MAPS, DOCUMENT):
        assert pydicom.dcmread(out / name).StudyInstanceUID == STUDY_UID
        check(out / name)
    listed = json.loads((out / "provenance.json").read_text())["outputs"]
    assert {*MAPS, PAGE, DOCUMENT} <= set(listed)


def test_nothing_is_written_that_was_not_asked_for_and_none_stays(
    series: Path, tmp_path: Path, asked: list[dict[str, float | str]]
) -> None:
    out = tmp_path / "out"
    assert run("predict", series, "-o", out, "--dicom-maps") == 0
    assert names(out) & {*MAPS, PAGE, DOCUMENT} == MAPS
    assert run("predict", series, "-o", out) == 0
    assert not names(out) & {*MAPS, PAGE, DOCUMENT}
    assert "segmentation.dcm" in names(out)


def test_nifti_input_gets_the_page_and_no_dicom(tmp_path: Path, asked: list[dict[str, float | str]]) -> None:
    pytest.importorskip("typst")
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "out"
    write_nifti(tiny_phantom(), scan)
    assert run("predict", scan, "-o", out, "--dicom-maps", "--pdf") == 0
    assert (out / PAGE).read_bytes().startswith(b"%PDF")
    assert not [name for name in names(out) if name.endswith(".dcm")]


@pytest.mark.parametrize("command", ["predict", "score"])
def test_a_page_without_typst_is_refused_before_any_work(
    command: str,
    series: Path,
    tmp_path: Path,
    asked: list[dict[str, float | str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    assert run(command, series, "-o", tmp_path / "out", "--pdf") == 3
    assert "lnn-med[report]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not asked
