"""The dementia panel of the result page."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from app.parts.risk import risk_panel, risk_reasons
from lnn_med.io.result_record import result_record
from lnn_med.io.risk_words import LIMITS
from tests.classified import RELIABILITY, abstained, answered
from tests.predictions import make_prediction


def record_of(entries: Any, status: str = "pass") -> dict[str, Any]:
    return result_record(replace(make_prediction(status), classification=entries))


def test_the_panel_shows_both_numbers_their_sets_and_every_limit() -> None:
    shown = risk_panel(record_of(answered()))
    assert re.findall(r'class="big">([^<]*)<', shown) == ["0.34", "", "0.41", ""]
    assert "Second opinion" in shown
    assert "no dementia or dementia: cannot be told apart" in shown
    for value in (RELIABILITY["people"], "AUC 0.87 (0.81 to 0.92)", "ECE) 0.051", "up to 0.100"):
        assert str(value) in shown
    assert shown.count("<li>") == len(LIMITS)
    assert "0.60" in risk_reasons(record_of(answered()))


def test_what_comes_from_outside_is_text() -> None:
    entries = tuple({**entry, "abstained": "<b>no</b>"} for entry in abstained())
    assert "&lt;b&gt;no&lt;/b&gt;" in risk_panel(record_of(entries))


def test_an_abstained_answer_has_its_reason_no_number_and_nothing_that_moved_it() -> None:
    shown = risk_panel(record_of(abstained()))
    assert re.findall(r'class="big">([^<]*)<', shown) == ["no answer", "no answer"]
    assert "The models know ages from" in shown
    assert risk_reasons(record_of(abstained())) == ""


def test_after_a_fail_and_without_a_classifier_there_is_no_panel() -> None:
    for record in (record_of(answered(), "fail"), record_of(())):
        assert risk_panel(record) + risk_reasons(record) == ""
