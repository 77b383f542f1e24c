"""Sentences about the inputs that a reader must know: the same in the report and on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lnn_med.evaluation.protocol import SUBGROUPS
from lnn_med.evaluation.report.sections.blocks import listed, several
from lnn_med.evaluation.report.sections.wording import Record

SMALL_STUDY = 20  # patients


def remarks(record: Record) -> list[str]:
    """All sentences about one record of report.json."""
    found = record["segmentation"]
    structures = [*absent_remarks(found), *empty_remarks(found), *nonfinite_remarks(found)]
    return [
        *table_remarks(record["people"]),
        *structures,
        *diagnosis_remarks(record["classification"]),
        *_group_remarks(record),
        *size_remarks(record["people"]),
    ]


def table_remarks(people: Mapping[str, Any]) -> list[str]:
    """Cells, people and columns of the reference table."""
    found = list(people["remarks"])
    if people["unused_columns"]:
        found.append(
            f"Columns of the table that this report does not use: {listed(people['unused_columns'])}."
        )
    return found


def absent_remarks(segmentation: Mapping[str, Any] | None) -> list[str]:
    """Structures that no map of either side holds."""
    absent = segmentation["absent_everywhere"] if segmentation else ()
    return [f"{listed(absent)}: in no reference and in no prediction, so in no mean."] if absent else []


def empty_remarks(segmentation: Mapping[str, Any] | None) -> list[str]:
    """References, and predictions, that hold none of the structures."""
    if segmentation is None:
        return []
    references, predictions = segmentation["empty_references"], segmentation["empty_predictions"]
    found = []
    if references:
        words = several(len(references), "reference holds", "references hold")
        found.append(f"{words} none of the structures: {listed(references)}.")
    if predictions:
        words = several(len(predictions), "prediction holds", "predictions hold")
        found.append(f"{words} none of the structures that the reference holds: {listed(predictions)}.")
    return found


def nonfinite_remarks(segmentation: Mapping[str, Any] | None) -> list[str]:
    """Label maps with voxels that are no numbers, which became background."""
    found = []
    for side, cases in (segmentation["nonfinite"] if segmentation else {}).items():
        if cases:
            words = several(len(cases), f"{side} holds", f"{side}s hold")
            found.append(f"{words} voxels that are no numbers, taken for background: {listed(cases)}.")
    return found


def diagnosis_remarks(classification: Mapping[str, Any] | None) -> list[str]:
    """Cases without a diagnosis, or without a probability; a diagnosis that nobody, or everybody, has."""
    if classification is None:
        return []
    without, lost = classification["n_without_reference"], classification["n_missing"]
    found = [f"No diagnosis: {several(without, 'case', 'cases')}, left out."] if without else []
    if classification["n"] and classification["n_positive"] in (0, classification["n"]):
        held = ", ".join(f"{one['value']} ({one['n']})" for one in classification["values"])
        who = "Every case is" if classification["n_positive"] else "No case is"
        found.append(
            f"{who} positive: column {classification['reference']} holds {held}; positive is "
            f"{' or '.join(classification['positive'])}."
        )
    return found + ([f"No probability: {several(lost, 'case', 'cases')}; section 8."] if lost else [])


def size_remarks(people: Mapping[str, Any]) -> list[str]:
    """A word on a study of few patients."""
    if people["n_patients"] >= SMALL_STUDY:
        return []
    return [
        f"Only {several(people['n_patients'], 'patient', 'patients')}: percentile intervals of so few are "
        "too narrow, and no subgroup can be judged."
    ]


def calibrated_remarks(leakage: Mapping[str, Any]) -> list[str]:
    """Cases that the intervals were fitted on."""
    count = len(leakage["found"]["calibration"])
    words = several(count, "analysed case", "analysed cases")
    flatters = "their coverage here flatters, the cross-fitted one in section 9 does not."
    return [f"The volume intervals were fitted on {words} too: {flatters}"] if count else []


def _group_remarks(record: Record) -> list[str]:
    """Subgroups that the protocol asks for by name and the table cannot give."""
    tables = [one for one in (record["subgroups"], *(record["call_groups"] or ())) if one is not None]
    if tuple(record["protocol"]["subgroups"]) == SUBGROUPS:
        return []
    said = [
        f"Subgroup {name}: {why.rstrip('.')}." for one in tables for name, why in one["not_measured"].items()
    ]
    return list(dict.fromkeys(said))
