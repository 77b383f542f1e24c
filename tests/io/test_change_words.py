"""The change since an earlier scan on the page: the numbers of the records, or why there are none."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from app.parts.change import change_tables
from lnn_med.io.change_words import EDIT_LEFT_OUT, OWN_CHECK, change_words
from lnn_med.io.result_files import write_prediction
from lnn_med.io.result_record import result_record
from lnn_med.io.volumetry_pdf import Earlier, page_content, write_page
from tests.io.test_change import NOW, OTHER_SCAN, earlier_of
from tests.predictions import make_prediction

EARLIER = earlier_of(volume_mm3=3000.0, interval_mm3=[2800.0, 3200.0], coverage=0.9)


def change_on_page(now: dict[str, Any], earlier: dict[str, Any], edited: bool = False) -> dict[str, Any]:
    return page_content(now, {}, picture=False, earlier=Earlier(earlier, edited))["change"]


def test_the_page_has_the_change_of_the_hippocampus_first_and_then_of_the_others() -> None:
    now = json.loads(json.dumps(NOW))
    now["structures"][0] |= {"volume_mm3": 2700.0, "interval_mm3": [2500.0, 2900.0], "coverage": 0.9}
    change = change_on_page(now, EARLIER)
    assert change["refusal"] == ""
    assert change["first"][0] == [
        "Hippocampus, left",
        "3\u202f000",
        "2\u202f700",
        "\u2212300 (\u2212700 to +100)",
        "\u221210.0 % (\u221221.9 % to +3.6 %)",
        "beyond",
        "brain-t1",
    ]
    names = [row[0] for row in change["first"] + change["others"]]
    assert len(names) == len(NOW["structures"])
    assert all(name.startswith("Hippocampus") for name in names[: len(change["first"])])
    assert not any(name.startswith("Hippocampus") for name in names[len(change["first"]) :])
    assert "at least 80 %" in change["notes"]
    assert OWN_CHECK in change["notes"]


def test_the_viewer_and_the_page_say_the_same() -> None:
    first, others = map(unescape, change_tables(NOW, EARLIER, edited=True))
    change = change_on_page(NOW, EARLIER, edited=True)
    for row in change["first"]:
        assert all(part in first for part in " ".join(row).replace("(", "").replace(")", "").split())
    assert all(row[0] in others for row in change["others"])
    assert EDIT_LEFT_OUT in first
    assert EDIT_LEFT_OUT in change["notes"]
    assert EDIT_LEFT_OUT not in change_on_page(NOW, EARLIER)["notes"]


def test_where_no_change_is_given_the_page_says_why_and_has_no_numbers() -> None:
    failed = result_record(make_prediction("fail"))
    failed["input"]["sha256"] = OTHER_SCAN
    for now, earlier, said in ((NOW, failed, "quality"), (failed, NOW, "quality"), (NOW, NOW, "same scan")):
        change = change_on_page(now, earlier)
        assert said in change["refusal"]
        assert (change["first"], change["others"], change["notes"]) == ([], [], "")
        assert said in change_words(now, earlier).refusal
    assert page_content(NOW, {}, picture=False)["change"] is None


def test_the_pdf_is_made_with_and_without_and_names_both_scans(tmp_path: Path) -> None:
    pytest.importorskip("typst")
    write_prediction(make_prediction(), tmp_path / "out")
    pages = []
    for number, earlier in enumerate([None, Earlier(EARLIER), Earlier(NOW), Earlier(EARLIER)]):
        write_page(tmp_path / "out", {"age": 71.0}, tmp_path / f"{number}.pdf", earlier=earlier)
        pages.append((tmp_path / f"{number}.pdf").read_bytes())
    assert len(set(pages)) == 3  # none, a change, a refusal
    assert pages[1] == pages[3]
    identifiers = page_content(NOW, {}, picture=False, earlier=Earlier(EARLIER))["identifiers"]
    assert ["Earlier scan, SHA-256", OTHER_SCAN] in identifiers
