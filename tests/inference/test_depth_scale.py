"""What a number of executed blocks means, in words."""

from __future__ import annotations

import pytest

from lnn_med.inference.depth_scale import DepthScale, Exits

SCALE = DepthScale(30, (Exits("head", (11, 13, 15)), Exits("crop", (10, 12, 14))))


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        (0, "not computed"),
        (13, "head exit 2"),
        (21, "head exit 1 + crop exit 1"),
        (25, "head + crop, exits 1 + 3, 2 + 2 or 3 + 1"),
        (31, "head exit 1 + crop exits 1 and 1"),  # crops of both sides overlap
        (35, "head + crop, twice"),  # exits 1, 1 and 3; 1, 2 and 2; 2, 1 and 2; or 3, 1 and 1
        (43, "head exit 3 + crop exits 3 and 3"),
        (7, "other"),
    ],
)
def test_blocks_are_named_by_the_exits_that_give_their_sum(blocks: int, words: str) -> None:
    assert SCALE.words(blocks, ("head", "crop")) == words


def test_a_network_that_did_not_run_is_not_named() -> None:
    assert SCALE.words(21, ("head",)) == "other"
    assert SCALE.words(12, ("crop",)) == "crop exit 2"
