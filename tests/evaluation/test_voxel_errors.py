"""Calibration by class, around labels and at borders: against a slow loop, and by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from lnn_med.evaluation.calibration import calibration_errors
from lnn_med.evaluation.calibration_counts import calibration_counts
from lnn_med.evaluation.voxel_calibration import (
    ALL,
    BORDER,
    MARGIN,
    REGION,
    Place,
    errors_over_images,
    near_border,
    near_labels,
    voxel_counts,
)

SHAPE = (9, 11, 7)


def image(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of three classes and labels 1 and 2 that touch; 2 lies on the border of the image."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(SHAPE, dtype=np.int32)
    truth[3:5, 4:7, 2:4] = 1
    truth[5:9, 4:6, 2:4] = 2
    logits = rng.normal(0, 1, (3, *SHAPE)) + 2 * (np.arange(3)[:, None, None, None] == truth)
    return np.exp(logits) / np.exp(logits).sum(axis=0), truth


def neighbours(at: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All voxels of the image within MARGIN along each axis."""
    spans = [range(max(0, n - MARGIN), min(size, n + MARGIN + 1)) for n, size in zip(at, SHAPE, strict=True)]
    return list(product(*spans))


def test_regions_are_those_of_a_slow_loop() -> None:
    _, truth = image()
    for at in np.ndindex(SHAPE):
        found = {int(truth[place]) for place in neighbours(at)}
        assert near_labels(truth == 2)[at] == (2 in found)
        assert near_border(truth)[at] == (len(found) > 1)
        assert near_border(truth == 2)[at] == (2 in found and found != {2})


@pytest.mark.parametrize("label", [1, 2])
def test_a_class_cut_out_with_its_margin_has_the_counts_of_the_whole_image(label: int) -> None:
    probabilities, truth = image()
    counts = voxel_counts(probabilities, truth)
    own = truth == label
    for region, where in ((REGION, near_labels(own)), (BORDER, near_border(own))):
        expected = calibration_counts(probabilities[label][where], own[where])
        found = counts[Place(region, label)]
        assert calibration_errors(found) == calibration_errors(expected)


def test_the_most_likely_class_is_counted_near_all_labels() -> None:
    probabilities, truth = image()
    near = near_labels(truth > 0)
    right = (probabilities.argmax(axis=0) == truth)[near]
    found = calibration_errors(voxel_counts(probabilities, truth)[Place(REGION, ALL)])
    assert found.accuracy == pytest.approx(right.mean())
    assert found.n == near.sum() < truth.size


def test_background_would_hide_what_the_region_shows() -> None:
    probabilities, truth = image()
    far = ~near_labels(truth > 0)
    probabilities[:, far] = np.array([1.0, 0, 0])[:, None]
    probabilities[:, ~far] = np.array([0.02, 0.49, 0.49])[:, None]  # sure of labels that are mostly not there
    counts = voxel_counts(probabilities, truth)
    whole = calibration_errors(
        calibration_counts(probabilities.max(axis=0), probabilities.argmax(axis=0) == truth)
    )
    assert calibration_errors(counts[Place(REGION, ALL)]).ece > 1.5 * whole.ece


def test_errors_are_means_over_images_and_intervals_over_patients() -> None:
    small, large = ([voxel_counts(*image(seed)) for seed in seeds] for seeds in (range(4), range(4, 8)))
    images, patients = [*small, *large], ["A", "A", "B", "C", "D", "E", "F", "G"]
    only_one = {Place(REGION, 2)}
    images[0] = {place: counts for place, counts in images[0].items() if place not in only_one}
    rows = {row.place: row for row in errors_over_images(images, patients)}
    each = [calibration_errors(one[Place(REGION, 2)]) for one in images[1:]]
    row = rows[Place(REGION, 2)]
    assert row.ece.estimate == pytest.approx(np.mean([one.ece for one in each]))
    assert row.means["nll"] == pytest.approx(np.mean([one.nll for one in each]))
    assert (row.ece.n_values, row.ece.n_patients) == (7, 7)
    assert rows[Place(BORDER, 2)].ece.n_patients == 7  # of eight images
    assert 0 < row.null < 1
    assert [row.place.label for row in errors_over_images(images, patients)] == [0, 0, 1, 1, 2, 2]


def test_opposite_errors_of_two_images_cancel_in_the_pool_alone() -> None:
    """0.8 everywhere; 90 % of one image are right, 70 % of the other."""
    images = []
    for share in (0.9, 0.7):
        truth = np.ones((10, 10, 10), dtype=np.int32)
        truth.flat[: round(1000 * (1 - share))] = 2
        chances = np.zeros((3, 10, 10, 10))
        chances[1], chances[2] = 0.8, 0.2
        images.append(voxel_counts(chances, truth, by_class=False))
    (row,) = [row for row in errors_over_images(images, ["A", "B"]) if row.place.region == REGION]
    assert row.ece.estimate == pytest.approx(0.1)
    assert row.pooled == pytest.approx(0, abs=1e-9)
    assert 0 < row.pooled_null < row.null
    assert set(images[0]) == {Place(REGION, ALL), Place(BORDER, ALL)}
