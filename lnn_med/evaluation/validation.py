"""A validation from end to end: read both sides, compare, compute one record, write the report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lnn_med import config
from lnn_med.errors import Code, ConfigError, InputError, require
from lnn_med.evaluation.comparing import Comparison, Progress, compare, integers_in
from lnn_med.evaluation.matching import LabelTable, Matched, label_table, match
from lnn_med.evaluation.predicted import FOLDER, PredictionSet
from lnn_med.evaluation.predictions import read_predictions
from lnn_med.evaluation.protocol import FINAL, Protocol, load_protocol
from lnn_med.evaluation.references import ReferenceSet, column_of, read_references
from lnn_med.evaluation.results import cases as case_results
from lnn_med.evaluation.results import data, origin
from lnn_med.evaluation.results.classification import classification_results
from lnn_med.evaluation.results.endpoints import endpoint_results
from lnn_med.evaluation.results.groups import call_group_results, subgroup_results
from lnn_med.evaluation.results.leakage import leakage_results
from lnn_med.evaluation.results.outcomes import targets_of
from lnn_med.evaluation.results.quality import control_results, detection_results, risk_results
from lnn_med.evaluation.results.rerun import rerun_results
from lnn_med.evaluation.results.rivals import rival_auc_results, rival_results
from lnn_med.evaluation.results.segmentation import segmentation_results
from lnn_med.evaluation.results.stress import reader_results, stress_results
from lnn_med.evaluation.results.volumetry import interval_results, repeat_results, volumetry_results
from lnn_med.evaluation.results.voxels import voxel_results

logger = logging.getLogger(__name__)

SCHEMA_VERSION = "1.0"
REPORT_FILES = ("report.json", "report.html", "report.pdf")


@dataclass(frozen=True)
class Study:
    """Both sides, joined and compared."""

    protocol: Protocol
    folder: Path  # of the protocol; its further files lie there
    references: ReferenceSet
    predictions: PredictionSet
    matched: Matched
    table: LabelTable | None
    comparison: Comparison
    rival: Comparison | None = None


@dataclass(frozen=True)
class Validation:
    """What `validate` has written: the record of report.json, and the files by name."""

    record: Mapping[str, Any]
    files: tuple[str, ...]

    @property
    def n_problems(self) -> int:
        """Cases that were expected and have no result that counts, and references that cannot be read."""
        flow = self.record["flow"]
        lost = {step["step"]: step["lost"] for step in flow["steps"]}
        return int(lost["readable"] + lost["scored"])


def validate(
    predictions: Path,
    reference: Path,
    out: Path,
    protocol: Path | None = None,
    labels: Mapping[str, int] | None = None,
    against: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Validation:
    """Compare predictions with a reference and write report.json, report.html and report.pdf.

    Args:
        predictions: a run of `lnn-med score`, or a folder of label maps.
        reference: folder of label maps, table, or folder with both.
        out: folder of the report; made when it does not exist.
        protocol: YAML file; None takes the defaults, and the report says what is missing.
        labels: structure to integer of the reference; stronger than the protocol.
        against: a second set of predictions, for paired differences.
        progress: called after each compared case.

    Raises:
        ConfigError: protocol, labels or names that do not fit.
        InputError: E_NOTFOUND or E_FORMAT for an input folder, E_STORAGE for `out`.
    """
    for module in ("jinja2", "matplotlib", "typst"):
        require(module, extra="report")
    from lnn_med.evaluation.report.write import write_report

    study = read_study(predictions, reference, protocol, labels or {}, against, progress)
    record = record_of(study, _command(protocol, labels or {}, against))
    return Validation(record, write_report(record, study, out))


def read_study(
    predictions: Path,
    reference: Path,
    protocol_file: Path | None,
    labels: Mapping[str, int],
    against: Path | None,
    progress: Progress,
) -> Study:
    """Read and compare everything; see `validate`."""
    protocol = load_protocol(protocol_file)
    folder = protocol_file.parent if protocol_file else Path()
    data.check_files(protocol, folder)
    wanted = tuple(dict.fromkeys([*labels, *protocol.labels, *protocol.structures]))
    predicted = read_predictions(predictions, wanted)
    column = (protocol.classification.reference,) if protocol.classification else ()
    references = read_references(reference, (*protocol.subgroups, *column))
    _check_column(protocol, references)
    matched = match(references, predicted)
    table = _table(protocol, labels, predicted, matched, references)
    total = len(matched.pairs) * (2 if against else 1)
    comparison = compare(matched, table, protocol.tolerance_mm, lambda done, _: progress(done, total))
    if not comparison.cases:
        raise InputError(Code.NODATA, "No case can be analysed: every reference is excluded or unreadable.")
    if table is None:
        _check_without_maps(protocol, against)
    _check_target(protocol, comparison, "predictions")
    rival = None
    if against is not None:
        other = read_predictions(against, wanted)
        others = match(references, other)
        theirs = None
        if table is not None:
            theirs = label_table(protocol, labels or table.reference, other, lambda: integers_in(others))
        done = len(matched.pairs)
        rival = compare(others, theirs, protocol.tolerance_mm, lambda n, _: progress(done + n, total))
        _check_target(protocol, rival, "other predictions")
    return Study(protocol, folder, references, predicted, matched, table, comparison, rival)


def record_of(study: Study, command: str) -> dict[str, Any]:
    """Every number of the report as plain values; the same study gives the same record."""
    protocol, comparison = study.protocol, study.comparison
    numbers = case_results.patient_numbers(comparison)
    has_maps = bool(case_results.with_maps(comparison))
    classification = classification_results(comparison, protocol)
    rival = study.rival
    return {
        "schema_version": SCHEMA_VERSION,
        "status": protocol.status if protocol.primary else "DRAFT",
        "protocol": {**config.as_dict(protocol), "sha256": protocol.sha256},
        "device": origin.device_results(study.predictions, comparison),
        "labels": _labels_record(study.table),
        "flow": data.flow_results(study.matched, comparison, study.predictions, has_maps),
        "people": data.people_results(comparison, study.references),
        "leakage": leakage_results(comparison, study.matched, study.predictions, protocol, study.folder),
        "readers": reader_results(study),
        "endpoints": endpoint_results(comparison, protocol, classification),
        "comparison": rival_results(comparison, rival, protocol) if rival else None,
        "comparison_auc": rival_auc_results(comparison, rival, protocol) if rival else None,
        "segmentation": segmentation_results(comparison, protocol),
        "volumetry": volumetry_results(comparison, protocol),
        "repeats": repeat_results(comparison, protocol),
        "classification": classification,
        "voxels": voxel_results(study.predictions.models),
        "intervals": interval_results(comparison, protocol),
        "selective_risk": risk_results(comparison),
        "control": control_results(comparison, protocol),
        "detection": detection_results(study.matched, comparison, protocol),
        "subgroups": subgroup_results(comparison, protocol),
        "call_groups": call_group_results(comparison, protocol),
        "stress": stress_results(protocol, study.folder),
        "failures": data.failure_results(comparison, study.matched, protocol),
        "rerun": rerun_results(
            study.predictions, protocol, study.folder, study.table.structures if study.table else ()
        ),
        "reproducibility": origin.reproducibility_results(
            study.matched, study.references, study.predictions, command
        ),
        "cases": case_results.case_records(comparison, numbers),
    }


def _table(
    protocol: Protocol,
    labels: Mapping[str, int],
    predicted: PredictionSet,
    matched: Matched,
    references: ReferenceSet,
) -> LabelTable | None:
    """The label table, None when the reference has no label map at all."""
    if not any(one.labels is not None for one in references.cases):
        return None
    if predicted.kind == FOLDER and not any(one.maps for one in predicted.cases):
        return None
    return label_table(protocol, labels, predicted, lambda: integers_in(matched))


def _check_column(protocol: Protocol, references: ReferenceSet) -> None:
    wanted = protocol.classification
    if wanted is not None and column_of(wanted.reference) not in references.columns:
        known = ", ".join(references.columns) or "none: there is no table"
        raise ConfigError(
            f"`classification.reference` is {wanted.reference}, which is no column of the reference table "
            f"(columns: {known})."
        )
    if protocol.status == FINAL and protocol.primary is None:
        raise ConfigError("A FINAL report needs a primary endpoint; name one, or leave `status: DRAFT`.")


def _check_without_maps(protocol: Protocol, against: Path | None) -> None:
    """Refuse what only label maps can answer, before a report leaves it out."""
    of_maps = next((one for one in protocol.endpoints if not one.of_probabilities), None)
    if of_maps is not None:
        raise ConfigError(
            f"An endpoint asks for {of_maps.metric}, which compares label maps; one side has none. Endpoints "
            "on probabilities are auc, sensitivity and specificity."
        )
    if against is not None and protocol.classification is None:
        raise ConfigError(
            "--against compares label maps, or the probability that `classification` of the protocol names; "
            "here is neither."
        )


def _check_target(protocol: Protocol, comparison: Comparison, whose: str) -> None:
    """Refuse a target that nobody predicts while others are: a wrong name would count as all wrong."""
    wanted, known = protocol.classification, targets_of(comparison)
    if wanted is not None and known and wanted.target.lower() not in map(str.lower, known):
        raise ConfigError(
            f"`classification.target` is {wanted.target}; the {whose} hold probabilities of "
            f"{', '.join(known)}."
        )


def _labels_record(table: LabelTable | None) -> dict[str, Any] | None:
    if table is None:
        return None
    return {
        "source": table.source,
        "reference": dict(table.reference),
        "predicted": dict(table.predicted) if table.predicted is not None else None,
        "left_out": list(table.left_out),
    }


def _command(protocol: Path | None, labels: Mapping[str, int], against: Path | None) -> str:
    """The command without the paths, which may name people and differ between machines."""
    parts = ["lnn-med validate PREDICTIONS REFERENCE -o REPORT"]
    parts += ["--protocol PROTOCOL"] if protocol else []
    parts += ["--labels " + ",".join(f"{name}={value}" for name, value in labels.items())] if labels else []
    parts += ["--against OTHER"] if against else []
    return " ".join(parts)
