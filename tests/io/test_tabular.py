"""Tables: cells that no spreadsheet runs, participants in the dialects that occur."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.io.tabular import case_of, cell, patients, read_participants, write_csv, write_json


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-rf", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_that_a_spreadsheet_would_run_is_prefixed(text: str) -> None:
    assert cell(text) == "'" + text


@pytest.mark.parametrize(
    ("value", "expected"), [(-3.5, -3.5), (-2, -2), ("a=b", "a=b"), ("", ""), (None, "")]
)
def test_numbers_and_harmless_text_stay(value: object, expected: object) -> None:
    assert cell(value) == expected


def test_numbers_that_are_not_finite_become_empty_cells() -> None:
    assert cell(float("nan")) == cell(float("inf")) == ""


def test_written_rows_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_csv(
        path, [{"case": '=a,b\n"c"', "mm3": -1.25, "other": "left out"}, {"case": "d"}], ["case", "mm3"]
    )
    with path.open(newline="") as stream:
        assert list(csv.reader(stream)) == [["case", "mm3"], ['\'=a,b\n"c"', "-1.25"], ["d", ""]]


def test_file_names_that_are_not_utf8_can_be_written(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"path": os.fsdecode(b"caf\xe9.nii")}], ["path"])
    assert "caf\\udce9.nii" in (tmp_path / "t.csv").read_text()


def test_json_refuses_numbers_that_json_has_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "t.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())
    write_json(tmp_path / "t.json", {"a": None})
    assert json.loads((tmp_path / "t.json").read_text()) == {"a": None}


@pytest.mark.parametrize(
    ("name", "case"),
    [("imagesTr/a.nii.gz", "a"), ("A.NII", "A"), ("b.c.nii", "b.c"), ("sub-01", "sub-01"), ("x\\y.nii", "y")],
)
def test_case_is_the_file_name_without_folder_and_ending(name: str, case: str) -> None:
    assert case_of(name) == case


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", "image,subject,age\nimagesTr/a_1.nii.gz,A,70\nimagesTr/a_2.nii.gz,A,72\n"),
        ("p.tsv", "\ufeffcase\tsubject\tAge\na_1\tA\t70\na_2\tA\t72\n"),  # with byte order mark
        ("q.csv", "Path,Patient,AGE,\r\na_1.nii,A, 70 ,extra\r\na_2.nii,A,72\r\n"),  # ragged
    ],
)
def test_participants_in_several_dialects(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    rows = read_participants(tmp_path / name)
    assert [(row["case"], row["age"]) for row in rows] == [("a_1", "70"), ("a_2", "72")]
    assert patients(rows) == {"a_1": "A", "a_2": "A"}


def test_tables_without_cases_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("age,sex\n70,F\n")
    with pytest.raises(ConfigError, match="must name the case"):
        read_participants(path)
    path.write_text("case\n")
    with pytest.raises(ConfigError, match="no rows"):
        read_participants(path)
    with pytest.raises(InputError) as caught:
        read_participants(tmp_path / "none.csv")
    assert caught.value.code is Code.NOTFOUND
