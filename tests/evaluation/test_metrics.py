"""Metrics against hand-made answers, the package surface-distance, and MONAI within one voxel."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
import surface_distance
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

from lnn_med.evaluation.metrics import (
    BOTH_EMPTY,
    MISSING,
    PREDICTION_EMPTY,
    REFERENCE_EMPTY,
    SCORED,
    overlaps,
    structure_metrics,
)
from lnn_med.evaluation.surfaces import surface_metrics

SPACING_MM = (0.8, 1.5, 2.5)  # unequal, so that a swapped axis cannot hide


def ellipsoid(shape: tuple[int, int, int], centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    grid = np.indices(shape).astype(float)
    return sum(((grid[axis] - centre[axis]) / radii[axis]) ** 2 for axis in range(3)) <= 1


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping shapes with a rough outline, one of them touching the border of the image."""
    rng = np.random.default_rng(seed)
    shape = (24, 20, 16)
    first = ellipsoid(shape, (9, 9, 6), rng.uniform(4, 7, 3)) | ellipsoid(shape, (2, 4, 3), (4, 5, 4))
    second = np.roll(first, tuple(rng.integers(-1, 2, 3)), (0, 1, 2)) ^ (rng.random(shape) < 0.01)
    return second, first


def oracle(predicted: np.ndarray, reference: np.ndarray, tolerance_mm: float) -> tuple[float, float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        distances = surface_distance.compute_surface_distances(reference, predicted, SPACING_MM)
    areas = [distances[f"surfel_areas_{side}"].sum() for side in ("gt", "pred")]
    return (
        surface_distance.compute_surface_dice_at_tolerance(distances, tolerance_mm),
        surface_distance.compute_robust_hausdorff(distances, 95),
        np.average(surface_distance.compute_average_surface_distance(distances), weights=areas),
    )


def one_hot(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(mask[None, None].astype(np.float32))


def test_shifted_cube_has_the_dice_and_volume_of_paper_and_pencil() -> None:
    reference = np.zeros((12, 12, 12), dtype=np.int32)
    predicted = reference.copy()
    reference[2:6, 2:6, 2:6] = 3
    predicted[3:7, 2:6, 2:8] = 3
    found = structure_metrics(predicted, reference, [3], SPACING_MM, 1.0)[3]
    assert found.state == SCORED
    assert found.dsc == pytest.approx(2 * 48 / (64 + 96))
    assert found.reference_voxels == 64
    assert found.reference_mm3 == pytest.approx(64 * 3.0)
    assert found.volume_mm3 == pytest.approx(96 * 3.0)
    assert found.error_mm3 == pytest.approx(32 * 3.0)
    assert found.error_pct == pytest.approx(50.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_plates_at_a_known_distance_have_that_hausdorff_distance_along_each_axis(axis: int) -> None:
    reference = np.zeros((30, 30, 30), dtype=np.int32)
    predicted = reference.copy()
    flat = [slice(3, 27)] * 3
    flat[axis] = slice(10, 11)
    reference[tuple(flat)] = 1
    flat[axis] = slice(14, 15)
    predicted[tuple(flat)] = 1
    found = structure_metrics(predicted, reference, [1], SPACING_MM, 1.0)[1]
    assert found.hd95_mm == pytest.approx(4 * SPACING_MM[axis])
    assert found.msd_mm == pytest.approx(3.5 * SPACING_MM[axis])  # near faces are 3 apart, far ones 4
    beyond = structure_metrics(predicted, reference, [1], SPACING_MM, 4 * SPACING_MM[axis] + 1e-6)[1]
    assert (found.nsd, beyond.nsd) == (0.0, 1.0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tolerance_mm", [0.8, 1.5, 3.0])
def test_surface_metrics_equal_the_package_surface_distance(seed: int, tolerance_mm: float) -> None:
    predicted, reference = blobs(seed)
    found = surface_metrics(predicted, reference, SPACING_MM, tolerance_mm)
    assert tuple(found) == pytest.approx(oracle(predicted, reference, tolerance_mm), abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_monai_with_voxels_as_boundary_agrees_within_one_voxel(seed: int) -> None:
    predicted, reference = blobs(seed)
    found = surface_metrics(predicted, reference, SPACING_MM, 1.5)
    pair = one_hot(predicted), one_hot(reference)
    hd95_mm = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=SPACING_MM)
    assert abs(found.hd95_mm - float(hd95_mm)) <= max(SPACING_MM)
    msd_mm = compute_average_surface_distance(
        *pair, include_background=True, symmetric=True, spacing=SPACING_MM
    )
    assert abs(found.msd_mm - float(msd_mm)) <= min(SPACING_MM)


@pytest.mark.parametrize("seed", range(6))
def test_monai_with_surface_elements_gives_the_same_surface_dice(seed: int) -> None:
    predicted, reference = blobs(seed)
    nsd = surface_metrics(predicted, reference, SPACING_MM, 1.5).nsd
    monai = compute_surface_dice(
        one_hot(predicted), one_hot(reference), [1.5], True, spacing=SPACING_MM, use_subvoxels=True
    )
    assert nsd == pytest.approx(float(monai), abs=1e-5)


def test_metrics_do_not_change_when_axes_are_permuted_with_their_spacing() -> None:
    predicted, reference = blobs(3)
    order = (2, 0, 1)
    turned = surface_metrics(
        predicted.transpose(order), reference.transpose(order), tuple(SPACING_MM[axis] for axis in order), 1.5
    )
    assert turned == pytest.approx(surface_metrics(predicted, reference, SPACING_MM, 1.5))


def test_a_structure_alone_and_among_others_gets_the_same_metrics() -> None:
    predicted, reference = (mask.astype(np.int32) for mask in blobs(1))
    crowd_predicted, crowd_reference = predicted.copy(), reference.copy()
    crowd_predicted[20:, 15:, 12:] = 7
    crowd_reference[19:, 16:, 12:] = 7
    alone = structure_metrics(predicted * 5, reference * 5, [5], SPACING_MM, 1.0)[5]
    crowd_predicted[crowd_predicted == 1] = 5
    crowd_reference[crowd_reference == 1] = 5
    crowd_predicted[(predicted == 1)] = 5
    crowd_reference[(reference == 1)] = 5
    assert structure_metrics(crowd_predicted, crowd_reference, [5, 7], SPACING_MM, 1.0)[5] == alone


def test_empty_structures_follow_the_rules() -> None:
    empty = np.zeros((10, 20, 30), dtype=np.int32)
    full = empty.copy()
    full[2:4, 2:4, 2:4] = 1
    diagonal_mm = float(np.linalg.norm(np.array(empty.shape) * SPACING_MM))
    cases = [  # predicted, reference, state, DSC, NSD, HD95, remark
        (empty, empty, BOTH_EMPTY, 1.0, 1.0, 0.0),  # agreement
        (empty, full, PREDICTION_EMPTY, 0.0, 0.0, diagonal_mm),  # worst value
        (full, empty, REFERENCE_EMPTY, 0.0, 0.0, diagonal_mm),  # worst value
        (None, full, MISSING, 0.0, 0.0, diagonal_mm),  # no prediction
        (None, empty, MISSING, 0.0, 0.0, diagonal_mm),  # no prediction is never agreement
    ]
    for predicted, reference, state, dsc, nsd, hd95_mm in cases:
        found = structure_metrics(predicted, reference, [1], SPACING_MM, 1.0)[1]
        assert (found.state, found.dsc, found.nsd) == (state, dsc, nsd)
        assert found.hd95_mm == found.msd_mm == pytest.approx(hd95_mm)
    assert structure_metrics(None, full, [1], SPACING_MM, 1.0)[1].error_mm3 is None
    assert structure_metrics(full, empty, [1], SPACING_MM, 1.0)[1].error_pct is None
    assert structure_metrics(empty, full, [1], SPACING_MM, 1.0)[1].error_pct == -100


@pytest.mark.parametrize("seed", range(3))
def test_overlaps_alone_equal_those_of_all_metrics(seed: int) -> None:
    predicted, reference = (mask.astype(np.int32) for mask in blobs(seed))
    predicted[18:, 15:], reference[19:, 14:] = 9, 4  # 4: missed, 9: invented and beyond the labels asked for
    labels = [1, 4, 7]  # 7 is on neither side
    metrics = structure_metrics(predicted, reference, labels, SPACING_MM, 1.0)
    assert overlaps(predicted, reference, labels) == {label: metrics[label].dsc for label in labels}


def test_shapes_that_differ_and_impossible_spacing_are_refused() -> None:
    labels = np.ones((4, 4, 4), dtype=np.int32)
    with pytest.raises(ValueError, match="shape"):
        structure_metrics(labels[:3], labels, [1], SPACING_MM, 1.0)
    with pytest.raises(ValueError, match="Spacing"):
        structure_metrics(labels, labels, [1], (1.0, 0.0, 1.0), 1.0)
    with pytest.raises(ValueError, match="begin at 1"):
        structure_metrics(labels, labels, [0], SPACING_MM, 1.0)


def test_fifty_structures_of_a_whole_head_take_seconds() -> None:
    shape = (182, 218, 182)
    i, j, k = np.indices(shape, sparse=True)
    reference = (1 + i // 37 + 5 * (j // 44) + 25 * (k // 91)).astype(np.int32)  # fifty boxes fill the head
    predicted = np.roll(reference, 1, axis=0)
    began = time.process_time()
    found = structure_metrics(predicted, reference, list(range(1, 51)), (1.0, 1.0, 1.0), 1.0)
    assert len(found) == 50
    assert all(metrics.dsc > 0.9 for metrics in found.values())
    assert time.process_time() - began < 20
