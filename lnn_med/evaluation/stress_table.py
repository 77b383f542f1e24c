"""The table of a robustness result: what each disturbance does, with intervals over patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lnn_med.evaluation.intervals import NotEstimable
from lnn_med.evaluation.repeatability import repeatability
from lnn_med.evaluation.report.sections.blocks import interval
from lnn_med.evaluation.results.values import Number, mean_of, plain
from lnn_med.evaluation.summary import HIPPOCAMPUS_PREFIX, LARGE_VOXELS

if TYPE_CHECKING:  # the module imports torch
    from lnn_med.inference.bundle import Bundle

LEVEL = 0.95
MISSING_STATUS = "refused"  # no prediction at all
FLAGGED = ("review", "fail", MISSING_STATUS)
UNDISTURBED = "none"
COLUMNS = (
    *("disturbance", "strength", "scans", "DSC", "change of DSC"),
    *("volumes, absolute change, %", "hippocampus, change, %", "flagged"),
)
REPEAT_COLUMNS = ("structure", "people", "scans", "wCV, %", "RC, mm³", "RC, %")

Repeats = Mapping[str, Sequence[tuple[float, tuple[str, str]]]]  # structure: volume, (patient, visit)


@dataclass(frozen=True)
class Disturbed:
    """One disturbed scan beside the same scan as it is: DSC and volume (mm³) by structure."""

    kind: str
    strength: str
    patient: str
    plain_dsc: Mapping[str, float]
    dsc: Mapping[str, float]
    plain_mm3: Mapping[str, float]
    mm3: Mapping[str, float]
    status: str  # pass, review, fail, or MISSING_STATUS


def stress_record(
    bundle: Bundle, dataset: str, split: str, seed: int, found: Sequence[Disturbed], repeats: Repeats
) -> dict[str, Any]:
    """Content of the file: title, columns and rows for the report, all numbers for machines."""
    kinds = list(dict.fromkeys((one.kind, one.strength) for one in found))
    results = [
        _result([one for one in found if (one.kind, one.strength) == kind], kind, seed) for kind in kinds
    ]
    first = [one for one in found if (one.kind, one.strength) == kinds[0]]
    patients = [one.patient for one in first]
    alone = mean_of([_mean(one.plain_dsc) for one in first], patients, LEVEL, seed)
    about = f"{bundle.info.name} {bundle.info.version} ({bundle.weights_sha256[:8]})"
    return {
        "title": f"{about}, {len(first)} scans of {dataset}, structures of {LARGE_VOXELS} voxels or more",
        "columns": list(COLUMNS),
        "rows": [
            [UNDISTURBED, "", len(first), interval(alone), "", "", "", ""],
            *(_row(one) for one in results),
        ],
        "note": "Mean (95 % interval over patients); changes against the same scan as it is. Flagged: "
        "REVIEW, FAIL or refused; a refused scan has DSC 0 and no volume.",
        "repeatability": repeat_table(repeats),
        "bundle": bundle.info.name,
        "version": bundle.info.version,
        "weights_sha256": bundle.weights_sha256,
        "dataset": dataset,
        "split": split,
        "seed": seed,
        "undisturbed": alone,
        "results": results,
    }


def repeat_table(repeats: Repeats) -> dict[str, Any] | None:
    """wCV and RC of each structure from scans of one patient and visit; None where there are none."""
    rows = []
    for name, scans in repeats.items():
        known = [(volume, who) for volume, who in scans if volume > 0]
        try:
            one = plain(repeatability([volume for volume, _ in known], [who for _, who in known], LEVEL))
        except NotEstimable:
            continue
        numbers = (interval(one["wcv_pct"], 2), interval(one["rc"], 0), interval(one["rc_pct"], 1))
        rows.append([name, one["n_subjects"], one["n_scans"], *numbers])
    return {"title": "Repeat scans", "columns": list(REPEAT_COLUMNS), "rows": rows} if rows else None


def _result(scans: Sequence[Disturbed], kind: tuple[str, str], seed: int) -> dict[str, Any]:
    def over(value: Callable[[Disturbed], float | None]) -> Number:
        known = [(found, one.patient) for one in scans if (found := value(one)) is not None]
        return mean_of([value for value, _ in known], [who for _, who in known], LEVEL, seed)

    return {
        "disturbance": kind[0],
        "strength": kind[1],
        "n": len(scans),
        "dsc": over(lambda one: _mean(one.dsc)),
        "dsc_change": over(lambda one: _mean(one.dsc) - _mean(one.plain_dsc)),
        "volume_change_pct": over(absolute_change_pct),
        "hippocampus_change_pct": over(hippocampus_change_pct),
        "n_flagged": sum(one.status in FLAGGED for one in scans),
        "n_refused": sum(one.status == MISSING_STATUS for one in scans),
    }


def absolute_change_pct(one: Disturbed) -> float | None:
    """Mean over the structures of |volume change|, % of the volume of the scan as it is."""
    changes = [
        100 * abs(one.mm3[name] - volume) / volume
        for name, volume in one.plain_mm3.items()
        if volume > 0 and name in one.mm3
    ]
    return sum(changes) / len(changes) if changes else None


def hippocampus_change_pct(one: Disturbed) -> float | None:
    """Change of the volume of all hippocampal structures together, %."""
    names = [name for name in one.plain_mm3 if name.startswith(HIPPOCAMPUS_PREFIX)]
    before = sum(one.plain_mm3[name] for name in names)
    if before <= 0 or not all(name in one.mm3 for name in names):
        return None
    return 100 * (sum(one.mm3[name] for name in names) - before) / before


def _row(one: Mapping[str, Any]) -> list[Any]:
    return [
        one["disturbance"],
        one["strength"],
        one["n"],
        interval(one["dsc"]),
        interval(one["dsc_change"]),
        interval(one["volume_change_pct"], 1),
        interval(one["hippocampus_change_pct"], 1),
        one["n_flagged"],
    ]


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values) if values else 0.0
