"""Crops around the hippocampi: the right one is the mirror image of a left one, in and out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lnn_med import geometry
from lnn_med.inference.hippocampus import cut, segment_crop, segment_in_head
from lnn_med.inference.predict import CROP
from lnn_med.volume import Volume
from tests.inference.heads import HIPPOCAMPUS, LEFT_MM, RIGHT_MM, BrightnessEngine, engine, head
from tests.phantoms import mirrored, reordered

SMALL = (64, 60, 56)


@pytest.fixture
def fine() -> BrightnessEngine:
    return engine(CROP)


def sides(volume: Volume) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of the left and the right hippocampus (I, J, K), by the patient's own left and right."""
    found = volume.data == HIPPOCAMPUS
    axis = int(np.argmax(geometry.orientation_of(volume.affine)[:, 0] == 0))
    places = np.indices(volume.shape)[axis]
    low = places < (volume.shape[axis] - 1) / 2
    towards_right = geometry.orientation_of(volume.affine)[axis, 1] > 0
    left = low if towards_right else ~low
    return found & left, found & ~left


def textured(volume: Volume) -> Volume:
    """Another value in each voxel, so that a shift by one shows; the hippocampi stay the brightest."""
    noise = np.random.default_rng(0).uniform(0, 90, volume.shape).astype(np.float32)
    return volume.with_data(np.where(volume.data == HIPPOCAMPUS, HIPPOCAMPUS, volume.data + noise))


@pytest.mark.parametrize(
    ("spacing_mm", "codes"),
    [
        ((1.5, 1.4, 1.3), "RAS"),
        ((1.0, 1.0, 1.0), "LPS"),  # equal to the network's grid
        ((1.0, 1.2, 1.4), "SAL"),
        ((0.5, 1.3, 1.3), "PIR"),  # a whole number finer: positions tie
    ],
)
def test_a_right_crop_is_the_mirror_image_of_a_left_one(
    fine: BrightnessEngine, spacing_mm: tuple[float, float, float], codes: str
) -> None:
    extent = np.array((96.0, 84.0, 78.0))
    i, j, k = (round(mm / step) for mm, step in zip(extent, spacing_mm, strict=True))
    volume = textured(reordered(head((i, j, k), spacing_mm), codes))
    other = mirrored(volume)
    for right in (True, False):
        here = cut(volume, sides(volume)[int(right)], right, fine)
        there = cut(other, sides(other)[int(not right)], not right, fine)
        assert here.mirrored is right
        assert here.image.shape == there.image.shape
        np.testing.assert_allclose(here.image, there.image, atol=1e-5)


def test_a_crop_holds_the_structure_its_margin_and_nothing_else(fine: BrightnessEngine) -> None:
    volume = head(SMALL, (1.5, 1.5, 1.5))
    left, _ = sides(volume)
    crop = cut(volume, left, False, fine)
    assert crop.image.shape == crop.placement.shape == (48, 48, 48)
    filled = np.argwhere(crop.image > 0)
    world = geometry.voxel_to_mm(crop.placement.affine, filled)
    body = geometry.voxel_to_mm(volume.affine, np.argwhere(left))
    directions = volume.affine[:3, :3] / 1.5  # along the tilted axes of the head
    for axis in range(3):
        reach, found = ((points @ directions)[:, axis] for points in (body, world))
        assert reach.min() - found.min() == pytest.approx(6.0, abs=1.5)
        assert found.max() - reach.max() == pytest.approx(6.0, abs=1.5)


def test_stray_voxels_do_not_move_the_crop(fine: BrightnessEngine) -> None:
    """The farthest corner would leave no voxel of the mask in reach of the middle of both."""
    volume = head(SMALL, (2.2, 2.2, 2.2))
    left, _ = sides(volume)
    stray = left.copy()
    stray[-1, -1, -1] = stray[0, -1, -2] = True
    expected, found = cut(volume, left, False, fine), cut(volume, stray, False, fine)
    np.testing.assert_allclose(found.image, expected.image)
    np.testing.assert_allclose(found.placement.affine, expected.placement.affine)


def test_a_mask_at_the_border_of_the_scan_is_cut_there(fine: BrightnessEngine) -> None:
    volume = head(SMALL, (1.5, 1.5, 1.5))
    mask = np.zeros(volume.shape, dtype=bool)
    mask[:12, 20:40, :10] = True
    image = cut(volume.with_data(volume.data + 50 * mask), mask, True, fine).image
    assert np.isfinite(image).all()
    assert image.max() > 0


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ILP"])
@pytest.mark.parametrize("right", [False, True])
def test_results_land_on_their_side_with_lateral_parts_lateral(
    fine: BrightnessEngine, codes: str, right: bool
) -> None:
    volume = reordered(head(SMALL, (1.5, 1.5, 1.5)), codes)
    mask = sides(volume)[int(right)]
    box, found = segment_in_head(volume, mask, right, fine)
    labels, depth = np.zeros(volume.shape, np.uint8), np.zeros(volume.shape, np.uint8)
    labels[box], depth[box] = found.labels, found.depth
    assert 2 * ((labels > 0) & mask).sum() / ((labels > 0).sum() + mask.sum()) > 0.9
    lateral, medial = (
        geometry.voxel_to_mm(volume.affine, np.argwhere(labels == part).mean(axis=0)) for part in (1, 2)
    )
    outwards = volume_right(volume) * (1 if right else -1)
    assert (lateral - medial) @ outwards > 3
    expected = RIGHT_MM if right else LEFT_MM
    middle = geometry.voxel_to_mm(volume.affine, np.argwhere(mask).mean(axis=0))
    centre = geometry.centre_mm(volume.affine, volume.shape)
    assert (middle - centre) @ volume_right(volume) == pytest.approx(expected[0], abs=1)
    assert depth[mask].min() == 4
    assert depth[0, 0, 0] == 0  # nothing ran there


def volume_right(volume: Volume) -> NDArray[np.float64]:
    """Unit vector towards the patient's right along the head's own (tilted) axis."""
    orientation = geometry.orientation_of(volume.affine)
    axis = int(np.argmax(orientation[:, 0] == 0))
    direction = volume.affine[:3, axis] * orientation[axis, 1]
    return np.asarray(direction / np.linalg.norm(direction))


def test_the_network_is_told_how_coarse_the_scan_is(fine: BrightnessEngine) -> None:
    volume = head(SMALL, (1.5, 1.4, 0.9))
    segment_in_head(volume, sides(volume)[0], False, fine)
    assert fine.calls[0][1] == pytest.approx((1.5, 1.4, 1.0))


def lone_crop(right: bool) -> Volume:
    volume = head(SMALL, (1.5, 1.5, 1.5))
    i, j, k = (slice(int(a) - 4, int(b) + 5) for a, b in _extent(sides(volume)[int(right)]))
    affine = volume.affine.copy()
    affine[:3, 3] = geometry.voxel_to_mm(volume.affine, [i.start, j.start, k.start])
    return Volume(volume.data[i, j, k].copy(), affine)


def _extent(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    corners = np.argwhere(mask)
    return list(zip(corners.min(axis=0), corners.max(axis=0), strict=True))


def test_a_lone_crop_is_read_both_ways(fine: BrightnessEngine) -> None:
    crop = lone_crop(right=False)
    first, second = segment_crop(crop, fine)
    assert {first.mirrored, second.mirrored} == {False, True}
    for reading in (first, second):
        assert reading.segmented.labels.shape == crop.shape
        lateral, medial = (np.argwhere(reading.segmented.labels == part)[:, 0].mean() for part in (1, 2))
        assert (lateral < medial) != reading.mirrored
        assert reading.certainty == pytest.approx(1.0)


def test_the_more_certain_reading_comes_first(
    fine: BrightnessEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = lone_crop(right=True)
    ordinary = BrightnessEngine.__call__

    def doubtful_at_first(self: BrightnessEngine, image: np.ndarray, ratio: tuple) -> object:
        run = ordinary(self, image, ratio)
        return run._replace(probabilities=run.probabilities * (0.7 if len(self.calls) == 1 else 0.9))

    monkeypatch.setattr(BrightnessEngine, "__call__", doubtful_at_first)
    first, second = segment_crop(crop, fine)
    assert first.mirrored
    assert first.certainty == pytest.approx(0.9, abs=1e-3)
    assert second.certainty == pytest.approx(0.7, abs=1e-3)
