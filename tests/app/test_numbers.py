"""One way to write numbers on every page."""

from __future__ import annotations

import re

import pytest

from app.parts import estimates, numbers
from app.parts.estimates import NO_ENDPOINT, estimate_tables, estimate_text, report_facts
from lnn_med.io.volumetry import NO_VALUE


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("Hippocampus_L_mm3", 2479.0, "2\u202f479"),
        ("icv_mm3", 1913867.2, "1\u202f913\u202f867"),
        ("hippocampus_asymmetry_pct", -3.24, "\u22123.2 %"),
        ("dementia_probability", 0.128, "0.13"),
        ("Hippocampus_L_mm3", float("nan"), NO_VALUE),
        ("Hippocampus_L_mm3", None, NO_VALUE),
    ],
)
def test_a_column_s_unit_decides_how_its_values_are_written(column: str, value: object, text: str) -> None:
    assert numbers.column_text(column, value) == text


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("more than 8,388,608 bytes", "more than 8\u202f388\u202f608 bytes"),
        ("images 41, 42 and 2,5 mm", "images 41, 42 and 2,5 mm"),  # no thousands
        ("UID 1.2.840.10008", "UID 1.2.840.10008"),
        ("at most 20000 voxels", "at most 20000 voxels"),
    ],
)
def test_thousands_in_messages_of_the_package_are_written_as_on_the_pages(message: str, text: str) -> None:
    assert numbers.as_shown(message) == text


def test_bare_thousands_are_grouped_where_no_number_is_a_name() -> None:
    assert numbers.grouped("at most 20000 voxels a case") == "at most 20\u202f000 voxels a case"


NUMBER = {"estimate": 0.8553, "low": 0.8351, "high": 0.8767, "n": 10, "method": "percentile"}
ALL = {"dsc": NUMBER, "nsd": NUMBER, "hd95_mm": NUMBER}
STRUCTURES = [f"Part{at}_L" for at in range(6)] + ["Hippocampus_L"]
ENDPOINT = {"statistic": "mean", "metric": "dsc", "structure": "mean", "rule": "bound", "threshold": 0.8,
            "number": NUMBER, "verdict": "met"}  # fmt: skip
CLASSES = {"target": "dementia", "reference": "dx", "threshold": 0.5,
           "all": {"auc": NUMBER, "performance": {"sensitivity": NUMBER, "specificity": None}}}  # fmt: skip
REPORT = {
    "status": "DRAFT",
    "protocol": {"id": "none", "title": "T", "level": 0.9},
    "flow": {"analysed": 1234, "counted_worst": 0},
    "people": {"n_patients": 10},
    "endpoints": [],
    "segmentation": {
        "tolerance_mm": 1.0,
        "n_cases": 1234,
        "mean": {"name": "mean", "all": ALL},
        "structures": [{"name": name, "all": ALL} for name in STRUCTURES],
    },
    "volumetry": {
        "structures": [
            {"name": name, "bland_altman": {"bias": {"estimate": -1250.2, "low": -2000.0, "high": 3.0}},
             "icc": {"agreement": NUMBER}} for name in STRUCTURES
        ]
    },
    "intervals": [{"name": "Hippocampus_L", "coverage": {"nominal": 0.9, "observed": NUMBER}}],
    "classification": CLASSES,
}  # fmt: skip


def test_a_report_without_endpoints_shows_its_estimates_with_their_intervals() -> None:
    top, below = estimate_tables(REPORT)
    assert NO_ENDPOINT in top
    for text in (
        "1\u202f234 cases (90 % interval)",
        "NSD at 1 mm",
        "0.855 (0.835 to 0.877)",
        "\u22121\u202f250 (\u22122\u202f000 to 3)",
        "86 % (84 % to 88 %) of 90 %",
        "AUC",
    ):
        assert text in top, text
    assert "Specificity" not in top
    rows = re.findall(r'<th scope="row">(.*?)</th>', top)
    assert rows[:2] == ["Mean of the structures", "Hippocampus, left"]
    assert "Part5, left" in below
    assert "Part5, left" not in top
    assert "1\u202f234" in report_facts(REPORT)


def test_endpoints_come_with_rule_and_verdict_and_what_is_not_there_is_left_out() -> None:
    top, below = estimate_tables({"endpoints": [ENDPOINT]})
    assert NO_ENDPOINT not in top
    assert "lower confidence bound at least 0.8" in top
    assert "<b>met</b>" in top
    assert top.count("<table") == 1
    assert below == ""
    assert estimate_tables({})[0] == f"<p>{estimates.NO_ENDPOINT}</p>"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (None, NO_VALUE),
        ({"estimate": None, "low": None, "high": None}, NO_VALUE),
        ({"estimate": 1.0, "low": None, "high": None}, "1 (no interval)"),
        ({"estimate": 1.0, "low": 0.4, "high": 2.0}, "1 (0 to 2)"),
    ],
)
def test_an_estimate_never_stands_without_word_of_its_interval(found: dict | None, text: str) -> None:  # type: ignore[type-arg]
    assert estimate_text(found, lambda value: f"{value:.0f}") == text
