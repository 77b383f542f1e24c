"""Fit a classifier of whole brains: first age and sex of everyone, then dementia beside them.

Clinical values are hidden at random while it learns, so that each subset of them is an input it knows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lnn_med.models.brain_classifier import Answer, BrainClassifier, ClassifierConfig

SMALLEST_SPREAD = 0.1  # of a channel's spread over all places; a place that never varies must not shout
SMALLEST_VOLUME_SPREAD = 0.05  # of a logarithm: 5 %
AGE, SEX = 0, 1  # columns of the clinical values


class People(NamedTuple):
    """N people as a classifier sees them, in the words of `BrainClassifier.forward`.

    `clinical` (N, K) holds age in years, sex (1: male), education and MMSE, NaN where unknown; `dementia`
    (N,) is 1, 0 or, where unknown, NaN. `offsets` (N, 2^K) are logits of risk models, one for each set of
    known values, which `known_code` numbers.
    """

    image: Tensor  # (N, F, X, Y, Z)
    inside: Tensor  # (N, X, Y, Z)
    volumes: Tensor  # (N, S)
    clinical: Tensor  # (N, K)
    dementia: Tensor  # (N,)
    offsets: Tensor  # (N, 2^K)

    def pick(self, which: Tensor) -> People:
        """Some of them, by index (n,)."""
        return People(*(each[which] for each in self))


def known_code(clinical: Tensor) -> Tensor:
    """Number of the set of known values (N,): 1 for the first + 2 for the second + 4 ... of (N, K)."""
    powers = 2 ** torch.arange(clinical.shape[1], device=clinical.device)
    return (clinical.isfinite() * powers).sum(dim=1)


def answers(network: BrainClassifier, people: People, clinical: Tensor | None = None) -> list[Answer]:
    """Every exit's answer about people, of whom `clinical` is known (all that there is when None)."""
    shown = people.clinical if clinical is None else clinical
    offset = people.offsets.gather(1, known_code(shown)[:, None])[:, 0]
    return network(people.image, people.inside, people.volumes, shown, offset)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class ClassifierSchedule:
    """How long and how a classifier learns."""

    first_epochs: int = 20  # age and sex of everyone
    epochs: int = 40  # then dementia as well
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup: float = 0.1  # share of the steps
    shown: tuple[float, ...] = (0.85, 0.85, 0.7, 0.5)  # share of cases that see age, sex, education, MMSE
    age_weight: float = 0.3  # of the loss, beside dementia
    sex_weight: float = 0.1


def fit_classifier(
    people: People,
    config: ClassifierConfig,
    schedule: ClassifierSchedule,
    seed: int,
    copies: Sequence[People] = (),
) -> BrainClassifier:
    """A network trained on these people; the same seed gives the same network.

    Args:
        people: who is learnt from.
        config: sizes of the network.
        schedule: how long and how it learns.
        seed: of weights, order and what is hidden.
        copies: the same people in the same order in disturbed scans; each time that a person is shown, one of
            their scans is drawn. What is usual is counted on the scans as they are.

    Raises:
        ValueError: no one with and without dementia to learn from.
    """
    known = people.dementia[people.dementia.isfinite()]
    if not (known == 1).any() or not (known == 0).any():
        raise ValueError("people with and without dementia are needed.")
    torch.manual_seed(seed)
    network = BrainClassifier(config)
    standardise(network, people)
    for epochs, weight in ((schedule.first_epochs, 0.0), (schedule.epochs, 1.0)):
        _learn(network.train(), [people, *copies], schedule, epochs, weight)
    return network.eval()


@torch.no_grad()
def standardise(network: BrainClassifier, people: People) -> None:
    """Fill the buffers that say what is usual: at each place, in each volume, in each clinical value."""
    network.feature_centre.copy_(people.image.mean(dim=0))
    overall = people.image.std(dim=(0, 2, 3, 4))[:, None, None, None]
    spread = people.image.std(dim=0)
    network.feature_spread.copy_(torch.maximum(spread, SMALLEST_SPREAD * overall.clamp(min=1e-6)))
    network.volume_centre.copy_(people.volumes.mean(dim=0))
    network.volume_spread.copy_(people.volumes.std(dim=0).clamp(min=SMALLEST_VOLUME_SPREAD))
    for column, values in enumerate(people.clinical.t()):
        given = values[values.isfinite()]
        if len(given) > 1:
            network.clinical_centre[column] = given.mean()
            network.clinical_spread[column] = given.std().clamp(min=1e-3)


def _learn(
    network: BrainClassifier,
    versions: Sequence[People],
    schedule: ClassifierSchedule,
    epochs: int,
    weight: float,
) -> None:
    kernels = [value for value in network.parameters() if value.ndim > 1]
    rest = [value for value in network.parameters() if value.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": kernels, "weight_decay": schedule.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate)
    count = len(versions[0].dementia)
    scans = People(*(torch.cat(each) for each in zip(*versions, strict=True)))
    steps = epochs * math.ceil(count / schedule.batch)
    shown = torch.tensor(schedule.shown)
    step = 0
    for _ in range(epochs):
        for chosen in torch.randperm(count).split(schedule.batch):
            done = step / steps
            rise = min(1.0, (step + 1) / max(1.0, schedule.warmup * steps))
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * done))
            drawn = torch.randint(len(versions), chosen.shape) if len(versions) > 1 else 0
            some = scans.pick(count * drawn + chosen)
            hidden = torch.rand(some.clinical.shape) >= shown
            guess = answers(network, some, some.clinical.masked_fill(hidden, math.nan))
            losses = [_loss(network, answer.logits, some, schedule, weight) for answer in guess]
            optimizer.zero_grad(set_to_none=True)
            torch.stack(losses).mean().backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            step += 1


def _loss(
    network: BrainClassifier, logits: Tensor, some: People, schedule: ClassifierSchedule, weight: float
) -> Tensor:
    """Of one exit: absolute-like error of age, cross-entropy of sex and, with `weight`, of dementia."""
    ages, sexes = some.clinical[:, AGE], some.clinical[:, SEX]
    old = ages.isfinite()
    usual = (ages[old] - network.clinical_centre[AGE]) / network.clinical_spread[AGE]
    total = schedule.age_weight * F.smooth_l1_loss(logits[old, 1], usual, reduction="sum")
    told = sexes.isfinite()
    total = total + schedule.sex_weight * F.binary_cross_entropy_with_logits(
        logits[told, 2], sexes[told], reduction="sum"
    )
    if weight:
        known = some.dementia.isfinite()
        total = total + weight * F.binary_cross_entropy_with_logits(
            logits[known, 0], some.dementia[known], reduction="sum"
        )
    return total / len(ages)
