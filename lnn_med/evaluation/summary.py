"""Case results summed up: each structure and groups of structures, with intervals over patients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from lnn_med.evaluation.metrics import BOTH_EMPTY, MISSING, StructureMetrics
from lnn_med.evaluation.statistics import Interval, mean_interval

LARGE_VOXELS = 100  # below, one voxel of the boundary moves the Dice by several points
HIPPOCAMPUS_PREFIX = "Hippocampus"


@dataclass(frozen=True)
class CaseResult:
    """One case: metrics by structure name; `code` tells why a prediction is missing.

    `reported_mm3` are the volumes that the prediction itself states, `seconds` and `fraction` its compute.
    """

    case: str
    patient: str
    metrics: Mapping[str, StructureMetrics]
    reported_mm3: Mapping[str, float | None]
    code: str | None = None
    quality: str | None = None
    seconds: float | None = None
    fraction: float | None = None


@dataclass(frozen=True)
class StructureSummary:
    """Means over cases; errors are predicted minus reference, over cases where both exist."""

    name: str
    n_cases: int
    n_missing: int
    n_both_empty: int
    median_reference_voxels: float
    dsc: Interval
    nsd: Interval
    hd95_mm: Interval
    msd_mm: Interval
    error_mm3: Interval
    error_pct: Interval


@dataclass(frozen=True)
class GroupSummary:
    """Mean over the structures of a group in each case, then over cases."""

    name: str
    structures: tuple[str, ...]
    dsc: Interval
    nsd: Interval


def structure_summaries(results: Sequence[CaseResult], seed: int) -> tuple[StructureSummary, ...]:
    """One summary a structure, over all the given results."""
    names = list(results[0].metrics) if results else []
    return tuple(_structure(name, results, seed) for name in names)


def without_missing(results: Iterable[CaseResult]) -> list[CaseResult]:
    """Only cases that have a prediction."""
    return [result for result in results if result.code is None]


def group_summaries(
    results: Sequence[CaseResult], structures: Sequence[StructureSummary], seed: int
) -> tuple[GroupSummary, ...]:
    """All structures, those of LARGE_VOXELS and more (median of the references), and the hippocampi."""
    groups = {
        "all structures": [s.name for s in structures],
        f"structures of >= {LARGE_VOXELS} voxels": [
            s.name for s in structures if s.median_reference_voxels >= LARGE_VOXELS
        ],
        "hippocampi": [s.name for s in structures if s.name.startswith(HIPPOCAMPUS_PREFIX)],
    }
    patients = [result.patient for result in results]
    summaries = []
    for title, names in groups.items():
        if names:
            dsc = [_mean(result.metrics[name].dsc for name in names) for result in results]
            nsd = [_mean(result.metrics[name].nsd for name in names) for result in results]
            intervals = (mean_interval(values, patients, seed=seed) for values in (dsc, nsd))
            summaries.append(GroupSummary(title, tuple(names), *intervals))
    return tuple(summaries)


def _structure(name: str, results: Sequence[CaseResult], seed: int) -> StructureSummary:
    found = [result.metrics[name] for result in results]
    patients = [result.patient for result in results]

    def interval(values: Sequence[float | None]) -> Interval:
        known = [
            (value, patient) for value, patient in zip(values, patients, strict=True) if value is not None
        ]
        return mean_interval([value for value, _ in known], [patient for _, patient in known], seed=seed)

    return StructureSummary(
        name=name,
        n_cases=len(found),
        n_missing=sum(metrics.state == MISSING for metrics in found),
        n_both_empty=sum(metrics.state == BOTH_EMPTY for metrics in found),
        median_reference_voxels=float(median(metrics.reference_voxels for metrics in found)),
        dsc=interval([metrics.dsc for metrics in found]),
        nsd=interval([metrics.nsd for metrics in found]),
        hd95_mm=interval([metrics.hd95_mm for metrics in found]),
        msd_mm=interval([metrics.msd_mm for metrics in found]),
        error_mm3=interval([metrics.error_mm3 for metrics in found]),
        error_pct=interval([metrics.error_pct for metrics in found]),
    )


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)
