"""What a classifier bundle says of a head that has been segmented: risk, network, evidence, or why not."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from torch import Tensor
from torch.nn import functional as F

from lnn_med.errors import ConfigError
from lnn_med.inference.brain_features import (
    FIRST_MM,
    GRID,
    POOL,
    SAMPLE_MM,
    BrainFeatures,
    brain_features,
)
from lnn_med.inference.classifier_bundle import ClassifierBundle, NetworkCalibration
from lnn_med.inference.head import Segmented
from lnn_med.inference.model_space import Seen
from lnn_med.inference.quality import UNUSUAL
from lnn_med.inference.risk_model import RECORD, Reliability, RiskModel, known_values, record_of, risk_terms
from lnn_med.inference.runtime import Engine, Run
from lnn_med.io.risk_words import NETWORK, RISK
from lnn_med.models.brain_classifier import Answer
from lnn_med.transforms.standard_space import StandardSpace
from lnn_med.volume import Affine, Volume

AGE = RECORD.index("age")
SHOWN, TRIED = 5, 10  # structures that are named as evidence, and that are hidden to find them
SLAB = 16  # planes of the evidence map that are made at once
# A brain's axes beside the template's; in the data 0.9 to 1.3, and brains differ by a fifth in length.
SMALLEST_STRETCH, LARGEST_STRETCH = 0.67, 1.6


class Judged(NamedTuple):
    """Entries of `result.json`'s classification; the evidence map (log-odds of a place, 0 outside the brain)
    and the age that the brain looks like, in years, each None where the models abstain; seconds it took."""

    entries: tuple[Mapping[str, object], ...]
    evidence: NDArray[np.float32] | None
    brain_age_years: float | None
    seconds: float


class DementiaReader:
    """A loaded classifier, for one segmented head after the other.

    Args:
        bundle: the classifier.
        engine: the segmentation network whose features it reads.

    Raises:
        ConfigError: the classifier was trained with other weights or another calibration.
        InputError: E_MODEL for weights that cannot be used.
    """

    def __init__(self, bundle: ClassifierBundle, engine: Engine) -> None:
        if engine.bundle.answers_sha256 != bundle.info.segmentation_sha256:
            raise ConfigError(
                f"{bundle.info.name} was fitted on other weights or another calibration than those of "
                f"{engine.bundle.info.name} in use. Name the bundles to run without it, or fit it anew with "
                f"lnn-med train {bundle.info.name}."
            )
        self.bundle, self.engine = bundle, engine
        self.networks, self.template_mm = bundle.load()

    def __call__(self, brain: Segmented, volume: Volume, clinical: Mapping[str, float | str]) -> Judged:
        """Judge a head.

        Args:
            brain: what the segmentation network answered, with what it saw.
            volume: the scan.
            clinical: age in years, sex F or M, education in years, MMSE; each may be absent.
        """
        started = time.perf_counter()
        record = record_of(clinical)
        reason = self._out_of_range(brain, record)
        seen: BrainFeatures | None = None
        if reason is None:
            try:
                seen = look(brain.run, _seen(brain), self.engine, self.template_mm)
            except ValueError as error:
                reason = f"The brain could not be placed: {error}"
        if seen is not None:
            reason = misplaced(seen.space, self.bundle.info.largest_residual_mm)
        if seen is None or reason is not None:
            entries = (self._abstained(RISK, reason), self._abstained(NETWORK, reason))
            return Judged(entries, None, None, time.perf_counter() - started)
        model, terms = self._risk(seen, record)
        risk = {
            **self._entry(RISK, model.probability(terms), model.reliability, model.known),
            "model": "logistic regression on volumes and record",
            "known": list(model.known),
            "drivers": model.drivers(terms),
        }
        offset = model.logit(terms)
        calibration = self._calibration(record)
        exit_number, leaving, logit = self.leave(self.answers(seen, record, offset), calibration, offset)
        changes = self._occluded(seen, brain, record, offset, exit_number, leaving, calibration)
        counted_with = RECORD if "mmse" in record else RECORD[:-1]  # the sets it was tried with
        probability = 1 / (1 + math.exp(-logit))
        network = {
            **self._entry(NETWORK, probability, calibration.reliability, counted_with),
            "model": "network on image, volumes and record",
            "known": list(model.known),
            "exit": exit_number,
            "evidence": changes,
            "brain_age_mae_years": self.bundle.calibration.brain_age_mae,
        }
        spread, centre = self.networks[0].clinical_spread[AGE], self.networks[0].clinical_centre[AGE]
        places = calibration.evidence_slope * leaving.evidence[0, 0].numpy()
        evidence = in_scan_grid(places, seen.space, volume.affine, brain.labels)
        age = float(leaving.logits[0, 1] * spread + centre)
        return Judged((risk, network), evidence, age, time.perf_counter() - started)

    def _out_of_range(self, brain: Segmented, record: Mapping[str, float]) -> str | None:
        """Why the models may not be asked, in words; None when they may."""
        youngest, oldest = self.bundle.info.ages_years
        if "age" in record and not youngest <= record["age"] <= oldest:
            return f"The models know ages from {youngest:.0f} to {oldest:.0f} years."
        if brain.run.first_exit is None:
            return "The models read features of the network, which a static graph does not give."
        oddness = self.engine.bundle.calibration.oddness(brain.run.summary)
        if oddness is not None and oddness > UNUSUAL and not self._like_the_data(brain.run.summary):
            return "To the network this scan looks unlike those it learned from."
        return None

    def _like_the_data(self, summary: NDArray[np.float32]) -> bool:
        """Whether a scan looks like those of the people whom the models were fitted on, shrunken brains among
        them, which are unusual to a segmentation network that learned from healthy people."""
        usual = self.bundle.calibration.usual
        return usual is not None and usual.oddness(summary) <= 1

    def offset(self, seen: BrainFeatures, record: Mapping[str, float]) -> float:
        """Logit of the risk model for what is known, which the networks add to."""
        model, terms = self._risk(seen, record)
        return model.logit(terms)

    def _risk(self, seen: BrainFeatures, record: Mapping[str, float]) -> tuple[RiskModel, dict[str, float]]:
        known = known_values(record)
        model = next(each for each in self.bundle.calibration.risk_models if each.known == known)
        return model, risk_terms(self._log_volumes(seen), record)

    def _log_volumes(self, seen: BrainFeatures) -> dict[str, float]:
        """Both sides together, in MNI space."""
        names = [label.name for label in self.engine.bundle.info.labels]
        found = {}
        for structure in self.bundle.info.structures:
            sides = [
                n for n, name in enumerate(names) if name in (f"{structure}_L", f"{structure}_R", structure)
            ]
            found[structure] = float(seen.volumes[sides].double().logsumexp(dim=0))
        return found

    def answers(
        self, seen: BrainFeatures, record: Mapping[str, float], offset: float, places: Tensor | None = None
    ) -> Iterator[Answer]:
        """Mean of the networks at one exit after the other, each run when asked for; `places`
        (n, F, X, Y, Z) instead of those seen."""
        image = seen.places[None].float() if places is None else places
        n = len(image)
        clinical = torch.tensor([[record.get(name, float("nan")) for name in RECORD]])
        shared = (
            seen.inside.expand(n, *seen.inside.shape),
            seen.volumes.float().expand(n, -1),
            clinical.expand(n, -1),
            torch.full((n,), offset),
        )
        running = [network.exit_by_exit(image, *shared) for network in self.networks]
        for _ in range(self.bundle.info.network.exits):
            with torch.inference_mode():
                told = [next(answers) for answers in running]
                answer = Answer(*(torch.stack(each).mean(dim=0) for each in zip(*told, strict=True)))
            yield answer

    def _calibration(self, record: Mapping[str, float]) -> NetworkCalibration:
        whole = self.bundle.calibration
        return whole.with_mmse if "mmse" in record else whole.without_mmse

    def leave(
        self, answers: Iterator[Answer], calibration: NetworkCalibration, offset: float
    ) -> tuple[int, Answer, float]:
        """The exit that answers, from 1, its answer and calibrated logit: the first if it is sure, else the
        last."""
        sure = self.bundle.calibration.sure
        for number, answer in enumerate(answers, start=1):
            logit = calibrated(calibration, offset, answer.evidence[:, 0])[0].item()
            if number == 1 and sure is not None and abs(logit) >= sure:
                break
        return number, answer, logit

    def _occluded(
        self,
        seen: BrainFeatures,
        brain: Segmented,
        record: Mapping[str, float],
        offset: float,
        exit_number: int,
        leaving: Answer,
        calibration: NetworkCalibration,
    ) -> dict[str, float]:
        """How much the calibrated logit falls when a structure looks as usual; the largest SHOWN, by name.

        Only the TRIED structures in whose places most evidence lies are tried.
        """
        affine = _seen(brain).placement.affine
        shares, names = structure_shares(seen.labels, affine, self.engine.bundle.label_names, seen.space)
        evidence = leaving.evidence[:, 0]
        inside = torch.from_numpy(shares) * evidence
        tried = inside.flatten(1).sum(dim=1).abs().argsort(descending=True)[:TRIED]
        hidden = self.hidden(seen, torch.from_numpy(shares)[tried])
        *_, without = islice(self.answers(seen, record, offset, hidden), exit_number)
        falls = (
            calibrated(calibration, offset, evidence)
            - calibrated(calibration, offset, without.evidence[:, 0])
        ).tolist()
        named = [names[at] for at in tried.tolist()]
        ranked = sorted(zip(named, falls, strict=True), key=lambda item: -abs(item[1]))
        return dict(ranked[:SHOWN])

    def hidden(self, seen: BrainFeatures, shares: Tensor) -> Tensor:
        """Places of a head of which shares (n, X, Y, Z) look as usual, (n, F, X, Y, Z)."""
        usual = torch.stack([network.feature_centre for network in self.networks]).mean(dim=0)
        weight = shares[:, None]
        return seen.places.float() * (1 - weight) + usual * weight

    def _entry(
        self, target: str, probability: float, found: Reliability, counted_with: tuple[str, ...]
    ) -> dict[str, object]:
        coverage = self.bundle.calibration.coverage
        return {
            "target": target,
            "probability": probability,
            "prediction_set": list(found.prediction_set(probability, coverage)),
            "coverage": coverage,
            "bundle": self.bundle.info.name,
            "reliability": {
                "known": list(counted_with),
                "people": found.people,
                "with_dementia": found.positives,
                "auc": list(found.auc),
                "auc_from_60": list(found.auc_old),
                "ece": found.ece,
                "ece_null": found.ece_null,
            },
            "abstained": None,
        }

    def _abstained(self, target: str, reason: str | None) -> dict[str, object]:
        return {
            "target": target,
            "probability": None,
            "prediction_set": None,
            "coverage": None,
            "bundle": self.bundle.info.name,
            "abstained": reason,
        }


def misplaced(space: StandardSpace, largest_residual_mm: float) -> str | None:
    """Why a brain's place in the template cannot be believed, in words; None when it can."""
    if space.residual_mm > largest_residual_mm:
        return (
            f"The brain could not be placed within {largest_residual_mm:g} mm of the template's structures."
        )
    if np.linalg.det(space.affine[:3, :3]) <= 0:
        return "The brain could only be placed as a mirror image: left and right structures are exchanged."
    stretch = np.linalg.svd(space.affine[:3, :3], compute_uv=False)
    if stretch.max() > LARGEST_STRETCH or stretch.min() < SMALLEST_STRETCH:
        return (
            f"The brain could only be placed by stretching it {stretch.min():.2f} to {stretch.max():.2f} "
            f"times; {SMALLEST_STRETCH:g} to {LARGEST_STRETCH:g} is believed."
        )
    return None


def calibrated(calibration: NetworkCalibration, offset: float, evidence: Tensor) -> Tensor:
    """Calibrated logits (B,) from the evidence of places (B, X, Y, Z)."""
    places = evidence.flatten(1).sum(dim=1)
    return calibration.intercept + calibration.offset_slope * offset + calibration.evidence_slope * places


def look(run: Run, seen: Seen, engine: Engine, template_mm: NDArray[np.float64]) -> BrainFeatures:
    """A segmented head as a classifier sees it: by trunk and exit 1, so at every depth alike.

    Volumes of the finer stages, which learned from one source, tell people with dementia no better, and
    differ more between heads as a scanner gives them and the same heads prepared (docs/dementia.md).

    Raises:
        ValueError: too few structures were found to place the brain, or a static graph ran, whose features
            cannot be had.
    """
    if run.features is None or run.first_exit is None:
        raise ValueError("the network ran as a static graph.")
    labels = engine.bundle.info.labels
    return brain_features(
        run.features, run.first_exit(), seen.image, seen.placement.affine, labels, template_mm
    )


def in_scan_grid(
    places: NDArray[np.floating], space: StandardSpace, affine: Affine, labels: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Values of places (GRID) at the voxels of the scan, interpolated, 0 where nothing is labelled."""
    result = np.zeros(labels.shape, dtype=np.float32)
    boxes = find_objects((labels != 0).view(np.uint8))
    if not boxes:
        return result
    box = boxes[0]
    values = torch.from_numpy(places.astype(np.float32))[None, None]
    for start in range(box[0].start, box[0].stop, SLAB):
        slab = (slice(start, min(start + SLAB, box[0].stop)), *box[1:])
        first = np.eye(4)
        first[:3, 3] = [part.start for part in slab]
        shape = [part.stop - part.start for part in slab]
        unit = _to_unit(places.shape) @ place_of(space) @ affine @ first @ np.linalg.inv(_to_unit(shape))
        theta = torch.from_numpy(unit[2::-1, [2, 1, 0, 3]].copy()).float()  # the last axis comes first here
        grid = F.affine_grid(theta[None], [1, 1, *shape], align_corners=True)
        found = F.grid_sample(values, grid, padding_mode="border", align_corners=True)[0, 0].numpy()
        found[labels[slab] == 0] = 0
        result[slab] = np.round(found, 5)
    return result


def _to_unit(shape: Sequence[int]) -> Affine:
    """Index to -1 ... 1, from the first voxel's middle to the last one's; 0 where there is one voxel."""
    scale = [2 / (size - 1) if size > 1 else 1.0 for size in shape]
    matrix = np.diag([*scale, 1.0])
    matrix[:3, 3] = [-1.0 if size > 1 else 0.0 for size in shape]
    return matrix


def place_of(space: StandardSpace) -> Affine:
    """Scan RAS mm to index of places (GRID), whole numbers at their middle."""
    size = SAMPLE_MM * POOL
    to_index = np.diag([1 / size, 1 / size, 1 / size, 1.0])
    first_middle = np.array(FIRST_MM) + SAMPLE_MM * (POOL - 1) / 2
    to_index[:3, 3] = -first_middle / size
    return to_index @ space.affine


def structure_shares(
    labels: NDArray[np.uint8], affine: Affine, names: Mapping[int, str], space: StandardSpace
) -> tuple[NDArray[np.float32], list[str]]:
    """Share of each place's labelled voxels that a structure (both sides together) has, (n, *GRID).

    Args:
        labels: (X, Y, Z) of model space.
        affine: index to RAS mm.
        names: of the labels.
        space: the way to the template.
    """
    index = np.argwhere(labels > 0)
    to_place = place_of(space) @ affine
    place = np.rint(index @ to_place[:3, :3].T + to_place[:3, 3]).astype(int)
    inside = ((place >= 0) & (place < np.array(GRID))).all(axis=1)
    flat = np.ravel_multi_index(tuple(place[inside].T), GRID)
    pairs = [name.removesuffix("_L").removesuffix("_R") for name in names.values()]
    both = sorted(set(pairs))
    number = np.zeros(1 + max(names), dtype=np.int64)
    for at, pair in zip(names, pairs, strict=True):
        number[at] = both.index(pair)
    counted = number[labels[tuple(index[inside].T)]] * np.prod(GRID) + flat
    counts = np.bincount(counted, minlength=len(both) * int(np.prod(GRID))).reshape(len(both), *GRID)
    return (counts / counts.sum(axis=0).clip(min=1)).astype(np.float32), both


def _seen(brain: Segmented) -> Seen:
    if brain.seen is None:
        raise ValueError("what the network saw was not kept")
    return brain.seen
