"""Counts and sums by label against plain numpy, in any order of memory, without copies of the volume."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lnn_med.transforms.label_sums import label_centres, label_counts, label_sums

SIZE = 7


def volumes(shape: tuple[int, int, int] = (11, 6, 9)) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Labels 0 to 5, an empty plane among them, and values up to 255."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, SIZE - 1, shape, dtype=np.uint8)
    labels[4] = 0
    return labels, rng.integers(0, 256, shape, dtype=np.uint8)


def turned(data: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [data, np.asfortranarray(data), data[::-1, :, ::-1], np.ascontiguousarray(data.T).T]


def test_counts_and_sums_are_those_of_numpy() -> None:
    labels, values = volumes()
    counts = np.array([(labels == index).sum() for index in range(SIZE)])
    sums = np.array([values[labels == index].sum(dtype=np.int64) for index in range(SIZE)])
    assert counts[-1] == 0
    for one, other in zip(turned(labels), turned(values), strict=True):
        assert np.array_equal(label_counts(one, SIZE), counts)
        assert np.array_equal(label_sums(one, other, SIZE), sums)


def test_centres_are_mean_indices() -> None:
    for labels in turned(volumes()[0]):
        counts, centres = label_centres(labels, SIZE)
        for index in range(1, SIZE - 1):
            where = np.argwhere(labels == index)
            assert counts[index] == len(where)
            np.testing.assert_allclose(centres[index], where.mean(axis=0))
        assert counts[SIZE - 1] == 0
        assert np.isnan(centres[SIZE - 1]).all()


@pytest.mark.parametrize(
    "count",
    [
        lambda labels, values: label_counts(labels, SIZE),
        lambda labels, values: label_sums(labels, values, SIZE),
        lambda labels, values: label_centres(labels, SIZE),
    ],
)
def test_memory_stays_below_the_volume(count: Callable[..., object]) -> None:
    labels, values = volumes((120, 60, 50))
    tracemalloc.start()
    try:
        count(labels, values)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < labels.nbytes
