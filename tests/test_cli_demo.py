"""The demo: the same head as NIfTI and as DICOM, measured, written and compared."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lnn_med import cli, demo
from lnn_med.demo import compare, run_demo
from lnn_med.errors import InputError
from lnn_med.io import mni_template
from lnn_med.io.mni_template import mni152_template
from tests.cli_runner import run
from tests.phantoms import phantom
from tests.predictions import make_prediction, threshold_prediction


def small_template():
    volume = phantom()
    return volume.with_data(np.rint(volume.data).astype(np.int16))


def test_both_formats_give_the_same_volumes(tmp_path):
    steps: list[str] = []
    result = run_demo(tmp_path / "demo", threshold_prediction, small_template, steps.append)
    assert result.agrees
    assert result.nifti.structures[0].volume_mm3 > 500
    assert result.nifti.source.kind == "nifti"
    assert result.dicom.source.kind == "dicom"
    for name in ("nifti", "dicom"):
        assert (tmp_path / "demo" / name / "result.json").is_file()
    for file in result.files:
        assert (tmp_path / "demo" / file).exists(), file
    assert steps


def test_left_stays_left_in_both_formats(tmp_path):
    """The phantom's marker lies on the patient's left; both predictions must place it there."""
    result = run_demo(tmp_path, threshold_prediction, small_template)
    places = []
    for prediction in (result.nifti, result.dicom):
        labels = prediction.maps["segmentation.nii.gz"]
        points = np.argwhere(labels.data) @ labels.affine[:3, :3].T + labels.affine[:3, 3]
        places.append(points.mean(axis=0))
    np.testing.assert_allclose(places[0], places[1], atol=0.05)


def test_second_run_replaces_the_first(tmp_path):
    for _ in range(2):
        assert run_demo(tmp_path, threshold_prediction, small_template).agrees


def test_difference_beyond_the_tolerance_is_told(tmp_path, monkeypatch, capsys):
    def drifts(volume, clinical=None):
        made = threshold_prediction(volume)
        factor = 1.002 if volume.source.kind == "dicom" else 1.0
        entry = made.structures[0]
        return replace(made, structures=(replace(entry, volume_mm3=entry.volume_mm3 * factor),))

    monkeypatch.setattr(demo, "mni152_template", small_template)
    monkeypatch.setattr(cli.measure, "predictor", lambda *options, **more: drifts)
    monkeypatch.setattr(demo.run_demo, "__defaults__", (small_template, *demo.run_demo.__defaults__[1:]))
    assert run("demo", "-o", tmp_path / "demo") == 2
    shown = capsys.readouterr().out
    assert "DIFFER" in shown
    assert "0.200 %" in shown


def test_command_says_what_it_wrote(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli.measure, "predictor", lambda *options, **more: threshold_prediction)
    monkeypatch.setattr(demo.run_demo, "__defaults__", (small_template, *demo.run_demo.__defaults__[1:]))
    assert run("demo", "-o", tmp_path / "demo") == 0
    shown = capsys.readouterr().out
    assert "they agree" in shown
    assert "dicom/result.json" in shown.replace("\n", "")
    assert "Research use only" in shown
    assert run("demo", "-o", tmp_path / "demo", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["agrees"] is True
    difference = told["differences"][0]
    assert difference["nifti_mm3"] == pytest.approx(difference["dicom_mm3"], rel=1e-4)


@pytest.mark.parametrize(
    ("one", "other", "agrees"),
    [
        (1000.0, 1000.9, True),
        (1000.0, 1001.1, False),
        (0.0, 0.0, True),
        (None, None, False),  # no numbers were compared
        (1000.0, None, False),
    ],
)
def test_volumes_are_compared_relatively(one, other, agrees):
    made = make_prediction()

    def with_volume(value):
        return replace(made, structures=(replace(made.structures[0], volume_mm3=value),))

    (difference,) = compare(with_volume(one), with_volume(other))
    assert difference.agrees is agrees


def test_structure_that_only_one_format_has_is_a_difference():
    made = make_prediction()
    differences = compare(made, replace(made, structures=made.structures[:-1]))
    assert [each.agrees for each in differences] == [True] * 6 + [False]


def test_output_that_is_a_file_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "nifti").write_text("mine")
    with pytest.raises(InputError):
        run_demo(tmp_path / "demo", threshold_prediction, small_template)
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["nifti"]


def test_template_comes_without_network(monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("the demo must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    volume = mni152_template()
    assert volume.spacing_mm == (1.0, 1.0, 1.0)
    assert volume.data.dtype == np.int16
    assert volume.data.min() == 0
    assert volume.data.max() == mni_template.MAXIMUM
