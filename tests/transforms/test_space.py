"""Model space: every way a scan can lie in its file, there and back, and what resampling may not change."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from lnn_med import geometry
from lnn_med.transforms import space
from lnn_med.transforms.space import Axis, Placement, apply_axes, crop_to, place
from lnn_med.volume import Volume
from tests.phantoms import MARKER, SPACING_MM, marker_mm, phantom, reordered

EQUAL_MM = (1.3, 1.3, 1.3)


def labelled(volume: Volume, seed: int = 0) -> Volume:
    """Random labels on the volume's grid: no two neighbours can be exchanged unseen."""
    return volume.with_data(np.random.default_rng(seed).integers(0, 50, volume.shape).astype(np.uint8))


def everything(placement: Placement) -> tuple[slice, slice, slice]:
    i, j, k = (slice(0, size) for size in placement.shape)
    return i, j, k


@pytest.mark.parametrize("codes", geometry.all_orientations())
def test_labels_round_trip_identically_on_equal_grids(codes: str) -> None:
    scan = reordered(phantom(shape=(12, 15, 10), spacing_mm=EQUAL_MM), codes)
    labels = labelled(scan).data
    for placement in (
        place(scan, 1.3),
        crop_to(place(scan, 1.3), (slice(-3, 14), slice(0, 15), slice(0, 11)), 4, 16),
    ):
        carried = placement.labels_to_model(labels)
        assert carried.shape == placement.shape
        assert np.array_equal(placement.labels_to_source(carried), labels)
        assert np.array_equal(placement.to_model(labels), carried)  # weights are identities there


@pytest.mark.parametrize("codes", geometry.all_orientations())
def test_world_positions_and_values_are_those_of_the_scan(codes: str) -> None:
    original = phantom()
    scan = reordered(original, codes)
    placement = place(scan, SPACING_MM)
    model = Volume(placement.to_model(scan.data), placement.affine)
    assert model.orientation == "RAS"
    assert np.array_equal(model.data, original.data)
    np.testing.assert_allclose(model.affine, original.affine, atol=1e-9)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAL", "PIR", "IRA"])
def test_marker_keeps_its_place_in_the_world_after_resampling(codes: str) -> None:
    scan = reordered(phantom(), codes)
    marker = (scan.data == MARKER).astype(np.float32)
    for spacing_mm in (1.0, 2.0, (1.0, 2.5, 1.7)):
        placement = place(scan, spacing_mm)
        carried = placement.to_model(marker)
        places = np.stack(np.indices(carried.shape), axis=-1).reshape(-1, 3)
        centre = np.average(places, axis=0, weights=carried.reshape(-1))
        at_mm = geometry.voxel_to_mm(placement.affine, centre)
        np.testing.assert_allclose(at_mm, marker_mm(scan), atol=0.05)
        assert at_mm[0] < scan_middle(scan)[0]  # the marker is on the left


def scan_middle(scan: Volume) -> np.ndarray:
    return geometry.centre_mm(scan.affine, scan.shape)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.7, 1.9, 1.1), (3.2, 3.8, 4.6)])
def test_a_linear_ramp_is_resampled_exactly_inside(spacing_mm: tuple[float, float, float]) -> None:
    """Finer grids, and coarser ones by a whole number (there the triangle is symmetric)."""
    scan = phantom(shape=(20, 22, 18))
    slope, offset = np.array([0.3, -0.2, 0.5]), 7.0
    indices = np.stack(np.indices(scan.shape), axis=-1)
    ramp = geometry.voxel_to_mm(scan.affine, indices) @ slope + offset
    placement = place(scan, spacing_mm)
    found = placement.to_model(ramp)
    world = geometry.voxel_to_mm(placement.affine, np.stack(np.indices(placement.shape), axis=-1))
    inner = tuple(slice(3, -3) for _ in range(3))
    np.testing.assert_allclose(found[inner], (world @ slope + offset)[inner], atol=1e-3)


@pytest.mark.parametrize("factor", [1.6, 2.0, 3.3])
def test_downsampling_keeps_the_mean(factor: float) -> None:
    scan = phantom(shape=(60, 50, 40), spacing_mm=EQUAL_MM)
    placement = place(scan, 1.3 * factor)
    found, voxel = placement.to_model(scan.data), abs(np.linalg.det(placement.affine[:3, :3]))
    assert found.sum() * voxel == pytest.approx(scan.data.sum() * scan.voxel_mm3, rel=0.01)


def test_downsampling_does_not_alias() -> None:
    stripes = Volume(np.indices((40, 40, 40))[0].astype(np.float32) % 2, np.diag([1.0, 1.0, 1.0, 1.0]))
    found = place(stripes, 2.0).to_model(stripes.data)
    np.testing.assert_allclose(found[2:-2], 0.5, atol=0.01)


def test_a_constant_stays_constant_up_to_the_edge() -> None:
    scan = phantom(shape=(11, 9, 13)).with_data(np.full((11, 9, 13), 5.0, dtype=np.float32))
    for spacing_mm in (0.9, SPACING_MM, 3.0):
        placement = place(scan, spacing_mm)
        inner = placement.to_model(scan.data)[1:-1, 1:-1, 1:-1]  # the outermost centre may lie outside
        np.testing.assert_allclose(inner, 5.0, rtol=1e-5)
        back = apply_axes(
            placement.to_model(scan.data),
            [axis.to_source() for axis in placement.axes],
            np.empty(scan.shape, dtype=np.float32),
        )
        np.testing.assert_allclose(back[2:-2, 2:-2, 2:-2], 5.0, rtol=1e-5)


def test_outside_the_scan_is_zero_in_image_and_labels() -> None:
    scan = phantom(shape=(10, 12, 8), spacing_mm=EQUAL_MM)
    scan = scan.with_data(scan.data + 1)
    grown = crop_to(place(scan, 1.3), (slice(-4, 10), slice(0, 20), slice(0, 8)), 1, 1)
    image, labels = grown.to_model(scan.data), grown.labels_to_model(np.ones(scan.shape, dtype=np.uint8))
    inside = np.zeros(grown.shape, dtype=bool)
    inside[4:, :12] = True
    assert (image[inside] > 0).all()
    assert (image[~inside] == 0).all()
    assert np.array_equal(labels > 0, inside)


def test_source_voxels_beyond_the_model_grid_get_the_outside_label() -> None:
    scan = phantom(shape=(10, 12, 8), spacing_mm=EQUAL_MM)
    small = crop_to(place(scan, 1.3), (slice(2, 6), slice(3, 7), slice(1, 5)), 1, 1)
    back = small.labels_to_source(np.full(small.shape, 3, dtype=np.uint8), outside=9)
    expected = np.full(scan.shape, 9, dtype=np.uint8)
    expected[2:6, 3:7, 1:5] = 3
    assert np.array_equal(back, expected)


@pytest.mark.parametrize(
    ("box", "multiple", "minimum", "shape", "first"),
    [
        ((slice(2, 10), slice(0, 12), slice(1, 7)), 1, 1, (8, 12, 6), (2, 0, 1)),
        ((slice(2, 10), slice(0, 12), slice(1, 7)), 8, 1, (8, 16, 8), (2, -2, 0)),
        ((slice(2, 10), slice(0, 12), slice(1, 6)), 8, 16, (16, 16, 16), (-2, -2, -4)),
    ],
)
def test_crop_grows_evenly_to_a_multiple(
    box: tuple, multiple: int, minimum: int, shape: tuple, first: tuple
) -> None:
    whole = place(phantom(shape=(10, 12, 8)), SPACING_MM)
    found = crop_to(whole, box, multiple, minimum)
    assert found.shape == shape
    np.testing.assert_allclose(found.affine[:3, :3], whole.affine[:3, :3])
    corner = geometry.mm_to_voxel(whole.affine, found.affine[:3, 3])
    np.testing.assert_allclose(corner, first, atol=1e-9)


@pytest.mark.parametrize("codes", ["RAS", "LIP", "SPL"])
def test_a_grid_of_equal_spacing_lies_on_the_voxels_of_the_scan(codes: str) -> None:
    """Halfway between voxels, linear interpolation would blur a scan that needs none."""
    scan = reordered(phantom(spacing_mm=EQUAL_MM), codes)
    for offset in ((0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.2, -0.4, 0.65)):
        centre = geometry.voxel_to_mm(scan.affine, np.array([20.0, 21.0, 17.0]) + offset)
        placement = place(scan, 1.3, centre, (8, 9, 10))
        found = placement.to_model(scan.data)
        assert np.isin(found, scan.data).all()
        middle = geometry.centre_mm(placement.affine, placement.shape)
        assert np.abs(middle - centre).max() <= 1.3 * np.sqrt(3) / 2 + 1e-6


def test_grid_of_another_spacing_has_its_middle_where_it_was_asked_for() -> None:
    scan = phantom()
    centre = marker_mm(scan)
    placement = place(scan, 1.0, centre, (16, 17, 18))
    assert placement.shape == (16, 17, 18)
    np.testing.assert_allclose(geometry.centre_mm(placement.affine, placement.shape), centre, atol=1e-9)


@pytest.mark.parametrize(
    ("axis", "what"),
    [
        (Axis(10, 10, 0.0, 1.0), "identity"),
        (Axis(10, 20, -0.25, 0.5), "finer"),
        (Axis(10, 5, 0.5, 2.0), "coarser"),
        (Axis(10, 4, -30.0, 1.0), "beyond"),
    ],
)
def test_weights_of_a_sample_add_up_to_one_or_nothing(axis: Axis, what: str) -> None:
    forth, back = axis.to_model(), axis.to_source()
    assert forth.shape == (axis.size, 10)
    assert back.shape == (10, axis.size)
    np.testing.assert_allclose(forth.sum(axis=1), 0 if what == "beyond" else 1, atol=1e-6)
    np.testing.assert_allclose(back.sum(axis=1), 1, atol=1e-6)
    if what == "identity":
        assert np.array_equal(forth, np.eye(10))
        assert np.array_equal(back, np.eye(10))


def halved(values: np.ndarray) -> np.ndarray:
    return values / 2


def test_a_scan_is_worked_on_in_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs change nothing, and memory stays far below a copy of the scan."""
    scan = reordered(phantom(shape=(90, 70, 80), spacing_mm=(0.5, 0.6, 0.7)), "PIR")
    placement = place(scan, 4.0)
    whole = placement.to_model(scan.data, halved)
    np.testing.assert_allclose(whole, placement.to_model(scan.data / 2), rtol=1e-6, atol=1e-6)
    monkeypatch.setattr(space, "SLAB_VOXELS", 5 * 70 * 80)
    tracemalloc.start()
    try:
        found = placement.to_model(scan.data, halved)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(found, whole, rtol=1e-6, atol=1e-6)
    assert peak < 4 * scan.data.size / 2


def test_what_no_voxel_of_the_model_looks_at_is_not_read() -> None:
    scan = phantom(shape=(30, 32, 28), spacing_mm=EQUAL_MM)
    inner = crop_to(place(scan, 1.3), (slice(10, 18), slice(9, 17), slice(8, 16)), 1, 1)
    seen: list[tuple[int, ...]] = []

    def watched(values: np.ndarray) -> np.ndarray:
        seen.append(values.shape)
        return values

    inner.to_model(scan.data, watched)
    assert seen == [(8, 8, 8)]
