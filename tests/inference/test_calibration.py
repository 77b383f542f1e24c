"""Volume intervals, conformal quantiles and the distance from usual input."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lnn_med.inference.calibration import (
    Calibration,
    UsualInput,
    VolumeCalibration,
    conformal_quantile,
    nonconformity,
)
from lnn_med.inference.quality import with_oddness
from lnn_med.prediction import Quality


@pytest.mark.parametrize(
    ("n", "coverage", "rank"),
    [
        (9, 0.9, 9),
        (8, 0.9, None),
        (19, 0.95, 19),
        (18, 0.95, None),
        (28, 0.9, 27),
        (60, 0.9, 55),
        (99, 0.9, 90),
    ],
)
def test_the_quantile_is_the_smallest_score_that_covers(n: int, coverage: float, rank: int | None) -> None:
    scores = np.random.default_rng(0).permutation(n).astype(float) + 1
    assert conformal_quantile(scores, coverage) == rank


def test_a_quantile_among_cases_where_nothing_was_found_is_none() -> None:
    assert conformal_quantile(np.array([0.1] * 20 + [math.inf] * 5), 0.9) is None


def test_intervals_cover_new_cases_as_often_as_they_say() -> None:
    """2,000 runs of 28 calibration cases and one new one; errors in proportion to a spread that varies."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(2000):
        spread = rng.uniform(0.02, 0.2, 29)
        true = rng.uniform(1000, 5000, 29)
        found = true * np.exp(0.5 * spread * rng.standard_normal(29))
        scores = np.array([nonconformity(v, s * v, t) for v, s, t in zip(found, spread, true, strict=True)])
        quantile = conformal_quantile(scores[:28], 0.9)
        fitted = Calibration(volumes={"X": VolumeCalibration(quantile, 28)})
        interval = fitted.interval_mm3("X", found[28], spread[28] * found[28])
        assert interval is not None
        covered += interval[0] <= true[28] <= interval[1]
    assert covered / 2000 == pytest.approx(27 / 29, abs=0.015)  # rank 27 of 28: exactly 27/29 on average


@pytest.mark.parametrize(
    ("name", "volume", "why"),
    [
        *[("Y", 100.0, "not calibrated"), ("Few", 100.0, "too few cases"), ("X", 0.0, "nothing found")],
        ("X", 6.6, "so little is certain that it would reach from a twentieth to twenty times the volume"),
    ],
)
def test_there_is_no_interval_where_none_can_be_given(name: str, volume: float, why: str) -> None:
    volumes = {"X": VolumeCalibration(2.0, 28), "Few": VolumeCalibration(None, 3)}
    assert Calibration(volumes=volumes).interval_mm3(name, volume, 10.0) is None, why
    assert Calibration(volumes=volumes).interval_mm3("X", 6.8, 10.0) is not None  # exp(2 x 10 / 6.8) = 18.9


def test_an_interval_never_shrinks_to_nothing() -> None:
    low, high = Calibration(volumes={"X": VolumeCalibration(2.0, 28)}).interval_mm3("X", 1000.0, 0.0) or (
        0,
        0,
    )
    assert (low, high) == pytest.approx((1000 / math.exp(0.01), 1000 * math.exp(0.01)))


def test_oddness_is_the_mahalanobis_distance_over_its_limit() -> None:
    rng = np.random.default_rng(2)
    data = rng.standard_normal((500, 3)) @ np.array([[2.0, 0, 0], [1.0, 1.0, 0], [0, 0, 0.1]])
    precision = np.linalg.inv(np.cov(data.T))
    usual = UsualInput(tuple(data.mean(0)), tuple(map(tuple, precision)), 2.0)
    away = data[0] - data.mean(0)
    expected = math.sqrt(away @ np.linalg.inv(np.cov(data.T)) @ away) / 2
    assert usual.oddness(data[0].astype(np.float32)) == pytest.approx(expected, rel=1e-4)
    assert usual.oddness((data.mean(0) + np.array([0, 0, 5.0])).astype(np.float32)) > 10


def test_a_scan_is_as_odd_as_to_the_nearer_of_both_kinds() -> None:
    whole = UsualInput((0.0,), ((1.0,),), 2.0)
    stripped = UsualInput((10.0,), ((1.0,),), 1.0)
    both = Calibration(usual=whole, usual_stripped=stripped)
    at = {place: both.oddness(np.array([place], np.float32)) for place in (0.0, 4.0, 10.0, 12.0)}
    assert at == {0.0: 0, 4.0: 2, 10.0: 0, 12.0: 2}
    assert Calibration(usual=whole).oddness(np.array([10.0], np.float32)) == 5
    assert Calibration().oddness(np.array([0.0], np.float32)) is None


@pytest.mark.parametrize(
    ("before", "oddness", "after"),
    [
        ("pass", None, "pass"),
        ("pass", 2.4, "pass"),
        ("pass", 3.2, "review"),
        ("review", 2.6, "review"),
        ("pass", 18.0, "fail"),
        ("fail", 0.1, "fail"),
    ],
)
def test_unusual_input_is_never_passed(before: str, oddness: float | None, after: str) -> None:
    found = with_oddness(Quality(before, ("a reason",)), oddness)
    assert found.status == after
    assert found.reasons[0] == "a reason"
