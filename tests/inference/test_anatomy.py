"""Label maps that cannot be a head: one rule broken at a time, on a tilted grid with turned axes."""

from __future__ import annotations

import numpy as np
import pytest

from lnn_med.inference.anatomy import anatomy_reasons
from lnn_med.volume import Volume
from tests.phantoms import phantom, reordered

SHAPE = (40, 44, 36)
NAMES = {
    1: "Hippocampus_L",
    2: "Hippocampus_R",
    3: "ThalamusProper_L",
    4: "BrainStem",
    5: "Frontal_GM_L",
    6: "Occipital_GM_L",
}


def head() -> Volume:
    """Boxes at their places: x grows to the right, y to the front, z up."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[8:14, 16:26, 12:16] = 1
    labels[26:32, 16:26, 12:16] = 2
    labels[15:19, 20:24, 18:22] = 3
    labels[17:23, 18:22, 3:12] = 4
    labels[8:18, 34:40, 18:26] = 5
    labels[8:18, 3:8, 18:26] = 6
    return Volume(labels, phantom(SHAPE, (1.0, 1.2, 1.5)).affine)


def reasons(labels: np.ndarray, codes: str = "RAS", expected: tuple[str, ...] = ()) -> tuple[str, ...]:
    volume = reordered(head().with_data(labels), codes)
    return anatomy_reasons(volume.data, volume.affine, NAMES, expected)


def moved(label: int, **to: tuple[int, int]) -> np.ndarray:
    """One structure rolled along an axis, by a number of voxels."""
    data = head().data
    own = np.where(data == label, data, 0)
    for axis, step in to.values():
        own = np.roll(own, step, axis)
    return np.where(own > 0, own, np.where(data == label, 0, data)).astype(np.uint8)


def in_two_pieces() -> np.ndarray:
    data = head().data.copy()
    data[8:14, 20:22, 12:16] = 0  # the left hippocampus cut in halves
    return data


CASES = [  # labels, words of the only reason, remark
    (head().data, None, "a head"),
    (np.choose(head().data, [0, 2, 1, 3, 4, 5, 6]).astype(np.uint8), "Left and right", "sides exchanged"),
    (moved(4, up=(2, 22)), "BrainStem and ThalamusProper_L", "brain stem above the thalamus"),
    (np.choose(head().data, [0, 1, 2, 3, 4, 6, 5]).astype(np.uint8), "Occipital_GM_L", "back to front"),
    (in_two_pieces(), r"Hippocampus_L (50 %)", "two pieces"),
]


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SAL"])
@pytest.mark.parametrize(("labels", "words", "remark"), CASES, ids=[case[-1] for case in CASES])
def test_each_rule_speaks_alone_whatever_the_axes(
    labels: np.ndarray, words: str | None, remark: str, codes: str
) -> None:
    found = reasons(labels, codes)
    assert len(found) == (words is not None)
    assert words is None or words in found[0]


def test_a_crumb_beside_a_structure_is_no_second_piece_and_cortex_may_have_many() -> None:
    data = head().data.copy()
    data[2, 2, 2] = 1
    data[12, 34:40, 18:26] = 0  # frontal lobe in two parts
    assert reasons(data) == ()


def test_missing_structures_are_named_if_every_head_has_them() -> None:
    data = np.where(head().data == 3, 0, head().data).astype(np.uint8)
    assert reasons(data) == ()
    (reason,) = reasons(data, expected=("ThalamusProper_L", "BrainStem"))
    assert reason == "Not found: ThalamusProper_L."


def test_an_empty_map_breaks_no_rule_but_lacks_everything() -> None:
    empty = np.zeros(SHAPE, dtype=np.uint8)
    assert reasons(empty) == ()
    assert "and 2 more" in reasons(empty, expected=tuple(NAMES.values()))[0]
