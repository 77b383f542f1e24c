"""Structures as landmarks: a known affine is found again, and wrong landmarks show."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass
from scipy.spatial.transform import Rotation

from lnn_med import geometry
from lnn_med.transforms.standard_space import FEWEST, StandardSpace, centroids_mm, to_standard_space

N = 40


def landmarks(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.uniform((-70, -100, -60), (70, 70, 80), (N, 3))


def tilted() -> NDArray[np.float64]:
    """Rotation, unequal scales and a shift: scan RAS mm to MNI RAS mm."""
    angle = np.deg2rad(14)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0.1, 0.995]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.1, 0.95, 1.05])
    affine[:3, 3] = 12, -31, 8
    return affine


def test_centroids_are_those_of_scipy_in_world_mm() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (7, 9, 11)).astype(np.uint8)
    labels[labels == 3] = 0  # a structure that is absent
    affine = tilted()
    found = centroids_mm(labels, affine, classes=5)
    for label in (1, 2, 4):
        expected = geometry.voxel_to_mm(affine, np.array(center_of_mass(labels == label)))
        assert np.allclose(found[label - 1], expected)
    assert np.isnan(found[2]).all()


def test_a_known_affine_is_found_and_its_volume_change() -> None:
    rng = np.random.default_rng(1)
    template = landmarks(rng)
    scan = geometry.mm_to_voxel(tilted(), template)  # where the structures lie in the scan
    found = to_standard_space(scan, template)
    assert np.allclose(found.affine, tilted())
    assert found.growth == pytest.approx(abs(np.linalg.det(tilted()[:3, :3])))
    assert found.residual_mm < 1e-6


@pytest.mark.parametrize(
    ("stretch", "shift_mm", "degrees", "expected"),
    [
        ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 0, True),
        ((1.05, 0.96, 1.02), (4.0, -3.0, 5.0), 2, True),  # as the template finds another person's brain
        ((1.18, 1.12, 1.02), (0.0, 0.0, 0.0), 0, False),  # a head of its own size
        ((1.0, 1.0, 1.0), (0.0, 22.0, -14.0), 0, False),  # of the template's size, but where a scanner has it
        ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 20, False),
    ],
)
def test_a_brain_that_already_lies_in_the_template_is_noticed(
    stretch: tuple[float, ...], shift_mm: tuple[float, ...], degrees: float, expected: bool
) -> None:
    turn = Rotation.from_euler("x", degrees, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ np.diag(stretch), shift_mm
    assert StandardSpace(affine, 1.5).is_identity == expected


def test_a_misplaced_structure_hardly_moves_the_brain() -> None:
    rng = np.random.default_rng(2)
    template = landmarks(rng)
    scan = geometry.mm_to_voxel(tilted(), template + rng.normal(0, 1, (N, 3)))
    wrong = scan.copy()
    wrong[3] += 80
    corners = rng.uniform(-80, 80, (50, 3))
    right, pulled = (to_standard_space(points, template).affine for points in (scan, wrong))
    moved = geometry.voxel_to_mm(pulled, corners) - geometry.voxel_to_mm(right, corners)
    assert np.linalg.norm(moved, axis=1).max() < 1.0
    plain = np.linalg.lstsq(np.c_[wrong, np.ones(N)], template, rcond=None)[0].T  # without weights
    drawn = corners @ plain[:, :3].T + plain[:, 3] - geometry.voxel_to_mm(right, corners)
    assert np.linalg.norm(drawn, axis=1).max() > 5.0


def test_a_brain_on_its_head_or_in_a_mirror_is_placed_and_shuffled_names_leave_large_distances() -> None:
    rng = np.random.default_rng(3)
    template = landmarks(rng)
    mirrored = template * (-1, 1, -1)
    assert to_standard_space(mirrored, template).residual_mm < 1e-6
    assert to_standard_space(rng.permutation(template), template).residual_mm > 20


def test_too_few_structures_are_refused() -> None:
    template = landmarks(np.random.default_rng(4))
    scan = np.full_like(template, np.nan)
    scan[: FEWEST - 1] = template[: FEWEST - 1]
    with pytest.raises(ValueError, match=f"{FEWEST} are needed"):
        to_standard_space(scan, template)
