"""Random variants: drawn once, replayed the same, and image and labels never part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lnn_med.transforms.augment import AugmentConfig, Draw, apply, dilate, draw

SHAPE = (30, 36, 28)
WINDOW = (24, 32, 24)
MIRROR = torch.tensor([0, 2, 1, 3, 4])  # 1 and 2 are sides; 4 is fluid
FLUID = 4
NEVER = AugmentConfig(
    rotation_deg=0, scale=0, stretch=0, shift_mm=0, anywhere=0, flip=0, strip_skull=0, deface=0, cut_view=0,
    low_resolution=0, gamma=0, brightness=0, bias_field=0, noise=0, plain=1,
)  # fmt: skip
MIDDLE = (14.5, 17.5, 13.5)
PLAIN = Draw((0, 0, 0), (1, 1, 1), MIDDLE, False, None, False, None, None, 1.0, 1.0, None, 0.0, 0)


def case() -> tuple[Tensor, Tensor]:
    """A brain of two sides and a middle in a shell of fluid, in a head; image (1, I, J, K), labels."""
    offset = np.indices(SHAPE).T - (14.5, 17.5, 15.5)
    radius = np.sqrt(((offset / (9, 11, 9)) ** 2).sum(axis=-1)).T
    labels = np.select([radius < 0.8, radius < 1.0], [np.where(np.indices(SHAPE)[0] < 15, 1, 2), FLUID], 0)
    labels[(radius < 0.4)] = 3
    image = np.array([0.3, 0.9, 0.7, 1.1, 0.2])[labels] * (radius < 1.8) + 0.01 * (radius < 1.8)
    return torch.from_numpy(image).float()[None], torch.from_numpy(labels.astype(np.uint8))


def applied(chosen: Draw, window: tuple[int, int, int] = SHAPE, spacing_mm: float = 2.0) -> tuple:
    image, labels = case()
    return apply(chosen, image, labels, window, spacing_mm, MIRROR, FLUID)


def test_the_same_seed_gives_the_same_variant_and_another_seed_another() -> None:
    _, labels = case()
    strong = AugmentConfig(low_resolution=1, strip_skull=0.5, bias_field=0.4, noise=0.1)
    draws = [draw(strong, labels, 2.0, WINDOW, seed) for seed in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]
    first, second, other = (applied(chosen, WINDOW) for chosen in draws)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])


def test_nothing_drawn_changes_nothing() -> None:
    image, labels = case()
    chosen = draw(NEVER, labels, 2.0, SHAPE, 0)
    found, found_labels, ratio = applied(replace(chosen, centre=PLAIN.centre))
    torch.testing.assert_close(found, image, atol=1e-4, rtol=0)
    assert torch.equal(found_labels, labels.long())
    assert ratio.tolist() == [1, 1, 1]


@pytest.mark.parametrize("seed", range(6))
def test_image_and_labels_are_warped_alike(seed: int) -> None:
    """An image that is its own label map stays so, but for interpolation at borders."""
    _, labels = case()
    warps = AugmentConfig(
        gamma=0, brightness=0, bias_field=0, noise=0, low_resolution=0, deface=0, anywhere=0.3
    )
    chosen = replace(draw(warps, labels, 2.0, WINDOW, seed), flip=False)
    image = labels.float()[None]
    found, found_labels, _ = apply(chosen, image, labels, WINDOW, 2.0, MIRROR, FLUID)
    borders = [found_labels != found_labels.roll(1, axis) for axis in range(3)]
    inner = ~dilate(borders[0] | borders[1] | borders[2], 1)
    assert inner.float().mean() > 0.3
    parted = (found[0] - found_labels).abs()[inner] > 1e-3
    assert parted.float().mean() < 1e-3  # a corner thinner than a voxel


def test_flip_mirrors_the_image_and_swaps_the_labels_of_sides() -> None:
    image, labels, _ = applied(PLAIN)
    flipped, swapped, _ = applied(replace(PLAIN, flip=True))
    assert torch.equal(flipped, image.flip(1))
    assert torch.equal(swapped, MIRROR[labels.flip(0)])
    assert (swapped[:15] == 1).sum() == (labels[15:] == 2).sum() > 0  # what was right is left now
    assert not (swapped[15:] == 1).any()


def test_rotation_and_size_move_what_they_should() -> None:
    _, labels, _ = applied(PLAIN)
    _, larger, _ = applied(replace(PLAIN, scales=(1.2, 1.2, 1.2)))
    assert (larger > 0).sum() == pytest.approx(1.2**3 * float((labels > 0).sum()), rel=0.05)
    _, turned, _ = applied(replace(PLAIN, angles=(0, 0, np.pi / 2)))
    sides = [torch.nonzero(turned == n).float().mean(0) for n in (1, 2)]
    apart = (sides[1] - sides[0]).abs()
    assert apart[1] > 5  # the sides now lie one behind the other
    assert apart[0] < 1
    _, moved, _ = applied(replace(PLAIN, centre=(14.5 + 3, 17.5, 13.5)))
    assert torch.equal(moved[:-3], labels[3:])


@pytest.mark.parametrize(("dilation", "fluid_stays"), [(0, True), (2, True), (-1, False)])
def test_strip_takes_away_what_lies_outside_the_brain(dilation: int, fluid_stays: bool) -> None:
    image, labels, _ = applied(PLAIN)
    found, found_labels, _ = applied(replace(PLAIN, strip=dilation))
    brain = dilate((labels > 0) & (labels != FLUID), 1) if dilation < 0 else dilate(labels > 0, dilation)
    torch.testing.assert_close(found[0][brain], image[0][brain], atol=1e-4, rtol=0)
    assert (found[0][~brain].abs() < 1e-4).all()
    assert torch.equal(found_labels, torch.where(brain, labels, 0))
    assert torch.equal(found_labels == FLUID, labels == FLUID) is fluid_stays
    for label in (1, 2, 3):
        assert torch.equal(found_labels == label, labels == label)


def test_deface_takes_the_face_and_leaves_the_brain() -> None:
    image, labels, _ = applied(PLAIN)
    found, found_labels, _ = applied(replace(PLAIN, deface=True))
    gone = (image[0] > 0.05) & (found[0] < 1e-4)
    assert int(gone.sum()) > 20
    where = torch.nonzero(gone).float()
    assert where[:, 1].min() >= 17  # in front of the middle
    assert where[:, 2].max() < 15  # in the lower part
    assert torch.equal(found_labels, labels)
    kept = dilate(labels > 0, 3)
    torch.testing.assert_close(found[0][kept], image[0][kept], atol=1e-4, rtol=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("far", [False, True])
def test_cut_takes_a_slab_of_image_and_labels_from_one_end(axis: int, far: bool) -> None:
    image, labels, _ = applied(PLAIN)
    found, found_labels, _ = applied(replace(PLAIN, cut=(axis, far, 0.3)))
    count = int(SHAPE[axis] * 0.3)
    first = SHAPE[axis] - count if far else 0
    assert (found.narrow(axis + 1, first, count) == 0).all()
    assert (found_labels.narrow(axis, first, count) == 0).all()
    rest = 0 if far else count
    kept = SHAPE[axis] - count
    assert torch.equal(found.narrow(axis + 1, rest, kept), image.narrow(axis + 1, rest, kept))
    assert torch.equal(found_labels.narrow(axis, rest, kept), labels.narrow(axis, rest, kept))


def test_low_resolution_blurs_the_image_alone_and_says_how_much() -> None:
    image, labels, _ = applied(PLAIN)
    found, found_labels, ratio = applied(replace(PLAIN, resolution_mm=(2.0, 2.0, 8.0)))
    assert ratio.tolist() == [1, 1, 4]
    assert torch.equal(found_labels, labels)
    steps = [(x.diff(dim=3).abs().mean(), x.diff(dim=1).abs().mean()) for x in (image, found)]
    assert steps[1][0] < 0.8 * steps[0][0]
    assert steps[1][1] > 0.8 * steps[0][1]
    assert float(found.mean()) == pytest.approx(float(image.mean()), rel=0.02)


def test_intensity_changes_leave_labels_and_masked_air_alone() -> None:
    image, labels, _ = applied(PLAIN)
    bias = tuple(np.random.default_rng(0).uniform(-0.4, 0.4, 64))
    chosen = replace(PLAIN, gamma=1.3, factor=0.8, bias=bias, noise=0.05, seed=2)
    found, found_labels, _ = applied(chosen)
    assert torch.equal(found_labels, labels)
    assert (found[image <= 0] == 0).all()
    assert (found >= 0).all()
    assert not torch.allclose(found, image, atol=0.05)
    noisy, _, _ = applied(replace(chosen, seed=3))  # scans with a noisy background exist as well
    assert (noisy[image <= 0] > 0).any()
    dark, _, _ = applied(replace(PLAIN, factor=0.5))
    torch.testing.assert_close(dark, image * 0.5)
    contrast, _, _ = applied(replace(PLAIN, gamma=2.0))
    torch.testing.assert_close(contrast, image**2)


def test_draws_keep_within_their_configuration() -> None:
    _, labels = case()
    config = AugmentConfig()
    draws = [draw(config, labels, 2.0, WINDOW, seed) for seed in range(300)]
    for chosen in draws:
        assert max(map(abs, chosen.angles)) <= np.deg2rad(config.rotation_deg)
        assert np.exp(-0.2) - 1e-9 <= min(chosen.scales) <= max(chosen.scales) <= np.exp(0.2) + 1e-9
        assert chosen.strip in (None, -1, 0, 1, 2)
        assert 0 <= chosen.noise <= config.noise
        if chosen.resolution_mm is not None:
            assert 2.0 <= min(chosen.resolution_mm) <= max(chosen.resolution_mm) <= config.coarsest_mm
    shares = {
        "flip": (np.mean([chosen.flip for chosen in draws]), config.flip),
        "strip": (np.mean([chosen.strip is not None for chosen in draws]), config.strip_skull),
        "low": (np.mean([chosen.resolution_mm is not None for chosen in draws]), config.low_resolution),
        "cut": (np.mean([chosen.cut is not None for chosen in draws]), config.cut_view),
    }
    for name, (found, expected) in shares.items():
        assert found == pytest.approx(expected, abs=0.1), name


def test_windows_lie_around_the_labels_and_sometimes_anywhere() -> None:
    labels = torch.zeros(60, 60, 60, dtype=torch.uint8)
    labels[40:50, 8:16, 20:30] = 1
    near = AugmentConfig(anywhere=0.0, shift_mm=4.0)
    for seed in range(20):
        centre = draw(near, labels, 2.0, (16, 16, 16), seed).centre
        assert np.abs(np.array(centre) - (44.5, 11.5, 24.5)).max() <= 2.0
    far = [draw(AugmentConfig(anywhere=1.0), labels, 2.0, (16, 16, 16), seed).centre for seed in range(20)]
    assert np.std(far, axis=0).min() > 5
    assert np.min(far) >= 7.5
    assert np.max(far) <= 51.5


def test_a_case_without_labels_is_seen_around_its_middle() -> None:
    empty = torch.zeros(SHAPE, dtype=torch.uint8)
    chosen = draw(NEVER, empty, 2.0, WINDOW, 0)
    assert chosen.centre == PLAIN.centre
    image, labels, _ = apply(replace(chosen, deface=True), case()[0], empty, WINDOW, 2.0, MIRROR, FLUID)
    assert image.shape == (1, *WINDOW)
    assert not labels.any()
