"""Section 8: classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lnn_med.evaluation.report.sections.blocks import (
    Block,
    Section,
    figure,
    interval,
    missing,
    percent,
    several,
    table,
    text,
    why,
)
from lnn_med.evaluation.report.sections.wording import Record


def classification(record: Record) -> Section:
    """Section 8."""
    found = record["classification"]
    if found is None:
        why_ = "the protocol names no `classification`, so no probability is compared with a diagnosis."
        return Section(8, "Classification", (missing(why_),))
    blocks: list[Block] = [
        text(
            f"Target {found['target']}: column {found['reference']} of the reference, positive when "
            f"{' or '.join(found['positive'])}. {several(found['n'], 'case', 'cases')} of "
            f"{several(found['n_patients'], 'patient', 'patients')}, {found['n_positive']} positive; "
            f"{found['n_without_reference']} without a diagnosis are left out. {found['n_missing']} "
            "without a "
            "probability count as called wrongly in the first column of each table, and are left out "
            "in the second. The column holds "
            + (", ".join(_held(one) for one in found["values"]) or "nothing")
            + "."
        )
    ]
    both = (found["all"], found["without_missing"])
    if found["n_missing"] == found["n"]:
        blocks.append(missing(f"no prediction holds a probability of {found['target']}."))
        return Section(8, "Classification", tuple(blocks))
    blocks.append(_accuracy(both, found["threshold"]))
    if found["prevalence"]:
        blocks.append(_predictive(both[0]["predictive"], found["prevalence"]))
    blocks.append(_cross_table(both[0]["performance"]))
    notes = {why(entry["auc"]) for entry in both} - {""}
    blocks += [text(note) for note in sorted(notes)]
    if "thresholds" in both[1]["roc"]:
        blocks.append(
            figure(
                "roc", "ROC curve", "Sensitivity against false positive rate; the locked threshold is marked."
            )
        )
    if "model" in both[1]["decision"]:
        blocks.append(
            figure(
                "decision",
                "Decision curve",
                "Net benefit of acting by the model, of treating all, of treating none.",
            )
        )
    return Section(8, "Classification", tuple(blocks))


def _held(one: Mapping[str, Any]) -> str:
    """A value of the column of the diagnosis, how often, and what it counts as."""
    return f"{one['value']} ({one['n']}, {'positive' if one['ill'] else 'negative'})"


def _accuracy(both: tuple[Mapping[str, Any], Mapping[str, Any]], threshold: float) -> Block:
    rows = [
        [name, *(interval(entry[key]) for entry in both)]
        for name, key in (("AUC", "auc"), ("average precision", "average_precision"))
    ]
    for name in ("sensitivity", "specificity", "balanced_accuracy"):
        rows.append(
            [
                f"{name.replace('_', ' ')} at {threshold:g}",
                *(interval(entry["performance"].get(name)) for entry in both),
            ]
        )
    note = "AUC: DeLong; proportions: Wilson; over patients by bootstrap where a patient has several scans."
    return table("Accuracy", ("measure", "missing = wrong", "without missing"), rows, note)


def _predictive(found: Sequence[Mapping[str, Any]], prevalence: Sequence[float]) -> Block:
    rows = [
        [percent(share, 1), interval(one.get("ppv")), interval(one.get("npv"))]
        for share, one in zip(prevalence, found, strict=True)
    ]
    return table("Predictive values at a stated prevalence", ("prevalence", "PPV", "NPV"), rows)


def _cross_table(found: Mapping[str, Any]) -> Block:
    rows = [
        ["called positive", found.get("true_positives"), found.get("false_positives")],
        ["called negative", found.get("false_negatives"), found.get("true_negatives")],
    ]
    return table(
        "Calls against the reference, missing = wrong", ("", "reference positive", "reference negative"), rows
    )
