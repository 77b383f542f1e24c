"""From model space into the scan's grid: the quick way against the slow one, and left stays left."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from lnn_med import geometry
from lnn_med.inference.native_grid import labels_in_native_grid, map_in_native_grid, most_likely
from lnn_med.transforms.space import Placement, crop_to, place
from lnn_med.volume import Volume
from tests.phantoms import MARKER, phantom, reordered

SMALL, SPACING_MM = (14, 17, 12), (1.3, 1.6, 2.1)


def random_probabilities(placement: Placement, classes: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*placement.shape, classes, generator=generator).softmax(dim=-1)


def slow_labels(probabilities: torch.Tensor, placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    """Labels from carrying every class into the scan's grid, and how clearly the best class won."""
    carried = np.stack(
        [map_in_native_grid(p.contiguous().numpy(), placement) for p in probabilities.unbind(-1)]
    )
    best = np.sort(carried, axis=0)
    return carried.argmax(axis=0), best[-1] - best[-2]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "AIL"])
def test_one_hot_labels_on_their_own_grid_come_back_identical(codes: str) -> None:
    scan = reordered(phantom(shape=SMALL, spacing_mm=(1.3, 1.3, 1.3)), codes)
    labels = np.random.default_rng(0).integers(0, 9, scan.shape).astype(np.uint8)
    placement = crop_to(place(scan, 1.3), (slice(0, 14), slice(-2, 17), slice(0, 12)), 8, 16)
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(placement.labels_to_model(labels)).long(), 9)
    assert np.array_equal(labels_in_native_grid(one_hot.half(), placement), labels)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_the_most_likely_class_is_the_first_of_the_largest_probability(kind: torch.dtype) -> None:
    logits = 4 * torch.randn(6, 7, 5, 51, generator=torch.Generator().manual_seed(0))
    probabilities = logits.softmax(dim=-1).to(kind)
    probabilities[0, 0, 0] = 0.0
    probabilities[0, 0, 1, 3] = probabilities[0, 0, 1, 40] = 1.0
    found = most_likely(probabilities)
    assert np.array_equal(found, probabilities.double().numpy().argmax(axis=-1))
    assert (found[0, 0, 0], found[0, 0, 1]) == (0, 3)


@pytest.mark.parametrize(
    ("spacing_mm", "remark"),
    [
        (2.9, "the scan is finer along each axis"),
        (0.9, "the scan is coarser along each axis: probabilities are averaged"),
        (1.6, "finer along one, equal along one, coarser along one"),
        ((2.6, 1.6, 0.7), "whole numbers: ties of position"),
    ],
)
def test_quick_way_equals_carrying_every_class(
    spacing_mm: float | tuple[float, float, float], remark: str
) -> None:
    scan = reordered(phantom(shape=SMALL, spacing_mm=SPACING_MM), "PSL")
    placement = place(scan, spacing_mm)
    probabilities = random_probabilities(placement)
    expected, margin = slow_labels(probabilities, placement)
    found = labels_in_native_grid(probabilities, placement)
    clear = margin > 1e-5
    assert clear.mean() > 0.95
    assert np.array_equal(found[clear], expected[clear])


def test_voxels_beyond_the_model_grid_are_0() -> None:
    scan = phantom(shape=SMALL, spacing_mm=SPACING_MM)
    whole = place(scan, 2.0)
    box = tuple(slice(2, size - 2) for size in whole.shape)
    placement = crop_to(whole, (box[0], box[1], box[2]), 1, 1)
    probabilities = torch.zeros(*placement.shape, 2)
    probabilities[..., 1] = 1
    labels = labels_in_native_grid(probabilities, placement)
    values = map_in_native_grid(np.ones(placement.shape, dtype=np.float32), placement)
    world = geometry.voxel_to_mm(scan.affine, np.stack(np.indices(scan.shape), axis=-1))
    index = geometry.mm_to_voxel(placement.affine, world)
    inside = ((index >= -0.5 - 1e-6) & (index <= np.array(placement.shape) - 0.5 + 1e-6)).all(axis=-1)
    assert 0 < inside.mean() < 1
    assert np.array_equal(labels > 0, inside)
    np.testing.assert_allclose(values, inside.astype(float), atol=1e-6)


def test_a_model_grid_beside_the_scan_gives_an_empty_map() -> None:
    scan = phantom(shape=SMALL, spacing_mm=SPACING_MM)
    placement = crop_to(place(scan, 2.0), (slice(40, 48), slice(0, 8), slice(0, 8)), 1, 1)
    probabilities = torch.rand(*placement.shape, 3)
    assert (labels_in_native_grid(probabilities, placement) == 0).all()
    assert (map_in_native_grid(np.ones(placement.shape, dtype=np.float32), placement) == 0).all()


@pytest.mark.parametrize("codes", geometry.all_orientations())
@pytest.mark.parametrize("spacing_mm", [(0.9, 1.0, 1.2), (2.6, 3.1, 3.6)])
def test_the_covered_part_alone_gives_what_the_whole_gives_there(
    codes: str, spacing_mm: tuple[float, float, float]
) -> None:
    scan = reordered(phantom(shape=SMALL, spacing_mm=spacing_mm), codes)
    whole = place(scan, 2.0, geometry.voxel_to_mm(scan.affine, np.array(scan.shape) / 3), (8, 6, 5))
    box, part = whole.covered()
    np.testing.assert_allclose(part.affine, whole.affine, atol=1e-9)
    assert scan.data[box].shape == part.source_shape != scan.shape
    probabilities = random_probabilities(whole)
    values, depth = probabilities[..., 0].numpy(), (probabilities[..., 1].numpy() * 200).astype(np.uint8)
    for carry in (
        lambda placement: labels_in_native_grid(probabilities, placement),
        lambda placement: map_in_native_grid(values, placement),
        lambda placement: placement.labels_to_source(depth),
    ):
        expected, found = carry(whole), np.zeros(scan.shape)
        assert expected.any()
        found[box] = carry(part)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("codes", geometry.all_orientations())
def test_the_left_marker_stays_left_in_every_orientation(codes: str) -> None:
    original = phantom(shape=(26, 30, 22), spacing_mm=(2.6, 3.1, 3.6))
    scan = reordered(original, codes)
    expected = reordered(original.with_data(_marker_labels(original)), codes).data
    for spacing_mm in (2.0, 4.0):
        placement = place(scan, spacing_mm)
        marker = placement.to_model((scan.data == MARKER).astype(np.float32))
        probabilities = torch.from_numpy(np.stack([1 - marker, marker], axis=-1))
        found = labels_in_native_grid(probabilities, placement)
        overlap = 2 * (found & expected).sum() / (found.sum() + expected.sum())
        assert overlap > 0.6
        world = geometry.voxel_to_mm(scan.affine, np.argwhere(found).mean(axis=0))
        truth = geometry.voxel_to_mm(scan.affine, np.argwhere(expected).mean(axis=0))
        np.testing.assert_allclose(world, truth, atol=1.0)
        assert world[0] < geometry.centre_mm(scan.affine, scan.shape)[0] - 10


def _marker_labels(volume: Volume) -> np.ndarray:
    return (volume.data == MARKER).astype(np.uint8)


def test_half_precision_probabilities_give_the_same_labels_where_they_are_clear() -> None:
    scan = phantom(shape=SMALL, spacing_mm=SPACING_MM)
    for spacing_mm, kind in product((0.9, 2.9), (torch.bfloat16, torch.float16)):
        placement = place(scan, spacing_mm)
        probabilities = random_probabilities(placement)
        expected, margin = slow_labels(probabilities, placement)
        found = labels_in_native_grid(probabilities.to(kind), placement)
        assert np.array_equal(found[margin > 0.02], expected[margin > 0.02])
