"""Disturbances: as strong as they say, the same with the same seed, and labels that go along."""

from __future__ import annotations

import numpy as np
import pytest

from lnn_med.geometry import voxel_to_mm
from lnn_med.transforms import disturb
from lnn_med.transforms.disturb import DISTURBANCES, Change
from lnn_med.volume import Volume
from tests.phantoms import BRAIN, HEAD, MARKER, phantom

SCAN = phantom()
LABELS = SCAN.with_data((SCAN.data > HEAD + 150).astype(np.int32) + (SCAN.data == MARKER))
ALL = [
    (kind, strength, change) for kind, levels in DISTURBANCES.items() for strength, change in levels.items()
]
MOVING = ("rotation", "resampling", "orientation")


@pytest.mark.parametrize(("kind", "strength", "change"), ALL, ids=[f"{k} {s}" for k, s, _ in ALL])
def test_every_disturbance_changes_the_scan_the_same_way_twice_and_keeps_both_on_one_grid(
    kind: str, strength: str, change: Change
) -> None:
    scan, labels = change(SCAN, LABELS, 3)
    again, _ = change(SCAN, LABELS, 3)
    np.testing.assert_array_equal(scan.data, again.data)
    assert np.isfinite(scan.data).all()
    assert scan.shape == labels.shape
    np.testing.assert_array_equal(scan.affine, labels.affine)
    assert set(np.unique(labels.data)) == {0, 1, 2}
    assert labels.data.dtype == LABELS.data.dtype
    if kind not in MOVING:
        assert labels is LABELS
        assert not np.allclose(scan.data, SCAN.data, atol=1)
    else:
        assert scan.shape != SCAN.shape or not np.allclose(scan.data, SCAN.data)


@pytest.mark.parametrize("kind", [kind for kind in DISTURBANCES if kind != "orientation"])
def test_strengths_grow(kind: str) -> None:
    """Further from the scan as it is; for thick slices: fewer voxels."""
    away = []
    for change in DISTURBANCES[kind].values():
        scan, _ = change(SCAN, LABELS, 1)
        away.append(-scan.data.size if kind == "resampling" else float(np.abs(scan.data - SCAN.data).mean()))
    assert away == sorted(away)
    assert len(set(away)) == 3


def test_another_scan_differs_from_seed_to_seed_and_the_head_stays_in_view() -> None:
    scans = [disturb.another_scan(SCAN, seed).data for seed in (1, 1, 2)]
    np.testing.assert_array_equal(scans[0], scans[1])
    assert np.abs(scans[0] - scans[2]).mean() > 1
    for scan in scans:
        assert np.isfinite(scan).all()
        assert 0.5 < np.corrcoef(scan.ravel(), SCAN.data.ravel())[0, 1] < 0.999


def test_noise_has_the_stated_standard_deviation_in_bright_tissue() -> None:
    scan, _ = disturb.noise(SCAN, LABELS, 0, 0.05)
    tissue = SCAN.data > BRAIN - 100
    spread = (scan.data - SCAN.data)[tissue].std()
    assert spread == pytest.approx(0.05 * np.percentile(SCAN.data[SCAN.data > HEAD], 80), rel=0.2)


def test_a_bias_field_multiplies_by_the_factor_at_most() -> None:
    scan, _ = disturb.bias_field(SCAN, LABELS, 0, 1.5)
    inside = SCAN.data > 0
    ratio = scan.data[inside] / SCAN.data[inside]
    assert 1 / 1.5 - 1e-3 <= ratio.min() < 0.95
    assert 1.05 < ratio.max() <= 1.5 + 1e-3


def test_blur_has_the_stated_width_in_mm_along_every_axis() -> None:
    point = np.zeros((41, 35, 31), dtype=np.float32)
    point[20, 17, 15] = 1
    volume = Volume(point, np.diag([1.0, 1.5, 2.0, 1.0]))
    data = disturb.blur(volume, volume, 0, 6.0)[0].data
    offsets_mm = (np.indices(point.shape).T - (20, 17, 15)) * (1.0, 1.5, 2.0)
    sd_mm = np.sqrt((offsets_mm**2 * data.T[..., None]).sum(axis=(0, 1, 2)) / data.sum())
    np.testing.assert_allclose(sd_mm, 6.0 / disturb.FWHM, rtol=0.08)


def test_rotation_turns_scan_and_labels_alike_by_the_stated_angle() -> None:
    scan, labels = disturb.rotation(SCAN, LABELS, 5, 20.0)
    before, after = (np.argwhere(one.data == 2).mean(axis=0) for one in (LABELS, labels))
    middle = (np.array(SCAN.shape) - 1) / 2
    arms = [(place - middle) * SCAN.spacing_mm for place in (before, after)]
    lengths = [float(np.linalg.norm(arm)) for arm in arms]
    assert lengths[0] == pytest.approx(lengths[1], abs=1.0)
    angle = np.degrees(np.arccos(arms[0] @ arms[1] / np.prod(lengths)))
    assert 1 < angle <= 20.5
    bright = np.argwhere(scan.data > 0.9 * scan.data.max()).mean(axis=0)
    np.testing.assert_allclose(bright, after, atol=1.0)


@pytest.mark.parametrize("degrees", [7.0, 45.0, 170.0])
def test_turned_labels_are_those_of_the_plain_way_which_carries_each_label_as_an_image(
    degrees: float,
) -> None:
    matrix = disturb._rigid(SCAN, degrees * np.array([0.6, -0.64, 0.48]), np.array([3.0, 0.0, -2.0]))
    plain = disturb._largest_share(LABELS.data, lambda part: disturb._carried(part, matrix))
    np.testing.assert_array_equal(disturb._labels_carried(LABELS.data, matrix), plain)
    assert set(np.unique(plain)) == {0, 1, 2}


def test_a_rotation_there_and_back_gives_the_labels_again() -> None:
    there = disturb._rigid(SCAN, np.array([0.0, 12.0, 0.0]), np.zeros(3))
    back = disturb._rigid(SCAN, np.array([0.0, -12.0, 0.0]), np.zeros(3))
    data = LABELS.data
    for matrix in (there, back):
        data = disturb._largest_share(data, lambda part, matrix=matrix: disturb._carried(part, matrix))
    assert (data == LABELS.data).mean() > 0.98
    assert (data == 1).sum() == pytest.approx((LABELS.data == 1).sum(), rel=0.02)


def test_thick_slices_keep_the_volumes_and_places_of_labels() -> None:
    scan, labels = disturb.slices(SCAN, LABELS, 0, 2.0)
    assert sorted(scan.spacing_mm) == pytest.approx(sorted((1.6, 1.9, 4.6)))
    assert (labels.data == 1).sum() * labels.voxel_mm3 == pytest.approx(
        (LABELS.data == 1).sum() * LABELS.voxel_mm3, rel=0.08
    )
    centres = [voxel_to_mm(one.affine, np.argwhere(one.data == 2)).mean(axis=0) for one in (LABELS, labels)]
    np.testing.assert_allclose(*centres, atol=1.5)


@pytest.mark.parametrize("codes", ["LPS", "PIR", "SAL"])
def test_another_axis_order_leaves_every_voxel_at_its_place(codes: str) -> None:
    scan, labels = disturb.orientation(SCAN, LABELS, 0, codes)
    assert scan.orientation == codes
    centres = [voxel_to_mm(one.affine, np.argwhere(one.data == 2)).mean(axis=0) for one in (LABELS, labels)]
    np.testing.assert_allclose(*centres, atol=1e-9)
    assert np.sort(scan.data, axis=None).tolist() == np.sort(SCAN.data, axis=None).tolist()


def test_motion_and_ghosts_leave_the_head_where_it_is() -> None:
    for change in (DISTURBANCES["motion"]["up to 2° and mm"], DISTURBANCES["ghosts"]["40 % of a line"]):
        scan, _ = change(SCAN, LABELS, 2)
        assert np.corrcoef(scan.data.ravel(), SCAN.data.ravel())[0, 1] > 0.85
