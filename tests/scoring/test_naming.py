"""Case names: safe everywhere, unique, stable."""

from __future__ import annotations

import os

import pytest

from lnn_med.scoring.naming import name_of_path, name_of_series, unique_names


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("sub-01_T1w.nii.gz", "sub-01_T1w"),
        ("sub-01/T1w.nii", "sub-01_T1w"),
        ("a/b/c.NII.GZ", "a_b_c"),
        ("dots.in.name.nii.gz", "dots.in.name"),
        ("study.zip", "study"),
        ("-rf.nii", "rf"),  # no option to any program
        ("..nii", "scan"),
        ("line\nbreak and space.nii", "line_break_and_space"),
        ("Müller.nii", "M_ller"),
        ("😀.nii", "scan"),
    ],
)
def test_name_of_path(path: str, name: str) -> None:
    assert name_of_path(path) == name


def test_long_and_undecodable_names_become_short_and_plain() -> None:
    long = name_of_path("x" * 250 + ".nii")
    assert len(long) < 120
    assert long != name_of_path("x" * 249 + "y.nii")
    assert name_of_path(os.fsdecode(b"caf\xe9.nii")).isascii()


def test_a_series_is_named_by_a_hash_that_does_not_show_its_uid() -> None:
    name = name_of_series("1.2.840.99887766")
    assert len(name) == 12
    assert "99887766" not in name
    assert name == name_of_series("1.2.840.99887766") != name_of_series("1.2.840.99887767")


def test_names_that_collide_are_told_apart_whatever_their_order() -> None:
    paths = ["a/b.nii", "a_b.nii", "A_B.nii", "c.nii"]
    names = unique_names([name_of_path(path) for path in paths], paths)
    assert len({name.casefold() for name in names}) == 4
    assert names[3] == "c"
    turned = unique_names([name_of_path(path) for path in paths[::-1]], paths[::-1])
    assert turned == names[::-1]
