"""Age and sex of a patient: where they stand, and what is left out because it is in doubt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from lnn_med.io.dicom_person import DATES, Person, clinical_of, common_person, read_person
from lnn_med.io.dicom_series import read_series
from lnn_med.io.dicom_values import silent_pydicom
from tests.dicom_factory import save_all, slices, small_phantom

# PatientAge, PatientBirthDate, years or None, where they stand; the scan is of 1 January 2020
AGES = [
    ("070Y", "19500101", 70.0, "PatientAge"),
    ("069Y", "19500101", 69.0, "PatientAge"),  # birth dates cut to the year disagree by little
    ("072Y", "", 72.0, "PatientAge"),
    ("006M", "", 0.5, "PatientAge"),
    ("", "19500101", 70.0, DATES),
    ("", "19480401", 71.75, DATES),
    ("old", "19500101", 70.0, DATES),
    ("070Y", "19800101", None, ""),  # 70 and 40: one of them is another person's or a dummy
    ("999Y", "", None, ""),
    ("999Y", "19500101", 70.0, DATES),
    ("000Y", "", None, ""),  # what is written for "not known"
    ("²²Y", "", None, ""),
    ("", "19000101", None, ""),  # as well
    ("075Y", "19000101", 75.0, "PatientAge"),
    ("", "19000102", 119.99, DATES),
    ("", "18991001", None, ""),
    ("", "20200102", None, ""),  # born after the scan
    ("", "1950", None, ""),
    ("", "19500230", None, ""),
    ("", "19500101-19600101", None, ""),
    ("", "", None, ""),
]


@pytest.mark.parametrize(("written", "born", "years", "origin"), AGES)
def test_age_and_where_it_stands(written: str, born: str, years: float | None, origin: str) -> None:
    header = Dataset()
    with silent_pydicom():
        header.PatientAge, header.PatientBirthDate, header.StudyDate = written, born, "20200101"
        found = read_person(header)
    assert found.age_years == (None if years is None else pytest.approx(years, abs=0.005))
    assert found.age_from == origin


@pytest.mark.parametrize(
    ("written", "sex"), [("F", "F"), ("m", "M"), ("O", "O"), ("", ""), ("female", ""), ("F\\M", "")]
)
def test_sex_is_f_m_o_or_nothing(written: str, sex: str) -> None:
    header = Dataset()
    with silent_pydicom():
        header.PatientSex = written
        assert read_person(header).sex == sex


def test_what_images_of_a_series_do_not_tell_alike_is_left_out() -> None:
    woman, man = Person(70.0, DATES, "F"), Person(70.0, DATES, "M")
    assert common_person([woman, woman]) == woman
    assert common_person([woman, man]) == Person(70.0, DATES, "")
    assert common_person([woman, Person(71.0, DATES, "F")]) == Person(None, "", "F")
    assert common_person([]) == Person(None, "", "")


SERIES: list[tuple[dict[str, Any], dict[str, Any], dict[str, str]]] = [
    ({"PatientAge": "070Y"}, {"age": 70.0, "sex": "F"}, {"age": "PatientAge", "sex": "PatientSex"}),
    ({}, {"age": 70.0, "sex": "F"}, {"age": DATES, "sex": "PatientSex"}),
    ({"PatientAge": "030Y", "PatientSex": "M"}, {"sex": "M"}, {"sex": "PatientSex"}),
    ({"PatientBirthDate": "", "PatientSex": "O"}, {}, {}),  # the networks know F and M
]


@pytest.mark.parametrize(("attributes", "values", "origins"), SERIES)
def test_what_a_series_gives_to_the_networks(
    attributes: dict[str, Any], values: dict[str, Any], origins: dict[str, str], tmp_path: Path
) -> None:
    folder = save_all(slices(small_phantom((24, 20, 2)), **attributes), tmp_path / "scan")
    assert clinical_of(read_series(folder).source) == (values, origins)


def test_one_image_of_another_age_takes_the_age_away(tmp_path: Path) -> None:
    headers = slices(small_phantom((24, 20, 3)), PatientBirthDate="", PatientAge="070Y")
    headers[1].PatientAge = "071Y"
    assert clinical_of(read_series(save_all(headers, tmp_path / "scan")).source)[0] == {"sex": "F"}
    assert clinical_of(None) == ({}, {})
