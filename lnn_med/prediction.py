"""What one prediction holds: label maps in the scan's own grid, numbers, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lnn_med.errors import Finding
from lnn_med.volume import Source, Volume

SEGMENTATION = "segmentation.nii.gz"
HIPPOCAMPUS = "hippocampus.nii.gz"
DEPTH = "depth.nii.gz"
UNCERTAINTY = "uncertainty.nii.gz"
EVIDENCE = "evidence.nii.gz"


@dataclass(frozen=True)
class ModelUsed:
    """A bundle that took part, as it stands in `result.json`."""

    bundle: str
    version: str
    weights_sha256: str


@dataclass(frozen=True)
class Structure:
    """One measured structure. `side` is "L", "R" or None; volume in mm³, None when QC failed.

    `interval_mm3` is (low, high) at the stated `coverage` (0.9 = 90 %), None without calibration.
    `mean_depth` is the mean number of residual blocks executed over the structure's voxels.
    `percentile` (0 to 100) is among healthy people of the same age, sex and head size; None without them.
    """

    name: str
    side: str | None
    bundle: str
    volume_mm3: float | None
    interval_mm3: tuple[float, float] | None
    coverage: float | None
    mean_depth: float | None
    percentile: float | None = None


@dataclass(frozen=True)
class Attention:
    """Which attention path ran: `path` is "dense" or "block"."""

    stage: str
    tokens: int
    path: str


@dataclass(frozen=True)
class Compute:
    """What the networks cost. `seconds`: networks and gates alone, after loading, without I/O.

    `gflops` were executed, `gflops_full` would be needed at full depth; `fraction` is their ratio.
    `depth_histogram` maps the number of executed residual blocks to its share of voxels (sums to 1).
    """

    seconds: float
    gflops: float
    gflops_full: float
    depth_histogram: Mapping[int, float]
    attention: tuple[Attention, ...]

    @property
    def fraction(self) -> float:
        """Executed share of the full network's work, 0 to 1."""
        return self.gflops / self.gflops_full


@dataclass(frozen=True)
class ReferenceCurve:
    """A structure of both sides among healthy people.

    `adjusted_mm3` is what it would be in a head of usual size. `lines_mm3` gives, for each percentile, the
    volume at `ages_years` for this person's sex and head size.
    """

    structure: str
    volume_mm3: float
    adjusted_mm3: float
    percentile: float | None
    ages_years: tuple[float, ...]
    lines_mm3: Mapping[int, tuple[float, ...]]


@dataclass(frozen=True)
class Reference:
    """Healthy people a scan was compared with: who, how many, their ages; and the patient's age and sex."""

    name: str
    people: int
    ages_years: tuple[float, float]
    age: float
    sex: str
    curves: tuple[ReferenceCurve, ...]


@dataclass(frozen=True)
class Quality:
    """Whether the numbers may be used: `status` is "pass", "review" or "fail", with reasons in words."""

    status: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """Everything that is known about one scan after the networks ran.

    `maps` are keyed by file name (SEGMENTATION, HIPPOCAMPUS, ...); each lies on the grid of `scan`.
    `label_names` gives, for each label file, integer to structure name.
    `derived` holds icv_mm3, hippocampus_asymmetry_pct, ...; a value is None where it does not apply.
    `software` maps package names to versions.
    `reference` is None where age or sex is unknown. `classification` entries follow DESIGN's result.json.
    """

    scan: Volume
    source: Source
    models: tuple[ModelUsed, ...]
    maps: Mapping[str, Volume]
    label_names: Mapping[str, Mapping[int, str]]
    structures: tuple[Structure, ...]
    derived: Mapping[str, float | None]
    quality: Quality
    compute: Compute
    software: Mapping[str, str]
    reference: Reference | None = None
    classification: tuple[Mapping[str, object], ...] = ()
    findings: tuple[Finding, ...] = field(default=())
