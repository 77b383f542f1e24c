"""The weights a run starts from: those of a bundle, or the mean of several ones'.

The mean of networks that were trained on from the same weights often answers as well as their ensemble, at
the cost of one (model soups, Wortsman et al. 2022, arXiv 2203.05482). Batch statistics are averaged, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lnn_med.errors import ConfigError
from lnn_med.inference.bundle import Bundle, load_bundle

KIND = "bundle:"


class Start(NamedTuple):
    """`weights` by name; `pieces` of training behind them; `bundles` they are the mean of."""

    weights: dict[str, Tensor]
    pieces: list[dict[str, Any]]
    bundles: list[str]


def find_start(init: str) -> Start:
    """What `init` of a configuration names: `bundle:NAME`, or several with commas between.

    Raises:
        ConfigError: another form, or weights of different shapes.
    """
    entries = [entry.strip() for entry in init.split(",")]
    if not all(entry.startswith(KIND) and entry != KIND for entry in entries):
        raise ConfigError(f"init is `{init}`; `bundle:NAME` is needed, or several with commas between.")
    found = [load_bundle(entry.removeprefix(KIND)) for entry in entries]
    states = [bundle.network().state_dict() for bundle in found]
    if len({tuple((name, value.shape) for name, value in state.items()) for state in states}) > 1:
        raise ConfigError(f"init: the networks of `{init}` differ, and have no mean.")
    pieces: list[dict[str, Any]] = []
    for bundle in found:
        pieces += [piece for piece in _pieces(bundle) if piece not in pieces]
    return Start(mean_of(states), pieces, [bundle.named for bundle in found])


def mean_of(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of each entry, in its own type: whole numbers rounded down, masks joined."""
    if len(states) == 1:
        return states[0]
    return {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(value.dtype)
        for name, value in states[0].items()
    }


def _pieces(bundle: Bundle) -> list[dict[str, Any]]:
    training = bundle.info.training
    return training.get("pieces", [training] if training else [])  # type: ignore[no-any-return]
