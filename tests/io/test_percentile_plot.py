"""The percentile plot: lines and patient lie where their numbers say; grey where nobody was measured."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from lnn_med.io.percentile_plot import (
    BOTTOM,
    HEIGHT,
    LABEL_PX,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    percentile_plot,
    spread,
    tick_step,
)
from lnn_med.io.volumetry import NO_REFERENCE, percentile_text, reference_rows

AGES = [20.0, 50.0, 80.0]


def record(age: float = 70.0, name: str = "IXI <people> & others") -> dict[str, Any]:
    curve = {
        "structure": "Hippocampus",
        "volume_mm3": 6000.0,
        "adjusted_mm3": 6250.4,
        "percentile": 12.4 if age <= 80 else None,
        "ages_years": AGES,
        "lines_mm3": {"5": [7000.0, 6500.0, 5000.0], "50": [8000.0, 8000.0, 7000.0]},
    }
    people = {"name": name, "people": 98, "ages_years": [20.0, 80.0], "age_years": age, "sex": "F"}
    return {"reference": {**people, "curves": [curve, curve | {"structure": "LateralVentricle"}]}}


def drawn(age: float = 70.0) -> ElementTree.Element:
    plot = percentile_plot(record(age))
    assert plot is not None
    return ElementTree.fromstring(plot)


def elements(root: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [each for each in root.iter() if each.tag.endswith(f"}}{kind}")]


def test_the_patient_and_the_lines_are_drawn_on_one_scale() -> None:
    root = drawn()
    lines = elements(root, "polyline")
    assert len(lines) == 4  # two structures of two lines
    median = [tuple(map(float, point.split(","))) for point in lines[1].get("points", "").split()]
    lowest = [tuple(map(float, point.split(","))) for point in lines[0].get("points", "").split()]
    patient = elements(root, "circle")[0]
    x, y = float(patient.get("cx", "")), float(patient.get("cy", ""))
    assert median[0] == pytest.approx((LEFT, TOP), abs=0.1)  # 8 cm³ at 20 years: the corner
    assert median[2][0] == pytest.approx(WIDTH - RIGHT, abs=0.1)
    assert lowest[2][1] == pytest.approx(HEIGHT - BOTTOM, abs=0.1)  # 5 cm³: the lowest value
    assert x == pytest.approx(LEFT + 50 / 60 * (WIDTH - LEFT - RIGHT), abs=0.1)  # 70 of 20 to 80 years
    assert (y - median[2][1]) / (lowest[2][1] - median[2][1]) == pytest.approx(0.5, abs=0.01)  # 6 of 7 to 5


def test_ages_without_reference_people_are_grey_and_the_patient_lies_there() -> None:
    grey = [each for each in elements(drawn(age=90.0), "rect") if each.get("fill") == "#d5d5d5"]
    assert len(grey) == 2  # one a structure
    patient = elements(drawn(age=90.0), "circle")[0]
    start = float(grey[0].get("x", ""))
    assert start < float(patient.get("cx", "")) <= start + float(grey[0].get("width", "")) + 0.1
    assert not [each for each in elements(drawn(), "rect") if each.get("fill") == "#d5d5d5"]


def test_texts_are_text_and_never_markup() -> None:
    plot = percentile_plot(record(name='"><script>x</script>'))
    assert plot is not None
    assert "script" not in {each.tag.split("}")[-1] for each in ElementTree.fromstring(plot).iter()}
    assert not re.search("<script", plot)


def test_without_reference_people_there_is_no_plot_and_the_row_says_so() -> None:
    for none in ({}, {"reference": None}, {"reference": {**record()["reference"], "curves": []}}):
        assert percentile_plot(none) is None
    assert reference_rows({"reference": None})[0][2] == NO_REFERENCE
    for code, words in (("W_EDITED", "edit"), ("W_TEMPLATE", "normalised")):
        changed = {"reference": None, "warnings": [{"code": code, "message": ""}]}
        assert words in reference_rows(changed)[0][2]


def test_rows_name_the_people_and_give_whole_percentiles() -> None:
    rows = reference_rows(record())
    assert rows[0][:2] == ("Reference people", "98")
    assert rows[0][2].endswith("20 to 80 years")
    assert rows[1][:2] == ("Hippocampus, percentile", "12")
    assert rows[2][1] == "6\u202f250 mm³"
    beyond = reference_rows(record(age=90.0))
    assert beyond[1][1] == "–"
    assert beyond[1][2].startswith("outside the ages")


@pytest.mark.parametrize(
    ("percentile", "words"),
    [(None, "–"), (0.4, "<1"), (1.0, "1"), (36.6, "37"), (99.0, "99"), (99.2, ">99")],
)
def test_percentiles_in_words_never_claim_the_first_or_the_last(percentile: float | None, words: str) -> None:
    assert percentile_text(percentile) == words


def test_numbers_of_lines_that_end_together_are_parted_and_keep_their_order() -> None:
    heights = [100.0, 101.0, 150.0, 99.0]
    found = spread(heights)
    assert sorted(range(4), key=lambda n: found[n]) == sorted(range(4), key=lambda n: heights[n])
    assert min(np.diff(sorted(found))) == pytest.approx(LABEL_PX, abs=0.2)
    assert found[2] == 150.0
    assert spread([1.0, 50.0]) == [1.0, 50.0]


@pytest.mark.parametrize(
    ("extent", "step"), [(0.0, 1.0), (3.0, 1.0), (4.0, 1.0), (4.1, 2.0), (60.0, 20.0), (0.1, 0.025)]
)
def test_scales_count_in_round_steps(extent: float, step: float) -> None:
    assert tick_step(extent) == pytest.approx(step)
