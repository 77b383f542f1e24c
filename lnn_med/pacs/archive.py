"""What an archive can do for us: one interface, spoken over DICOMweb or DIMSE."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lnn_med.errors import Code, ConfigError, InputError, require
from lnn_med.io.dicom_files import BrokenFileError, open_dicom
from lnn_med.io.dicom_values import silent_pydicom, values
from lnn_med.pacs.inbox import Inbox
from lnn_med.pacs.settings import PacsConfig
from lnn_med.pacs.uids import WRONG_UID, check_uid, is_uid, shown

logger = logging.getLogger(__name__)

STUDY_KEYS = ("StudyInstanceUID", "StudyDate", "ModalitiesInStudy", "StudyDescription", "StudyID")
# Of the patient, or leading to one: asked over DIMSE only. A DICOMweb query is a URL, and URLs are logged.
PATIENT_KEYS = ("PatientID", "PatientName", "PatientBirthDate", "AccessionNumber")
SERIES_KEYS = ("SeriesInstanceUID", "Modality", "SeriesDescription", "SeriesNumber")
MAX_VALUE_LETTERS = 64
_TEXT = re.compile(r"[^\x00-\x1f\x7f\\]+")  # no control characters and no backslash, which separates values

Match = Mapping[str, str]


@dataclass(frozen=True)
class Study:
    """One study that an archive listed; the UID is checked."""

    uid: str
    date: str = ""


@dataclass(frozen=True)
class Series:
    """One series that an archive listed; `images` is None when the archive does not say."""

    uid: str
    study_uid: str
    modality: str = ""
    description: str = ""
    date: str = ""
    images: int | None = None


@dataclass(frozen=True)
class Outgoing:
    """One DICOM file that is to be sent."""

    path: Path
    sop_class: str
    sop_instance: str
    study: str
    syntax: str


class Archive(Protocol):
    """An archive; every method raises InputError E_NETWORK when it does not answer or refuses."""

    def studies(self, match: Match) -> tuple[list[Study], int]:
        """Studies that match, at most `limits.matches`, and how many were left out for a UID that is none."""
        ...

    def series(self, study: Study, match: Match) -> list[Series]:
        """Series of a study that match.

        Raises:
            InputError: E_UID: without one of its series a study would be another one.
        """
        ...

    def fetch(self, series: Series, inbox: Inbox) -> int:
        """Receive all images of a series into the inbox; their number."""
        ...

    def send(self, files: Sequence[Outgoing]) -> None:
        """Store files in the archive, byte for byte."""
        ...


def open_archive(config: PacsConfig) -> Archive:
    """The archive of a configuration; nothing is connected yet.

    Raises:
        LnnMedError: the extra `pacs` is not installed.
    """
    for name in ("pynetdicom", "dicomweb_client"):
        require(name, extra="pacs")
    silence()
    if config.url is not None:
        from lnn_med.pacs.dicomweb import DicomwebArchive

        return DicomwebArchive(config)
    from lnn_med.pacs.dimse import DimseArchive

    return DimseArchive(config)


def silence() -> None:
    """Keep the network libraries from logging: they write UIDs, URLs and whole headers."""
    for name in ("pynetdicom", "dicomweb_client", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def find(archive: Archive, match: Match, limit: int) -> tuple[list[Series], int]:
    """Series that match keys of study and series together, newest study first.

    The study is asked first, then its series: archives need not answer anything else (PS3.4 section C.4.1).

    Returns:
        The series, and how many studies were left out because a UID of theirs is none.

    Raises:
        ConfigError: a key that cannot be asked for, or a value that cannot be one.
        InputError: E_NETWORK; E_SIZE for more than `limit` series.
    """
    check_match(match)
    of_series = {name: value for name, value in match.items() if name in SERIES_KEYS}
    of_study = {name: value for name, value in match.items() if name not in SERIES_KEYS}
    if "Modality" in of_series:
        of_study.setdefault("ModalitiesInStudy", of_series["Modality"])
    found: list[Series] = []
    wanted = match.get("StudyInstanceUID")
    listed_studies, refused = archive.studies(of_study)
    studies = [study for study in listed_studies if wanted in (None, study.uid)]
    for study in sorted(studies, key=lambda study: study.date, reverse=True):
        try:
            found += series_of(archive, study, of_series)
        except InputError as error:
            if error.code is not WRONG_UID:
                raise
            refused += 1
        if len(found) > limit:
            raise InputError(Code.SIZE, f"More than {limit:,} series match; ask for less.")
    return found, refused


def series_of(archive: Archive, study: Study, match: Match) -> list[Series]:
    """Series of a study, without those that an archive lists though they were not asked for."""
    wanted = {name: match.get(name) for name in ("Modality", "SeriesInstanceUID")}
    return [
        one
        for one in archive.series(study, match)
        if wanted["Modality"] in (None, one.modality) and wanted["SeriesInstanceUID"] in (None, one.uid)
    ]


def fetch_all(archive: Archive, series: Sequence[Series], inbox: Inbox) -> int:
    """Receive several series; the number of images.

    A series of another kind is left out: reports, spectra and raw data may also say that they are MR.

    Raises:
        InputError: as `Archive.fetch`; E_FORMAT when no series is of an accepted kind.
    """
    images, refused = 0, None
    for one in series:
        try:
            images += archive.fetch(one, inbox)
        except InputError as error:
            if error.code is not Code.FORMAT:
                raise
            refused = error
            logger.warning("series %s is left out: %s", shown(one.uid), error.detail)
    if refused is not None and images == 0:
        raise refused
    return images


def check_match(match: Match) -> None:
    """Refuse keys that are not asked for, and values that could be more than a value.

    Raises:
        ConfigError: which key, and what is possible.
    """
    known = (*STUDY_KEYS, *SERIES_KEYS, *PATIENT_KEYS)
    for name, value in match.items():
        if name not in known:
            raise ConfigError(f"{name} cannot be asked for; known are {', '.join(known)}.")
        if len(value) > MAX_VALUE_LETTERS or not _TEXT.fullmatch(value):
            raise ConfigError(f"The value of {name} must have 1 to {MAX_VALUE_LETTERS} printable letters.")
        if name.endswith("UID"):
            check_uid(value, name)


def outgoing(path: Path) -> Outgoing:
    """What a file to be sent says about itself.

    Raises:
        InputError: it is no DICOM file that can be trusted, or its UIDs are none.
    """
    try:
        with silent_pydicom():
            opened = open_dicom(path, [0x00080016, 0x00080018, 0x0020000D])
            names = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
            found = [values(opened.header, name) for name in names]
    except BrokenFileError as error:
        raise error.error from None
    sop_class, sop_instance, study = (
        check_uid(value[0] if len(value) == 1 else None, "A UID of the file") for value in found
    )
    return Outgoing(path, sop_class, sop_instance, study, opened.syntax)


def studies_of(answers: Iterable[tuple[object, object]]) -> tuple[list[Study], int]:
    """Studies from the UIDs and dates that an archive lists, and the number of those whose UID is none.

    One wrong entry of an archive must not hide the others.
    """
    every = [(str(uid), day) for uid, day in answers]
    studies = [Study(uid, listed(day)) for uid, day in every if is_uid(uid)]
    return studies, len(every) - len(studies)


def listed(value: object, limit: int = MAX_VALUE_LETTERS) -> str:
    """A value of an archive's answer as one printable line."""
    text = "" if value is None else str(value)
    return "".join(letter if letter.isprintable() else " " for letter in text[:limit]).strip()


def counted(value: object) -> int | None:
    """A number of an archive's answer, or None where it is none."""
    try:
        number = int(str(value))
    except ValueError:
        return None
    return number if number >= 0 else None


def check_complete(series: Series, received: int) -> int:
    """The number received, which must be what the archive listed: a missing slice would change the result.

    Raises:
        InputError: E_NETWORK.
    """
    if received == 0 or (series.images is not None and received < series.images):
        listed_images = "some" if series.images is None else f"{series.images:,}"
        raise InputError(Code.NETWORK, f"{received:,} images came; the archive lists {listed_images}.")
    return received
