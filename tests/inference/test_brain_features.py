"""Places of the MNI grid: a head gives the same features wherever it lies, and left stays left."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lnn_med.inference.brain_features import (
    FIRST_MM,
    GRID,
    POOL,
    SAMPLE_MM,
    TISSUES,
    BrainFeatures,
    brain_features,
    tissue_of,
)
from lnn_med.inference.bundle import Label, load_bundle
from lnn_med.transforms.standard_space import centroids_mm

NAMES = ("Hippocampus_L", "Frontal_GM_R", "Frontal_WM_L", "LateralVentricle_R", "CSF", "Cerebellum_WM_L")
LABELS = tuple(Label(n, f"{NAMES[n % len(NAMES)]}_{n}", (n,)) for n in range(1, 25))
SHAPE = (88, 104, 88)  # at 2 mm: more than the MNI grid
MNI = np.array([[2.0, 0, 0, -90], [0, 2, 0, -120], [0, 0, 2, -80], [0, 0, 0, 1]])


def moved() -> np.ndarray:
    """MNI to a scan elsewhere, turned and larger."""
    angle = np.deg2rad(20)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] = affine[:3, :3] @ np.diag([1.2, 1.1, 0.9])
    affine[:3, 3] = 15, -40, 22
    return affine


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Boxes of each label at places of their own, in an ellipsoid."""
    rng = np.random.default_rng(0)
    found = rng.integers(1, 1 + len(LABELS), tuple(-(-size // 8) for size in SHAPE))
    found = found.repeat(8, 0).repeat(8, 1).repeat(8, 2)[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    away = [(np.arange(n) - n / 2) / (n / 2.4) for n in SHAPE]
    x, y, z = np.meshgrid(*away, indexing="ij")
    return np.where(x**2 + y**2 + z**2 < 1, found, 0)


def seen(labels: np.ndarray, affine: np.ndarray) -> BrainFeatures:
    """Features are the trunk voxels' own MNI coordinates; the image is bright where x is large."""
    probabilities = torch.nn.functional.one_hot(torch.from_numpy(labels), 1 + len(LABELS)).half()
    index = np.stack(np.meshgrid(*(np.arange(n // 2) for n in SHAPE), indexing="ij"), axis=-1)
    coordinates = (2 * index + 0.5) @ MNI[:3, :3].T + MNI[:3, 3]
    image = np.broadcast_to(np.arange(SHAPE[0], dtype=np.float32)[:, None, None], SHAPE).copy()
    template = centroids_mm(labels, MNI, 1 + len(LABELS))
    features = torch.from_numpy(coordinates).float().movedim(-1, 0)
    return brain_features(features, probabilities, image, affine, LABELS, template)


def test_each_place_holds_the_features_of_its_own_position(labels: np.ndarray) -> None:
    found = seen(labels, MNI)
    assert found.places.shape == (3 + len(TISSUES) + 1, *GRID)
    for axis in range(3):
        middle = FIRST_MM[axis] + SAMPLE_MM * (POOL * np.arange(GRID[axis]) + (POOL - 1) / 2)
        expected = torch.from_numpy(middle).float().reshape([-1 if n == axis else 1 for n in range(3)])
        assert torch.allclose(found.places[axis], expected.expand(GRID), atol=1e-3)
    assert (found.places[-1].diff(dim=0) > 0).all()  # brighter towards the right


def test_the_same_head_elsewhere_turned_and_larger_gives_the_same_features(labels: np.ndarray) -> None:
    here, there = seen(labels, MNI), seen(labels, moved() @ MNI)
    assert there.space.residual_mm < 1e-6
    assert torch.allclose(here.places, there.places, atol=1e-2)
    assert torch.equal(here.inside, there.inside)
    assert torch.allclose(here.volumes, there.volumes, atol=1e-5)


def test_volumes_are_those_in_the_template(labels: np.ndarray) -> None:
    found = seen(labels, MNI)
    for label in LABELS:
        assert found.volumes[label.index - 1].exp().item() == pytest.approx(8 * (labels == label.index).sum())


def test_places_outside_the_brain_are_marked(labels: np.ndarray) -> None:
    inside = seen(labels, MNI).inside
    assert inside[GRID[0] // 2, GRID[1] // 2, GRID[2] // 2]
    assert not inside[0, 0, 0]
    assert 0.2 < inside.float().mean() < 0.8


def test_too_few_structures_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="are needed to place a brain"):
        seen(np.where(labels < 6, labels, 0), MNI)


def test_every_structure_of_the_shipped_bundle_has_its_tissue() -> None:
    found = {label.name: tissue_of(label.name) for label in load_bundle("brain-t1").info.labels}
    for name, tissue in (
        ("InfLatVentricle_L", "ventricle"),
        ("3rdVentricle", "ventricle"),
        ("Amygdala_R", "medial temporal"),
        ("Limbic_GM_L", "cortex"),
        ("Cerebellum_WM_R", "cerebellum"),
        ("CerebellarVermis", "cerebellum"),
        ("CorpCall", "white matter"),
        ("CSF", "fluid"),
        ("Putamen_L", "deep"),
    ):
        assert found[name] == tissue
    assert set(found.values()) == set(TISSUES)
