"""The classifier's laws: logits are sums of what is shown, absence is no value, and nothing leaks."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lnn_med.models.brain_classifier import TASKS, BrainClassifier, ClassifierConfig
from lnn_med.models.tabular_fusion import ClinicalTokens, CrossAttention, ScaleAndShift

GRID = (6, 8, 4)
CONFIG = ClassifierConfig(features=5, structures=7, grid=GRID, width=8, attention_top_k=2)
N = 3


def network(config: ClassifierConfig = CONFIG) -> BrainClassifier:
    """Random weights everywhere, also where training begins with zeros."""
    torch.manual_seed(0)
    made = BrainClassifier(config)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def people(seed: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(N, CONFIG.features, *GRID, generator=generator)
    inside = torch.rand(N, *GRID, generator=generator) > 0.3
    volumes = torch.randn(N, CONFIG.structures, generator=generator)
    clinical = torch.randn(N, CONFIG.clinical, generator=generator)
    clinical[0, 3], clinical[1] = math.nan, math.nan
    return image, inside, volumes, clinical, torch.randn(N, generator=generator)


@pytest.mark.parametrize(
    ("fusion", "tokens"),
    [("cross", False), ("cross", True), ("daft", False), ("daft", True), ("none", False), ("none", True)],
)
@torch.no_grad()
def test_every_exit_answers_for_a_batch_as_for_each_case_alone(fusion: str, tokens: bool) -> None:
    config = ClassifierConfig(5, 7, GRID, width=8, attention_top_k=2, fusion=fusion, volume_tokens=tokens)
    model = network(config)
    together = model(*people())
    assert len(together) == CONFIG.exits
    for n in range(N):
        alone = model(*(each[n : n + 1] for each in people()))
        for one, all_of_them in zip(alone, together, strict=True):
            assert torch.allclose(one.logits[0], all_of_them.logits[n], atol=1e-5)
            assert torch.allclose(one.evidence[0], all_of_them.evidence[n], atol=1e-5)


@torch.no_grad()
def test_a_stage_runs_when_the_answer_after_it_is_asked_for() -> None:
    model = network(replace(CONFIG, stages=2))
    ran: list[int] = []
    for number, stage in enumerate(model.stages):
        stage.register_forward_hook(lambda *arguments, number=number: ran.append(number))  # type: ignore[misc]
    answers = model.exit_by_exit(*people())
    for number, expected in enumerate(model(*people())):
        ran.clear()
        assert torch.equal(next(answers).logits, expected.logits)
        assert ran == ([] if number == 0 else [number - 1])


@torch.no_grad()
def test_the_logit_of_dementia_is_the_risk_models_plus_the_evidence() -> None:
    model, (image, inside, volumes, clinical, offset) = network(), people()
    for whole in model(image, inside, volumes, clinical, offset):
        assert torch.allclose(whole.logits[:, 0], offset + whole.evidence[:, 0].flatten(1).sum(-1), atol=1e-5)
        assert (whole.evidence[~inside[:, None].expand_as(whole.evidence)] == 0).all()


@torch.no_grad()
def test_volumes_tell_age_and_sex_and_not_dementia() -> None:
    model, (image, inside, volumes, clinical, offset) = network(), people()
    first, other = (
        model(image, inside, each, clinical, offset)[-1].logits for each in (volumes, volumes + 1)
    )
    assert torch.equal(first[:, 0], other[:, 0])
    assert ((first - other)[:, 1:].abs() > 1e-3).all()


@torch.no_grad()
def test_tokens_of_volumes_guide_where_dementia_is_looked_for() -> None:
    model = network(replace(CONFIG, volume_tokens=True))
    image, inside, volumes, clinical, offset = people()
    first, other = (model(image, inside, each, clinical, offset)[-1] for each in (volumes, volumes + 1))
    assert ((first.logits - other.logits)[:, 0].abs() > 1e-4).all()  # float32 rounds at 1e-7
    told = offset + first.evidence[:, 0].flatten(1).sum(-1)
    assert torch.allclose(first.logits[:, 0], told, atol=1e-5)  # but all that is added is still of places


@torch.no_grad()
def test_a_missing_value_is_a_token_of_its_own_and_not_the_mean() -> None:
    model, (image, inside, volumes, clinical, offset) = network(), people()
    clinical[:, 3] = math.nan
    missing = model(image, inside, volumes, clinical, offset)[-1].logits[:, 0]
    clinical[:, 3] = model.clinical_centre[3]
    mean = model(image, inside, volumes, clinical, offset)[-1].logits[:, 0]
    assert ((missing - mean).abs() > 1e-4).all()  # float32 rounds at 1e-7
    tokens = ClinicalTokens(2, 4)
    assert torch.equal(tokens(torch.full((1, 2), math.nan))[0], tokens.missing)


@pytest.mark.parametrize("fusion", ["cross", "daft"])
@torch.no_grad()
def test_age_and_sex_are_not_told_by_the_record(fusion: str) -> None:
    model = network(ClassifierConfig(5, 7, GRID, width=8, attention_top_k=2, fusion=fusion))
    image, inside, volumes, clinical, offset = people()
    first, second = (
        model(image, inside, volumes, values, offset)[-1].logits for values in (clinical, clinical + 2)
    )
    assert torch.allclose(first[:, 1:], second[:, 1:])
    assert ((first[0, 0] - second[0, 0]).abs() > 1e-3).all()  # but dementia is


@torch.no_grad()
def test_what_lies_outside_the_brain_is_not_seen() -> None:
    model, (image, inside, volumes, clinical, offset) = network(), people()
    changed = torch.where(inside[:, None], image, image + 5)
    for one, other in zip(
        model(image, inside, volumes, clinical, offset),
        model(changed, inside, volumes, clinical, offset),
        strict=True,
    ):
        assert torch.allclose(one.logits, other.logits, atol=1e-5)


@torch.no_grad()
def test_attention_is_shared_out_over_the_places_inside() -> None:
    look = CrossAttention(8, 2)
    inside = torch.tensor([[True, False, True, True, False]])
    shares = look(torch.randn(1, 4, 8), torch.randn(1, 5, 8), inside)
    assert shares.shape == (1, 2, 5)
    assert torch.allclose(shares.sum(-1), torch.ones(1, 2))
    assert (shares[..., ~inside[0]] == 0).all()


@torch.no_grad()
def test_scale_and_shift_begin_as_the_identity() -> None:
    tokens = torch.randn(2, 5, 8)
    assert torch.equal(ScaleAndShift(4, 8)(torch.randn(2, 4, 8), tokens, torch.ones(2, 5).bool()), tokens)


def test_every_weight_learns_from_dementia_age_and_sex() -> None:
    model = network().train()
    image, inside, volumes, clinical, offset = people()
    loss = torch.stack(
        [answer.logits.square().sum() for answer in model(image, inside, volumes, clinical, offset)]
    )
    loss.sum().backward()
    silent = [
        name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    assert silent == []
    assert len(TASKS) - 1 == model.of_volumes.out_features


@pytest.mark.parametrize(
    ("change", "message"),
    [({"fusion": "sum"}, "fusion"), ({"grid": (5, 8, 4)}, "no multiple")],
)
def test_impossible_sizes_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassifierConfig(**({"features": 5, "structures": 7, "grid": GRID} | change))  # type: ignore[arg-type]
