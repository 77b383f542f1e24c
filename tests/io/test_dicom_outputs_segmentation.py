"""Segmentations come back voxel by voxel, whatever the source; left stays left."""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest

from lnn_med import geometry
from lnn_med.io.dicom_outputs import write_outputs
from lnn_med.io.dicom_segmentation import write_segmentation
from lnn_med.io.dicom_series import read_series
from lnn_med.prediction import HIPPOCAMPUS, SEGMENTATION
from tests.dicom_factory import SERIES_UID, enhanced, mosaic, save, save_all, slices, small_phantom
from tests.dicom_results import (
    FINE,
    NAMES,
    check,
    frames,
    labelled,
    on_grid,
    points_mm,
    predicted,
    read_slices,
    shared,
    sorted_rows,
    tiny_phantom,
)
from tests.phantoms import MARKER, reordered


def enhanced_scan(folder):
    """Multi-frame, its frames in an order that is not that of the slices."""
    return read_series(save(enhanced(tiny_phantom(), order=[3, 0, 6, 1, 5, 2, 4]), folder / "one.dcm"))


def mosaic_scan(folder):
    return read_series(save(mosaic(tiny_phantom()), folder / "one.dcm"))


def reversed_scan(folder):
    """The first file is the last slice."""
    return read_series(save_all(reversed(slices(tiny_phantom())), folder))


def upright_scan(folder):
    """640 pixels: whole bytes."""
    return read_slices(small_phantom((32, 20, 5)), folder)


SOURCES = {
    "single-frame, oblique": lambda folder: read_slices(tiny_phantom(), folder),
    "slices reversed": reversed_scan,
    "enhanced multi-frame, frames shuffled": enhanced_scan,
    "Siemens mosaic": mosaic_scan,
    "frames of whole bytes": upright_scan,
}


@pytest.mark.parametrize("codes", geometry.all_orientations())
def test_voxels_come_back_at_their_place_in_the_patient(codes, tmp_path):
    """Against the phantom itself, before it became DICOM: no mistake of our reader can hide."""
    original = reordered(tiny_phantom(), codes)
    scan = read_slices(original, tmp_path / "in")
    write_segmentation(shared(predicted(scan)), SEGMENTATION, tmp_path / "seg.dcm")
    found = points_mm(tmp_path / "seg.dcm")
    for label, name in ((1, "Hippocampus_L"), (2, "Hippocampus_R")):
        expected = geometry.voxel_to_mm(original.affine, np.argwhere(labelled(original.data) == label))
        np.testing.assert_allclose(sorted_rows(found[name]), sorted_rows(expected), atol=2e-3)


@pytest.mark.parametrize("source", SOURCES)
def test_segments_equal_the_labels_voxel_by_voxel(source, tmp_path):
    scan = SOURCES[source](tmp_path / "in")
    prediction = predicted(scan)
    write_outputs(shared(prediction), tmp_path, None)
    for name, table in ((SEGMENTATION, NAMES), (HIPPOCAMPUS, FINE)):
        path = tmp_path / f"{name.partition('.')[0]}.dcm"
        found = on_grid(path, scan)
        for label, structure in table.items():
            expected = prediction.maps[name].data == label
            assert np.array_equal(found.get(structure, np.zeros(scan.shape, bool)), expected), structure
        check(path)


@pytest.mark.parametrize("source", SOURCES)
def test_each_frame_refers_to_the_image_of_its_slice(source, tmp_path):
    scan = SOURCES[source](tmp_path / "in")
    write_segmentation(shared(predicted(scan)), SEGMENTATION, tmp_path / "seg.dcm")
    places = places_of_images(tmp_path / "in")
    for _, group, _, _ in frames(tmp_path / "seg.dcm"):
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        referred = places[image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber")]
        if referred is not None:
            at = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
            np.testing.assert_allclose(at, referred, atol=1e-3)


def places_of_images(folder):
    """(SOPInstanceUID, frame number) to ImagePositionPatient; None for a mosaic: its tiles have no number."""
    places = {}
    for path in folder.iterdir():
        file = pydicom.dcmread(path, stop_before_pixels=True)
        if "PerFrameFunctionalGroupsSequence" in file:
            for number, group in enumerate(file.PerFrameFunctionalGroupsSequence, start=1):
                place = group.PlanePositionSequence[0].ImagePositionPatient
                places[file.SOPInstanceUID, number] = np.array(place, float)
        else:
            tiled = "MOSAIC" in file.ImageType
            place = None if tiled else np.array(file.ImagePositionPatient, float)
            places[file.SOPInstanceUID, None] = place
    return places


def test_another_library_reads_the_same_labels(tmp_path):
    scan = read_slices(tiny_phantom(), tmp_path / "in")
    prediction = predicted(scan)
    write_segmentation(shared(prediction), SEGMENTATION, tmp_path / "seg.dcm")
    theirs = hd.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    for label in (1, 2):
        expected = geometry.voxel_to_mm(scan.affine, np.argwhere(prediction.maps[SEGMENTATION].data == label))
        found = geometry.voxel_to_mm(to_ras @ theirs.affine, np.argwhere(theirs.array == label))
        np.testing.assert_allclose(sorted_rows(found), sorted_rows(expected), atol=2e-3)


def test_header_names_the_series_and_every_image_of_it(tmp_path):
    scan = read_slices(tiny_phantom(), tmp_path / "in", FrameOfReferenceUID="1.2.3.99")
    write_segmentation(shared(predicted(scan)), SEGMENTATION, tmp_path / "seg.dcm")
    file = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (file.StudyInstanceUID, file.FrameOfReferenceUID) == ("1.2.3.4.5", "1.2.3.99")
    assert file.PatientID == "99887766"
    (series,) = file.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == SERIES_UID
    uids = {pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "in").iterdir()}
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == uids
    assert file.SegmentationType == "BINARY"


def test_segments_say_structure_side_and_algorithm(tmp_path):
    scan = read_slices(tiny_phantom(), tmp_path / "in")
    write_outputs(shared(predicted(scan)), tmp_path, None)
    left, right, middle = pydicom.dcmread(tmp_path / "segmentation.dcm").SegmentSequence
    rows = (
        (left, "5366008", ["7771000"], "left hippocampus"),
        (right, "5366008", ["24028007"], "right hippocampus"),
        (middle, "35918002", [], "4th ventricle: no side, no voxels"),
        (
            pydicom.dcmread(tmp_path / "hippocampus.dcm").SegmentSequence[0],
            "5366008",
            ["7771000", "255549009"],
            "",
        ),
    )
    for segment, structure, modifiers, remark in rows:
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        assert (kind.CodeValue, kind.CodingSchemeDesignator) == (structure, "SCT"), remark
        found = [item.CodeValue for item in kind.get("SegmentedPropertyTypeModifierCodeSequence", ())]
        assert found == modifiers, remark
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
    identified = left.SegmentationAlgorithmIdentificationSequence[0]
    assert (identified.AlgorithmName, identified.AlgorithmVersion) == ("brain-t1", "1.0.0")
    assert "ab12cd34" in identified.AlgorithmParameters


def test_label_without_voxels_is_a_segment_without_frames(tmp_path):
    scan = read_slices(tiny_phantom(), tmp_path / "in")
    write_segmentation(shared(predicted(scan)), SEGMENTATION, tmp_path / "seg.dcm")
    assert [item.SegmentLabel for item in pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence] == list(
        NAMES.values()
    )
    assert set(points_mm(tmp_path / "seg.dcm")) == {"Hippocampus_L", "Hippocampus_R"}


def test_empty_label_map_is_one_blank_frame_for_each_segment(tmp_path):
    scan = read_slices(tiny_phantom(), tmp_path / "in")
    made = predicted(scan)
    empty = replace(made, maps={SEGMENTATION: scan.with_data(np.zeros(scan.shape, np.uint8))})
    write_segmentation(shared(empty), SEGMENTATION, tmp_path / "seg.dcm")
    assert {name: len(at) for name, at in points_mm(tmp_path / "seg.dcm").items()} == dict.fromkeys(
        NAMES.values(), 0
    )
    check(tmp_path / "seg.dcm")


def test_lone_segment_and_labels_with_gaps_are_numbered_without_gaps(tmp_path):
    scan = read_slices(tiny_phantom(), tmp_path / "in")
    made = predicted(scan)
    wide = scan.with_data((made.maps[SEGMENTATION].data * 7).astype(np.uint8))
    for table in ({7: "Hippocampus_L", 14: "BrainStem"}, {7: "Hippocampus_L"}):
        prediction = replace(made, maps={SEGMENTATION: wide}, label_names={SEGMENTATION: table})
        written = write_segmentation(shared(prediction), SEGMENTATION, tmp_path / "seg.dcm")
        assert list(written.numbers.values()) == list(range(1, len(table) + 1))
        found = on_grid(tmp_path / "seg.dcm", scan)
        for label, name in table.items():
            assert np.array_equal(found[name], wide.data == label)
        check(tmp_path / "seg.dcm")


def test_marker_of_the_patients_left_is_labelled_left(tmp_path):
    """The phantom's marker lies left of the middle of the head, along the tilted axes of the scan."""
    scan = read_slices(tiny_phantom(), tmp_path / "in")
    write_segmentation(shared(predicted(scan)), SEGMENTATION, tmp_path / "seg.dcm")
    left = points_mm(tmp_path / "seg.dcm")["Hippocampus_L"].mean(axis=0)
    assert left[0] < geometry.centre_mm(scan.affine, scan.shape)[0] - 5
    assert (scan.data == MARKER).any()
