"""Section 9: calibration and uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from lnn_med.evaluation.report.sections.blocks import (
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
from lnn_med.evaluation.report.sections.remarks import calibrated_remarks
from lnn_med.evaluation.report.sections.wording import Record


def calibration(record: Record) -> Section:
    """Section 9."""
    blocks: list[Block] = [heading("Probabilities"), *_probabilities(record["classification"])]
    blocks += [heading("Class sets"), *_class_sets(record["classification"])]
    blocks += [heading("Voxels"), *_voxels(record["voxels"])]
    blocks += [heading("Volume intervals"), *_coverage(record["intervals"], record["protocol"]["coverage"])]
    blocks += [text(words) for words in calibrated_remarks(record["leakage"]) if record["intervals"]]
    blocks += [heading("Selective risk"), *_selective(record["selective_risk"])]
    blocks += [heading("Detection of bad results"), *_control(record["control"])]
    blocks += [heading("Detection of scans outside the intended use"), *_detection(record)]
    return Section(9, "Calibration and uncertainty", tuple(blocks))


def _voxels(found: Sequence[Mapping[str, Any]]) -> list[Block]:
    if not found:
        return [
            missing(
                "label maps hold no probabilities, and no installed bundle with the weights of the "
                "predictions is calibrated (`lnn-med calibrate`)."
            )
        ]
    blocks: list[Block] = []
    for one in found:
        splits = " and ".join(one["splits"])
        words = (
            f"{one['bundle']}, measured when it was calibrated ({one['date']}) on the {one['n']} cases of "
            f"its splits {splits}. Region: {one['region']}. Values after temperature are cross-fitted."
        )
        blocks += [text(words), _exits(one), *_cross_fitted(one)]
    alt = (
        "Share of voxels labelled rightly against their mean probability at the last exit, after temperature."
    )
    return [*blocks, figure("voxels", "Reliability of the voxels", alt)]


def _exits(found: Mapping[str, Any]) -> Block:
    """Errors of each exit before and after temperature."""
    rows = []
    for place, one in enumerate(found["exits"], start=1):
        before, after = one["before"], one["after"]
        pairs = [
            f"{number(before[key], 4)} → {number(after[key], 4)}"
            for key in ("ece", "ace", "mce", "brier", "nll")
        ]
        rows.append([place, number(one["temperature"], 2), pairs[0], number(one["ece_null"], 4), *pairs[1:]])
    columns = ("exit", "temperature", "ECE", "ECE of chance", "ACE", "MCE", "Brier", "NLL")
    note = (
        "Before → after temperature, of the voxels of all cases at once; by image, where opposite errors do "
        "not cancel, ECE is larger. ECE of chance: what a perfect model with these probabilities scores."
    )
    return table(f"Voxel probabilities of {found['bundle']}", columns, rows, note)


def _cross_fitted(found: Mapping[str, Any]) -> list[Block]:
    """Coverage of the volume intervals on cases that did not take part in their fit."""
    volumes = found["volumes"]
    if not volumes:
        return []
    covered = sum(one["cross_fitted"] for one in volumes) / len(volumes)
    low, high = (pick(volumes, key=lambda one: one["cross_fitted"]) for pick in (min, max))
    width = median(one["width_pct"] for one in volumes)
    if len(volumes) == 1:
        spread = f"of {low['name']}"
    elif low["cross_fitted"] == high["cross_fitted"]:
        spread = f"the same for all {len(volumes)} structures"
    else:
        spread = (
            f"as the mean of {len(volumes)} structures, from {percent(low['cross_fitted'], 1)} "
            f"({low['name']}) to {percent(high['cross_fitted'], 1)} ({high['name']})"
        )
    return [
        text(
            f"Volume intervals of {found['bundle']}, nominal {percent(found['nominal'])}: cross-fitted "
            f"coverage {percent(covered, 1)}, {spread}; median width {number(width, 0)} % of the volume."
        )
    ]


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


def _class_sets(found: Mapping[str, Any] | None) -> list[Block]:
    """Sets of classes that cannot be ruled out: of the device, and cross-fitted from its probabilities."""
    if found is None or found["sets"] is None:
        return [missing("no probability was compared with a diagnosis: section 8.")]
    names = {"device": "of the device", "cross_fitted": "cross-fitted, other patients' quantile"}
    rows, notes = [], []
    for key, name in names.items():
        one = found["sets"][key]
        if one is None or "coverage" not in one:
            notes.append(missing(f"sets {name}: {why(one) or 'the predictions hold none'}."))
            continue
        check = one["coverage"]
        band = f"{percent(check['nominal'])}: {percent(check['band_low'])} to {percent(check['band_high'])}"
        shares = [interval(one[part]) for part in ("no", "yes")]
        sizes = f"{one['n_one']}, {one['n_both']}, {one['n_none']}"
        rows.append([name, one["n"], interval(check["observed"]), band, *shares, sizes])
    columns = ("sets", "n", "coverage", "chance at nominal", "without", "with disease", "one, both, no class")
    return ([table("Class sets: is the true class in it?", columns, rows)] if rows else []) + notes


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


def _detection(record: Record) -> list[Block]:
    """Scans that were put in on purpose, and scans that were disturbed on purpose."""
    found = record["detection"]
    if found is None:
        blocks = [
            missing(
                "no scan is marked as outside the intended use (`intended` = no in the reference table), to "
                "see whether it is noticed."
            )
        ]
    else:
        words = (
            f"{several(found['n'], 'scan was', 'scans were')} put in on purpose: {found['refused']} refused, "
            f"{found['fail']} FAIL, {found['review']} REVIEW, {found['n_without']} without any answer, which "
            "counts as not noticed. "
            f"Noticed: {interval(found['detected'])}; of {found['n_others']} analysed scans: "
            f"{_share(found['others'])}. Intervals: Wilson."
        )
        blocks = [text(words)]
    if record["stress"] is not None:
        blocks.append(text("Scans disturbed on purpose, and how many were flagged: section 11."))
    return blocks


def _share(found: Mapping[str, Any]) -> str:
    return interval(found) if found["estimate"] is not None else DASH
