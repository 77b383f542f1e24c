"""Head or crop, and whether the numbers may be used: one row per rule."""

from __future__ import annotations

import numpy as np
import pytest

from lnn_med.errors import Code, Finding, InputError, WarningCode
from lnn_med.inference.quality import (
    ALIEN,
    UNSURE,
    UNUSUAL,
    contrast_reasons,
    cut_cm2,
    doubt,
    is_crop,
    judge_crop,
    judge_head,
    resolution_findings,
    with_doubt,
    with_oddness,
    with_reasons,
    with_validation,
)
from lnn_med.prediction import Quality
from lnn_med.volume import Source, Volume

PLAUSIBLE = {"Hippocampus_L": 3500.0, "Hippocampus_R": 3600.0, "Rest": 1_400_000.0}


def empty(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Volume:
    return Volume(np.zeros(shape, dtype=np.uint8), np.diag([*spacing_mm, 1.0]))


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "crop"),
    [
        ((35, 51, 36), (1, 1, 1), True),  # a crop of the training set
        ((70, 102, 72), (0.5, 0.5, 0.5), True),  # the same, finer
        ((90, 90, 90), (1, 1, 1), True),
        ((182, 218, 182), (1, 1, 1), False),
        ((120, 120, 90), (2, 2, 2), False),
        ((91, 109, 91), (2, 2, 2), False),
        ((512, 512, 22), (0.45, 0.45, 6.5), False),  # clinical thick slices
        ((22, 512, 512), (6.5, 0.45, 0.45), False),
        ((60, 110, 110), (1, 1, 1), False),
    ],
)
def test_physical_size_tells_heads_from_crops(shape: tuple, spacing_mm: tuple, crop: bool) -> None:
    assert is_crop(empty(shape, spacing_mm)) is crop


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [
        ((100, 100, 100), (1, 1, 1)),  # between the two
        ((91, 40, 40), (1, 1, 1)),
        ((59, 200, 200), (1, 1, 1)),  # too thin a slab
        ((80, 109, 200), (1, 1, 1)),  # only one extent is as long as a head
        ((15, 50, 50), (1, 1, 1)),  # too thin for a crop
        ((1, 1, 1), (2, 2, 2)),
    ],
)
def test_neither_head_nor_crop_is_refused(shape: tuple, spacing_mm: tuple) -> None:
    with pytest.raises(InputError) as refused:
        is_crop(empty(shape, spacing_mm))
    assert refused.value.code is Code.FOV


@pytest.mark.parametrize(
    ("largest_mm", "words"),
    [(1.0, ()), (1.5, ()), (1.6, ("1.6 mm",)), (3.0, ("3 mm",)), (5.0, ("5 mm", "unreliable"))],
)
def test_coarse_voxels_are_reported(largest_mm: float, words: tuple[str, ...]) -> None:
    found = resolution_findings(empty((9, 9, 9), (1.0, largest_mm, 1.0)))
    assert len(found) == bool(words)
    for finding in found:
        assert finding.code is WarningCode.RESOLUTION
        assert all(word in finding.message for word in words)
        assert ("unreliable" in finding.message) == (largest_mm > 3)


def noisy(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Volume:
    """A scan that shows something everywhere."""
    return empty(shape, spacing_mm).with_data(np.random.default_rng(0).uniform(1, 2, shape))


def labels_with_brain(on_border: bool) -> np.ndarray:
    labels = np.zeros((36, 36, 36), dtype=np.uint8)
    labels[5:31, 5:31, slice(0, 12) if on_border else slice(5, 31)] = 1
    return labels


@pytest.mark.parametrize(
    ("changes", "slice_mm", "on_border", "status", "word"),
    [
        ({}, 1.0, False, "pass", ""),
        ({"Rest": 300_000.0}, 1.0, False, "fail", "307"),  # no brain
        ({"Rest": 0.0, "Hippocampus_L": 0.0, "Hippocampus_R": 0.0}, 1.0, False, "fail", "0 cm³"),
        ({"Rest": 700_000.0}, 1.0, False, "review", "Intracranial"),
        ({"Rest": 2_200_000.0}, 1.0, False, "review", "Intracranial"),
        ({"Hippocampus_L": 900.0}, 1.0, False, "review", "Hippocampus_L"),
        ({"Hippocampus_R": 7000.0}, 1.0, False, "review", "Hippocampus_R"),
        ({}, 5.0, False, "review", "Slices of 5 mm"),
        ({}, 1.0, True, "review", "border"),
    ],
)
def test_a_head_is_judged_by_size_slices_and_border(
    changes: dict[str, float], slice_mm: float, on_border: bool, status: str, word: str
) -> None:
    found = judge_head(
        noisy((36, 36, 36), (3.0, 3.0, slice_mm)), labels_with_brain(on_border), PLAUSIBLE | changes
    )
    assert found.status == status
    assert len(found.reasons) == (status != "pass")
    assert all(word in reason for reason in found.reasons)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("far", [False, True])
def test_brain_is_cut_where_the_image_ends_or_goes_black(axis: int, far: bool) -> None:
    spacing = (4.0, 4.5, 5.0)
    scan = noisy((24, 24, 24), spacing)
    labels = np.zeros(scan.shape, dtype=np.uint8)
    labels[4:20, 4:20, 4:20] = 1
    black = tuple((slice(16, None) if far else slice(8)) if n == axis else slice(None) for n in range(3))
    shown = tuple((slice(16) if far else slice(8, None)) if n == axis else slice(None) for n in range(3))
    scan.data[black], labels[black] = -5.0, 0
    area = 16 * 16 * np.prod(np.delete(spacing, axis)) / 100
    assert cut_cm2(scan, labels) == pytest.approx(area)
    assert cut_cm2(Volume(scan.data[shown], scan.affine), labels[shown]) == pytest.approx(area)
    assert any("may be cut off" in one for one in judge_head(scan, labels, PLAUSIBLE).reasons)
    labels[shown] = 1  # on all sides of what is left
    whole = np.array(scan.data[shown].shape) * spacing
    assert cut_cm2(scan, labels) == pytest.approx(2 * (whole.prod() / whole).sum() / 100)
    labels[shown] = 0
    labels[4:20, 4:20, 4:20] = 1
    labels[black] = 0
    assert cut_cm2(scan, np.roll(labels, -3 if far else 3, axis)) == 0  # the brain ends before it


@pytest.mark.parametrize(
    ("length", "margin", "slice_mm", "other", "status", "word"),
    [
        (30, 4, 1.0, 0.80, "pass", ""),
        (30, 4, 1.0, 0.945, "review", "equally certain"),  # both sides fit
        (30, 3, 1.0, 0.80, "pass", ""),
        (30, 2, 1.0, 0.80, "review", "2.0 mm from the border"),
        (30, 0, 1.0, 0.80, "review", "0.0 mm from the border"),
        (60, 4, 0.5, 0.80, "review", "2.0 mm from the border"),  # margins are mm, not voxels
        (8, 4, 1.0, 0.80, "review", "800 mm³"),
        (70, 4, 1.0, 0.80, "review", "7000 mm³"),
        (2, 0, 1.0, 0.80, "fail", "no hippocampus"),
        (0, 4, 1.0, 0.0, "fail", "no hippocampus"),
    ],
)
def test_a_crop_is_judged_by_size_certainty_and_margin(
    length: int, margin: int, slice_mm: float, other: float, status: str, word: str
) -> None:
    """A bar of 100 mm² and `length` slices that ends `margin` slices before the image does."""
    labels = np.zeros((20, 20, length + margin + 6), dtype=np.uint8)
    labels[5:15, 5:15, 6 : 6 + length] = 1
    volume = empty(labels.shape, (1.0, 1.0, slice_mm))
    found = judge_crop(volume, labels, 0.95, other)
    assert found.status == status
    assert len(found.reasons) == (status != "pass")
    assert all(word in reason for reason in found.reasons)


def test_weights_that_missed_their_validation_do_not_pass() -> None:
    passed, failed = Quality("pass"), Quality("fail", ("no head",))
    weak = {"Hippocampus_L": 0.62, "Hippocampus_R": 0.9, "AccumbensArea_L": 0.3}
    judged = with_validation(passed, "brain-t1", weak)
    assert judged.status == "review"
    assert "brain-t1 reached Dice 0.62" in judged.reasons[0]
    assert with_validation(passed, "brain-t1", {"Hippocampus_L": 0.8, "AccumbensArea_L": 0.3}) == passed
    assert with_validation(passed, "brain-t1", {}) == passed
    assert with_validation(failed, "brain-t1", weak) == failed


def test_doubt_is_the_mean_entropy_of_labelled_voxels() -> None:
    labels = np.zeros((4, 4, 4), dtype=np.uint8)
    labels[:2, 0, 0] = 1, 2
    entropy = np.full(labels.shape, 0.9, dtype=np.float32)
    entropy[:2, 0, 0] = 0.1, 0.3
    assert doubt(labels, entropy) == pytest.approx(0.2)
    assert doubt(np.zeros_like(labels), entropy) == 1


@pytest.mark.parametrize(
    ("before", "found", "usual", "after"),
    [
        ("pass", 0.1, 0.1, "pass"),
        ("pass", 0.1 * UNSURE * 0.99, 0.1, "pass"),
        ("pass", 0.1 * UNSURE * 1.01, 0.1, "review"),
        ("review", 0.9, 0.1, "review"),
        ("fail", 0.9, 0.1, "fail"),
        ("pass", 0.9, None, "pass"),  # not calibrated
    ],
)
def test_a_network_in_doubt_is_looked_at(before: str, found: float, usual: float | None, after: str) -> None:
    judged = with_doubt(Quality(before), found, usual)
    assert judged.status == after
    assert any("doubts" in reason for reason in judged.reasons) == (after == "review")


@pytest.mark.parametrize(
    ("before", "oddness", "after"),
    [
        ("pass", None, "pass"),  # not calibrated
        ("pass", 0.99 * UNUSUAL, "pass"),
        ("pass", 1.01 * UNUSUAL, "review"),
        ("review", 1.01 * UNUSUAL, "review"),
        ("pass", 1.01 * ALIEN, "fail"),
        ("review", 1.01 * ALIEN, "fail"),
        ("fail", 1.01 * UNUSUAL, "fail"),
    ],
)
def test_an_unusual_scan_is_looked_at_and_an_alien_one_fails(
    before: str, oddness: float | None, after: str
) -> None:
    judged = with_oddness(Quality(before), oddness)
    assert judged.status == after
    assert any("unlike" in reason for reason in judged.reasons) == (after != before or before == "review")


def test_reasons_add_up_and_never_soften() -> None:
    assert with_reasons(Quality("pass"), ()) == Quality("pass")
    assert with_reasons(Quality("review", ("a",)), ("b",)) == Quality("review", ("a", "b"))
    assert with_reasons(Quality("fail", ("a",)), ("b",)) == Quality("fail", ("a",))


def from_dicom(findings: tuple[Finding, ...] = (), **tags: object) -> Volume:
    source = Source("series", "dicom", "0" * 64, tags=tags)
    plain = empty((40, 50, 40), (1, 1, 1))
    return Volume(plain.data, plain.affine, source, findings)


def test_a_scan_with_contrast_agent_or_of_another_contrast_asks_for_a_look() -> None:
    labels = np.zeros((40, 50, 40), dtype=np.uint8)
    labels[10:25, 15:30, 10:25] = 1  # 3.4 cm³, far from the border
    other = (Finding(WarningCode.MODALITY, "The named series looks like T2."),)
    for volume, word in (
        (from_dicom(ContrastBolusAgent=True), "contrast agent"),
        (from_dicom(other), "looks like T2"),
    ):
        for quality in (judge_head(volume, labels, PLAUSIBLE), judge_crop(volume, labels, 0.95, 0.8)):
            assert quality.status == "review"
            assert word in " ".join(quality.reasons)
    for volume in (from_dicom(ContrastBolusAgent=False), from_dicom(), empty((40, 50, 40), (1, 1, 1))):
        assert contrast_reasons(volume) == ()
        assert judge_crop(volume, labels, 0.95, 0.8).status == "pass"
