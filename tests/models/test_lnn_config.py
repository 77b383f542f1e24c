"""Sizes of a network: which input they ask for, and which of them cannot be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lnn_med.models.lnn import LNN
from tests.models.test_lnn import TINY


@pytest.mark.parametrize(
    ("change", "multiple"),
    [
        ({}, 8),
        ({"block_size": 12}, 24),  # not only the largest of 4, 8 and 12
        ({"attention_level": -1, "block_size": 2}, 4),
        ({"attention_block": 4}, 16),
    ],
)
def test_multiple_serves_levels_attention_and_blocks(change: dict[str, int], multiple: int) -> None:
    assert LNN(replace(TINY, **change)).multiple == multiple  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trunk_blocks": (1,)}, "same length"),
        ({"decoder_blocks": (1, 1)}, "one entry less"),
        ({"block_size": 7}, "even"),
        ({"attention_level": 2}, "last level is 1"),
        ({"attention_level": -5}, "-1 is none"),
        ({"attention_top_k": 0}, "at least 1"),
        ({"layer_attention": (9,)}, "layer_attention names level 9"),
        ({"reversible": (-1,)}, "reversible names level -1"),
        ({"reversible": (0,), "trunk_channels": (7, 12)}, "even number of channels"),
        ({"fine_blocks": ()}, "at least one full-resolution stage"),
        ({"layer_attention": (1,), "reversible": (0, 1)}, "level 1 cannot be reversible"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"norm": "group"}, "channel or batch"),
        ({"norm": "batch", "reversible": (0,)}, "update its statistics"),
    ],
)
def test_a_norm_that_cannot_be_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        replace(TINY, **changes)
