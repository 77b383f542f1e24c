"""Of several series the T1 head scan is taken by rules, and never simply the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from lnn_med.errors import Code, InputError, WarningCode
from lnn_med.io.dicom_choice import Candidate, best, shows
from lnn_med.io.dicom_facts import Facts, read_facts
from lnn_med.io.dicom_series import list_series, read_series
from tests import dicom_broken as broken
from tests.dicom_factory import (
    MR_IMAGE,
    OTHER_UID,
    PATIENT,
    SERIES_UID,
    base_header,
    save,
    save_all,
    slices,
    small_phantom,
)
from tests.phantoms import phantom, reordered

T2_UID, CT_UID, SCOUT_UID = "1.2.3.4.5.3", "1.2.3.4.5.4", "1.2.3.4.5.5"
NO_TIMES: dict[str, Any] = dict.fromkeys(("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle"))
SPIN_ECHO = {**NO_TIMES, "ScanningSequence": "SE"}
UNTOLD: dict[str, Any] = {"SeriesDescription": "brain", **NO_TIMES}
HEAD = ((256, 256, 176), (1.0, 1.0, 1.0))  # a good head scan


def facts(**attributes: Any) -> Facts:
    return read_facts(base_header(**attributes), MR_IMAGE, "1.2.840.10008.1.2.1")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"SeriesDescription": "t1_mprage_sag_p2_iso"}, "T1"),
        ({"SeriesDescription": "Sag 3D BRAVO"}, "T1"),
        ({"SeriesDescription": "IR-FSPGR 3D"}, "T1"),
        ({"SeriesDescription": "Ax T1 FLAIR"}, "T1"),  # GE has a T1 FLAIR
        ({"SeriesDescription": "MPR thick"}, "T1"),  # by its times: MPR is a reformat, not MPRAGE
        ({"SeriesDescription": "3D T2 SPACE"}, "other"),
        ({"SeriesDescription": "FLAIR_longTR"}, "other"),
        ({"SeriesDescription": "ep2d_diff_mddw_20"}, "other"),
        ({"SeriesDescription": "T1 map"}, "other"),  # a map holds milliseconds, not a T1 image
        ({"SeriesDescription": "mp2rage INV1"}, "other"),
        ({"SeriesDescription": "DCE T1 vibe", **NO_TIMES}, ""),  # both words: not told
        ({"SeriesDescription": "localizer"}, "localizer"),
        ({"SeriesDescription": "AAHead_Scout_64ch"}, "localizer"),
        ({"SeriesDescription": "SmartBrain"}, "localizer"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"ImageType": ["DERIVED", "PRIMARY", "PROJECTION IMAGE", "MIP"]}, "projection"),
        (UNTOLD, ""),
        ({**UNTOLD, "ProtocolName": "T1W_3D_TFE"}, "T1"),
        ({**UNTOLD, "SequenceName": "*tfl3d1_16ns"}, "T1"),
        ({**UNTOLD, "AcquisitionContrast": "FLUID_ATTENUATED"}, "other"),
        ({**UNTOLD, "RepetitionTime": "2300", "EchoTime": "3", "InversionTime": "900"}, "T1"),  # MPRAGE
        (
            {**UNTOLD, "RepetitionTime": "25", "EchoTime": "4", "FlipAngle": "30"},
            "T1",
        ),  # spoiled gradient echo
        (
            {**UNTOLD, "RepetitionTime": "25", "EchoTime": "4", "FlipAngle": "3"},
            "",
        ),  # nearer to proton density
        ({**UNTOLD, **SPIN_ECHO, "RepetitionTime": "500", "EchoTime": "10"}, "T1"),
        ({**UNTOLD, **SPIN_ECHO, "RepetitionTime": "3000", "EchoTime": "10"}, ""),
        ({**UNTOLD, **SPIN_ECHO, "RepetitionTime": "4000", "EchoTime": "95"}, "other"),
        ({**UNTOLD, "RepetitionTime": "9000", "EchoTime": "120", "InversionTime": "2500"}, "other"),  # FLAIR
    ],
)
def test_what_a_series_shows(attributes: dict[str, Any], expected: str) -> None:
    removed = {key: value for key, value in attributes.items() if value is None}
    kept = {key: value for key, value in attributes.items() if value is not None}
    header = base_header(**{key: value for key, value in removed.items() if key not in kept})
    for key, value in kept.items():
        setattr(header, key, value)
    assert shows(read_facts(header, MR_IMAGE, "")) == expected


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (({}, *HEAD), (UNTOLD, *HEAD)),  # says T1
        (({}, *HEAD), ({}, (256, 256, 20), (1.0, 1.0, 1.0))),  # covers the head
        (({}, (256, 256, 30), (0.9, 0.9, 5.0)), ({}, (256, 256, 14), (0.9, 0.9, 8.0))),  # many slices
        (({}, *HEAD), ({"ImageType": ["DERIVED", "SECONDARY"]}, *HEAD)),
        (
            ({"ContrastBolusAgent": "Gd"}, *HEAD),
            ({}, (256, 256, 30), (0.9, 0.9, 5.0)),
        ),  # fine before no contrast
        (({}, *HEAD), ({"ContrastBolusAgent": "Gd"}, *HEAD)),
        (({}, *HEAD), ({"SeriesDescription": "t1_mprage +C"}, *HEAD)),
        (({}, (320, 320, 220), (0.8, 0.8, 0.8)), ({}, (200, 200, 150), (1.2, 1.2, 1.2))),  # finest
    ],
)
def test_better_series_wins_in_both_orders(better: Any, worse: Any) -> None:
    one, two = (Candidate(facts_of(row[0]), row[1], row[2]) for row in (better, worse))
    assert (best([one, two]), best([two, one])) == (0, 1)


def facts_of(attributes: dict[str, Any]) -> Facts:
    header = base_header()
    for keyword, value in attributes.items():
        if value is None:
            del header[keyword]
        else:
            setattr(header, keyword, value)
    return read_facts(header, MR_IMAGE, "")


def test_equal_series_are_not_told_apart() -> None:
    twins = [Candidate(facts(), *HEAD), Candidate(facts(EchoTime="3.1"), *HEAD)]
    assert best(twins) is None
    assert best([*twins, Candidate(facts_of(UNTOLD), *HEAD)]) is None
    assert best([]) is None


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a scanner sends it: T1, FLAIR, localizer in three planes, CT and a report."""
    folder = tmp_path_factory.mktemp("study")
    small = small_phantom()
    save_all(slices(small), folder / "a")
    save_all(slices(small, SeriesInstanceUID=T2_UID, SeriesDescription="FLAIR"), folder / "b")
    planes = [slices(reordered(small, codes))[0] for codes in ("LPS", "PSR", "LIP")]
    for header in planes:
        header.SeriesInstanceUID, header.SeriesDescription = SCOUT_UID, "localizer"
    save_all(planes, folder / "c")
    ct = slices(small, SeriesInstanceUID=CT_UID, Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    save_all(ct, folder / "d")
    report = base_header(
        SeriesInstanceUID="1.2.3.4.5.6", Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33"
    )
    save(report, folder / "e" / "report.dcm")
    return folder


def test_t1_is_taken_from_a_study_and_the_others_are_counted(study: Path) -> None:  # D27
    volume = read_series(study)
    assert volume.source is not None
    assert volume.source.series_uid == SERIES_UID
    assert [finding.code for finding in volume.findings] == [WarningCode.MODALITY]
    assert "4 of 5" in volume.findings[0].message


def test_table_tells_what_each_series_is(study: Path) -> None:
    rows = {row.series_uid: row for row in list_series(study)}
    assert [uid for uid, row in rows.items() if row.chosen] == [SERIES_UID]
    assert [uid for uid, row in rows.items() if row.usable] == [SERIES_UID, T2_UID]
    assert rows[SERIES_UID].reason == "the only series that may be a T1 head scan"
    assert rows[T2_UID].reason == "not T1-weighted"
    assert "3 orientations" in rows[SCOUT_UID].reason
    assert rows[CT_UID].reason == rows["1.2.3.4.5.6"].reason == "not an MR image"
    t1 = rows[SERIES_UID]
    assert (t1.modality, t1.description, t1.images, t1.orientation) == ("MR", "t1_mprage_sag", 12, "RAS")
    assert t1.shape == (24, 20, 12)
    assert t1.spacing_mm == pytest.approx((3.1, 3.7, 5.3))


def test_named_series_is_read_whatever_it_shows(study: Path) -> None:
    volume = read_series(study, series=T2_UID)
    assert volume.source is not None
    assert volume.source.series_uid == T2_UID
    assert [finding.code for finding in volume.findings] == [WarningCode.MODALITY]


@pytest.mark.parametrize(
    ("uid", "code"),
    [(CT_UID, Code.SERIES), ("9.9.9", Code.SERIES), (SCOUT_UID, Code.GEOMETRY), ("1.2.3.4.5.6", Code.SERIES)],
)
def test_named_series_that_is_no_volume_is_refused(uid: str, code: Code, study: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_series(study, series=uid)
    assert caught.value.code is code


@pytest.mark.parametrize("reverse", [False, True])
def test_two_equal_t1_series_are_refused_with_the_table(reverse: bool, tmp_path: Path) -> None:
    uids = (OTHER_UID, SERIES_UID)[:: -1 if reverse else 1]
    for uid, name in zip(uids, "ab", strict=True):
        save_all(slices(small_phantom(), SeriesInstanceUID=uid), tmp_path / name)
    with pytest.raises(InputError) as caught:
        read_series(tmp_path)
    assert caught.value.code is Code.SERIES
    assert all(uid in caught.value.detail for uid in uids)
    assert PATIENT.split("^")[0] not in str(caught.value)
    assert "mprage" not in str(caught.value)  # descriptions are free text
    assert not any(row.chosen for row in list_series(tmp_path))


def test_broken_file_of_no_known_series_has_its_own_row(tmp_path: Path) -> None:
    folder = save_all(slices(small_phantom()), tmp_path / "scan")
    broken.cut_in_meta(sorted(folder.iterdir())[0])
    rows = list_series(folder)
    assert [(row.series_uid, row.images, row.chosen) for row in rows] == [
        (SERIES_UID, 11, False),
        ("unknown", 1, False),
    ]
    assert rows[1].reason.startswith("E_TRUNCATED")


def test_flair_alone_is_refused(tmp_path: Path) -> None:
    save_all(slices(small_phantom(), SeriesDescription="FLAIR"), tmp_path)
    with pytest.raises(InputError) as caught:
        read_series(tmp_path)
    assert caught.value.code is Code.SERIES
    assert "none is a T1 scan" in caught.value.detail


def test_finer_series_is_taken_whatever_its_uid(tmp_path: Path) -> None:
    for fine_uid, coarse_uid in ((SERIES_UID, OTHER_UID), (OTHER_UID, SERIES_UID)):
        folder = tmp_path / fine_uid
        coarse = slices(phantom((24, 24, 24), (4.5, 4.5, 4.5)), SeriesInstanceUID=coarse_uid)
        fine = slices(phantom((30, 30, 30), (3.5, 3.5, 3.5)), SeriesInstanceUID=fine_uid)
        save_all(coarse, folder / "a")
        save_all(fine, folder / "b")
        volume = read_series(folder)
        assert volume.shape == (30, 30, 30)
        reasons = {row.series_uid: row.reason for row in list_series(folder)}
        assert reasons[fine_uid] == "ranks first by: spacing steps"
        assert reasons[coarse_uid] == "may be a T1 head scan, ranks behind"


def test_uids_of_the_factory_differ() -> None:
    assert len({SERIES_UID, OTHER_UID, T2_UID, CT_UID, SCOUT_UID, generate_uid()}) == 6
