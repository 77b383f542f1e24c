"""Sections 8 and 9: classification, calibration and uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lnn_med.evaluation.sections.blocks import (
    DASH,
    Block,
    Section,
    facts,
    figure,
    heading,
    interval,
    missing,
    number,
    percent,
    several,
    table,
    text,
    why,
)
from lnn_med.evaluation.sections.wording import Record


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
            "in the second."
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


def calibration(record: Record) -> Section:
    """Section 9."""
    blocks: list[Block] = [heading("Probabilities"), *_probabilities(record["classification"])]
    blocks += [heading("Volume intervals"), *_coverage(record["intervals"], record["protocol"]["coverage"])]
    blocks += [heading("Selective risk"), *_selective(record["selective_risk"])]
    blocks += [heading("Detection of bad results"), *_control(record["control"])]
    blocks.append(
        missing(
            "voxel-wise calibration (label maps hold no probabilities; `lnn-med calibrate` prints "
            "it) and detection "
            "of scans of another kind, beyond what quality control flagged above."
        )
    )
    return Section(9, "Calibration and uncertainty", tuple(blocks))


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


def _probabilities(found: Mapping[str, Any] | None) -> list[Block]:
    if found is None or found["calibration"] is None:
        return [missing("no probability was compared with a diagnosis: section 8.")]
    part = found["calibration"]
    errors, null, brier, line = part["errors"], part["null"], part["brier"], part["recalibration"]
    rows = [
        (
            "ECE",
            (
                f"{number(errors['ece'])}; a perfect model of this size scores {number(null['mean'])}, "
                f"below {number(null['upper'])} in 95 of 100"
            ),
        ),
        ("ACE, MCE", f"{number(errors['ace'])}, {number(errors['mce'])}"),
        (
            "Brier score",
            (
                f"{number(brier['brier'])} = reliability {number(brier['reliability'], 4)} − resolution "
                f"{number(brier['resolution'], 4)} + uncertainty {number(brier['uncertainty'], 4)} + "
                f"within bins {number(brier['within_bin'], 4)}"
            ),
        ),
        ("Calibration intercept (ideal 0)", interval(line.get("intercept")) + _note(line)),
        ("Calibration slope (ideal 1)", interval(line.get("slope")) + _note(line.get("slope"))),
        (
            "Cases",
            f"{part['n']}, {errors['bins']} bins; missing predictions have no probability and are left out",
        ),
    ]
    return [
        facts(rows),
        figure(
            "reliability",
            "Reliability diagram",
            "Observed share against mean probability, with consistency bars of a calibrated model.",
        ),
    ]


def _note(found: Mapping[str, Any] | None) -> str:
    note = why(found)
    return f"; {note}" if note else ""


def _coverage(found: Sequence[Mapping[str, Any]] | None, nominal: float) -> list[Block]:
    if not found:
        return [missing("the predictions hold no volume intervals.")]
    rows = []
    for one in found:
        check = one["coverage"]
        band = f"{percent(check['band_low'])} to {percent(check['band_high'])}"
        rows.append(
            [
                one["name"],
                check["observed"]["n"],
                interval(check["observed"]),
                band,
                "yes" if check["inside"] else "no",
                interval(one["width_mm3"], 0),
                number(one["median_width_pct"], 1),
            ]
        )
    columns = (
        "structure",
        "n",
        "coverage",
        f"chance at {percent(nominal)}",
        "inside",
        "width, mm³",
        "median width, %",
    )
    return [table("Coverage of the volume intervals", columns, rows)]


def _selective(found: Mapping[str, Any] | None) -> list[Block]:
    if found is None or "aurc" not in found:
        return [missing("it needs volume intervals, whose width says how certain a case is.")]
    words = (
        f"Area under the curve {number(found['aurc'], 4)}; {number(found['aurc_random'], 4)} if width "
        "said nothing, "
        f"{number(found['aurc_best'], 4)} if cases were kept in order of their true DSC."
    )
    return [
        text(words),
        figure(
            "selective", "Selective risk", "Mean of 1 − DSC over the share of cases kept, most certain first."
        ),
    ]


def _control(found: Mapping[str, Any] | None) -> list[Block]:
    if found is None:
        return [missing("the predictions carry no quality control.")]
    rows = [[one["state"].upper(), one["n"], number(one["mean_dsc"])] for one in found["states"]]
    low = f"{found['low_dsc']:g}"
    words = (
        f"Of {found['n_bad']} cases with a mean DSC below {low}, flagged REVIEW: "
        f"{_share(found['bad_flagged'])}; of "
        f"{found['n_good']} others: {_share(found['good_flagged'])}. {found['rejected']} were "
        "rejected (FAIL) and have "
        "no result to judge."
    )
    return [table("Quality control", ("state", "cases", "mean DSC"), rows), text(words)]


def _share(found: Mapping[str, Any]) -> str:
    return interval(found) if found["estimate"] is not None else DASH
