"""Lesions counted by hand on small masks."""

from __future__ import annotations

import numpy as np
import pytest

from lnn_med.evaluation.lesions import LesionDetection, lesion_detection

SHAPE = (20, 16, 12)


def boxes(*corners: tuple[int, int, int]) -> np.ndarray:
    """Cubes of 3³ voxels."""
    mask = np.zeros(SHAPE, dtype=bool)
    for i, j, k in corners:
        mask[i : i + 3, j : j + 3, k : k + 3] = True
    return mask


REFERENCE = boxes((1, 1, 1), (8, 1, 1), (1, 8, 6))
CASES = [  # predicted, TP, FP, FN, remark
    (REFERENCE, 3, 0, 0, "equal"),
    (boxes(), 0, 0, 3, "nothing found"),
    (boxes((1, 1, 1), (14, 10, 6)), 1, 1, 2, "one found, one invented"),
    (boxes((2, 1, 1), (8, 2, 1), (1, 8, 7)), 3, 0, 0, "each a voxel off: IoU 0.5"),
    (boxes((3, 3, 1)), 0, 1, 3, "a corner of 3 voxels: IoU 0.06"),
    (boxes((1, 1, 1), (4, 1, 1), (7, 1, 1), (8, 1, 1)), 1, 0, 2, "a bar over two lesions finds one"),
]


@pytest.mark.parametrize(("predicted", "tp", "fp", "fn", "remark"), CASES, ids=[case[-1] for case in CASES])
def test_lesions_are_counted_as_by_hand(
    predicted: np.ndarray, tp: int, fp: int, fn: int, remark: str
) -> None:
    found = lesion_detection(predicted, REFERENCE)
    assert (found.true_positives, found.false_positives, found.false_negatives) == (tp, fp, fn)
    assert found.f1 == pytest.approx(2 * tp / (2 * tp + fp + fn))
    swapped = lesion_detection(REFERENCE, predicted)
    assert (swapped.precision, swapped.recall) == (found.recall, found.precision)


def test_two_halves_of_a_lesion_find_it_once() -> None:
    halves = boxes((1, 1, 1))
    halves[2] = False
    found = lesion_detection(halves, boxes((1, 1, 1)))
    assert (found.true_positives, found.false_positives, found.false_negatives) == (1, 1, 0)


def test_no_lesion_on_either_side_is_agreement_and_on_one_side_is_none() -> None:
    assert LesionDetection(0, 0, 0).f1 == LesionDetection(0, 0, 0).precision == 1
    assert LesionDetection(0, 2, 0).recall == LesionDetection(0, 0, 2).precision == 0


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        lesion_detection(boxes()[1:], boxes())
    with pytest.raises(ValueError, match="least_iou"):
        lesion_detection(boxes(), boxes(), 0)
