"""Sections 10 to 15: subgroups, robustness, failures, reproducibility, checklists, limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lnn_med.evaluation.report.checklists import Checklist, filled_checklists
from lnn_med.evaluation.report.sections.blocks import (
    Block,
    Section,
    facts,
    figure,
    heading,
    interval,
    missing,
    percent,
    several,
    table,
    text,
)
from lnn_med.evaluation.report.sections.remarks import calibrated_remarks, size_remarks
from lnn_med.evaluation.report.sections.wording import METRIC_DIGITS, METRIC_NAMES, Record

COLUMN_NAMES = {"field_t": "field strength", "slice_mm": "slice thickness", "diagnosis": "diagnosis or stage"}


def subgroups(record: Record) -> Section:
    """Section 10."""
    found, calls = record["subgroups"], record["call_groups"] or ()
    blocks: list[Block] = []
    if found is not None:
        place = "mean of the structures" if found["mean_of_all"] else found["structure"]
        title = f"{METRIC_NAMES[found['metric']]}, {place}"
        blocks += _groups(found, title, "mean (interval)")
        if found["groups"]:
            alt = "Mean and interval of each group beside the mean of all cases."
            blocks.insert(1, figure("subgroups", "Subgroups", alt))
    for one in calls:
        blocks += _groups(
            one, f"{METRIC_NAMES[one['metric']].capitalize()} at the threshold", "share (interval)"
        )
    tables = [one for one in (found, *calls) if one is not None]
    for name, reason in {key: why for one in tables for key, why in one["not_measured"].items()}.items():
        blocks.append(missing(f"{COLUMN_NAMES.get(name, name)}: {reason.rstrip('.')}."))
    if not tables:
        blocks.append(missing("neither pairs of label maps nor probabilities, so no metric to compare."))
    return Section(10, "Subgroups", tuple(blocks) or (missing("the protocol names no subgroups."),))


def _groups(found: Mapping[str, Any], title: str, what: str) -> list[Block]:
    """One table of groups; nothing when no column gave one."""
    digits = METRIC_DIGITS[found["metric"]]
    rows = [
        [
            COLUMN_NAMES.get(one["column"], one["column"]),
            one["group"],
            one["n_scans"],
            one["n_patients"],
            interval(one["estimate"], digits),
            interval(one["difference"], digits),
            one["note"],
        ]
        for one in found["groups"]
    ]
    columns = ("by", "group", "scans", "patients", what, "minus all others (interval)", "")
    note = (
        "Missing predictions count by the protocol's rule. Intervals are not adjusted for the number of "
        "groups."
    )
    return [table(title, columns, rows, note)] if rows else []


def robustness(record: Record) -> Section:
    """Section 11."""
    stress = record["stress"]
    if stress is None:
        blocks: list[Block] = [
            missing(
                "noise, bias field, motion, resampling and orientation; `lnn-med stress` measures them, and "
                "`stress_result` in the protocol shows them here."
            )
        ]
    else:
        second = stress["repeatability"]
        tables = (stress, second) if second else (stress,)
        blocks = [table(one["title"], one["columns"], one["rows"], one["note"]) for one in tables]
    repeats = record["repeats"]
    if not isinstance(repeats, str):
        blocks.append(text("Repeat scans: section 7."))
    elif stress is None or stress["repeatability"] is None:
        blocks.append(missing(f"repeat scans; {repeats}."))
    return Section(11, "Robustness", tuple(blocks))


def failures(record: Record) -> Section:
    """Section 12."""
    found = record["failures"]
    if not found:
        words = "Every received case was eligible, could be read and has a result."
        return Section(12, "Failures", (text(words),))
    rows = [[row["case"], row["code"], row["reason"], row["counted"]] for row in found]
    title = several(len(found), "case", "cases") + " without a result that counts"
    return Section(12, "Failures", (table(title, ("case", "code", "reason", "how it was counted"), rows),))


def reproducibility(record: Record) -> Section:
    """Section 13."""
    found = record["reproducibility"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version)
    blocks = (
        facts(
            [
                ("Command", found["command"]),
                ("Versions", f"Python {found['python']}, {versions}"),
                ("Installed packages, SHA-256", found["lock_sha256"]),
                ("Commit", found["commit"]),
                ("Hardware", found["hardware"]),
                (
                    "Scans, SHA-256 over their hashes",
                    found["scans_sha256"] or "not known: the predictions are no run",
                ),
                ("Predicted label maps, SHA-256", found["predictions_sha256"]),
                ("References, SHA-256", found["references_sha256"] or "no label maps"),
                ("This report's numbers, SHA-256 of report.json", record["sha256"]),
            ]
        ),
        text(
            "The same inputs, program and protocol give the same bytes of report.json and "
            "report.pdf; neither holds "
            "the time of this computation."
        ),
        *_rerun(record["rerun"]),
    )
    return Section(13, "Reproducibility", blocks)


def _rerun(found: Mapping[str, Any] | None) -> list[Block]:
    if found is None:
        why = (
            "a second run of the device on the same scans; score them again and name it by `rerun` in the "
            "protocol."
        )
        return [missing(why)]
    weights = "the same weights" if found["same_weights"] else "OTHER weights"
    scans = {True: "the same bytes", False: "OTHER bytes", None: "bytes not known"}[found["same_scans"]]
    rows: list[tuple[str, Any]] = [
        ("Second run", f"{weights}; scans: {scans}"),
        (
            "Scans with a result in both",
            f"{found['n']} of {found['n_first']}; {found['n_other_outcome']} refused or failed in one alone",
        ),
        ("Equal label maps", f"{found['n_same_maps']} of {found['n']}"),
        ("Largest share of labelled voxels that changed", percent(found["largest_changed_share"], 2)),
        ("Largest change of a volume", _change(found["largest_volume_change_pct"], " %")),
        ("Largest change of a probability", _change(found["largest_probability_change"], "")),
    ]
    if found["n_incomparable"]:
        rows.append(("Label maps that cannot be compared", found["n_incomparable"]))
    return [heading("Second run of the device"), facts(rows)]


def _change(value: float | None, unit: str) -> str:
    return "none to compare" if value is None else f"{value:.3g}{unit}"


def checklists(record: Record) -> Section:
    """Section 14."""
    filled = filled_checklists(record)
    rows = [[one.name, one.done, len(one.items) - one.done] for one in filled]
    blocks = [
        text(
            "A row is done when its section holds what it asks for; everything else is left to the "
            "study's authors."
        ),
        table("Overview", ("checklist", "rows answered here", "not done"), rows),
    ]
    for one in filled:
        blocks += _checklist(one)
    return Section(14, "Checklists", tuple(blocks))


def limits(record: Record) -> Section:
    """Section 15."""
    people, leakage = record["people"], record["leakage"]
    words = [
        "Agreement with the reference standard is measured, not truth: errors that both share are invisible.",
        "Intervals describe other patients of the same kind, from the same sites and scanners.",
    ]
    words += size_remarks(people)
    if not leakage["sources"] or leakage["unknown"]:
        words.append(
            "Whether the model has seen these cases before is not known, or not of all its networks."
        )
    if leakage["found"]["train"]:
        words.append("Training cases are among the analysed ones: the numbers are too good.")
    elif leakage["found"]["val"]:
        count = len(leakage["found"]["val"])
        words.append(
            f"{several(count, 'analysed case was', 'analysed cases were')} used to choose the model: "
            "the numbers are optimistic."
        )
    words += calibrated_remarks(leakage)
    if people["patients_from"].startswith("the names"):
        words.append(
            "Patients are told apart by the names of the cases; two scans of one person may count as "
            "two people."
        )
    if record["protocol"]["primary"] is None:
        words.append("No endpoint was fixed before the results were seen.")
    words.append(
        f"Confidence level {percent(record['protocol']['level'], 1)}; secondary endpoints and "
        "subgroups are not adjusted for their number."
    )
    words.append("Research use only: not a medical device.")
    return Section(15, "Limits", tuple(text(one) for one in words))


def _checklist(one: Checklist) -> list[Block]:
    rows: list[Mapping[str, Any]] = [
        {"item": item.item, "asks": item.asks, "section": item.section} for item in one.items
    ]
    return [heading(one.name), {"kind": "checklist", "source": f"{one.source}.", "rows": rows}]
