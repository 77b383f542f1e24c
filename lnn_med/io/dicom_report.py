"""Writes the numbers of a prediction as a DICOM Structured Report, TID 1500 "Measurement Report".

Numbers come from the `result_record`: they have the digits of result.json, and after a FAIL there are none.
Templates: PS3.16 TID 1500, 1501 (whole scan) and 1411 (one structure, with its segment).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from lnn_med.io.dicom_codes import (
    ANATOMICAL_STRUCTURE,
    BRAIN,
    INTERVAL_COVERAGE,
    INTERVAL_HIGH,
    INTERVAL_LOW,
    PRIVATE_SCHEME,
    QUALITY,
    QUALITY_OUTCOMES,
    VOLUME,
    anatomy,
    measure,
    own_code,
)
from lnn_med.io.dicom_making import (
    MANUFACTURER,
    RESEARCH_USE,
    Making,
    common_arguments,
    quiet,
    save,
    settle,
    source_header,
)
from lnn_med.io.dicom_segmentation import SEGMENTATION_STORAGE, Segments, algorithm, model_of
from lnn_med.io.risk_words import known_words, reliability_words

ROLE = "SR"
COMMENT = codes.DCM.Comment
MAX_TEXT = 1024  # characters of a TEXT item; far below the limit of UT, so that every viewer shows it
UNITS = {
    "_mm3": codes.UCUM.CubicMillimeter,
    "_pct": codes.UCUM.Percent,
    "_years": Code("a", "UCUM", "year"),
}
ANSWER = ("probability", "coverage")  # what an entry has as numbers
NO_DIAGNOSIS = "Output of a model for research; no diagnosis."


def write_report(making: Making, segments: Sequence[Segments], path: Path) -> None:
    """Write the report; `segments` are the segmentations that belong to the prediction."""
    with quiet():
        groups = [_quality_group(making), *_number_groups(making, segments)]
        document = sr.ComprehensiveSR(
            evidence=_evidence(making, segments),
            # highdicom copies what it is given several times; the groups with the numbers come in below
            content=_content(making, groups[:1])[0],
            sop_instance_uid=making.uid(ROLE, "instance"),
            is_complete=True,
            series_description="LNN-Med measurements (research use only)",
            coding_schemes=[
                CodingSchemeIdentificationItem(
                    PRIVATE_SCHEME, name="LNN-Med concepts", responsible_organization=MANUFACTURER
                )
            ],
            **common_arguments(making, ROLE),
        )
        document.ContentSequence = _content(making, groups)[0].ContentSequence
    save(settle(document, making, ROLE), path)


def _number_groups(making: Making, segments: Sequence[Segments]) -> list[Any]:
    """A group for each structure, derived number and classification; none after a FAIL."""
    if making.record["qc"]["status"] == "fail":
        return []
    structures = [_structure_group(making, entry, segments) for entry in making.record["structures"]]
    derived = making.record["derived"].items()
    structures += [_derived_group(making, *pair) for pair in derived if pair[1] is not None]
    return structures + [_class_group(making, entry) for entry in making.record["classification"]]


def _content(making: Making, groups: Sequence[Any]) -> sr.MeasurementReport:
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(making)),
        procedure_reported=codes.cid100.MRIUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.cid7021.ImagingMeasurementReport,
    )


def _observer(making: Making) -> sr.ObserverContext:
    return sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=making.uid("observer"),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=f"{MANUFACTURER} {making.software}",
        ),
    )


def _quality_group(making: Making) -> sr.MeasurementsAndQualitativeEvaluations:
    """Whether the scan may be used, why not, and what the report may be used for."""
    quality = making.record["qc"]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(making, "quality control"),
        finding_sites=[sr.FindingSite(BRAIN)],
        qualitative_evaluations=[sr.QualitativeEvaluation(QUALITY, QUALITY_OUTCOMES[quality["status"]])],
    )
    _comment(group, f"QC {quality['status'].upper()}")
    for reason in quality["reasons"]:
        _comment(group, reason)
    for warning in making.record["warnings"]:
        _comment(group, f"{warning['code']}: {warning['message']}")
    _comment(group, RESEARCH_USE)
    return group


def _structure_group(making: Making, entry: Mapping[str, Any], segments: Sequence[Segments]) -> Any:
    """One structure: its volume with interval, and the segment that it was counted in."""
    name, meant = entry["name"], anatomy(entry["name"])
    part = meant.parts[0] if meant.parts else None
    shared = {
        "tracking_identifier": _tracking(making, name),
        "finding_category": ANATOMICAL_STRUCTURE,
        "finding_type": meant.kind,
        "finding_sites": [sr.FindingSite(meant.region or meant.kind, meant.side, part)],
        "algorithm_id": _algorithm_id(making, name),
        "measurements": _volume(entry),
    }
    found = next((one for one in segments if name in one.numbers), None)
    if found is None:
        return sr.MeasurementsAndQualitativeEvaluations(**shared)
    segment = sr.ReferencedSegment(
        sop_class_uid=SEGMENTATION_STORAGE,
        sop_instance_uid=found.sop_instance_uid,
        segment_number=found.numbers[name],
        source_series=sr.SourceSeriesForSegmentation(making.origin.series_uid),
    )
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **shared)


def _volume(entry: Mapping[str, Any]) -> list[sr.Measurement]:
    if entry["volume_mm3"] is None:
        return []
    cubic = codes.UCUM.CubicMillimeter
    numbers: list[tuple[Code, float, Code]] = [(VOLUME, entry["volume_mm3"], cubic)]
    if entry["interval_mm3"] is not None:
        low, high = entry["interval_mm3"]
        numbers += [(INTERVAL_LOW, low, cubic), (INTERVAL_HIGH, high, cubic)]
        if entry["coverage"] is not None:
            numbers.append((INTERVAL_COVERAGE, entry["coverage"], codes.UCUM.NoUnits))
    return [sr.Measurement(name=code, value=value, unit=unit) for code, value, unit in numbers]


def _derived_group(making: Making, name: str, value: float) -> sr.MeasurementsAndQualitativeEvaluations:
    concept, of = measure(name)
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(making, name),
        finding_sites=[sr.FindingSite(of)],
        measurements=[sr.Measurement(name=concept, value=value, unit=_unit(name))],
    )


def _class_group(making: Making, entry: Mapping[str, Any]) -> sr.MeasurementsAndQualitativeEvaluations:
    """What a classifier says of the whole scan: its numbers, and in words what it leaves open and why.

    There is no finding: a probability of dementia must not be read as the finding of dementia. An answer that
    was not given has its reason and no number.
    """
    target = entry["target"]
    numbers = {f"{target}_{key}": entry[key] for key in ANSWER if entry.get(key) is not None}
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(making, target),
        finding_sites=[sr.FindingSite(BRAIN)],
        measurements=[
            sr.Measurement(name=own_code(name), value=value, unit=_unit(name))
            for name, value in numbers.items()
        ],
    )
    if entry.get("abstained"):
        _comment(group, f"No answer: {entry['abstained']}")
    if entry.get("prediction_set") is not None:
        _comment(group, f"Prediction set: {', '.join(map(str, entry['prediction_set'])) or 'none'}")
    for said in filter(None, (known_words(entry), reliability_words(entry))):
        _comment(group, f"{said[0].upper()}{said[1:]}.")
    _comment(group, NO_DIAGNOSIS)
    return group


def _unit(name: str) -> Code:
    return next((unit for ending, unit in UNITS.items() if name.endswith(ending)), codes.UCUM.NoUnits)


def _tracking(making: Making, name: str) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(uid=making.uid("tracking", name), identifier=name)


def _algorithm_id(making: Making, name: str) -> sr.AlgorithmIdentification:
    used = algorithm(model_of(making, name))
    words = [f"{key}={value}" for key, value in used["parameters"].items()]
    return sr.AlgorithmIdentification(used["name"], used["version"], words)


def _comment(group: Any, text: str) -> None:
    item = sr.TextContentItem(COMMENT, text[:MAX_TEXT], sr.RelationshipTypeValues.CONTAINS)
    group[0].ContentSequence.append(item)


def _evidence(making: Making, segments: Sequence[Segments]) -> list[Dataset]:
    """What the report rests on: all images of the series, the segmentations; the first tells the study."""
    series = making.origin.series_uid
    images = [(image.sop_class_uid, image.sop_instance_uid, series) for image in making.origin.images]
    maps = [(SEGMENTATION_STORAGE, one.sop_instance_uid, one.series_uid) for one in segments]
    evidence = [source_header(making)] + [Dataset() for _ in (images + maps)[1:]]
    for header, (sop_class, sop_instance, series_uid) in zip(evidence, images + maps, strict=True):
        header.StudyInstanceUID, header.SeriesInstanceUID = making.origin.study_uid, series_uid
        header.SOPClassUID, header.SOPInstanceUID = sop_class, sop_instance
    return evidence
