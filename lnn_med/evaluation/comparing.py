"""Each pair of label maps compared: metrics of every structure, or the reason why there are none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lnn_med.errors import InputError, WarningCode
from lnn_med.evaluation.label_numbers import index_of, indexed, names_of, on_grid
from lnn_med.evaluation.labels import Indices, read_reference
from lnn_med.evaluation.matching import LabelTable, Matched, Pair
from lnn_med.evaluation.metrics import (
    BOTH_EMPTY,
    MISSING,
    StructureMetrics,
    structure_metrics,
)
from lnn_med.evaluation.predicted import PredictedCase
from lnn_med.evaluation.surfaces import Mask, Spacing
from lnn_med.volume import Volume

logger = logging.getLogger(__name__)

NO_PREDICTION = "E_NOTFOUND"
QC_FAIL = "QC_FAIL"  # not an error: the device withheld its numbers
NO_STRUCTURE = "the prediction does not hold this structure"

Progress = Callable[[int, int], None]  # cases done, cases in all


@dataclass(frozen=True)
class Measured:
    """One structure of one case: the metrics, and what the prediction itself says about its volume."""

    metrics: StructureMetrics
    reported_mm3: float | None = None
    interval_mm3: tuple[float, float] | None = None

    @property
    def volume_mm3(self) -> float | None:
        """The device's number where it gives one, else the volume of its label map."""
        return self.metrics.volume_mm3 if self.reported_mm3 is None else self.reported_mm3


@dataclass(frozen=True)
class ComparedCase:
    """A reference that could be read, and what became of its prediction.

    `code` and `reason` say why the prediction counts as missing; then every structure has the worst values.
    """

    pair: Pair
    structures: Mapping[str, Measured]
    spacing_mm: Spacing | None = None
    code: str | None = None
    reason: str | None = None
    empty_reference: bool = False
    nonfinite: tuple[str, ...] = ()  # "reference", "prediction": whose map holds NaN or infinite voxels

    @property
    def name(self) -> str:
        """Case name of the reference."""
        return self.pair.reference.case

    @property
    def missing(self) -> bool:
        """Whether there is no prediction that counts."""
        return self.code is not None

    @property
    def result(self) -> Mapping[str, Any]:
        """Content of result.json, empty when there is none."""
        return (self.pair.prediction.result if self.pair.prediction else None) or {}

    @property
    def qc(self) -> str | None:
        """Quality control of the device: pass, review, fail; None for other tools."""
        return self.result.get("qc", {}).get("status")


@dataclass(frozen=True)
class Comparison:
    """All cases in the order of their names, and the references that cannot be used, with their reason."""

    cases: tuple[ComparedCase, ...]
    excluded: Mapping[str, str] = field(default_factory=dict)  # case: reason, by the table
    unreadable: Mapping[str, str] = field(default_factory=dict)  # case: code and reason


def integers_in(matched: Matched) -> set[int]:
    """Integers above 0 in all readable references of eligible cases."""
    found: set[int] = set()
    for pair in matched.pairs:
        if pair.reference.labels is not None and pair.reference.excluded is None:
            try:
                found |= set(np.unique(read_reference(pair.reference.labels).data).tolist())
            except InputError:
                continue  # told when the case itself is compared
    return found - {0}


def compare(
    matched: Matched,
    table: LabelTable | None,
    tolerance_mm: float,
    progress: Progress = lambda done, total: None,
) -> Comparison:
    """Compare every eligible pair; a prediction that cannot be used counts as missing, with its reason.

    Args:
        matched: the pairs.
        table: structures; None when the references are a table only.
        tolerance_mm: tau of the NSD.
        progress: called after each case.
    """
    cases, excluded, unreadable = [], {}, {}
    for done, pair in enumerate(matched.pairs, start=1):
        reference = pair.reference
        if reference.excluded is not None:
            excluded[reference.case] = reference.excluded
        elif reference.labels is None or table is None:
            code, reason = _why_missing(pair.prediction)
            cases.append(ComparedCase(pair, {}, code=code, reason=reason))
        else:
            try:
                truth = read_reference(reference.labels)
            except InputError as error:
                unreadable[reference.case] = f"{error.code.value}: {error.detail}"
            else:
                cases.append(_compared(pair, truth, table, tolerance_mm))
        progress(done, len(matched.pairs))
    return Comparison(tuple(cases), excluded, unreadable)


def _compared(pair: Pair, truth: Volume, table: LabelTable, tolerance_mm: float) -> ComparedCase:
    indices = indexed(truth.data, {table.reference[name]: name for name in table.structures}, table)
    code, reason = _why_missing(pair.prediction)
    found: dict[str, Measured] = {}
    nonfinite = ["reference"] if _has_nonfinite(truth) else []
    if pair.prediction is not None and code is None:
        try:
            found, odd = _measured(pair.prediction, truth, indices, table, tolerance_mm)
            nonfinite += ["prediction"] if odd else []
        except InputError as error:
            code, reason = error.code.value, error.detail
    absent = [name for name in table.structures if name not in found]
    found |= _worst(indices, absent, table, truth.spacing_mm, tolerance_mm)
    logger.info("%s: compared %s", pair.reference.case, code or "")
    return ComparedCase(
        pair=pair,
        structures={name: found[name] for name in table.structures},
        spacing_mm=truth.spacing_mm,
        code=code,
        reason=reason,
        empty_reference=not indices.any(),
        nonfinite=tuple(nonfinite),
    )


def _has_nonfinite(volume: Volume) -> bool:
    """Whether reading has replaced voxels that are no numbers; they became background."""
    return any(finding.code == WarningCode.NONFINITE for finding in volume.findings)


def _why_missing(prediction: PredictedCase | None) -> tuple[str | None, str | None]:
    if prediction is None:
        return NO_PREDICTION, "No prediction has the name of this reference."
    if prediction.code is not None:
        return prediction.code, prediction.reason
    quality = (prediction.result or {}).get("qc", {})
    if quality.get("status") == "fail":
        return QC_FAIL, "Rejected by quality control: " + " ".join(quality.get("reasons", ()))
    return None, None


def _measured(
    prediction: PredictedCase, truth: Volume, indices: Indices, table: LabelTable, tolerance_mm: float
) -> tuple[dict[str, Measured], bool]:
    """Metrics of the structures that the prediction's maps hold; the first map that names one gives it.

    The second value says whether one of the maps held voxels that are no numbers.

    Raises:
        InputError: a map cannot be read, or lies on another grid.
    """
    stated = {one["name"]: one for one in (prediction.result or {}).get("structures", ())}
    found: dict[str, Measured] = {}
    odd = False
    for label_file in prediction.maps:
        names = names_of(label_file, table)
        wanted = [name for name in dict.fromkeys(names.values()) if name not in found]
        if not wanted:
            continue
        volume = read_reference(label_file.path)
        odd |= _has_nonfinite(volume)
        predicted = on_grid(volume, truth)
        own = (predicted > 0) * index_of(names[1], table) if label_file.mask_of else None
        mapped = np.asarray(own, np.int32) if own is not None else indexed(predicted, names, table)
        labels = [index_of(name, table) for name in wanted]
        results = structure_metrics(mapped, indices, labels, truth.spacing_mm, tolerance_mm)
        for name, label in zip(wanted, labels, strict=True):
            entry = stated.get(name, {})
            edges = entry.get("interval_mm3")
            interval = (edges[0], edges[1]) if edges else None
            found[name] = Measured(results[label], entry.get("volume_mm3"), interval)
    return found, odd


def masks_of(case: ComparedCase, name: str, table: LabelTable) -> tuple[Volume, Mask, Mask]:
    """The reference (all labels) and one structure in it and in the prediction, read again for a picture.

    Raises:
        InputError: a file cannot be read, or lies on another grid.
    """
    assert case.pair.reference.labels is not None
    truth = read_reference(case.pair.reference.labels)
    predicted = np.zeros(truth.shape, dtype=bool)
    for label_file in case.pair.prediction.maps if case.pair.prediction else ():
        values = [value for value, named in names_of(label_file, table).items() if named == name]
        if values:
            data = on_grid(read_reference(label_file.path), truth)
            predicted = data > 0 if label_file.mask_of else data == values[0]
            break
    return truth, truth.data == table.reference[name], predicted


def _worst(
    indices: Indices, names: Sequence[str], table: LabelTable, spacing_mm: Spacing, tolerance_mm: float
) -> dict[str, Measured]:
    labels = [index_of(name, table) for name in names]
    results = structure_metrics(None, indices, labels, spacing_mm, tolerance_mm) if labels else {}
    return {name: Measured(results[label]) for name, label in zip(names, labels, strict=True)}


def both_empty(measured: Measured) -> bool:
    """Whether neither side holds the structure: DSC 1, counted apart."""
    return measured.metrics.state == BOTH_EMPTY


def is_missing(measured: Measured) -> bool:
    """Whether the structure has the worst values because its prediction is missing."""
    return measured.metrics.state == MISSING
