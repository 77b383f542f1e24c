"""Keeps of a DICOM series what results need in order to refer to it: its UIDs, its patient and its study.

Patient and study modules: PS3.3 sections C.7.1.1, C.7.2.1 and C.7.2.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from lnn_med.io.dicom_files import open_dicom
from lnn_med.io.dicom_folder import Series
from lnn_med.io.dicom_instance import Instance
from lnn_med.io.dicom_values import silent_pydicom, values
from lnn_med.io.files import sha256_of
from lnn_med.volume import DicomOrigin, SourceImage

# What identifies the patient and the study is carried over as it stands: a result under a name that was
# "repaired" would not find its patient.
IDENTITY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientIdentityRemoved", "DeidentificationMethod"),
    *("PatientAge", "PatientSize", "PatientWeight"),
    *("StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName"),
)
_LOSS = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_UIDS = ("StudyInstanceUID", "FrameOfReferenceUID")
_TAGS = [
    int(tag_for_keyword(keyword) or 0)
    for keyword in (*IDENTITY, *_LOSS, *_UIDS, "PositionReferenceIndicator", "SpecificCharacterSet")
]
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
MAX_UID = 64  # characters
# Values of these types are left out when they are malformed: they identify nobody and break readers.
_PATTERNS = {
    "DA": re.compile(r"\d{8}"),
    "TM": re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"),
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9 _]{1,16}"),
    "DS": re.compile(r"[-+0-9.eE]{1,16}"),
}
_SEXES = ("F", "M", "O")


def read_origin(series: Series) -> DicomOrigin | None:
    """UIDs and identity of a series that has been stacked; None when it cannot be referred to.

    Raises:
        InputError: when a file cannot be read any more.
    """
    members = _members(series)
    with silent_pydicom():
        read = open_dicom(members[0][0].path, _TAGS, lenient=True).header
        header, study_uid, frame_uid = _clean(read), _one(read, _UIDS[0]), _one(read, _UIDS[1])
    images = tuple(_image(instance, slices) for instance, slices in members)
    named = [uid for image in images for uid in (image.sop_class_uid, image.sop_instance_uid)]
    if not all(map(_is_uid, (study_uid, series.uid, *named))):
        return None
    if not _is_uid(frame_uid):  # a scanner's omission; the scan then has a frame of reference of its own
        frame_uid = generate_uid(entropy_srcs=[series.uid, "frame of reference"])
    return DicomOrigin(study_uid, series.uid, frame_uid, images, header)


def _members(series: Series) -> list[tuple[Instance, list[tuple[int, int]]]]:
    """The files in the order of their first slice, each with (frame number, index of the slice)."""
    assert series.stack is not None
    placed = series.placed
    members: dict[int, tuple[Instance, list[tuple[int, int]]]] = {}
    for k, index in enumerate(series.stack.order):
        instance, frame = placed[index]
        members.setdefault(id(instance), (instance, []))[1].append((frame.index + 1, k))
    return list(members.values())


def _image(instance: Instance, slices: Sequence[tuple[int, int]]) -> SourceImage:
    assert instance.facts is not None
    assert instance.pixels is not None
    assert instance.place is not None
    return SourceImage(
        sop_class_uid=instance.facts.sop_class,
        sop_instance_uid=instance.sop_uid,
        transfer_syntax=instance.place.syntax,
        sha256=sha256_of([instance.path]),
        frames=instance.pixels.frames,
        slices=tuple(slices),
    )


def _clean(read: Dataset) -> Dataset:
    """The identity of a header as a data set in UTF-8; malformed dates, times and codes are left out."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (*IDENTITY, *_LOSS, "PositionReferenceIndicator"):
        found = values(read, keyword)
        pattern = _PATTERNS.get(dictionary_VR(keyword))
        if not found or (pattern and not all(pattern.fullmatch(str(one).strip()) for one in found)):
            continue
        if keyword == "PatientSex" and str(found[0]).strip() not in _SEXES:
            continue
        setattr(header, keyword, _value(found))
    return header


def _value(found: Sequence[Any]) -> Any:
    texts = [str(one) for one in found]
    return texts[0] if len(texts) == 1 else texts


def _one(header: Dataset, keyword: str) -> str:
    found = values(header, keyword)
    return str(found[0]).strip("\0 ") if found else ""


def _is_uid(value: str) -> bool:
    return len(value) <= MAX_UID and _UID.fullmatch(value) is not None
