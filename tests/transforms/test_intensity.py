"""Intensity normalisation: the scanner's units must not matter, and nothing must look like something."""

from __future__ import annotations

import numpy as np
import pytest

from lnn_med import geometry
from lnn_med.errors import Code, InputError
from lnn_med.transforms.intensity import SAMPLE, IntensityConfig, fit_scaling
from tests.phantoms import phantom, reordered

CONFIG = IntensityConfig()


@pytest.mark.parametrize("largest", [112.0, 1_000.0, 4_600.0, 1.7e6])
@pytest.mark.parametrize("offset", [0.0, -1024.0])
def test_scale_and_offset_of_the_scanner_do_not_matter(largest: float, offset: float) -> None:
    data = phantom().data
    reference = fit_scaling(data, CONFIG).apply(data)
    other = data / data.max() * largest + offset
    np.testing.assert_allclose(fit_scaling(other, CONFIG).apply(other), reference, atol=2e-3)


def test_air_becomes_0_and_bright_tissue_about_1() -> None:
    data = phantom().data
    found = fit_scaling(data, CONFIG).apply(data)
    assert found.dtype == np.float32
    assert (found[data == 0] == 0).all()
    assert 0.7 < np.median(found[data > 550]) < 1.1
    assert found.min() == 0
    assert found.max() <= CONFIG.ceiling


def test_very_bright_voxels_stop_at_the_ceiling() -> None:
    data = phantom().data.copy()
    data[20:22, 20:22, 20:22] = 1e5
    assert fit_scaling(data, CONFIG).apply(data).max() == CONFIG.ceiling


def test_values_that_are_not_finite_become_air() -> None:
    data = phantom().data.copy()
    clean = fit_scaling(data, CONFIG).apply(data)
    data[0, 0, :3] = (np.nan, np.inf, -np.inf)
    found = fit_scaling(data, CONFIG).apply(data)
    assert (found[0, 0, :3] == 0).all()
    np.testing.assert_allclose(found[1:], clean[1:], atol=2e-3)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAL", "ILP"])
def test_order_of_the_axes_does_not_matter(codes: str) -> None:
    assert codes in geometry.all_orientations()
    scan = phantom()
    assert fit_scaling(reordered(scan, codes).data, CONFIG) == fit_scaling(scan.data, CONFIG)


def test_every_slice_of_a_large_thick_slice_scan_is_looked_at() -> None:
    """A step over the flattened array that divides the number of slices would see two of them."""
    data = np.zeros((512, 512, 22), dtype=np.int16)
    data[:, :, 5:18] = np.random.default_rng(0).integers(500, 1000, (512, 512, 13))
    assert data.size > SAMPLE
    found = fit_scaling(data, CONFIG)
    exact = np.percentile(data[data > data.mean()], CONFIG.high_percentile)
    assert found.high == pytest.approx(exact, rel=0.01)
    swapped = fit_scaling(np.moveaxis(data, 2, 0), CONFIG)
    assert swapped == found


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("zeros", np.zeros((9, 8, 7))),
        ("constant", np.full((9, 8, 7), 42)),
        ("no finite value", np.full((9, 8, 7), np.nan)),
        ("empty", np.zeros((0, 3, 3))),
        ("a few bright voxels", np.eye(20)[:, :, None] * np.ones(3)),
        ("constant but for two dark voxels", np.where(np.arange(8000).reshape(20, 20, 20) < 2, -1e6, 5.0)),
    ],
)
def test_images_without_content_are_refused(name: str, data: np.ndarray) -> None:
    with pytest.raises(InputError) as refused:
        fit_scaling(data, CONFIG)
    assert refused.value.code is Code.NODATA
