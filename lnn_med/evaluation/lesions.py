"""Detection of lesions: precision, recall and F1 over connected components instead of voxels.

A predicted lesion finds a reference lesion when their intersection over union reaches a threshold; each finds
one at most, chosen so that most pairs are found (Maier-Hein et al., Metrics reloaded, Nat Methods 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import generate_binary_structure, label
from scipy.optimize import linear_sum_assignment

from lnn_med.evaluation.metrics import Mask

LEAST_IOU = 0.1  # lesions are small: a shift of a voxel halves their overlap


@dataclass(frozen=True)
class LesionDetection:
    """Lesions found, invented and missed; without a lesion on either side all three shares are 1."""

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float:
        """Share of the predicted lesions that are real."""
        return self._share(self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of the real lesions that were found."""
        return self._share(self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN)."""
        total = 2 * self.true_positives + self.false_positives + self.false_negatives
        return 2 * self.true_positives / total if total else 1.0

    def _share(self, count: int) -> float:
        if count:
            return self.true_positives / count
        return 0.0 if self.false_positives + self.false_negatives else 1.0


def lesion_detection(predicted: Mask, reference: Mask, least_iou: float = LEAST_IOU) -> LesionDetection:
    """Compare the lesions of two masks of equal shape; voxels that touch at a corner are one lesion.

    Raises:
        ValueError: shapes that differ, or a threshold outside 0 to 1.
    """
    if predicted.shape != reference.shape:
        raise ValueError(f"Masks have shapes {predicted.shape} and {reference.shape}; they must be equal.")
    if not 0 < least_iou <= 1:
        raise ValueError(f"least_iou is {least_iou:g}; it must lie above 0 and not above 1.")
    touching = generate_binary_structure(predicted.ndim, predicted.ndim)
    (found, n_found), (true, n_true) = (label(mask, touching) for mask in (predicted, reference))
    hits = _overlap(true, found, n_true, n_found) >= least_iou
    rows, columns = linear_sum_assignment(hits, maximize=True)
    pairs = int(hits[rows, columns].sum())
    return LesionDetection(pairs, n_found - pairs, n_true - pairs)


def _overlap(
    true: NDArray[np.int32], found: NDArray[np.int32], n_true: int, n_found: int
) -> NDArray[np.float64]:
    """Intersection over union of each reference lesion with each predicted one, (n_true, n_found)."""
    joint = np.bincount(true.ravel() * (n_found + 1) + found.ravel(), minlength=(n_true + 1) * (n_found + 1))
    table = joint.reshape(n_true + 1, n_found + 1)
    shared = table[1:, 1:]
    union = table[1:].sum(axis=1)[:, None] + table[:, 1:].sum(axis=0)[None] - shared
    return np.asarray(shared / np.maximum(union, 1), dtype=np.float64)
