"""Calibration of voxels where it can go wrong: around the labels and at their borders, in all and by class.

Background makes a whole image look calibrated, so pairs are counted within MARGIN voxels of the labels, or of
a border between two labels. In all: confidence of the most likely class, and whether it is right. By class:
its probability, and whether it is the class, within MARGIN voxels of that class or of its border.

Errors are computed in two ways. *By image*: in each one alone, then averaged; a large head does not outweigh
a small one, and a network that is too sure of one image and not sure enough of the next has an error.
*Pooled*: of the voxels of all images at once, where these two cancel. Pooled says whether 80 % means 80 %
in the long run; by image says how far from it the person at hand may be.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, maximum_filter, minimum_filter

from lnn_med.evaluation.calibration import calibration_errors, ece_null
from lnn_med.evaluation.calibration_counts import CalibrationCounts, calibration_counts
from lnn_med.evaluation.statistics import Interval, mean_interval

MARGIN = 2  # voxels, along each axis
REGION, BORDER = "around", "border"
ALL = 0  # in place of a class: the most likely one
ERRORS = ("ece", "ace", "mce", "brier", "nll")
NULL_RUNS = 100  # of one image; the mean over images is steady


class Place(NamedTuple):
    """Where pairs were counted: REGION or BORDER, of a class or ALL."""

    region: str
    label: int


Counts = Mapping[Place, CalibrationCounts]


@dataclass(frozen=True)
class PlaceErrors:
    """Means over images; `ece` with its interval over patients, `null` the ECE of a perfect model.

    `pooled` and `pooled_null` are the same two of the voxels of all images at once.
    """

    place: Place
    ece: Interval
    null: float
    means: Mapping[str, float]  # of each of ERRORS
    pooled: float
    pooled_null: float


def voxel_counts(
    probabilities: NDArray[np.floating], truth: NDArray[np.integer], by_class: bool = True
) -> dict[Place, CalibrationCounts]:
    """Pairs of one image; classes that it does not hold are left out.

    Args:
        probabilities: (classes, I, J, K).
        truth: (I, J, K), 0 is background.
        by_class: also of each class, not only of the most likely one.
    """
    right, sure = probabilities.argmax(axis=0) == truth, probabilities.max(axis=0)
    near, border = near_labels(truth > 0), near_border(truth)
    found = {
        Place(REGION, ALL): calibration_counts(sure[near], right[near]),
        Place(BORDER, ALL): calibration_counts(sure[border], right[border]),
    }
    for label, box in enumerate(find_objects(truth) if by_class else (), start=1):
        if box is None:
            continue
        part = tuple(slice(max(0, one.start - MARGIN - 1), one.stop + MARGIN + 1) for one in box)
        own, chance = truth[part] == label, probabilities[label][part]
        for region, where in ((REGION, near_labels(own)), (BORDER, near_border(own))):
            found[Place(region, label)] = calibration_counts(chance[where], own[where])
    return found


def near_labels(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and MARGIN voxels around it."""
    return np.asarray(maximum_filter(mask, 2 * MARGIN + 1, mode="nearest"))


def near_border(truth: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Voxels that have another label within MARGIN voxels."""
    values = truth.astype(np.int32)
    size = 2 * MARGIN + 1
    return np.asarray(
        maximum_filter(values, size, mode="nearest") != minimum_filter(values, size, mode="nearest")
    )


def errors_over_images(images: Sequence[Counts], patients: Sequence[Hashable]) -> list[PlaceErrors]:
    """Means of the errors over images, class by class."""
    rows = []
    for place in sorted(
        {place for image in images for place in image}, key=lambda one: (one.label, one.region)
    ):
        held = [(image[place], who) for image, who in zip(images, patients, strict=True) if place in image]
        each = [asdict(calibration_errors(counts)) for counts, _ in held]
        means = {name: float(np.mean([one[name] for one in each])) for name in ERRORS}
        interval = mean_interval([one["ece"] for one in each], [who for _, who in held])
        null = float(np.mean([ece_null(counts, runs=NULL_RUNS).mean for counts, _ in held]))
        total = reduce(add, (counts for counts, _ in held))
        pooled, pooled_null = calibration_errors(total).ece, ece_null(total, runs=NULL_RUNS).mean
        rows.append(PlaceErrors(place, interval, null, means, pooled, pooled_null))
    return rows
