"""Report, picture, maps, document: valid DICOM, the digits of JSON, the patient nowhere else."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest
from PIL import Image

from lnn_med.errors import Code, Finding, InputError, WarningCode
from lnn_med.io.dicom_capture import laterality
from lnn_med.io.dicom_codes import own_code
from lnn_med.io.dicom_outputs import OWNED, write_maps, write_outputs, write_pdf
from lnn_med.io.dicom_series import read_series
from lnn_med.io.result_files import Extras, write_prediction
from lnn_med.io.result_record import result_record
from lnn_med.io.thumbnail import thumbnail
from lnn_med.prediction import DEPTH, EVIDENCE, SEGMENTATION, UNCERTAINTY
from tests.classified import REASON, abstained, answered
from tests.dicom_factory import PATIENT, PATIENT_ID, enhanced, mosaic, save_all, slices
from tests.dicom_results import check, content, predicted, read_slices, shared, tiny_phantom
from tests.phantoms import mirrored

PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF"
NOON = datetime(2024, 5, 6, 12, 30, 15, tzinfo=UTC)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return read_slices(tiny_phantom(), tmp_path_factory.mktemp("series"))


@pytest.fixture(scope="module")
def folder(scan, tmp_path_factory):
    """Everything that can be written of one prediction."""
    out = tmp_path_factory.mktemp("outputs")
    made = with_evidence(predicted(scan))
    both = shared(made)
    write_outputs(both, out, thumbnail(made))
    write_maps(both, out)
    write_pdf(both, PDF, out)
    return out


def with_evidence(made):
    """The same with a map that has both signs."""
    values = (made.scan.data / 4096 - 0.2).astype(np.float32)
    return replace(made, maps={**made.maps, EVIDENCE: made.scan.with_data(values)})


def numbers(report):
    """(structure or measure, concept) to the number as it stands in the file."""
    found = {}
    for group in content(report):
        items = list(group.get("ContentSequence", ()))
        tracked = [item.TextValue for item in items if code_of(item) == "112039" and item.ValueType == "TEXT"]
        for item in items:
            if item.ValueType == "NUM" and tracked:
                value = item.MeasuredValueSequence[0]
                unit = value.MeasurementUnitsCodeSequence[0].CodeValue
                found[tracked[0], code_of(item)] = (str(value.NumericValue), unit)
    return found


def code_of(item):
    return item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else ""


@pytest.mark.parametrize("name", [*OWNED, "depth.dcm", "uncertainty.dcm", "evidence.dcm", "report.dcm"])
def test_every_file_is_valid_dicom(name, folder):
    check(folder / name)


@pytest.mark.parametrize("status", ["review", "fail"])
def test_report_after_review_and_fail_is_valid_dicom(status, scan, tmp_path):
    write_outputs(shared(predicted(scan, status)), tmp_path, None)
    check(tmp_path / "measurements.dcm")


def test_report_has_the_digits_of_json(scan, folder):
    record = json.loads(json.dumps(result_record(predicted(scan))), parse_float=str)
    found = numbers(pydicom.dcmread(folder / "measurements.dcm"))
    for entry in record["structures"]:
        name = entry["name"]
        low, high = entry["interval_mm3"]
        assert found[name, "118565006"] == (entry["volume_mm3"], "mm3")
        assert found[name, "INTERVAL_LOW"] == (low, "mm3")
        assert found[name, "INTERVAL_HIGH"] == (high, "mm3")
        assert found[name, "INTERVAL_COVERAG"] == (entry["coverage"], "1")
    assert found["icv_mm3", "118565006"] == (record["derived"]["icv_mm3"], "mm3")
    percent = own_code("hippocampus_asymmetry_pct").value
    expected = record["derived"]["hippocampus_asymmetry_pct"], "%"
    assert found["hippocampus_asymmetry_pct", percent] == expected
    (told,) = record["classification"]
    for key in ("probability", "coverage"):
        assert found["dementia", own_code(f"dementia_{key}").value] == (told[key], "1")
    assert len(found) == 4 * len(record["structures"]) + 2 + 2  # a derived number that is None is left out


def test_classification_is_no_finding(folder):
    """A viewer that lists findings must not list dementia because a probability was given."""
    (group,) = (
        item
        for item in content(pydicom.dcmread(folder / "measurements.dcm"))
        if any(getattr(child, "TextValue", "") == "dementia" for child in item.get("ContentSequence", ()))
    )
    items = list(group.ContentSequence)
    assert not [item for item in items if code_of(item) == "121071"]  # "Finding"
    texts = [item.TextValue for item in items if item.ValueType == "TEXT"]
    assert "Prediction set: no" in texts
    assert "Output of a model for research; no diagnosis." in texts


def report_of(scan, entries, out, status="pass"):
    made = predicted(scan, status)
    derived = {**made.derived, "brain_age_years": 71.26}
    write_outputs(shared(replace(made, classification=entries, derived=derived)), out, None)
    check(out / "measurements.dcm")
    return pydicom.dcmread(out / "measurements.dcm")


def test_both_models_and_the_brain_s_age_are_in_the_report_and_none_is_a_finding(scan, tmp_path):
    report = report_of(scan, answered(), tmp_path)
    found = numbers(report)
    for target, probability in (("dementia", "0.3422"), ("dementia_network", "0.41")):
        told = {code: value for (name, code), value in found.items() if name == target}
        assert told == {
            own_code(f"{target}_probability").value: (probability, "1"),
            own_code(f"{target}_coverage").value: ("0.9", "1"),
        }
    assert found["brain_age_years", own_code("brain_age_years").value] == ("71.3", "a")
    texts = [item.TextValue for item in content(report) if item.ValueType == "TEXT"]
    assert "Prediction set: no dementia, dementia" in texts
    assert "Known of the person: age, sex." in texts
    assert any(text.startswith("188 people held back, 80 with dementia: AUC 0.87") for text in texts)
    findings = {
        item.ConceptCodeSequence[0].CodeMeaning for item in content(report) if code_of(item) == "121071"
    }
    assert not [meaning for meaning in findings if "dementia" in meaning.lower()]


def test_an_abstained_answer_gives_its_reason_and_no_number(scan, tmp_path):
    report = report_of(scan, abstained(), tmp_path)
    assert not [name for name, _ in numbers(report) if name.startswith("dementia")]
    texts = [item.TextValue for item in content(report) if item.ValueType == "TEXT"]
    assert texts.count(f"No answer: {REASON}") == 2
    assert not [text for text in texts if text.startswith("Prediction set")]


def test_maps_and_page_are_written_when_they_are_asked_for(scan, tmp_path):
    pytest.importorskip("typst")
    made, extras = predicted(scan), Extras(dicom_maps=True, pdf=True, facts={"age": 71.0, "sex": "F"})
    names = write_prediction(made, tmp_path / "out", extras=extras)
    assert {"depth.dcm", "uncertainty.dcm", "report.pdf", "report.dcm"} <= set(names)
    document = pydicom.dcmread(tmp_path / "out" / "report.dcm")
    pdf = (tmp_path / "out" / "report.pdf").read_bytes()
    assert document.EncapsulatedDocument[: document.EncapsulatedDocumentLength] == pdf
    check(tmp_path / "out" / "report.dcm")
    listed = json.loads((tmp_path / "out" / "provenance.json").read_text())["outputs"]
    assert set(listed) == set(names) - {"provenance.json"}
    again = write_prediction(made, tmp_path / "out")  # without them: no stale ones stay
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(again)
    assert "report.pdf" not in again


def test_report_refers_to_the_segment_of_each_structure(folder):
    segmentations = {}
    for name in ("segmentation.dcm", "hippocampus.dcm"):
        file = pydicom.dcmread(folder / name)
        for segment in file.SegmentSequence:
            segmentations[segment.SegmentLabel] = file.SOPInstanceUID, segment.SegmentNumber
    referred = {}
    report = pydicom.dcmread(folder / "measurements.dcm")
    for group in content(report):
        items = list(group.get("ContentSequence", ()))
        names = [item.TextValue for item in items if code_of(item) == "112039" and item.ValueType == "TEXT"]
        for item in items:
            if item.ValueType == "IMAGE":
                reference = item.ReferencedSOPSequence[0]
                number = reference.ReferencedSegmentNumber
                referred[names[0]] = reference.ReferencedSOPInstanceUID, number
    assert referred == segmentations
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    listed = {item.ReferencedSOPInstanceUID for series in evidence for item in series.ReferencedSOPSequence}
    assert {uid for uid, _ in segmentations.values()} <= listed
    assert len(listed) == 7 + 2  # the images of the series, too


def test_failed_scan_has_a_reason_and_no_numbers(scan, tmp_path):
    write_outputs(shared(predicted(scan, "fail")), tmp_path, None)
    items = list(content(pydicom.dcmread(tmp_path / "measurements.dcm")))
    assert not [item for item in items if item.ValueType == "NUM"]
    texts = [item.TextValue for item in items if item.ValueType == "TEXT"]
    assert {"QC FAIL", "The field of view is cut."} <= set(texts)
    outcomes = [item.ConceptCodeSequence[0].CodeValue for item in items if code_of(item) == "111050"]
    assert outcomes == ["111235"]


def test_report_and_picture_say_research_use(folder):
    texts = [
        item.TextValue
        for item in content(pydicom.dcmread(folder / "measurements.dcm"))
        if item.ValueType == "TEXT"
    ]
    assert "Research use only: not a medical device." in texts
    for name in OWNED:
        assert (
            "research use only" in pydicom.dcmread(folder / name, stop_before_pixels=True).SeriesDescription
        )


def test_picture_is_the_thumbnail_and_names_its_sides(scan, folder):
    made = predicted(scan)
    file = pydicom.dcmread(folder / "key_image.dcm")
    drawn = np.asarray(Image.open(io.BytesIO(thumbnail(made))).convert("RGB"))
    assert np.array_equal(file.pixel_array, drawn)
    assert (file.ImageLaterality, file.RecognizableVisualFeatures) == ("B", "NO")
    rows = ((1, "L", "left alone"), (2, "R", "right alone"), (0, "U", "nothing found"))
    for label, expected, remark in rows:
        data = made.maps[SEGMENTATION].data
        kept = scan.with_data(np.where(data == label, data, 0).astype(np.uint8))
        lone = replace(made, maps={SEGMENTATION: kept})
        assert laterality(shared(lone)) == expected, remark


def test_maps_keep_their_values_at_their_place(scan, folder):
    made = with_evidence(predicted(scan))
    for name in (DEPTH, UNCERTAINTY, EVIDENCE):
        file = pydicom.dcmread(folder / f"{name.partition('.')[0]}.dcm")
        values = np.frombuffer(file.FloatPixelData, "<f4").reshape(-1, file.Rows, file.Columns)
        heights = [
            float(group.PlanePositionSequence[0].ImagePositionPatient[2])
            for group in file.PerFrameFunctionalGroupsSequence
        ]
        upwards = values[np.argsort(heights)]  # as the slices of the scan are ordered
        assert np.array_equal(upwards.transpose(2, 1, 0), made.maps[name].data.astype(np.float32))
        images = {
            group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            for group in file.PerFrameFunctionalGroupsSequence
        }
        assert len(images) == 7


def test_document_holds_the_pdf_byte_for_byte(scan, folder, tmp_path):
    file = pydicom.dcmread(folder / "report.dcm")
    assert file.EncapsulatedDocument[: file.EncapsulatedDocumentLength] == PDF
    with pytest.raises(InputError) as error:
        write_pdf(shared(predicted(scan)), b"<html>", tmp_path)
    assert error.value.code is Code.FORMAT
    assert not list(tmp_path.iterdir())


def test_folder_of_a_dicom_scan_has_dicom_files_and_the_same_bytes_twice(scan, tmp_path):
    made = predicted(scan)
    names = write_prediction(made, tmp_path / "one")
    write_prediction(made, tmp_path / "two")
    assert {"segmentation.dcm", "hippocampus.dcm", "measurements.dcm", "key_image.dcm"} <= set(names)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_burned_in_text_gets_no_key_image(scan, tmp_path):
    finding = Finding(WarningCode.PHI_PIXELS, "BurnedInAnnotation is YES.")
    names = write_prediction(replace(predicted(scan), findings=(finding,)), tmp_path / "out")
    assert "key_image.dcm" not in names
    assert "measurements.dcm" in names


def test_equal_uids_mean_equal_content(scan):
    made = predicted(scan)
    one = shared(made)
    moved = replace(made, maps={**made.maps, SEGMENTATION: mirrored(made.maps[SEGMENTATION])})
    other_weights = replace(made, models=(replace(made.models[0], weights_sha256="0" * 64),))
    assert shared(made).uid("SEG") == one.uid("SEG")
    different = [shared(changed).uid("SEG") for changed in (moved, other_weights)]
    assert len({one.uid("SEG"), *different}) == 3


def test_time_that_is_passed_in_is_the_time_of_the_files(scan, tmp_path):
    write_outputs(shared(predicted(scan), when=NOON), tmp_path, None)
    for name in ("segmentation.dcm", "measurements.dcm"):
        file = pydicom.dcmread(tmp_path / name, stop_before_pixels=True)
        assert (file.ContentDate, file.ContentTime) == ("20240506", "123015")


SOURCES = {
    "enhanced": lambda: [enhanced(tiny_phantom())],
    "mosaic": lambda: [mosaic(tiny_phantom())],
    "lossy": lambda: slices(tiny_phantom(), LossyImageCompression="01", LossyImageCompressionRatio="10"),
    "no dates, no patient": lambda: slices(
        tiny_phantom(), StudyDate=None, StudyTime=None, PatientName=None, PatientID=None, PatientSex=None
    ),
}
HOSTILE = {
    "PatientName": "<img onerror=x>^../../etc^^^=a=b=c=d",
    "PatientID": "../../../tmp/x; rm -rf \x07",
    "PatientSex": "female",
    "PatientBirthDate": "yesterday",
    "StudyDate": "2020-01-01",
    "StudyTime": "late",
    "StudyID": "A" * 200,
    "AccessionNumber": "../..",
    "StudyDescription": "ZZ\\YY",
    "SpecificCharacterSet": "ISO_IR 999",
}


@pytest.mark.parametrize("source", SOURCES)
def test_report_and_picture_of_odd_sources_are_valid(source, tmp_path):
    scan = read_series(save_all(SOURCES[source](), tmp_path / "in"))
    made = predicted(scan)
    write_outputs(shared(made), tmp_path, thumbnail(made))
    for name in OWNED:
        check(tmp_path / name)


def test_hostile_header_becomes_no_path_and_stops_nothing(tmp_path):
    scan = read_series(save_all(slices(tiny_phantom(), **HOSTILE), tmp_path / "in"))
    made = predicted(scan)
    names = write_prediction(made, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("in", "out")] == []
    file = pydicom.dcmread(tmp_path / "out" / "segmentation.dcm", stop_before_pixels=True)
    assert file.StudyDate in ("", None)
    assert file.PatientID.startswith(
        "../../../tmp/x"
    )  # carried over: it is how the archive knows the patient


def test_name_in_another_alphabet_is_carried_over(tmp_path):
    headers = slices(tiny_phantom(), SpecificCharacterSet="ISO_IR 144", PatientName="Люкceмбypг")
    scan = read_series(save_all(headers, tmp_path / "in"))
    write_outputs(shared(predicted(scan)), tmp_path, None)
    file = pydicom.dcmread(tmp_path / "measurements.dcm")
    assert (file.SpecificCharacterSet, str(file.PatientName)) == ("ISO_IR 192", "Люкceмбypг")


BAD_UIDS = (
    ("StudyInstanceUID", "../../etc/passwd", "a path as the study's UID"),
    ("StudyInstanceUID", "", "no study"),
    ("SOPInstanceUID", "image one", "images that cannot be referred to"),
)


@pytest.mark.parametrize(("keyword", "value", "remark"), BAD_UIDS)
def test_scan_without_usable_uids_gets_no_dicom_files_and_a_warning(keyword, value, remark, tmp_path):
    folder = save_all(slices(tiny_phantom()), tmp_path / "in")
    for number, path in enumerate(sorted(folder.iterdir())):
        file = pydicom.dcmread(path)
        setattr(file, keyword, f"{value} {number}" if keyword == "SOPInstanceUID" else value)
        file.save_as(path)  # its meta information stays right
    scan = read_series(folder)
    assert scan.source.dicom is None, remark
    assert any("no DICOM results" in found.message for found in scan.findings)
    assert "segmentation.dcm" not in write_prediction(predicted(scan), tmp_path / "out")


def test_patient_stays_in_the_dicom_files(scan, tmp_path, caplog):
    caplog.set_level("DEBUG")
    write_prediction(predicted(scan), tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        named = any(secret.encode() in path.read_bytes() for secret in (PATIENT, PATIENT_ID))
        assert named == (path.suffix == ".dcm"), path.name
    assert PATIENT not in repr(scan.source)
    assert not any(secret in caplog.text for secret in (PATIENT, PATIENT_ID))
