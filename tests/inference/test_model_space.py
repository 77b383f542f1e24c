"""What the network sees: the head, in its grid, whatever the scan's own."""

from __future__ import annotations

import numpy as np
import pytest

from lnn_med.inference.model_space import ModelSpaceConfig, head_box, into_model_space
from lnn_med.volume import Volume
from tests.inference.heads import head
from tests.phantoms import reordered

CONFIG = ModelSpaceConfig(4.0, multiple=8, minimum=16)


def padded(volume: Volume, before: tuple[int, int, int], after: tuple[int, int, int]) -> Volume:
    """The volume with air around it, at the same place in the world."""
    affine = volume.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ before
    return Volume(np.pad(volume.data, tuple(zip(before, after, strict=True))), affine)


@pytest.mark.parametrize("codes", ["LPS", "SAR", "AIL"])
def test_order_of_the_axes_does_not_matter(codes: str) -> None:
    scan = head((40, 49, 44), (3.0, 2.8, 2.6))
    first, second = into_model_space(scan, CONFIG), into_model_space(reordered(scan, codes), CONFIG)
    np.testing.assert_allclose(first.image, second.image, atol=1e-5)
    np.testing.assert_allclose(first.placement.affine, second.placement.affine, atol=1e-6)
    assert first.scaling == second.scaling


def test_air_around_the_head_is_left_out() -> None:
    scan = head((40, 49, 44), (3.0, 2.8, 2.6))
    around = padded(scan, (20, 0, 9), (3, 31, 5))
    first, second = into_model_space(scan, CONFIG), into_model_space(around, CONFIG)
    assert first.image.shape == second.image.shape
    assert (first.image > 0.3).sum() == pytest.approx((second.image > 0.3).sum(), rel=0.01)


def test_shape_is_a_multiple_and_at_least_the_minimum() -> None:
    seen = into_model_space(
        head((40, 49, 44), (3.0, 2.8, 2.6)), ModelSpaceConfig(4.0, multiple=16, minimum=48)
    )
    assert seen.image.shape == (48, 48, 48)
    assert seen.placement.shape == (48, 48, 48)
    assert seen.image.dtype == np.float32


def test_the_crop_is_what_the_placement_says() -> None:
    """The image was resampled whole and cut; resampled at the cut it is the same."""
    scan = padded(head((40, 49, 44), (3.0, 2.8, 2.6)), (10, 0, 0), (0, 12, 0))
    seen = into_model_space(scan, CONFIG)
    np.testing.assert_allclose(seen.image, seen.placement.to_model(seen.scaling.apply(scan.data)), atol=1e-5)


def test_without_content_along_an_axis_the_box_is_everything() -> None:
    box = head_box(np.zeros((6, 7, 8), dtype=np.float32), 2.0)
    assert box == (slice(0, 6), slice(0, 7), slice(0, 8))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"spacing_mm": 0.0}, "above 0"),
        ({"spacing_mm": float("nan")}, "above 0"),
        ({"spacing_mm": 2.0, "minimum": 50}, "minimum is 50; it must be a multiple of 16"),
    ],
)
def test_impossible_grids_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelSpaceConfig(**values)
