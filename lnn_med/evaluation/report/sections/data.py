"""Sections 3 and 4: data with the leakage check, reference standard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lnn_med.evaluation.report.sections.blocks import (
    Block,
    Section,
    facts,
    figure,
    heading,
    interval,
    listed,
    missing,
    number,
    several,
    table,
    text,
    verdict,
)
from lnn_med.evaluation.report.sections.remarks import table_remarks
from lnn_med.evaluation.report.sections.wording import Record


def data(record: Record) -> Section:
    """Section 3."""
    flow, people, leakage, protocol = (record[key] for key in ("flow", "people", "leakage", "protocol"))
    rows = [
        [
            step["step"],
            step["n"],
            step["lost"],
            "; ".join(f"{reason} ({n})" for reason, n in step["reasons"].items()),
        ]
        for step in flow["steps"]
    ]
    rows.append(["analysed", flow["analysed"], "", _analysed_words(flow, protocol)])
    blocks = [
        facts([("Source of the data", protocol["data_source"]), ("Eligibility", protocol["eligibility"])]),
        figure(
            "flow", "Flow of cases", "Boxes from received to analysed, with the number lost at each arrow."
        ),
        table("Flow", ("step", "cases", "lost before", "reasons"), rows),
        text(
            "Predictions and references were joined by "
            + ", ".join(f"{rule} ({n})" for rule, n in flow["matched_by"].items())
            + f". {several(people['n_cases'], 'case', 'cases')} of "
            f"{several(people['n_patients'], 'patient', 'patients')}; "
            f"{several(people['n_patients_with_several'], 'patient has', 'patients have')} several scans. "
            f"Patients are told apart by {people['patients_from']}."
        ),
        *_people(people),
        heading("Leakage check"),
        *_leakage(leakage, people["n_cases"]),
    ]
    return Section(3, "Data", tuple(blocks))


def standard(record: Record) -> Section:
    """Section 4."""
    protocol, labels, readers = record["protocol"], record["labels"], record["readers"]
    blocks = [
        facts([("Reference standard", protocol["reference_standard"]), ("Readers", protocol["readers"])])
    ]
    if labels:
        predicted = labels["predicted"]
        rows = [
            [name, value, predicted[name] if predicted else "by its name"]
            for name, value in labels["reference"].items()
        ]
        blocks.append(text(f"Meaning of the integers: {labels['source']}."))
        blocks.append(
            table("Structures compared", ("structure", "integer, reference", "integer, prediction"), rows)
        )
        if labels["left_out"]:
            blocks.append(text(f"On one side only, so not compared: {listed(labels['left_out'])}."))
    else:
        blocks.append(missing("no label maps; the reference is a table."))
    if readers is None:
        blocks.append(
            missing("agreement between readers; the protocol names no label maps of a second reader.")
        )
    else:
        columns = ("structure", "DSC", "ICC(2,1) of the volume", "bias, mm³")
        dsc = {one["name"]: one["all"]["dsc"] for one in readers["segmentation"]["structures"]}
        rows = [
            [
                one["name"],
                interval(dsc.get(one["name"])),
                interval(one["icc"].get("agreement")),
                interval(one["bland_altman"].get("bias"), 1),
            ]
            for one in readers["volumetry"]["structures"]
        ]
        blocks.append(table(f"Second reader against the reference, {readers['n']} cases", columns, rows))
    return Section(4, "Reference standard", tuple(blocks))


def _analysed_words(flow: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
    rule = (
        "count with the worst value" if protocol["missing"] == "worst" else "are left out of the first table"
    )
    return (
        f"all eligible cases with a readable reference; {flow['counted_worst']} without a prediction {rule}"
    )


def _people(people: Mapping[str, Any]) -> list[Block]:
    age, blocks = people["age"], []
    rows: list[list[Any]] = []
    if age["n"]:
        rows.append(
            [
                "age, years",
                (
                    f"mean {number(age['mean'], 1)}, SD {number(age['sd'], 1)}, {number(age['min'], 0)} "
                    f"to {number(age['max'], 0)}"
                ),
                age["missing"],
            ]
        )
    for name, counts in people["counts"].items():
        known = ", ".join(f"{value}: {n}" for value, n in counts.items() if value != "missing")
        rows.append([name, known, counts.get("missing", 0)])
    if rows:
        blocks.append(table("People and scanners, analysed cases", ("what", "found", "missing"), rows))
    else:
        blocks.append(missing("age, sex, site and scanner; no table of participants was given."))
    if people["spacing_mm"]:
        low, high = (
            "×".join(f"{mm:.2f}" for mm in people["spacing_mm"][key]) for key in ("smallest", "largest")
        )
        blocks.append(text(f"Voxels of the references: {low} mm to {high} mm along the axes of the array."))
    return blocks + [text(remark) for remark in table_remarks(people)]


def _leakage(found: Mapping[str, Any], n_cases: int) -> list[Block]:
    if not found["sources"]:
        blocks = [missing("no list of the training cases; name one with `training_table` in the protocol.")]
    else:
        seen = found["found"]
        rows = [
            [words, len(seen[part]), listed(seen[part]) or "none"]
            for part, words in (
                ("train", "learned from"),
                ("val", "chosen by"),
                ("calibration", "calibrated on"),
            )
        ]
        compared = " and ".join(found["compared"])
        note = (
            f"Compared: {compared}, with {', '.join(found['sources'])}. Series UIDs and SHA-256 of the "
            "training scans are compared where the protocol's `training_table` holds them."
        )
        outcome = "caution" if seen["train"] else "not known" if found["unknown"] else "none found"
        blocks = [
            verdict(
                outcome, f"{len(seen['train'])} of {n_cases} analysed cases are known to be training cases."
            ),
            table("Analysed cases that the model has met", ("the model was", "cases", "names"), rows, note),
        ]
    if found["unknown"]:
        names = listed(found["unknown"])
        blocks.append(missing(f"training cases of {names}; no installed bundle has the weights of the run."))
    if found["same_scan_twice"] is not None:
        blocks.append(
            text(f"Scans whose bytes occur twice under different names: {found['same_scan_twice']}.")
        )
    return blocks
