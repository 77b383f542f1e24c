"""The calibration panel: how often labels of a confidence were right, in the bundle's own cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.parts import html
from app.parts.diagram import reliability_picture
from app.parts.numbers import count_text, grouped

NOT_KEPT = "The bundle on this machine keeps no calibration of these weights, so nothing is shown."


def calibration_panel(
    model: Mapping[str, Any], calibration: Mapping[str, Any] | None, case: Mapping[str, Any], last: int | None
) -> str:
    """Diagram, cohort and errors of one bundle.

    Args:
        model: entry of the record.
        calibration: content of its calibration.json, None when there is none of these weights.
        case: bounds of this case's mean confidence (`low`, `high`); empty when not known for this bundle.
        last: the last exit that this case reached; None when not known.
    """
    name = f"<h3>{html.text(model['bundle'])} {html.text(model['version'])}</h3>"
    exits: Sequence[Mapping[str, Any]] = ((calibration or {}).get("measured") or {}).get("exits") or ()
    if calibration is None or not exits:
        return f"{name}<p>{NOT_KEPT}</p>"
    shown = last if last and last <= len(exits) else len(exits)
    one = exits[shown - 1]
    words = f"Reliability diagram of exit {shown}: ECE {one['after']['ece']:.3f}. {_case_words(case)}"
    return (
        name
        + reliability_picture(one["diagram"], case, words)
        + f"<p>{html.text(_cohort(calibration, one))} {html.text(_case_words(case))}</p>"
        + _errors(exits, last)
        + '<p class="quiet">Dots: observed; bars: where 95 % of calibrated models would lie; below: number '
        "of voxels. Null ECE is what a perfectly calibrated model scores with these voxels.</p>"
    )


def _cohort(calibration: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    region = calibration["measured"].get("region")
    where = f" ({grouped(region)})" if region else ""
    splits = " and ".join(calibration["splits"])
    return (
        f"Cohort: {calibration['cases']} scans of the bundle's splits {splits}, "
        f"{count_text(one['after']['n'])} voxels{where}, fitted {calibration['date']}."
    )


def _case_words(case: Mapping[str, Any]) -> str:
    if not case:
        return "This case is not marked: its result keeps no confidence of this bundle."
    return (
        f"This case: mean confidence {case['low']:.2f} to {case['high']:.2f} over "
        f"{count_text(case['voxels'])} labelled voxels, bounds that its uncertainty map allows."
    )


def _errors(exits: Sequence[Mapping[str, Any]], last: int | None) -> str:
    cells = []
    for at, one in enumerate(exits, start=1):
        mark = ", last of this case" if at == last else ""
        ece = [one["before"]["ece"], one["after"]["ece"], one["ece_null"]]
        cells.append((f"Exit {at}{mark}", *(f"{value:.4f}" for value in ece)))
    head = ("ECE", "before temperature", "after", "null")
    return html.table("", head, cells)
