"""The classifier learns what there is to learn, from image, volumes or record, and nothing from noise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from sklearn.metrics import roc_auc_score

from lnn_med.models.brain_classifier import BrainClassifier, ClassifierConfig
from lnn_med.training.classify import (
    ClassifierSchedule,
    People,
    answers,
    fit_classifier,
    known_code,
    standardise,
)

CONFIG = ClassifierConfig(features=3, structures=4, grid=(2, 2, 2), width=8, stages=1, attention_top_k=1)
QUICK = ClassifierSchedule(first_epochs=1, epochs=12, learning_rate=2e-2, batch=32)


def crowd(n: int, seed: int, cause: str) -> People:
    """People whose dementia shows in one place, in a volume that the risk model knows, or nowhere."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(n, 3, *CONFIG.grid, generator=generator)
    volumes = torch.randn(n, 4, generator=generator)
    clinical = torch.randn(n, 4, generator=generator) * torch.tensor([10.0, 1, 3, 3]) + 50
    clinical[:, 1] = (clinical[:, 1] > 50).float()
    signal = {
        "place": image[:, 1, 1, 1, 0],
        "volume": volumes[:, 2],
        "nothing": torch.randn(n, generator=generator),
    }[cause]
    offsets = torch.zeros(n, 16)
    offsets[:, 15] = 3 * volumes[:, 2]  # the risk model that knows everything says what this volume says
    inside = torch.ones(n, *CONFIG.grid, dtype=torch.bool)
    return People(image, inside, volumes, clinical, (signal > 0).float(), offsets)


@torch.no_grad()
def auc(network: BrainClassifier, people: People) -> float:
    return float(roc_auc_score(people.dementia, answers(network, people)[-1].logits[:, 0]))


@pytest.mark.parametrize("cause", ["place", "volume", "nothing"])
def test_what_shows_in_unseen_people_is_what_there_was_to_learn(cause: str) -> None:
    found = auc(fit_classifier(crowd(160, 0, cause), CONFIG, QUICK, seed=0), crowd(200, 1, cause))
    if cause == "nothing":
        assert abs(found - 0.5) < 0.12
    else:
        assert found > 0.8


def test_what_is_known_chooses_the_risk_model() -> None:
    people = crowd(3, 0, "volume")
    people.clinical[1, 3] = math.nan
    people.clinical[2] = math.nan
    assert known_code(people.clinical).tolist() == [15, 7, 0]
    network = fit_classifier(crowd(40, 0, "volume"), CONFIG, replace(QUICK, epochs=1), seed=0)
    offsets = torch.arange(16.0).expand(3, -1)
    with torch.no_grad():
        told = answers(network, people._replace(offsets=offsets))[-1]
    assert torch.allclose(
        told.logits[:, 0] - told.evidence[:, 0].flatten(1).sum(1), torch.tensor([15.0, 7, 0]), atol=1e-4
    )


def test_the_same_seed_gives_the_same_network_and_another_another() -> None:
    schedule = replace(QUICK, epochs=1)
    people = crowd(40, 0, "volume")
    first, again, other = (fit_classifier(people, CONFIG, schedule, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not all(torch.equal(value, other[name]) for name, value in first.items())


def test_disturbed_copies_are_learnt_from() -> None:
    """What only shows in the copies is learnt, for the same people."""
    plain = crowd(160, 0, "place")
    blank = plain._replace(image=torch.randn(plain.image.shape, generator=torch.Generator().manual_seed(5)))
    unseen, longer = crowd(200, 1, "place"), replace(QUICK, epochs=30)
    assert abs(auc(fit_classifier(blank, CONFIG, longer, 0), unseen) - 0.5) < 0.12
    assert auc(fit_classifier(blank, CONFIG, longer, 0, [plain, plain]), unseen) > 0.8


def test_usual_people_are_at_zero_and_a_constant_place_is_not_blown_up() -> None:
    people = crowd(100, 0, "nothing")
    people.image[:, 0, 0, 0, 0] = 7.0
    people.clinical[:50, 3] = math.nan
    network = BrainClassifier(CONFIG)
    standardise(network, people)
    usual = (people.image - network.feature_centre) / network.feature_spread
    assert usual.mean(dim=0).abs().max() < 1e-5
    assert usual[:, :, 1:].std(dim=0).max() == pytest.approx(1.0, abs=1e-4)
    assert network.feature_spread[0, 0, 0, 0] >= 0.09 * people.image[:, 0].std()
    assert network.clinical_centre[3] == pytest.approx(people.clinical[50:, 3].mean().item())


def test_people_of_one_kind_are_refused() -> None:
    people = crowd(20, 0, "volume")
    with pytest.raises(ValueError, match="with and without"):
        fit_classifier(people._replace(dementia=torch.zeros(20)), CONFIG, QUICK, seed=0)
