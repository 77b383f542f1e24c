"""What is found in a folder, and what is left out, said so."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from lnn_med.errors import Code, InputError
from lnn_med.scoring.manifest import build_manifest, read_manifest, write_manifest
from tests.dicom_factory import OTHER_UID, SERIES_UID, save_all, slices, small_phantom
from tests.scoring.fakes import write_head


def cases_of(folder: Path) -> list[str]:
    return [scan.case for scan in build_manifest(folder).scans]


def skipped_of(folder: Path) -> dict[str, str]:
    return {entry.path: entry.code for entry in build_manifest(folder).skipped}


def test_nifti_files_are_found_in_any_layout_with_size_and_hash(tmp_path: Path) -> None:
    first = write_head(tmp_path / "sub-01_T1w.nii.gz")
    write_head(tmp_path / "sub-02" / "anat" / "sub-02_T1w.nii", 1)
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-01\n")
    (tmp_path / "._sub-01_T1w.nii.gz").write_bytes(b"resource fork")
    scans = build_manifest(tmp_path).scans
    assert [scan.case for scan in scans] == ["sub-01_T1w", "sub-02_anat_sub-02_T1w"]
    assert scans[0].sha256 == hashlib.sha256(first.read_bytes()).hexdigest()
    assert scans[0].bytes == first.stat().st_size
    assert scans[1].path == "sub-02/anat/sub-02_T1w.nii"


def test_manifest_is_read_back_as_written(tmp_path: Path) -> None:
    write_head(tmp_path / "in" / "a.nii.gz")
    write_head(tmp_path / "in" / os.fsdecode(b"caf\xe9.nii"))
    scans = build_manifest(tmp_path / "in").scans
    write_manifest(tmp_path, scans)
    assert read_manifest(tmp_path) == list(scans)


def test_each_t1_series_of_a_dicom_dump_is_a_scan(tmp_path: Path) -> None:
    head = small_phantom()
    save_all(slices(head), tmp_path / "patient1")
    save_all(slices(head, SeriesInstanceUID=OTHER_UID), tmp_path / "patient2" / "deep")
    t2 = slices(head, SeriesInstanceUID="1.2.3.9", SeriesDescription="t2_tse")
    save_all(t2, tmp_path / "patient2" / "t2")
    manifest = build_manifest(tmp_path)
    assert {scan.series_uid for scan in manifest.scans} == {SERIES_UID, OTHER_UID}
    assert {scan.path for scan in manifest.scans} == {"patient1", "patient2/deep"}
    assert all(len(scan.files) == head.shape[2] and scan.sha256 for scan in manifest.scans)
    assert [(entry.path, entry.code) for entry in manifest.skipped] == [("patient2/t2", "W_MODALITY")]


def test_two_series_in_one_folder_and_one_series_in_two_are_grouped_by_uid(tmp_path: Path) -> None:
    head = small_phantom()
    both = [*slices(head), *slices(head, SeriesInstanceUID=OTHER_UID)]
    save_all(both[::2], tmp_path / "one")
    save_all(both[1::2], tmp_path / "two")
    scans = build_manifest(tmp_path).scans
    assert [len(scan.files) for scan in scans] == [head.shape[2]] * 2
    assert {scan.path for scan in scans} == {"."}


def test_a_series_copied_into_two_folders_is_two_scans(tmp_path: Path) -> None:
    save_all(slices(small_phantom()), tmp_path / "once")
    shutil.copytree(tmp_path / "once", tmp_path / "again")
    scans = build_manifest(tmp_path).scans
    assert [scan.path for scan in sorted(scans, key=lambda scan: scan.path)] == ["again", "once"]
    assert len({scan.case for scan in scans}) == 2


def test_an_empty_slice_goes_to_the_only_series_beside_it(tmp_path: Path) -> None:
    save_all(slices(small_phantom()), tmp_path / "patient")
    (tmp_path / "patient" / "zzz.dcm").write_bytes(b"")
    (scan,) = build_manifest(tmp_path).scans
    assert "patient/zzz.dcm" in scan.files


def test_broken_files_named_like_scans_are_listed_so_that_they_fail(tmp_path: Path) -> None:
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "text.dcm").write_text("no scan")
    scans = build_manifest(tmp_path).scans
    assert {scan.path for scan in scans} == {"empty.nii.gz", "empty.dcm", "text.dcm"}
    assert len({scan.case for scan in scans}) == 3
    assert next(scan for scan in scans if scan.kind == "nifti").sha256 is None


def test_a_zip_is_a_scan(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.writestr("a.dcm", b"")
    (scan,) = build_manifest(tmp_path).scans
    assert (scan.case, scan.kind) == ("study", "zip")


def test_odd_file_types_are_skipped_with_a_warning(tmp_path: Path) -> None:
    write_head(tmp_path / "good.nii.gz")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    (tmp_path / "dangling.nii").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    write_head(tmp_path / "folder.nii" / "inner.nii")
    assert cases_of(tmp_path) == ["good"]
    manifest = build_manifest(tmp_path)
    assert {entry.code for entry in manifest.skipped} == {"W_FILETYPE"}
    told = " ".join(entry.message for entry in manifest.skipped)
    assert "pipe" in told
    assert "link" in told
    assert "named like an image" in told


def test_other_bids_contrasts_labels_and_derivatives_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text("{}")
    write_head(tmp_path / "sub-01" / "anat" / "sub-01_ses-1_T1w.nii.gz")
    write_head(tmp_path / "sub-01" / "anat" / "sub-01_ses-1_FLAIR.nii.gz")
    write_head(tmp_path / "derivatives" / "prep" / "sub-01_ses-1_T1w.nii.gz")
    write_head(tmp_path / "labelsTr" / "x.nii.gz")
    assert cases_of(tmp_path) == ["sub-01_anat_sub-01_ses-1_T1w"]
    assert skipped_of(tmp_path) == {
        "sub-01/anat/sub-01_ses-1_FLAIR.nii.gz": "W_MODALITY",
        "derivatives/prep": "W_FILETYPE",
        "labelsTr": "W_FILETYPE",
    }


def test_results_of_earlier_runs_are_no_input(tmp_path: Path) -> None:
    write_head(tmp_path / "good.nii.gz")
    write_head(tmp_path / "run" / "cases" / "good" / "segmentation.nii.gz")
    (tmp_path / "run" / "run.json").write_text("{}")
    write_head(tmp_path / "single" / "segmentation.nii.gz")
    (tmp_path / "single" / "result.json").write_text("{}")
    assert cases_of(tmp_path) == ["good"]


def test_folders_without_scans_are_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(InputError) as caught:
        build_manifest(tmp_path)
    assert caught.value.code is Code.FORMAT
    with pytest.raises(InputError) as caught:
        build_manifest(tmp_path / "nowhere")
    assert caught.value.code is Code.NOTFOUND
