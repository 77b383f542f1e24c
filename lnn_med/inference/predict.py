"""From a scan to a `Prediction`: which networks run, on what, and how their answers become one result."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnn_med.errors import ConfigError, Finding, WarningCode
from lnn_med.inference.bundle import Bundle, load_bundle
from lnn_med.inference.bundle_files import list_bundles
from lnn_med.inference.classifier_bundle import ClassifierBundle, is_classifier, load_classifier
from lnn_med.inference.dementia import DementiaReader
from lnn_med.inference.head import segment_head
from lnn_med.inference.hippocampus import segment_crop, segment_in_head
from lnn_med.inference.judgement import head_quality, seen_quality, unusual_findings
from lnn_med.inference.peers import in_template_space, percentiles_of, person_of, reference_of
from lnn_med.inference.percentiles import both_sides
from lnn_med.inference.quality import FINE_LABELS_MM, is_crop, judge_crop, resolution_findings
from lnn_med.inference.runtime import Engine, Run, RuntimeConfig
from lnn_med.io import read
from lnn_med.prediction import (
    DEPTH,
    EVIDENCE,
    HIPPOCAMPUS,
    SEGMENTATION,
    UNCERTAINTY,
    Compute,
    ModelUsed,
    Prediction,
    Structure,
)
from lnn_med.transforms.label_sums import label_counts, label_sums
from lnn_med.volume import ImageArray, Source, Volume

HEAD, CROP = "brain-t1", "hippocampus-t1"
SIDED_PART = re.compile(
    "(?<=^Hippocampus)_[LR]_"
)  # Hippocampus_L_Anterior is the bundle's Hippocampus_Anterior
PARTS = ("Anterior", "Posterior")  # of the hippocampus, in the order of the bundle's labels


def predict(
    scan: str | os.PathLike[str] | Volume,
    series: str | None = None,
    clinical: Mapping[str, float | str] | None = None,
    **options: Any,
) -> Prediction:
    """Measure one scan.

    Args:
        scan: NIfTI file, DICOM file, folder or zip, or a volume in memory.
        series: SeriesInstanceUID when several fit.
        clinical: what is known of age, sex (F or M), education (years) and mmse; see `Predictor.__call__`.
        options: see `Predictor`.

    Example:
        >>> result = predict("head.nii.gz")  # doctest: +SKIP
        >>> result.derived["icv_mm3"]  # doctest: +SKIP
    """
    volume = scan if isinstance(scan, Volume) else read(scan, series=series)
    return Predictor(**options)(volume, clinical)


class Predictor:
    """Loaded networks, for one scan after the other.

    Args:
        chain: bundles that may run, by name or path; all that ship when empty.
        depth, budget, device, runtime: see `RuntimeConfig`.
    """

    def __init__(
        self,
        chain: Sequence[str | Path] = (),
        depth: str | int = "auto",
        budget: float | None = None,
        device: str = "auto",
        runtime: str = "auto",
    ) -> None:
        config = RuntimeConfig(depth, budget, device, runtime)
        names = list(chain) or list_bundles()
        classifiers = [name for name in names if is_classifier(name)]
        bundles = [load_bundle(name) for name in names if name not in classifiers]
        self.engines = {job_of(bundle.info.labels): Engine(bundle, config) for bundle in bundles}
        if not self.engines:
            missing = ", ".join(map(str, classifiers))
            raise ConfigError(
                f"{missing} needs the bundle whose features it reads."
                if classifiers
                else "No bundle is installed."
            )
        self.readers = [DementiaReader(load_classifier(name), self._engine(HEAD)) for name in classifiers]

    @property
    def bundles(self) -> list[Bundle | ClassifierBundle]:
        """All that are loaded."""
        return [*(engine.bundle for engine in self.engines.values()), *(each.bundle for each in self.readers)]

    def __call__(self, volume: Volume, clinical: Mapping[str, float | str] | None = None) -> Prediction:
        """Measure one scan.

        Args:
            volume: the scan.
            clinical: age, sex, education, mmse; age and sex give percentiles where there is a reference, and
                a classifier uses what is known.

        Raises:
            InputError: the scan is neither a head nor a hippocampus crop, or no installed bundle fits it.
        """
        volume = _bright_tissue(volume)
        if is_crop(volume):
            return self._crop(volume, self._engine(CROP))
        return self._head(volume, self._engine(HEAD), self.engines.get(CROP), clinical or {})

    def _engine(self, job: str) -> Engine:
        if job not in self.engines:
            need = "a bundle that finds structures in whole heads" if job == HEAD else "a hippocampus bundle"
            names = ", ".join(engine.bundle.info.name for engine in self.engines.values())
            raise ConfigError(f"This scan needs {need}, such as {job}; chosen: {names}.")
        return self.engines[job]

    def _head(
        self, volume: Volume, engine: Engine, fine: Engine | None, clinical: Mapping[str, float | str]
    ) -> Prediction:
        brain = segment_head(volume, engine)
        names = engine.bundle.label_names
        counts = _counts(brain.labels, names)
        sizes = {name: count * volume.voxel_mm3 for name, count in counts.items()}
        quality = head_quality(volume, brain, sizes, engine)
        runs, depth = [brain.run], brain.depth
        fine_labels: NDArray[np.uint8] | None = None
        fine_names: dict[int, str] = {}
        fine_spread = np.zeros(1 + 2 * len(PARTS))
        if fine is not None and quality.status != "fail" and max(volume.spacing_mm) <= FINE_LABELS_MM:
            fine_labels = np.zeros_like(brain.labels)
            for first, side in ((1, "L"), (3, "R")):
                coarse = brain.labels == _index(names, f"Hippocampus_{side}")
                fine_names |= {first + n: f"Hippocampus_{side}_{part}" for n, part in enumerate(PARTS)}
                if coarse.any():
                    box, answer = segment_in_head(volume, coarse, side == "R", fine)
                    runs.append(answer.run)
                    depth[box] += answer.depth
                    found = answer.labels > 0
                    fine_labels[box][found] = answer.labels[found] + (first - 1)
                    fine_spread[first : first + len(PARTS)] = answer.spread_mm3[1:]
        maps: dict[str, ImageArray] = {
            SEGMENTATION: brain.labels,
            DEPTH: depth,
            UNCERTAINTY: _round(brain.entropy),
        }
        label_names: dict[str, Mapping[int, str]] = {SEGMENTATION: names}
        icv_mm3 = sum(sizes.values())
        both = {**sizes, **both_sides(sizes)}
        normalised = in_template_space(brain, volume, engine)
        person = None if normalised else person_of(clinical, icv_mm3, engine)
        percentiles = percentiles_of(both, person, engine)
        structures = tuple(
            replace(entry, percentile=percentiles.get(entry.name))
            for entry in _structures(brain.labels, names, brain.spread_mm3, engine, volume, depth)
        )
        derived: dict[str, float | None] = {
            "icv_mm3": icv_mm3,
            "hippocampus_asymmetry_pct": asymmetry_pct(sizes["Hippocampus_L"], sizes["Hippocampus_R"]),
        }
        if fine is not None and fine_labels is not None:
            maps[HIPPOCAMPUS] = fine_labels
            label_names[HIPPOCAMPUS] = fine_names
            structures += _structures(fine_labels, fine_names, fine_spread, fine, volume, depth)
            derived |= _fine_totals(_counts(fine_labels, fine_names), volume.voxel_mm3)
        judged = [] if quality.status == "fail" else [each(brain, volume, clinical) for each in self.readers]
        for judgement in judged:
            derived["brain_age_years"] = judgement.brain_age_years
            if judgement.evidence is not None:
                maps[EVIDENCE] = judgement.evidence
        used = [engine.bundle] + ([fine.bundle] if fine is not None and fine_labels is not None else [])
        compute = _compute(runs, depth)
        return Prediction(
            scan=volume,
            source=_source(volume),
            models=_models([*used, *(reader.bundle for reader in self.readers[: len(judged)])]),
            maps={name: volume.with_data(data) for name, data in maps.items()},
            label_names=label_names,
            structures=structures,
            derived=derived,
            quality=quality,
            compute=replace(compute, seconds=compute.seconds + sum(each.seconds for each in judged)),
            software=software(),
            classification=tuple(entry for each in judged for entry in each.entries),
            reference=reference_of(both, person, engine),
            findings=(
                *volume.findings,
                *resolution_findings(volume),
                *unusual_findings(brain, engine),
                *normalised,
            ),
        )

    def _crop(self, volume: Volume, engine: Engine) -> Prediction:
        best, other = segment_crop(volume, engine)
        answer, names = best.segmented, engine.bundle.label_names
        total = float((answer.labels > 0).sum()) * volume.voxel_mm3
        judged = judge_crop(volume, answer.labels, best.certainty, other.certainty)
        quality = seen_quality(judged, answer, engine)
        side = "mirrored, as a right hippocampus" if best.mirrored else "as a left hippocampus"
        note = Finding(
            WarningCode.SIDE_UNKNOWN,
            f"A crop does not tell its side; it was read {side} "
            f"(certainty {best.certainty:.3f}, the other way {other.certainty:.3f}).",
        )
        return Prediction(
            scan=volume,
            source=_source(volume),
            models=_models([engine.bundle]),
            maps={
                SEGMENTATION: volume.with_data(answer.labels),
                DEPTH: volume.with_data(answer.depth),
                UNCERTAINTY: volume.with_data(_round(answer.entropy)),
            },
            label_names={SEGMENTATION: names},
            structures=_structures(answer.labels, names, answer.spread_mm3, engine, volume, answer.depth),
            derived={"hippocampus_mm3": total},
            quality=quality,
            compute=_compute([answer.run, other.segmented.run], answer.depth),
            software=software(),
            findings=(
                *volume.findings,
                *resolution_findings(volume),
                *unusual_findings(answer, engine),
                note,
            ),
        )


def asymmetry_pct(left: float, right: float) -> float | None:
    """100 (L - R) / ((L + R) / 2); None when both are 0."""
    return 200 * (left - right) / (left + right) if left + right > 0 else None


def software() -> dict[str, str]:
    """Versions of what took part."""
    names = ("lnn-med", "torch", "monai", "numpy", "nibabel", "pydicom")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def job_of(labels: Sequence[Any]) -> str:
    """HEAD for labels of a whole head, CROP for those of a hippocampus crop."""
    names = {label.name for label in labels}
    return HEAD if {"Hippocampus_L", "Hippocampus_R"} <= names else CROP


def _index(names: Mapping[int, str], wanted: str) -> int:
    return next(index for index, name in names.items() if name == wanted)


def _counts(labels: NDArray[np.uint8], names: Mapping[int, str]) -> dict[str, int]:
    counts = label_counts(labels, 1 + max(names))
    return {name: int(counts[index]) for index, name in names.items()}


def _structures(
    labels: NDArray[np.uint8],
    names: Mapping[int, str],
    spread_mm3: NDArray[np.float64],
    engine: Engine,
    volume: Volume,
    depth: NDArray[np.uint8],
) -> tuple[Structure, ...]:
    size = 1 + max(names)
    counts, depths = label_counts(labels, size), label_sums(labels, depth, size)
    calibration = engine.bundle.calibration
    structures = []
    for index, name in names.items():
        volume_mm3 = float(counts[index] * volume.voxel_mm3)
        calibrated = SIDED_PART.sub("_", name)
        interval = calibration.interval_mm3(calibrated, volume_mm3, float(spread_mm3[index]))
        structures.append(
            Structure(
                name=name,
                side=next((part for part in name.split("_") if part in ("L", "R")), None),
                bundle=engine.bundle.info.name,
                volume_mm3=volume_mm3,
                interval_mm3=interval,
                coverage=calibration.coverage if interval else None,
                mean_depth=float(depths[index] / counts[index]) if counts[index] else None,
            )
        )
    return tuple(structures)


def _fine_totals(counts: Mapping[str, int], voxel_mm3: float) -> dict[str, float | None]:
    left, right = (
        sum(counts[f"Hippocampus_{side}_{part}"] for part in PARTS) * voxel_mm3 for side in ("L", "R")
    )
    return {
        "hippocampus_fine_left_mm3": left,
        "hippocampus_fine_right_mm3": right,
        "hippocampus_fine_asymmetry_pct": asymmetry_pct(left, right),
    }


def _models(bundles: Sequence[Bundle | ClassifierBundle]) -> tuple[ModelUsed, ...]:
    return tuple(ModelUsed(each.info.name, each.info.version, each.weights_sha256) for each in bundles)


def _compute(runs: Sequence[Run], depth: NDArray[np.uint8]) -> Compute:
    histogram = label_counts(depth, 256) / depth.size
    return Compute(
        seconds=sum(run.seconds for run in runs),
        gflops=sum(run.gflops for run in runs),
        gflops_full=sum(run.gflops_full for run in runs),
        depth_histogram={int(n): float(share) for n, share in enumerate(histogram) if share > 0},
        attention=tuple(stage for run in runs for stage in run.attention),
    )


def _round(entropy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Three decimals, in place: a quarter of the file size, far finer than what entropy means."""
    return np.round(entropy, 3, out=entropy)


def _bright_tissue(volume: Volume) -> Volume:
    """MONOCHROME1 stores bright as small numbers; networks want bright tissue bright."""
    if volume.source is None or volume.source.tags.get("PhotometricInterpretation") != "MONOCHROME1":
        return volume
    return volume.with_data(volume.data.max() + volume.data.min() - volume.data)


def _source(volume: Volume) -> Source:
    return volume.source or Source(name="volume in memory", kind="array", sha256="")
