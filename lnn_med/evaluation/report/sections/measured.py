"""Sections 6 and 7: segmentation and volumetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lnn_med.evaluation.report.figures.maps import MAX_PANELS, MAX_POINTS, drawn
from lnn_med.evaluation.report.sections.blocks import (
    Block,
    Section,
    figure,
    heading,
    interval,
    missing,
    number,
    p_value,
    table,
    text,
    why,
)
from lnn_med.evaluation.report.sections.remarks import absent_remarks, empty_remarks, nonfinite_remarks
from lnn_med.evaluation.report.sections.wording import Record

HD95_DEFINITION = (
    "HD95: the larger of the two directed distances that 95 % of a surface, by area, does not "
    "exceed; surface "
    "elements between voxels (Nikolov et al.), spacing in mm. NSD at τ: share of both surfaces, by "
    "area, within τ of "
    "the other. MSD: mean distance of both surfaces, by area. One side empty: DSC 0, NSD 0, "
    "distances the diagonal "
    "of the image. Both empty: DSC 1, NSD 1, distances 0, counted in their own column."
)


METRIC_COLUMNS = (("dsc", 3), ("nsd", 3), ("hd95_mm", 2), ("msd_mm", 2))


def segmentation(record: Record) -> Section:
    """Section 6."""
    found = record["segmentation"]
    if found is None:
        return Section(6, "Segmentation", (missing("no pairs of label maps."),))
    blocks: list[Block] = [text(f"{HD95_DEFINITION} τ = {found['tolerance_mm']:g} mm.")]
    worst_first = record["protocol"]["missing"] == "worst"
    titles = {
        "all": "Missing predictions count with the worst value",
        "without_missing": "Without missing predictions",
    }
    if found["n_missing"]:
        order = ("all", "without_missing") if worst_first else ("without_missing", "all")
        blocks += [_metric_table(titles[key], found, key) for key in order]
    else:
        blocks.append(_metric_table("No prediction is missing", found, "all"))
    blocks.append(
        figure(
            "dsc",
            "DSC of each structure",
            "Box of the quartiles, whiskers to the extremes; one point a case for up to "
            f"{MAX_POINTS} structures.",
        )
    )
    blocks += [missing(words) for words in absent_remarks(found)]
    blocks += [text(words) for words in (*empty_remarks(found), *nonfinite_remarks(found))]
    blocks += _worst(record, found["worst"])
    return Section(6, "Segmentation", tuple(blocks))


def volumetry(record: Record) -> Section:
    """Section 7."""
    found = record["volumetry"]
    if found is None:
        return Section(7, "Volumetry", (missing("no pairs of label maps."),))
    source = "as the device reports them" if found["reported_by_device"] else "of the predicted label maps"
    blocks: list[Block] = [
        text(
            f"Volumes {source}, minus those of the references; cases without a prediction have no "
            "volume and are "
            "left out here. Limits of agreement: bias ± 1.96 SD, each with its interval."
        )
    ]
    rows, lines, relative = [], [], []
    for one in found["structures"]:
        agreement, line = one["bland_altman"], one["linearity"]
        rows.append(
            [
                one["name"],
                one["n"],
                *(interval(agreement.get(key), 0) for key in ("bias", "lower", "upper")),
                interval(agreement.get("slope"), 3),
                p_value(agreement.get("slope_p")),
            ]
        )
        lines.append(
            [
                one["name"],
                *(interval(one["icc"].get(key)) for key in ("agreement", "consistency")),
                interval(one["ccc"]),
            ]
        )
        relative.append(
            [
                one["name"],
                *(interval(one["relative"].get(key), 1) for key in ("signed_pct", "absolute_pct")),
                interval(line.get("slope")),
                interval(line.get("intercept"), 0),
                p_value(line.get("quadratic_p")),
            ]
        )
    clustered = any(one["clustered"] for one in found["structures"])
    blocks += [
        table(
            "Bland–Altman, mm³",
            ("structure", "n", "bias", "lower limit", "upper limit", "proportional bias", "p"),
            rows,
            _notes(found, clustered),
        ),
        figure(
            "bland_altman",
            "Bland–Altman plots",
            _panels_words(found),
        ),
        table("Correlation", ("structure", "ICC(2,1)", "ICC(3,1)", "Lin's CCC"), lines),
        table(
            "Relative difference and linearity",
            ("structure", "difference, %", "absolute, %", "slope", "intercept, mm³", "p, curved"),
            relative,
        ),
        heading("Repeatability"),
        _repeats(record["repeats"]),
    ]
    return Section(7, "Volumetry", tuple(blocks))


def _panels_words(found: Mapping[str, Any]) -> str:
    """What the panels show, and of which structures when not of all."""
    ready, shown = drawn(found), MAX_PANELS
    which = (
        f" The first {shown} of {len(ready)} structures; the table holds all." if len(ready) > shown else ""
    )
    return f"Difference against mean of both volumes, with bias and limits and their intervals.{which}"


def _metric_table(title: str, found: Mapping[str, Any], key: str) -> Block:
    columns = ("structure", "n", "missing", "both empty", "one empty", "DSC", "NSD", "HD95, mm", "MSD, mm")
    rows = [_metric_row("mean of the structures", found["mean"], key)]
    rows += [_metric_row(one["name"], one, key) for one in found["structures"]]
    return table(f"{title}: mean (interval)", columns, rows)


def _metric_row(name: str, one: Mapping[str, Any], key: str) -> list[Any]:
    empty = one["n_reference_empty"] + one["n_prediction_empty"]
    values = one[key]
    n_missing = one["n_missing"] if key == "all" else 0
    numbers = (interval(values[metric], digits) for metric, digits in METRIC_COLUMNS)
    return [name, values["dsc"]["n"], n_missing, one["n_both_empty"], empty, *numbers]


def _worst(record: Record, worst: Sequence[str]) -> list[Block]:
    by_name = {case["case"]: case for case in record["cases"]}
    rows = []
    for name in worst:
        structures = by_name[name]["structures"]
        rows.append([name, ", ".join(f"{part}: {number(one['dsc'])}" for part, one in _lowest(structures))])
    words = heading("The worst five cases with a prediction")
    if not rows:
        return [words, missing("no case has a prediction.")]
    return [
        words,
        table("Lowest mean DSC", ("case", "lowest DSC of its structures"), rows),
        {
            "kind": "pictures",
            "names": list(worst),
            "captions": {name: _caption(by_name[name]) for name in worst},
        },
    ]


def _caption(case: Mapping[str, Any]) -> str:
    """What a picture shows; its structure is that of the lowest DSC, the first by name."""
    structure, found = _lowest(case["structures"])[0]
    return (
        f"{case['case']}, {structure} (DSC {number(found['dsc'])}): reference solid, prediction dashed; only "
        "the surroundings of the structures are shown."
    )


def _lowest(structures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(structures.items(), key=lambda item: (item[1]["dsc"], item[0]))[:3]


def _notes(found: Mapping[str, Any], clustered: bool) -> str:
    notes = {why(one["bland_altman"]) for one in found["structures"]}
    notes |= {why(one["bland_altman"].get("bias")) for one in found["structures"]}
    if clustered:
        notes.add(
            "Patients have several scans: intervals of bias, limits, ICC and CCC are bootstraps over "
            "patients; those of lines take scans for independent."
        )
    empty = sum(one["n_empty_reference"] for one in found["structures"])
    if empty:
        notes.add(f"{empty} pairs with an empty reference are in no relative difference.")
    return " ".join(sorted(notes - {""}))


def _repeats(found: Any) -> Block:
    if isinstance(found, str):
        return missing(f"{found}.")
    rows = [
        [
            one["name"],
            one["n_subjects"],
            one["n_scans"],
            interval(one["wcv_pct"], 2),
            interval(one["rc"], 0),
            interval(one["rc_pct"], 1),
        ]
        for one in found
    ]
    note = (
        "Scans of one patient with the same `visit`. RC: two scans of an unchanged person differ "
        "by less in 95 of 100 pairs."
    )
    return table("Repeat scans", ("structure", "people", "scans", "wCV, %", "RC, mm³", "RC, %"), rows, note)
