"""The folder of one prediction: complete, equal in all its files, whole or not at all."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from lnn_med.errors import Code, Finding, InputError, WarningCode
from lnn_med.io import result_files
from lnn_med.io.result_files import check_out, write_prediction
from tests.predictions import CANARY, CANARY_ID, make_crop_prediction, make_prediction

HEAD_FILES = [
    "segmentation.nii.gz",
    "hippocampus.nii.gz",
    "depth.nii.gz",
    "uncertainty.nii.gz",
    "labels.json",
    "volumes.csv",
    "result.json",
    "thumbnail.png",
    "provenance.json",
]


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file below `folder`."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_head_gets_every_file_of_the_contract(out):
    assert write_prediction(make_prediction(), out) == HEAD_FILES
    assert sorted(path.name for path in out.iterdir()) == sorted(HEAD_FILES)
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_crop_has_no_second_label_map(out):
    assert "hippocampus.nii.gz" not in write_prediction(make_crop_prediction(), out)
    assert list(json.loads((out / "labels.json").read_text())) == ["segmentation.nii.gz"]


def test_maps_lie_on_the_grid_of_the_scan(out):
    made = make_prediction()
    write_prediction(made, out)
    for name, volume in made.maps.items():
        image = nibabel.load(out / name)
        np.testing.assert_array_equal(np.asarray(image.dataobj), volume.data)
        np.testing.assert_allclose(image.affine, made.scan.affine, atol=1e-4)


def test_label_names_say_what_the_integers_mean(out):
    made = make_prediction()
    write_prediction(made, out)
    labels = json.loads((out / "labels.json").read_text())
    assert labels["segmentation.nii.gz"] == {"1": "Hippocampus_L", "2": "Hippocampus_R", "3": "3rdVentricle"}
    assert labels["hippocampus.nii.gz"]["4"] == "Hippocampus_R_Posterior"


@pytest.mark.parametrize("status", ["pass", "fail"])
def test_csv_shows_the_digits_of_json(out, status):
    write_prediction(make_prediction(status), out)
    text = (out / "result.json").read_text()
    structures = json.loads(text, parse_float=str, parse_int=str)["structures"]
    with (out / "volumes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(structures) == 7
    for row, entry in zip(rows, structures, strict=True):
        low, high = entry["interval_mm3"] or (None, None)
        expected = {**entry, "interval_low_mm3": low, "interval_high_mm3": high}
        del expected["interval_mm3"]
        assert row == {key: value or "" for key, value in expected.items()}


def test_same_prediction_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_prediction(make_prediction(), tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_second_prediction_replaces_the_first_and_keeps_foreign_files(out):
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "segmentation.dcm").write_bytes(b"of an earlier scan")
    write_prediction(make_prediction(), out)
    write_prediction(make_crop_prediction(), out)
    left = sorted(path.name for path in out.iterdir())
    assert left == sorted([*(name for name in HEAD_FILES if name != "hippocampus.nii.gz"), "notes.txt"])
    assert (out / "notes.txt").read_text() == "mine"


def test_output_path_that_is_a_file_is_refused(out):
    out.write_text("mine")
    for action in (lambda: check_out(out), lambda: write_prediction(make_prediction(), out)):
        with pytest.raises(InputError) as error:
            action()
        assert error.value.code is Code.STORAGE
    assert out.read_text() == "mine"


def test_output_path_through_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError) as error:
        check_out(tmp_path / "file" / "out")
    assert error.value.code is Code.STORAGE


def test_folder_under_one_of_our_names_is_refused(out):
    (out / "result.json").mkdir(parents=True)
    with pytest.raises(InputError) as error:
        check_out(out)
    assert error.value.code is Code.STORAGE


def test_missing_parents_are_made(tmp_path):
    write_prediction(make_prediction(), tmp_path / "a" / "b" / "out")
    assert (tmp_path / "a" / "b" / "out" / "result.json").is_file()


@pytest.mark.parametrize("failing", ["write_csv", "write_nifti", "thumbnail"])
@pytest.mark.parametrize("existing", [False, True], ids=["new folder", "earlier result"])
def test_full_disk_leaves_everything_as_it_was(tmp_path, monkeypatch, failing, existing):
    out = tmp_path / "a" / "out"
    if existing:
        write_prediction(make_crop_prediction(), out)
    before = contents(tmp_path)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(result_files, failing, full)
    with pytest.raises(InputError, match="No space left") as error:
        write_prediction(make_prediction(), out)
    assert error.value.code is Code.STORAGE
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == (["a"] if existing else [])
    assert not list(tmp_path.rglob(".lnn-med-*"))


def test_failure_while_files_are_exchanged_brings_the_old_ones_back(out, monkeypatch):
    write_prediction(make_crop_prediction(), out)
    before = contents(out)
    rename, calls = os.rename, []

    def breaks_later(origin, target):
        calls.append(target)
        if len(calls) == 11:  # seven old files went out, some new ones are in
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(origin, target)

    monkeypatch.setattr(result_files.os, "rename", breaks_later)
    with pytest.raises(InputError):
        write_prediction(make_prediction(), out)
    assert len(calls) > 11
    assert contents(out) == before


def test_interruption_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(prediction):
        raise KeyboardInterrupt

    monkeypatch.setattr(result_files, "thumbnail", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_prediction(make_prediction(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def tiny_disk(tmp_path):
    """A real file system of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a tmpfs is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_really_full_disk_is_refused_with_its_code(tiny_disk):
    rng = np.random.default_rng(0)
    made = make_prediction()
    noise = made.scan.with_data(rng.random(made.scan.shape, np.float32))  # does not compress into 64 kB
    crowded = replace(made, maps={**made.maps, "uncertainty.nii.gz": noise})
    with pytest.raises(InputError) as error:
        write_prediction(crowded, tiny_disk / "out")
    assert error.value.code is Code.STORAGE
    assert not list(tiny_disk.iterdir())


def test_existing_folder_on_another_disk_is_filled(tiny_disk):
    """A container's output folder is a mount point: nothing may be renamed across it."""
    assert "result.json" in write_prediction(
        replace(make_crop_prediction(), maps={}, label_names={}), tiny_disk
    )
    assert (tiny_disk / "result.json").is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_refused(out):
    out.mkdir()
    out.chmod(0o500)
    with pytest.raises(InputError) as error:
        check_out(out)
    assert error.value.code is Code.STORAGE


def test_burned_in_text_gets_no_picture(out):
    finding = Finding(WarningCode.PHI_PIXELS, "The header says that text is burned into the image.")
    assert "thumbnail.png" not in write_prediction(make_prediction(findings=(finding,)), out)


def test_patient_data_reaches_no_file_and_no_name(out):
    write_prediction(make_prediction(), out)
    for path in out.iterdir():
        content = path.read_bytes()
        if path.name.endswith(".gz"):
            content += nibabel.load(path).header.binaryblock
        for secret in (CANARY, CANARY_ID):
            assert secret.encode() not in content
            assert secret not in path.name
