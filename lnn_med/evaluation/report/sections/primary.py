"""Section 5: endpoints with their decisions, and the comparison with other predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lnn_med.evaluation.protocol import HIGHER_IS_BETTER, OF_PROBABILITIES
from lnn_med.evaluation.report.sections.blocks import (
    Block,
    Section,
    figure,
    heading,
    interval,
    missing,
    p_value,
    several,
    table,
    verdict,
    why,
)
from lnn_med.evaluation.report.sections.wording import METHODS, METRIC_DIGITS, METRIC_NAMES, Record


def primary(record: Record) -> Section:
    """Section 5."""
    blocks: list[Block] = []
    endpoints = record["endpoints"]
    first = record["protocol"]["primary"] is not None
    if not endpoints:
        blocks.append(
            missing("the protocol names no endpoint; sections 6 to 8 show all numbers without a decision.")
        )
    for index, one in enumerate(endpoints):
        role = "Primary endpoint" if first and index == 0 else "Secondary endpoint"
        blocks += _endpoint(one, role)
    if endpoints:
        blocks.append(
            figure(
                "endpoints",
                "Endpoints and thresholds",
                "Each endpoint's estimate and interval beside its threshold.",
            )
        )
    seen = record["leakage"]["found"]["train"]
    if seen:
        blocks.append(
            verdict(
                "caution",
                (
                    f"{several(len(seen), 'analysed case was', 'analysed cases were')} in the training "
                    "data: section 3."
                ),
            )
        )
    if record["comparison"] or record["comparison_auc"]:
        blocks.append(heading("Comparison with the other predictions"))
    if record["comparison"]:
        blocks += _comparison(record["comparison"])
    if record["comparison_auc"]:
        blocks += _auc_comparison(record["comparison_auc"])
    return Section(5, "Primary result", tuple(blocks))


def _endpoint_name(one: Mapping[str, Any]) -> str:
    if one["metric"] in OF_PROBABILITIES:
        at = "" if one["metric"] == "auc" else " at the locked threshold"
        return f"{METRIC_NAMES[one['metric']]}{at}"
    place = "mean of the structures of a case" if one["structure"] == "mean" else one["structure"]
    return f"{one['statistic']} {METRIC_NAMES[one['metric']]}, {place}"


def endpoint_rule(one: Mapping[str, Any]) -> tuple[str, str]:
    higher = HIGHER_IS_BETTER[one["metric"]]
    what = {"bound": f"{'lower' if higher else 'upper'} confidence bound", "estimate": "estimate"}[
        one["rule"]
    ]
    sign = "at least" if higher else "at most"
    return _endpoint_name(one), f"{what} {sign} {one['threshold']:g}"


def _endpoint(one: Mapping[str, Any], role: str) -> list[Block]:
    digits = METRIC_DIGITS[one["metric"]]
    found, other = one["number"], one["other_rule"]
    name, rule = endpoint_rule(one)
    labels = (
        ("missing = worst value", "without missing")
        if one["missing_rule"] == "worst"
        else ("without missing", "missing = worst value")
    )
    rows = [
        [label, interval(entry, digits), entry["n"], entry.get("n_patients"), decided]
        for label, entry, decided in zip(
            labels, (found, other), (one["verdict"], one["other_verdict"]), strict=True
        )
    ]
    note = (
        f"{one['n_missing']} missing. Interval: {METHODS.get(found['method'], found['method'])}. {why(found)}"
    )
    return [
        verdict(one["verdict"], f"{role}: {name}: {interval(found, digits)}; rule: {rule}."),
        table(
            f"{role}: {name}",
            ("rule for missing", "estimate (interval)", "cases", "patients", "decision"),
            rows,
            note.strip(),
        ),
    ]


def _comparison(found: Mapping[str, Any]) -> list[Block]:
    rows = [["mean of the structures", *_gain(found["mean"])]]
    rows += [[one["name"], *_gain(one)] for one in found["structures"]]
    words = found["mean"].get("words") or f"cannot be decided: {why(found['mean'])}"
    outcome = found["mean"].get("verdict") or "cannot be decided"
    return [
        verdict(outcome, f"Gain in DSC over the other predictions, margin {found['margin']:g}: {words}"),
        figure(
            "comparison",
            "Gain over the other predictions",
            "Interval of the paired difference beside 0 and the margin.",
        ),
        table(
            "Paired differences in DSC (this minus other)",
            ("structure", "difference (interval)", "verdict", "p, not worse by the margin"),
            rows,
            f"{found['n_cases']} cases; missing: {found['missing_new']} here, {found['missing_other']} "
            "there, each with DSC 0. Verdicts of single structures are not adjusted for their number.",
        ),
    ]


def _gain(one: Mapping[str, Any]) -> tuple[str, str, str]:
    if "gain" not in one:
        return "–", why(one), "–"
    return interval(one["gain"], 4), one["verdict"], p_value(one["p_noninferior"], 4)


def _auc_comparison(found: Mapping[str, Any]) -> list[Block]:
    words = found.get("words") or f"cannot be decided: {why(found)}"
    rows = [["AUC, this minus other", interval(found.get("gain"), 4), p_value(found.get("p"), 4)]]
    rows += [
        [f"AUC, {name}", interval(found[key]), ""]
        for key, name in (("first", "this"), ("second", "other"))
        if found.get(key)
    ]
    note = (
        f"{found['n_cases']} cases with a diagnosis; without a probability: {found['missing_new']} here, "
        f"{found['missing_other']} there, each called wrongly. "
        "DeLong's paired interval and two-sided p; over patients by bootstrap, without p, where one has "
        "several scans."
    )
    return [
        verdict(
            found.get("verdict") or "cannot be decided",
            f"Gain in AUC of {found['target']} over the others, margin {found['margin']:g}: {words}",
        ),
        table("Paired difference of the AUCs", ("", "estimate (interval)", "p, no difference"), rows, note),
    ]
