"""What a header says about its series: acquisition, kind of image, patient.

Only tags, age and sex may reach a `Source`; identities are kept as hashes, to be compared and nothing else.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from lnn_med.errors import InputError
from lnn_med.io.dicom_enhanced import PER_FRAME, SHARED, first_item
from lnn_med.io.dicom_files import COMPRESSED
from lnn_med.io.dicom_person import Person, read_person
from lnn_med.io.dicom_values import number, numbers, text, values

MR_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.4",  # MR Image Storage
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR Image Storage
    "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR Image Storage
)

# Acquisition facts for `Source.tags`. Free text (descriptions, protocol) stays out: people type names there.
_TEXT_TAGS = (
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "ImageType",
    "ScanningSequence",
    "SequenceVariant",
    "SequenceName",
    "MRAcquisitionType",
    "AcquisitionContrast",
    "BodyPartExamined",
    "LossyImageCompression",
    "BurnedInAnnotation",
)
_NUMBER_TAGS = (
    "MagneticFieldStrength",
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "FlipAngle",
    "PixelBandwidth",
    "SliceThickness",
    "SpacingBetweenSlices",
    "LossyImageCompressionRatio",
)
# Enhanced files keep these in functional groups, some under another keyword.
_GROUP_TAGS = {
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
    "PixelBandwidth": ("MRImagingModifierSequence", "PixelBandwidth"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "SpacingBetweenSlices": ("PixelMeasuresSequence", "SpacingBetweenSlices"),
}
KEYWORDS = (
    *_TEXT_TAGS,
    *_NUMBER_TAGS,
    "PixelSpacing",
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",
    "SeriesDescription",
    "ProtocolName",
    "SpecificCharacterSet",
    "SeriesInstanceUID",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientAge",
    "PatientSex",
    "StudyDate",
)
_TAGS = tuple(Tag(keyword) for keyword in KEYWORDS)


@dataclass(frozen=True)
class Facts:
    """Facts that all images of a series share; equal facts of many files are kept once."""

    series_uid: str
    sop_class: str
    modality: str
    description: str
    protocol: str
    contrast_agent: bool
    lossy: bool
    burned_in: bool
    unknown_charset: bool
    tags: tuple[tuple[str, Any], ...]
    identity: tuple[str, str, str]  # hashes of PatientID, PatientName, PatientBirthDate; empty when absent
    person: Person

    @property
    def is_mr(self) -> bool:
        """Whether this is an MR image, not a report, a screenshot or another modality."""
        return self.modality == "MR" and (self.sop_class in MR_CLASSES or not self.sop_class)

    def tag(self, keyword: str) -> Any:
        """One acquisition fact, or None."""
        return dict(self.tags).get(keyword)


class FactsPool:
    """Reads facts, and gives files whose elements have the same bytes the same `Facts`: ten times faster."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Facts] = {}

    def read(self, header: Dataset, sop_class: str, syntax: str) -> Facts:
        """The facts of one header."""
        if PER_FRAME in header:  # its groups are no plain bytes, and such files are few
            return read_facts(header, sop_class, syntax)
        raw = tuple(header.get_item(tag).value if tag in header else None for tag in _TAGS)
        key = (sop_class, syntax, *map(str, raw))
        if key not in self._known:
            self._known[key] = read_facts(header, sop_class, syntax)
        return self._known[key]


def read_facts(header: Dataset, sop_class: str, syntax: str) -> Facts:
    """The facts of one header."""
    tags = _tags(header)
    lossy = tags.get("LossyImageCompression", "")
    return Facts(
        series_uid=text(header, "SeriesInstanceUID"),
        sop_class=sop_class,
        modality=text(header, "Modality").upper(),
        description=text(header, "SeriesDescription"),
        protocol=text(header, "ProtocolName"),
        contrast_agent=bool(tags["ContrastBolusAgent"]),
        lossy=lossy == "01" or (not lossy and COMPRESSED.get(syntax, False)),
        burned_in=text(header, "BurnedInAnnotation").upper() == "YES",
        unknown_charset=_unknown_charset(header),
        tags=tuple(tags.items()),
        identity=(
            _hash(text(header, "PatientID")),
            _hash("".join(letter for letter in text(header, "PatientName").casefold() if letter.isalnum())),
            _hash(text(header, "PatientBirthDate")),
        ),
        person=read_person(header),
    )


def same_patient(one: Facts, other: Facts) -> bool:
    """Whether no identity that both give differs; anonymised files that give none count as the same."""
    return all(not a or not b or a == b for a, b in zip(one.identity, other.identity, strict=True))


def _tags(header: Dataset) -> dict[str, Any]:
    groups = [first_item(header, PER_FRAME), first_item(header, SHARED)]
    tags: dict[str, Any] = {keyword: found for keyword in _TEXT_TAGS if (found := text(header, keyword))}
    for keyword in _NUMBER_TAGS:
        measured = _number_anywhere(header, groups, keyword)
        if measured is not None:
            tags[keyword] = measured
    for place in (header, *(first_item(group, "PixelMeasuresSequence") for group in groups)):
        if "PixelSpacing" in place and "PixelSpacing" not in tags:
            with suppress(InputError):  # wrong spacing is refused where slices are placed
                tags["PixelSpacing"] = numbers(place, "PixelSpacing", 2)
    agents = text(header, "ContrastBolusAgent"), values(header, "ContrastBolusAgentSequence")
    tags["ContrastBolusAgent"] = bool(agents[0].upper() not in ("", "NONE", "NO") or agents[1])
    return tags


def _number_anywhere(header: Dataset, groups: list[Dataset], keyword: str) -> float | None:
    """A number of the header or, in an enhanced file, of its functional groups."""
    places = [(header, keyword)]
    if keyword in _GROUP_TAGS:
        sequence, inner = _GROUP_TAGS[keyword]
        places += [(first_item(group, sequence), inner) for group in groups]
    return next((found for place, name in places if (found := number(place, name)) is not None), None)


def _unknown_charset(header: Dataset) -> bool:
    return any(
        str(value).strip() not in python_encoding for value in values(header, "SpecificCharacterSet") if value
    )


def _hash(value: str) -> str:
    return hashlib.blake2b(value.encode(), digest_size=8).hexdigest() if value else ""
