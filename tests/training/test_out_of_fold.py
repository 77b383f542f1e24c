"""Volumes of people who trained a bundle come from others that never saw them, on the bundle's own scale."""

from __future__ import annotations

import numpy as np
import pytest

from lnn_med.errors import ConfigError
from lnn_med.training.out_of_fold import Other, Volumes, out_of_fold

COUNT = 40
NAMES = [f"p{n}" for n in range(COUNT)]
TRAINED = NAMES[:20]  # the bundle saw these; the first ten of them and the last five trained one other
ONE, TWO = NAMES[:10] + NAMES[35:], NAMES[10:20] + NAMES[30:35]
SCALE = {"Hippocampus": 1.0, "CSF": 1.0}


def truth() -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    return [{"Hippocampus": h, "CSF": c} for h, c in rng.uniform(1000, 4000, (COUNT, 2))]


def other(name: str, trained_on: list[str], scale: dict[str, float], fails: tuple[int, ...] = ()) -> Other:
    def measure(n: int) -> Volumes | None:
        assert NAMES[n] not in trained_on
        return None if n in fails else {key: scale[key] * value for key, value in truth()[n].items()}

    return Other(name, trained_on, measure)


def test_volumes_of_those_seen_come_from_others_on_the_own_scale() -> None:
    own = [{key: value * (0.5 if n < 20 else 1.0) for key, value in each.items()}
           for n, each in enumerate(truth())]  # fmt: skip
    found = out_of_fold(
        NAMES,
        own,
        TRAINED,
        [
            other("one", ONE, {"Hippocampus": 1.25, "CSF": 0.8}),
            other("two", TWO, {"Hippocampus": 2, "CSF": 3}),
        ],
    )
    assert (found.replaced, found.matched_on) == (20, [15, 15])
    for mine, expected in zip(found.volumes, truth(), strict=True):
        assert mine == pytest.approx(expected)


def test_several_bundles_that_never_saw_a_person_are_averaged() -> None:
    own = truth()
    lower = {**own[25], "CSF": own[25]["CSF"] * 3}
    both = [
        other("one", ONE[:5], {"Hippocampus": 1, "CSF": 1}),
        other("two", TWO, {"Hippocampus": 1, "CSF": 1}),
    ]
    tilted = Other(
        "tilted", ONE, lambda n: lower if n == 25 else {**own[n], "CSF": own[n]["CSF"] * (1 + (n == 12))}
    )
    found = out_of_fold(NAMES, own, TRAINED, [both[1], tilted, both[0]])
    ratio = sum(own[n]["CSF"] for n in range(20, 35)) / (
        sum(own[n]["CSF"] for n in range(20, 35)) + 2 * own[25]["CSF"]
    )
    assert found.volumes[12]["CSF"] == pytest.approx(own[12]["CSF"] * (1 + 2 * ratio) / 2)
    assert found.volumes[12]["Hippocampus"] == pytest.approx(own[12]["Hippocampus"])
    assert found.volumes[7]["CSF"] == pytest.approx(own[7]["CSF"])  # two and one saw neither


def test_a_person_who_fails_elsewhere_has_no_volumes_unless_another_bundle_knows_them() -> None:
    others = [other("one", ONE, SCALE, fails=(15,)), other("two", TWO, SCALE)]
    found = out_of_fold(NAMES, truth(), TRAINED, others)
    assert [n for n, volumes in enumerate(found.volumes) if volumes is None] == [15]
    assert found.replaced == 19
    found = out_of_fold(NAMES, truth(), TRAINED, [*others, other("three", [], SCALE, fails=(25,))])
    assert (None in found.volumes, found.matched_on) == (False, [15, 15, 19])


def test_people_whom_every_bundle_has_seen_are_refused_before_anyone_is_measured() -> None:
    one = Other("one", ONE, lambda n: pytest.fail("measured"))
    with pytest.raises(ConfigError, match="10 people trained every bundle"):
        out_of_fold(NAMES, truth(), TRAINED, [one])


def test_too_few_people_to_match_on_are_refused() -> None:
    with pytest.raises(ConfigError, match="wide: 6 people trained neither"):
        out_of_fold(
            NAMES,
            truth(),
            TRAINED,
            [other("wide", NAMES[25:35] + NAMES[36:], SCALE), other("none", [], SCALE)],
        )


def test_a_structure_that_another_bundle_misses_is_refused() -> None:
    with pytest.raises(ConfigError, match="blind does not find CSF"):
        out_of_fold(
            NAMES,
            truth(),
            TRAINED,
            [other("blind", ONE, {"Hippocampus": 1, "CSF": 0}), other("two", TWO, SCALE)],
        )
