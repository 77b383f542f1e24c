"""What the page says of the classifiers' answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lnn_med.io.result_files import write_prediction
from lnn_med.io.result_record import result_record
from lnn_med.io.risk_words import LIMITS, log_odds_text, risk_words
from lnn_med.io.volumetry_pdf import page_content, write_page
from tests.classified import REASON, abstained, answered
from tests.io.test_percentile_plot import record as with_reference
from tests.predictions import make_prediction


def record_of(entries: Any, status: str = "pass", **derived: float) -> dict[str, Any]:
    made = make_prediction(status)
    made = replace(made, classification=entries, derived={**made.derived, **derived})
    return result_record(made)


def test_the_default_number_comes_first_and_the_network_is_a_second_opinion() -> None:
    rows = risk_words(record_of(answered(), brain_age_years=71.26)).rows
    assert [(name, value) for name, value, _ in rows] == [
        ("Probability of a dementia rating (CDR > 0)", "0.34"),
        ("How it was tested", ""),
        ("Second opinion: network that adds the image", "0.41"),
        ("How it was tested", ""),
        ("Age that the brain looks like", "71 years"),
    ]
    notes = [note for _, _, note in rows]
    assert notes[0] == (
        "prediction set (90 %): no dementia or dementia: cannot be told apart; known of the person: age, sex"
    )
    assert notes[1] == (
        "188 people held back, 80 with dementia: AUC 0.87 (0.81 to 0.92), from 60 years on "
        "0.79 (0.71 to 0.86); calibration error (ECE) 0.051, a perfect model of so few people has up to 0.100"
    )
    assert notes[2].startswith("prediction set (90 %): dementia;")
    assert notes[3].startswith("187 people")
    assert notes[4] == "mean error 6.2 years in healthy people held back"


def test_drivers_are_ranked_age_counts_with_its_square_and_structures_have_their_percentile() -> None:
    words = risk_words(record_of(answered()) | with_reference())
    assert words.drivers == (
        ("Hippocampus, volume", "\u22120.51", "12"),
        ("Age", "+0.40", "–"),
        ("Inf lat ventricle, volume", "+0.20", "–"),
        ("Sex", "\u22120.05", "–"),
    )
    assert words.evidence == (
        ("Amygdala", "\u22120.600", "–"),
        ("Hippocampus", "+0.412", "12"),
        ("Temporal GM", "+0.050", "–"),
    )
    assert words.limits == LIMITS
    assert log_odds_text(-0.001) == "\u22120.00"


def test_where_both_sides_together_have_no_percentile_each_side_has_its_own() -> None:
    made = make_prediction()
    shares = {"InfLatVentricle_L": 88.2, "InfLatVentricle_R": 99.7, "Amygdala_L": None, "Hippocampus_L": 70.0}
    structures = tuple(
        replace(made.structures[0], name=name, side=name[-1], percentile=value)
        for name, value in shares.items()
    )
    found = result_record(replace(made, classification=answered(), structures=structures))
    shown = {row[0]: row[2] for row in risk_words(found | with_reference()).drivers}
    assert shown["Inf lat ventricle, volume"] == "left 88, right >99"
    assert shown["Hippocampus, volume"] == "12"  # both sides together come first
    evidence = {row[0]: row[2] for row in risk_words(found).evidence}
    assert (evidence["Amygdala"], evidence["Hippocampus"]) == ("–", "left 70")


def test_nothing_known_is_said() -> None:
    entries = tuple({**entry, "known": []} for entry in answered())
    assert "nothing was known of the person" in risk_words(record_of(entries)).rows[0][2]


def test_reliability_that_was_counted_with_more_known_says_so() -> None:
    def notes(counted: list[str]) -> str:
        entries = tuple(
            {**entry, "known": ["age"], "reliability": {**entry["reliability"], "known": counted}}
            for entry in answered()
        )
        return risk_words(record_of(entries)).rows[3][2]

    assert "(age, sex known, which is not what is known here): AUC" in notes(["age", "sex"])
    assert "which is not" not in notes(["age"])


def test_an_abstained_answer_is_its_reason_and_no_number() -> None:
    words = risk_words(record_of(abstained()))
    assert [(value, note) for _, value, note in words.rows] == [("no answer", REASON)] * 2
    assert not words.drivers
    assert not words.evidence
    assert words.limits


@pytest.mark.parametrize(("entries", "status"), [((), "pass"), (answered(), "fail")])
def test_without_a_classifier_and_after_a_fail_nothing_is_said(entries: Any, status: str) -> None:
    found = record_of(entries, status)
    assert risk_words(found).rows == ()
    assert page_content(found, {}, picture=False)["risk"] is None


def test_the_page_has_the_section_and_says_when_labels_were_edited() -> None:
    found = record_of(answered())
    risk = page_content(found, {}, picture=False)["risk"]
    assert [row[1] for row in risk["rows"]] == ["0.34", "", "0.41", ""]
    assert [len(table["rows"]) for table in risk["tables"]] == [4, 3]
    assert risk["edited"] == ""
    edited = {**found, "warnings": [{"code": "W_EDITED", "message": "x"}]}
    assert "before a reader's edit" in page_content(edited, {}, picture=False)["risk"]["edited"]
    assert page_content(record_of(abstained()), {}, picture=False)["risk"]["tables"] == []


@pytest.mark.parametrize("entries", [answered(), abstained()], ids=["answered", "abstained"])
def test_the_page_is_made(entries: Any, tmp_path: Any) -> None:
    pytest.importorskip("typst")
    write_prediction(replace(make_prediction(), classification=entries), tmp_path / "out")
    write_page(tmp_path / "out", {"age": 71.0, "sex": "F"}, tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
