"""Change between two scans: signs, intervals that join both, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from lnn_med.io.change import changes, refusal, same_spacing, signed_mm3_text, signed_percent_text
from lnn_med.io.result_record import result_record
from tests.predictions import make_prediction

NOW = result_record(make_prediction())
OTHER_SCAN = "f" * 64


def earlier_of(**of_left: Any) -> dict[str, Any]:
    """The record of an earlier scan whose left hippocampus has other numbers."""
    record = copy.deepcopy(NOW)
    record["input"]["sha256"] = OTHER_SCAN
    record["structures"][0] |= of_left
    return record


def left(now: dict[str, Any], earlier: dict[str, Any]) -> Any:
    return next(one for one in changes(now, earlier) if one.name == "Hippocampus_L" and one.side == "L")


def test_a_loss_has_a_minus_and_its_interval_joins_both_scans() -> None:
    now = copy.deepcopy(NOW)
    now["structures"][0] |= {"volume_mm3": 2700.0, "interval_mm3": [2500.0, 2900.0], "coverage": 0.9}
    change = left(now, earlier_of(volume_mm3=3000.0, interval_mm3=[2800.0, 3200.0], coverage=0.95))
    assert (change.change_mm3, change.change_pct) == (-300.0, -10.0)
    assert change.interval_mm3 == (2500.0 - 3200.0, 2900.0 - 2800.0)
    assert change.interval_pct == (round(100 * (2500 / 3200 - 1), 1), round(100 * (2900 / 2800 - 1), 1))
    assert change.coverage == 0.85
    assert change.beyond_repeatability
    assert change.words == "Hippocampus, left"


@pytest.mark.parametrize("link", [-0.9, 0.0, 0.9])  # of the errors of the two scans
def test_the_interval_covers_as_often_as_it_says(link: float) -> None:
    rng = np.random.default_rng(5)
    half = 1.6449 * 100.0  # 90 % of a normal error of 100 mm³
    errors = rng.multivariate_normal([0, 0], [[1e4, link * 1e4], [link * 1e4, 1e4]], size=2000)
    inside = 0
    for now_error, earlier_error in errors:
        mine, theirs = 2900.0 + now_error, 3000.0 + earlier_error
        now = copy.copy(NOW)
        now["structures"] = [
            NOW["structures"][0]
            | {"volume_mm3": mine, "interval_mm3": [mine - half, mine + half], "coverage": 0.9}
        ]
        before = {**now, "input": NOW["input"] | {"sha256": OTHER_SCAN}}
        before["structures"] = [
            now["structures"][0] | {"volume_mm3": theirs, "interval_mm3": [theirs - half, theirs + half]}
        ]
        (found,) = changes(now, before)
        inside += found.interval_mm3 is not None and found.interval_mm3[0] <= -100 <= found.interval_mm3[1]
    assert found.coverage == 0.8
    assert inside / len(errors) >= 0.8


def test_without_an_interval_on_one_side_there_is_none() -> None:
    change = left(NOW, earlier_of(interval_mm3=None, coverage=None))
    assert (change.interval_mm3, change.interval_pct, change.coverage) == (None, None, None)
    assert change.change_mm3 == 0
    assert not change.beyond_repeatability


def test_an_earlier_volume_of_zero_has_no_percent() -> None:
    change = left(NOW, earlier_of(volume_mm3=0.0, interval_mm3=[0.0, 40.0], coverage=0.9))
    assert (change.change_pct, change.interval_pct) == (None, None)
    assert change.change_mm3 == NOW["structures"][0]["volume_mm3"]


def test_other_weights_the_same_scan_and_a_fail_are_refused() -> None:
    failed = result_record(make_prediction("fail"))
    failed["input"]["sha256"] = OTHER_SCAN
    other = earlier_of()
    other["model"] = [model | {"weights_sha256": "0" * 64} for model in other["model"]]
    older = earlier_of()  # the same weights at another depth
    older["model"] = [model | {"version": "0.0.1"} for model in older["model"]]
    different = ((other, "Different versions"), (older, "Different versions"))
    for earlier, said in ((failed, "quality check"), (NOW, "same scan"), *different):
        assert said in str(refusal(NOW, earlier))
        assert changes(NOW, earlier) == []
    assert refusal(NOW, earlier_of()) is None


def test_a_bundle_with_other_weights_is_left_out() -> None:
    earlier = earlier_of()
    earlier["model"][0]["weights_sha256"] = "0" * 64
    assert {one.bundle for one in changes(NOW, earlier)} == {NOW["model"][1]["bundle"]}


def test_voxel_sizes_are_compared_without_regard_to_the_order_of_axes() -> None:
    earlier = earlier_of()
    earlier["input"]["spacing_mm"] = earlier["input"]["spacing_mm"][::-1]
    assert same_spacing(NOW, earlier)
    earlier["input"]["spacing_mm"][0] += 0.2
    assert not same_spacing(NOW, earlier)


@pytest.mark.parametrize(
    ("value", "mm3", "percent"),
    [(-1234.4, "\u22121\u202f234", "\u22121234.4 %"), (0.2, "0", "+0.2 %"), (56.0, "+56", "+56.0 %")],
)
def test_changes_carry_their_sign(value: float, mm3: str, percent: str) -> None:
    assert (signed_mm3_text(value), signed_percent_text(value)) == (mm3, percent)
