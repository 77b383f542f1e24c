"""Provenance: what ran on what, complete, and without the patient."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pydicom
import pytest

from lnn_med.errors import Code, InputError
from lnn_med.inference.bundle_files import list_bundles
from lnn_med.inference.classifier_bundle import load_any
from lnn_med.io import provenance, read
from lnn_med.io.nifti import write_nifti
from lnn_med.io.provenance import (
    PROVENANCE,
    Execution,
    check_locked,
    geometry_sha256,
    mark_unlocked,
    pixels_sha256,
    shipped_weights,
)
from lnn_med.io.result_files import write_prediction
from tests.dicom_factory import PATIENT, PATIENT_ID
from tests.dicom_results import predicted, read_slices, tiny_phantom
from tests.phantoms import mirrored, reordered
from tests.predictions import make_prediction

BEGAN = datetime(2024, 5, 6, 14, 30, tzinfo=timezone(timedelta(hours=2)))
EXECUTION = Execution(
    started_utc=BEGAN,
    ended_utc=BEGAN + timedelta(seconds=9.5),
    device="cpu",
    seed=7,
    configuration={"depth": "auto", "bundles": {"brain-t1": "ab"}},
)


@pytest.fixture
def written(tmp_path):
    scan = read_slices(tiny_phantom(), tmp_path / "in")
    names = write_prediction(predicted(scan, "review"), tmp_path / "out", EXECUTION)
    return names, json.loads((tmp_path / "out" / PROVENANCE).read_text())


def test_every_output_is_listed_with_its_hash(written, tmp_path):
    names, record = written
    assert set(record["outputs"]) == set(names) - {PROVENANCE}
    for name, sha256 in record["outputs"].items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == sha256


def test_every_image_is_listed_with_uid_hash_and_syntax(written, tmp_path):
    _, record = written
    expected = {}
    for path in (tmp_path / "in").iterdir():
        file = pydicom.dcmread(path)
        expected[file.SOPInstanceUID] = (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            file.file_meta.TransferSyntaxUID,
        )
    images = record["input"]["images"]
    assert {
        one["sop_instance_uid"]: (one["sha256"], one["transfer_syntax_uid"]) for one in images
    } == expected
    assert record["input"]["study_instance_uid"] == "1.2.3.4.5"
    assert record["input"]["series_instance_uid"] == "1.2.3.4.5.1"


def test_models_software_run_and_quality_are_told(written):
    _, record = written
    assert [used["locked"] for used in record["models"]] == [False, False]
    assert record["software"]["packages"].keys() >= {"lnn-med", "torch", "pydicom", "numpy"}
    run = record["execution"]
    assert (run["started_utc"], run["ended_utc"]) == (
        "2024-05-06T12:30:00.000+00:00",
        "2024-05-06T12:30:09.500+00:00",
    )
    assert (run["device"], run["seed"], len(run["configuration_sha256"])) == ("cpu", 7, 64)
    assert record["qc"] == {"status": "review", "reasons": ["The field of view is cut."]}


def test_no_patient_data_beyond_uids(written):
    _, record = written
    text = json.dumps(record)
    for secret in (PATIENT, PATIENT_ID, "19500101", "20200101", '"F"'):
        assert secret not in text


def test_what_nobody_tells_is_null(tmp_path):
    write_prediction(make_prediction(), tmp_path / "out")
    record = json.loads((tmp_path / "out" / PROVENANCE).read_text())
    assert set(record["execution"].values()) == {None}


def test_geometry_hash_is_that_of_the_grid():
    volume = tiny_phantom()
    moved = volume.affine.copy()
    moved[0, 3] += 0.01
    assert geometry_sha256(volume) == geometry_sha256(volume.with_data(volume.data * 0))
    assert geometry_sha256(volume) != geometry_sha256(replace(volume, affine=moved))
    noisy = volume.affine + 1e-9
    noisy[3] = volume.affine[3]
    assert geometry_sha256(volume) == geometry_sha256(replace(volume, affine=noisy))


@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_pixel_hash_is_that_of_the_image_whatever_its_axes_and_its_file(tmp_path, kind):
    volume = tiny_phantom()
    volume = volume.with_data(np.round(volume.data).astype(kind))
    expected = pixels_sha256(volume)
    for codes in ("LPS", "SAR", "PIR"):
        assert pixels_sha256(reordered(volume, codes)) == expected
    write_nifti(volume, tmp_path / "scan.nii.gz")
    assert pixels_sha256(read(tmp_path / "scan.nii.gz")) == expected
    assert pixels_sha256(mirrored(volume)) != expected
    other = volume.data.copy()
    other[1, 2, 3] += 1
    assert pixels_sha256(volume.with_data(other)) != expected


def test_weights_of_the_shipped_bundles_are_known():
    assert shipped_weights() == {load_any(name).weights_sha256 for name in list_bundles()}


def test_unknown_weights_are_refused_unless_allowed():
    models = [("mine", "0" * 64), ("brain-t1", "1" * 64)]
    with pytest.raises(InputError, match="mine") as error:
        check_locked(models, allow_unlocked=False, known={"1" * 64})
    assert error.value.code is Code.MODEL
    assert "brain-t1" not in str(error.value)
    check_locked(models, allow_unlocked=True, known={"1" * 64})
    check_locked(models[1:], allow_unlocked=False, known={"1" * 64})


def test_unknown_weights_mark_the_version_in_every_output():
    made = make_prediction()
    known = {made.models[1].weights_sha256}
    marked = mark_unlocked(mark_unlocked(made, known), known)
    assert [used.version for used in marked.models] == ["1.0.0+unlocked", "1.0.0"]


def test_commit_is_a_hash_or_unknown(monkeypatch, tmp_path):
    provenance.commit.cache_clear()
    found = provenance.commit()
    assert found is None or len(found.removesuffix("-dirty")) == 40
    provenance.commit.cache_clear()
    monkeypatch.setattr(provenance, "PACKAGE_FOLDER", tmp_path / "site-packages" / "lnn_med")
    assert provenance.commit() is None
    provenance.commit.cache_clear()


def test_times_are_utc():
    assert BEGAN.astimezone(UTC).hour == 12
