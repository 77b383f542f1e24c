"""Age and sex of a patient as a DICOM header tells them, with the elements that tell.

What is in doubt is left out. The values are for networks, result page and DICOM outputs; logs and messages
may only name the elements.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from pydicom.dataset import Dataset

from lnn_med.io.dicom_values import text
from lnn_med.volume import Source

DAYS_PER_YEAR = 365.25
MAX_YEARS = 120.0  # as the options of predict; anonymised files say 999Y
# PatientAge is cut to whole years, and birth dates of anonymised files are often cut to theirs.
AGREEING_YEARS = 2.0
NO_BIRTH = "19000101"  # what many systems write for "not known"
WRITTEN, DATES = "PatientAge", "PatientBirthDate and StudyDate"
SEX = "PatientSex"
_UNITS_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": DAYS_PER_YEAR / 7, "D": DAYS_PER_YEAR}


@dataclass(frozen=True)
class Person:
    """What one header or one series tells: age at the scan in years, and `sex` as F, M, O or nothing."""

    age_years: float | None
    age_from: str  # the elements that tell it; empty without an age
    sex: str


def read_person(header: Dataset) -> Person:
    """Age from PatientAge ("041Y") or else from birth and study date; none where the two contradict."""
    written, counted = _written_age(header), _counted_age(header)
    if written is not None and counted is not None and abs(written - counted) > AGREEING_YEARS:
        written = counted = None
    age = written if written is not None else counted
    origin = "" if age is None else WRITTEN if written is not None else DATES
    sex = text(header, SEX).upper()
    return Person(age, origin, sex if sex in ("F", "M", "O") else "")


def common_person(people: Iterable[Person]) -> Person:
    """What all images of a series tell alike."""
    every = set(people)
    ages = {(one.age_years, one.age_from) for one in every}
    sexes = {one.sex for one in every}
    age, origin = ages.pop() if len(ages) == 1 else (None, "")
    return Person(age, origin, sexes.pop() if len(sexes) == 1 else "")


def clinical_of(source: Source | None) -> tuple[dict[str, float | str], dict[str, str]]:
    """Age (years) and sex (F, M) of a scan for the networks, and the DICOM elements that each came from."""
    patient = source.patient if source is not None else {}
    values: dict[str, float | str] = {}
    origins: dict[str, str] = {}
    if isinstance(patient.get("PatientAge"), float):
        values["age"], origins["age"] = patient["PatientAge"], patient["PatientAgeFrom"]
    if patient.get(SEX) in ("F", "M"):
        values["sex"], origins["sex"] = patient[SEX], SEX
    return values, origins


def _written_age(header: Dataset) -> float | None:
    """PatientAge in years; 0 of any unit stands for "not known"."""
    written = text(header, WRITTEN).upper()
    if len(written) < 2 or not (written[:-1].isascii() and written[:-1].isdigit()):
        return None
    if written[-1] not in _UNITS_PER_YEAR or not int(written[:-1]):
        return None
    return _plausible(int(written[:-1]) / _UNITS_PER_YEAR[written[-1]])


def _counted_age(header: Dataset) -> float | None:
    birth = text(header, "PatientBirthDate")
    if birth == NO_BIRTH:
        return None
    try:
        born, scanned = _date(birth), _date(text(header, "StudyDate"))
    except ValueError:
        return None
    return _plausible((scanned - born).days / DAYS_PER_YEAR)


def _plausible(years: float) -> float | None:
    return round(years, 2) if 0 <= years <= MAX_YEARS else None


def _date(written: str) -> date:
    if len(written) != 8:  # a range or a part of a date is no day
        raise ValueError
    return date(int(written[:4]), int(written[4:6]), int(written[6:]))
