"""What the terminal says of a result's classifiers."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from rich.console import Console

from lnn_med.console import show_result
from lnn_med.io.result_record import result_record
from tests.classified import REASON, abstained, answered
from tests.predictions import make_prediction


def said(entries: Any, status: str = "pass") -> list[str]:
    """Lines of the terminal about a result with these entries."""
    made = make_prediction(status)
    made = replace(made, classification=entries, derived={**made.derived, "brain_age_years": 71.26})
    text = io.StringIO()
    show_result(Console(file=text, width=200, highlight=False, soft_wrap=True), result_record(made))
    return text.getvalue().splitlines()


def test_each_target_has_a_line_with_its_set_what_was_known_and_how_it_was_tested() -> None:
    lines = said(answered())
    tested = "tested on 188 people: AUC 0.87 (0.81 to 0.92), ECE 0.051 (null 0.100)"
    assert (
        f"dementia probability 0.3422; set (90 %) no dementia or dementia; known age, sex; {tested}" in lines
    )
    (network,) = (line for line in lines if line.startswith("dementia network probability 0.41; "))
    assert "set (90 %) dementia;" in network
    assert "  evidence, log-odds: Hippocampus +0.412, Amygdala -0.600, Temporal_GM +0.050" in lines
    assert any("brain_age_years 71.3" in line for line in lines)


def test_an_abstained_answer_is_its_reason() -> None:
    lines = said(abstained())
    assert f"dementia: no answer. {REASON}" in lines
    assert f"dementia network: no answer. {REASON}" in lines
    assert not [line for line in lines if "probability" in line]


def test_nothing_is_said_after_a_fail() -> None:
    assert not [line for line in said(answered(), "fail") if "dementia" in line]
