"""Calibrate a bundle on cases no weight has seen: temperatures, depth, volume intervals, usual input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lnn_med.errors import ConfigError
from lnn_med.evaluation.dataset import EvaluationCase, select_cases
from lnn_med.evaluation.labels import check_same_grid, group, read_reference, without_skull
from lnn_med.inference.bundle import Bundle, load_bundle, save_calibration
from lnn_med.inference.calibration import Calibration
from lnn_med.inference.head import Segmented, segment_head, spacing_ratio
from lnn_med.inference.hippocampus import segment_crop
from lnn_med.inference.model_space import into_model_space
from lnn_med.inference.predict import HEAD, job_of
from lnn_med.inference.quality import doubt
from lnn_med.inference.runtime import Engine, RuntimeConfig, has_bf16
from lnn_med.io.nifti import read_nifti
from lnn_med.training.calibration_fit import (
    FOLDS,
    Measured,
    Sample,
    fit_temperatures,
    reliability,
    usual_input,
    usual_limit,
    volume_calibration,
)
from lnn_med.training.gain_fit import SeenBlocks, fit_gain, seen_blocks, worth_of_auto
from lnn_med.transforms.augment import dilate
from lnn_med.volume import Volume

SPLITS = ("val", "calibration")  # neither trained a weight; val only chose among checkpoints
COVERAGE = 0.9  # of volume intervals
MARGIN = 2  # voxels around the labels in which temperatures are fitted and judged
SAMPLE = 20_000  # voxels of a case
REGION = f"labels and {MARGIN} voxels around them, at most {SAMPLE} voxels a case"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Data:
    """Cases used, with the folder of the data set."""

    unseen: tuple[EvaluationCase, ...]
    trained: tuple[EvaluationCase, ...]


def calibrate(
    bundle: Bundle | str | Path,
    dataset: Path,
    out: Path | None = None,
    coverage: float = COVERAGE,
    today: date | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Fit a bundle's calibration.json on the cases of its splits `val` and `calibration`.

    Temperature (Guo 2017) minimises the NLL of each exit around the labels. What fine stages gain is fitted
    to the doubt of exit 1, and the price of depth auto so that what it gives up is not worth its work. Volume
    intervals are split conformal (Lei 2018) on |log of measured over true volume| in units of the uncertain
    share. Unusual input is told by the Mahalanobis distance of trunk features (Lee 2018) from those of the
    training cases; for heads also from those of the same cases without skull.
    What is reported is cross-fitted: calibration errors, worth of auto and coverage are judged on cases that
    did not take part in that fit. Earlier steps (temperature before gain, both before volumes) are of all.
    Percentiles and classifiers that were made before do not fit the bundle any more: make them anew.

    Args:
        bundle: loaded, by name, or by folder.
        dataset: folder with the cases of the bundle's splits.
        out: folder for a calibrated copy; the bundle itself is changed when None.
        coverage: of volume intervals, 0 to 1.
        today: date that is written down.
        progress: called with cases done and cases in all.

    Raises:
        ConfigError: a coverage outside 0 to 1, too few cases, or none of the bundle's.
        InputError: a case that cannot be read.
    """
    if not 0 < coverage < 1:
        raise ConfigError(f"coverage is {coverage:g}; it must lie between 0 and 1.")
    given = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    model, data = _plain(given), _data(given, dataset)
    if out is not None and out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out.name} is not empty; name a new folder for the calibrated copy.")
    head = job_of(model.info.labels) == HEAD
    variants = (False, True) if head else (False,)  # with and without skull
    steps = _Steps((2 + len(variants)) * len(data.unseen) + len(variants) * len(data.trained), progress)
    samples = [_sample(case, model, steps) for case in data.unseen]
    temperature = fit_temperatures(samples)
    warmed = replace(model, calibration=Calibration(temperature=temperature))
    blocks = [_blocks(case, warmed, steps) for case in data.unseen]
    gain = fit_gain(blocks)
    decided = Calibration(temperature=temperature, gain=gain)
    engine = Engine(replace(model, calibration=decided), RuntimeConfig(device="cpu"))
    quick = Engine(engine.bundle, RuntimeConfig(depth=1, device="cpu"))  # the trunk alone
    measured = [[_measure(case, engine, steps, bare) for case in data.unseen] for bare in variants]
    names = {label.index: label.name for label in model.info.labels}
    usual = [
        usual_input(
            np.stack([_summary(case, quick, steps, bare) for case in data.trained]),
            np.stack([case.summary for case in cases]),
        )
        for bare, cases in zip(variants, measured, strict=True)
    ]
    fitted = Calibration(
        date=(today or datetime.now(UTC).date()).isoformat(),
        splits=SPLITS,
        cases=len(data.unseen),
        temperature=temperature,
        gain=gain,
        coverage=coverage,
        volumes={name: volume_calibration(measured[0], index, coverage) for index, name in names.items()},
        usual=usual[0],
        usual_stripped=usual[1] if head else None,
        usual_doubt=usual_limit([case.doubt for cases in measured for case in cases]),
        measured=reliability(samples) | {"region": REGION, "auto": worth_of_auto(blocks)},
        static_bf16=given.calibration.static_bf16,
    )
    return save_calibration(_target(model, out), fitted)


def _sample(case: EvaluationCase, model: Bundle, steps: _Steps) -> Sample:
    """Logits of every exit at voxels around the labels, in model space."""
    image, labels, ratio = model_space_case(case, model)
    where = dilate(labels > 0, MARGIN).flatten().nonzero().flatten()
    chosen = where[torch.randperm(len(where), generator=torch.Generator().manual_seed(0))[:SAMPLE]]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=steps.bf16):
        _, logits = model.network().every_exit(image, torch.tensor([ratio]))
    steps.advance()
    around = [each[0].flatten(1)[:, chosen].t().float() for each in logits]
    return Sample(torch.stack(around), labels.flatten()[chosen])


def _blocks(case: EvaluationCase, model: Bundle, steps: _Steps) -> list[SeenBlocks]:
    """What every exit answers in each block, at growing voxel spacing."""
    image, labels, ratio = model_space_case(case, model)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=steps.bf16):
        found = list(seen_blocks(model.network(), image, labels, ratio))
    steps.advance()
    return found


def model_space_case(
    case: EvaluationCase, model: Bundle
) -> tuple[Tensor, Tensor, tuple[float, float, float]]:
    """Image (1, 1, X, Y, Z) and labels (X, Y, Z) in a bundle's model space; the spacing ratio.

    Raises:
        InputError: a case that cannot be read.
    """
    volume, reference = _read(case)
    seen = into_model_space(volume, model.info.space)
    grouped = group(reference.data, model.info.labels)
    labels = torch.from_numpy(seen.placement.labels_to_model(grouped).astype(np.int64))
    image = torch.from_numpy(seen.image)[None, None]
    return image, labels, spacing_ratio(volume, model.info.space.spacing_mm)


def _measure(case: EvaluationCase, engine: Engine, steps: _Steps, bare: bool) -> Measured:
    volume, reference = _read(case, bare)
    answer = _segmented(volume, engine)
    classes = 1 + len(engine.bundle.info.labels)
    truth = group(reference.data, engine.bundle.info.labels)
    steps.advance()
    found, true = (
        np.bincount(each.ravel(), minlength=classes).astype(np.float64) for each in (answer.labels, truth)
    )
    voxel_mm3 = float(volume.voxel_mm3)
    return Measured(
        found * voxel_mm3,
        answer.spread_mm3,
        true * voxel_mm3,
        answer.run.summary,
        doubt(answer.labels, answer.entropy),
    )


def _summary(case: EvaluationCase, engine: Engine, steps: _Steps, bare: bool) -> NDArray[np.float32]:
    """Summary of the trunk's features."""
    volume, _ = _read(case, bare)
    space = engine.bundle.info.space
    seen = into_model_space(volume, space)
    steps.advance()
    return engine(seen.image, spacing_ratio(volume, space.spacing_mm)).summary


def _segmented(volume: Volume, engine: Engine) -> Segmented:
    if job_of(engine.bundle.info.labels) == HEAD:
        return segment_head(volume, engine)
    return segment_crop(volume, engine)[0].segmented


def _read(case: EvaluationCase, bare: bool = False) -> tuple[Volume, Volume]:
    """Scan and reference; `bare`: with the skull removed."""
    volume, reference = read_nifti(case.image), read_reference(case.reference)
    check_same_grid(reference, volume)
    return without_skull(volume, reference) if bare else volume, reference


def unseen_cases(model: Bundle, dataset: Path) -> tuple[EvaluationCase, ...]:
    """Cases of a bundle that trained no weight.

    Raises:
        ConfigError: the data set has none of them.
    """
    known = model.info.split
    parts = [select_cases(dataset, split, known).cases for split in SPLITS if known.get(split)]
    if not any(parts):
        raise ConfigError(f"No cases of {' and '.join(SPLITS)} of {model.info.name} in {dataset.name}.")
    return tuple(case for part in parts for case in part)


def _data(model: Bundle, dataset: Path) -> _Data:
    unseen = unseen_cases(model, dataset)
    if len(unseen) < 2 * FOLDS:
        raise ConfigError(f"{len(unseen)} cases of {' and '.join(SPLITS)}; {2 * FOLDS} or more are needed.")
    return _Data(unseen, select_cases(dataset, "train", model.info.split).cases)


def _plain(model: Bundle) -> Bundle:
    """The bundle without a calibration of its own, at temperature 1, whatever its weights were trained at."""
    return replace(model, calibration=Calibration(temperature=(1.0,) * model.info.network.exits))


def _target(model: Bundle, out: Path | None) -> Path:
    if out is None:
        return model.path
    shutil.copytree(model.path, out, dirs_exist_ok=True)
    return out


class _Steps:
    """Counts cases for the progress bar."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done, self.total, self.progress = 0, total, progress
        self.bf16 = has_bf16(torch.device("cpu"))

    def advance(self) -> None:
        """One case more."""
        self.done += 1
        if self.progress:
            self.progress(self.done, self.total)
