"""Layer attention and the skipping of redundant retrievals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lnn_med.models.blocks import ResidualBlock
from lnn_med.models.layer_attention import (
    LayerAttentionStage,
    Retrieval,
    RetrievalSkipper,
    SkipConfig,
    SkipSchedule,
    divergences,
    layer_weights,
    map_to_target,
    redundancy,
)


def stage(layers: int = 4, channels: int = 8) -> LayerAttentionStage:
    torch.manual_seed(0)
    result = LayerAttentionStage([ResidualBlock(channels) for _ in range(layers)], channels, heads=2)
    for part in result.modules():
        if isinstance(part, ResidualBlock):
            nn.init.normal_(part.mix.weight, std=0.3)
    for retrieval in result.retrievals:
        nn.init.normal_(retrieval.norm.weight)
    return result


def volume() -> Tensor:
    return torch.randn(2, 8, 4, 6, 8, generator=torch.Generator().manual_seed(3))


def slow(part: LayerAttentionStage, x: Tensor) -> Tensor:
    """The formula, head by head and layer by layer, with no retrieval skipped."""
    seen = []
    for number, (block, retrieval) in enumerate(zip(part.blocks, part.retrievals, strict=True)):
        x = block(x)
        means = x.mean(dim=(2, 3, 4))
        means = (means - means.mean(1, keepdim=True)) / (
            means.var(1, unbiased=False, keepdim=True) + 1e-5
        ).sqrt()
        query = retrieval.query(means[:, None])[:, 0]
        seen.append(
            (retrieval.key(means[:, None])[:, 0], retrieval.value(torch.nn.functional.avg_pool3d(x, 2)))
        )
        parts = []
        for head in range(2):
            own = slice(4 * head, 4 * head + 4)
            scores = torch.stack([(query[:, own] * key[:, own]).sum(1) / 2 for key, _ in seen])  # √4 = 2
            weights = scores.softmax(dim=0)
            parts.append(
                sum(weights[n][:, None, None, None, None] * seen[n][1][:, own] for n in range(number + 1))
            )
        answer = retrieval.norm(torch.cat(parts, dim=1))
        x = x + answer.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    return x


def test_a_stage_equals_the_formula_layer_by_layer() -> None:
    part, x = stage(), volume()
    torch.testing.assert_close(part(x), slow(part, x), atol=1e-5, rtol=1e-5)


def test_a_skipped_layer_asks_nothing_and_offers_nothing() -> None:
    part, x = stage(), volume()
    part.skipped[:] = True
    torch.testing.assert_close(part(x), nn.Sequential(*part.blocks)(x))
    part.skipped[:] = torch.tensor([False, True, False, False])
    once = part(x)
    for weight in part.retrievals[1].parameters():
        nn.init.normal_(weight)
    assert torch.equal(part(x), once)


def test_probing_runs_every_retrieval_and_changes_no_mask() -> None:
    part, x = stage(), volume()
    full = part(x)
    part.skipped[1] = True
    part.probing = True
    torch.testing.assert_close(part(x), full)
    assert [tuple(w.shape) for w in part.weights] == [(2, 2, n) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("rule", ["mapped", "raw"])
def test_masks_do_not_change_when_a_constant_is_added_to_a_layers_logits(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moving all keys alike adds to a layer's logits what its query makes of the move."""
    config = SkipConfig(
        rule=rule, share=0.5, threshold=0.1 if rule == "raw" else 0.6, patience=1, every=1, warmup=0
    )
    ask, move = Retrieval.ask, torch.randn(4, generator=torch.Generator().manual_seed(7))
    seen: list[list[Tensor]] = []

    def masks(moved: bool) -> list[list[bool]]:
        def asked(self: Retrieval, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            query, key, value = ask(self, x)
            return query, key + 5 * move if moved else key, value

        monkeypatch.setattr(Retrieval, "ask", asked)
        network = nn.Sequential(stage(6))
        schedule, found = SkipSchedule(network, config, steps=16), []
        generator = torch.Generator().manual_seed(2)
        for step in range(8):
            schedule.before(step)
            network(volume())
            seen.append(list(network[0].weights))
            schedule.after()
            found.append(network[0].skipped.tolist())
            for retrieval in network[0].retrievals:
                retrieval.query.weight.data.normal_(generator=generator)
        return found

    plain, moved = masks(moved=False), masks(moved=True)
    assert plain == moved
    assert len({tuple(mask) for mask in plain}) > 1  # and there is something to change
    torch.testing.assert_close(seen[0], seen[8], atol=1e-5, rtol=1e-4)


def test_the_same_question_asked_again_has_score_zero_and_another_has_not() -> None:
    shared = torch.tensor([1.0, 2.0, 0.5])
    same = [shared[:n].softmax(-1).expand(1, 1, -1) for n in (1, 2, 3)]
    assert divergences(same)[:2].isinf().all()  # the first sees one layer alone: nothing to compare
    assert float(redundancy(divergences(same))[2]) == pytest.approx(0, abs=1e-6)
    other = [*same[:2], torch.tensor([3.0, -3.0, 0.0]).softmax(-1).expand(1, 1, -1)]
    a, b = same[1][0, 0], other[2][0, 0, :2] / other[2][0, 0, :2].sum()
    divergence = 0.5 * float((a * (a / b).log()).sum() + (b * (b / a).log()).sum())
    assert float(redundancy(divergences(other))[2]) == pytest.approx(1 - np.exp(-divergence), rel=1e-5)


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 5.0), (8.0, 1.5), (0.8, 0.8), (30.0, 60.0)])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_share_below_the_threshold_follows_it_whatever_beta_the_scores_have(
    alpha: float, beta: float, share: float
) -> None:
    scores = torch.from_numpy(np.random.default_rng(0).beta(alpha, beta, 4000))
    mapped = map_to_target(scores, (1.0, 1.0))
    assert float((mapped < share).double().mean()) == pytest.approx(share, abs=0.03)
    assert torch.equal(mapped.argsort(), scores.argsort())


def test_scores_that_are_all_alike_skip_nothing() -> None:
    skipper = RetrievalSkipper(6, SkipConfig(share=0.5, threshold=0.4, patience=1))
    for _ in range(5):
        assert not skipper.update(torch.full((6,), 0.2)).any()


def test_patience_first_last_and_share() -> None:
    scores = torch.tensor([0.0, 0.0, 0.01, 0.02, 0.9, 0.8, 0.95, 0.0])
    skipper = RetrievalSkipper(8, SkipConfig(share=0.25, threshold=0.5, patience=3, decay=0.0))
    assert not skipper.update(scores).any()
    assert not skipper.update(scores).any()
    assert skipper.update(scores).nonzero().flatten().tolist() == [2, 3]
    greedy = RetrievalSkipper(8, SkipConfig(share=0.125, threshold=0.5, patience=1, decay=0.0))
    assert greedy.update(scores).nonzero().flatten().tolist() == [2]  # the most redundant one alone
    mapped = map_to_target(scores[2:-1], (1.0, 1.0))
    assert float(mapped[1]) < 0.5


@pytest.mark.parametrize(("slack", "asks_again_at"), [(0.02, 0.13), (0.0, 0.105)])
def test_a_skipped_layer_asks_again_only_beyond_the_slack(slack: float, asks_again_at: float) -> None:
    config = SkipConfig(rule="raw", share=1.0, threshold=0.1, slack=slack, patience=1, decay=0.0)
    skipper, scores = RetrievalSkipper(5, config), torch.tensor([0.0, 0.0, 0.05, 0.9, 0.9])
    found = []
    for score in (0.05, 0.105, 0.115, 0.13, 0.11, 0.05):
        scores[2] = score
        found.append((score, bool(skipper.update(scores)[2])))
    asked = next(score for score, skipped in found if not skipped)
    assert asked == asks_again_at
    assert found[0][1]
    assert not found[4][1]  # once it asks, it must fall below the threshold itself
    assert found[5][1]


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 5.0), (30.0, 60.0)])
def test_the_skipper_skips_the_share_that_the_threshold_names(
    threshold: float, alpha: float, beta: float
) -> None:
    scores = torch.from_numpy(np.random.default_rng(0).beta(alpha, beta, 3000)).float()
    skipper = RetrievalSkipper(3000, SkipConfig(share=1.0, threshold=threshold, patience=1))
    assert float(skipper.update(scores).float().mean()) == pytest.approx(threshold, abs=0.03)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 5.0), (30.0, 60.0)])
def test_where_the_threshold_lets_all_the_share_is_what_is_skipped(
    share: float, alpha: float, beta: float
) -> None:
    scores = torch.from_numpy(np.random.default_rng(0).beta(alpha, beta, 3000)).float()
    skipper = RetrievalSkipper(3000, SkipConfig(share=share, threshold=1.0, patience=1))
    skipped = skipper.update(scores)
    assert float(skipped.float().mean()) == pytest.approx(share, abs=0.001)
    assert scores[2:-1][skipped[2:-1]].max() <= scores[2:-1][~skipped[2:-1]].min()


@pytest.mark.parametrize(
    ("rule", "threshold", "skipped", "remark"),
    [
        ("mapped", 0.5, [2, 3, 4], "about half of the inner layers, the most redundant ones"),
        ("raw", 0.015, [2, 3], "scores as they are"),
        ("raw", 0.5, [2, 3, 4, 5, 6], "all are below: the scale of scores decides"),
    ],
)
def test_rules_compare_other_numbers_with_the_threshold(
    rule: str, threshold: float, skipped: list[int], remark: str
) -> None:
    scores = torch.tensor([0.5, 0.01, 0.01, 0.011, 0.02, 0.09, 0.1, 0.0])
    skipper = RetrievalSkipper(8, SkipConfig(rule=rule, share=1.0, threshold=threshold, patience=1))
    assert skipper.update(scores).nonzero().flatten().tolist() == skipped


def test_the_random_rule_skips_as_many_whatever_the_scores_are() -> None:
    skipper = RetrievalSkipper(8, SkipConfig(rule="random", share=1.0, threshold=0.5, patience=1))
    first = skipper.update(torch.rand(8)).clone()
    assert int(first.sum()) == 2
    assert not first[:2].any()
    assert not first[-1]
    assert torch.equal(skipper.update(torch.rand(8)), first)
    masks = {
        tuple(RetrievalSkipper(8, skipper.config, seed).update(torch.rand(8)).tolist()) for seed in range(20)
    }
    assert len(masks) > 3


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="mapped, raw or random"):
        SkipConfig(rule="best")


def test_the_schedule_probes_when_due_sets_the_mask_and_then_leaves_it() -> None:
    network = nn.Sequential(stage(6))
    config = SkipConfig(share=0.5, threshold=0.6, patience=1, warmup=4, every=2, freeze=0.5)
    schedule = SkipSchedule(network, config, steps=20)
    probed, masks = [], []
    for step in range(20):
        schedule.before(step)
        probed.append(network[0].probing)
        network(volume())
        schedule.after()
        masks.append(network[0].skipped.tolist())
        for retrieval in network[0].retrievals:
            nn.init.normal_(retrieval.query.weight)
    assert [n for n, was in enumerate(probed) if was] == [4, 6, 8, 10]
    assert any(masks[10])
    assert all(mask == masks[10] for mask in masks[10:])
    assert not any(mask[0] or mask[-1] for mask in masks)


def test_weights_are_those_of_dense_attention() -> None:
    generator = torch.Generator().manual_seed(1)
    query, keys = torch.randn(2, 3, 4, generator=generator), torch.randn(2, 3, 5, 4, generator=generator)
    eye = torch.eye(5).expand(2, 3, 5, 5)
    expected = nn.functional.scaled_dot_product_attention(query[:, :, None], keys, eye)[:, :, 0]
    torch.testing.assert_close(layer_weights(query, keys), expected)


def test_gradients_in_bf16_are_those_of_float32_also_for_two_pooled_planes() -> None:
    """oneDNN leaves memory as it found it there; what lies in it is made to show."""
    torch.manual_seed(0)
    network = stage(4).to(memory_format=torch.channels_last_3d)
    x = torch.randn(1, 8, 5, 6, 5).contiguous(memory_format=torch.channels_last_3d)

    def gradients(fast: bool) -> list[torch.Tensor]:
        network.zero_grad()
        for shape in ((1, 8, 2, 3, 2), (8, 1, 3, 3, 3)):
            spoiled = [torch.full(shape, 1e6) for _ in range(200)]
            del spoiled
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            network(x).float().square().mean().backward()
        return [part.value.weight.grad.clone() for part in network.retrievals]

    exact = gradients(fast=False)
    for _ in range(5):
        for one, other in zip(gradients(fast=True), exact, strict=True):
            assert (one - other).abs().max() < 0.1 * other.abs().max()


def test_weights_that_underflow_give_a_finite_divergence() -> None:
    weights = [torch.ones(1, 1, 1), torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[1.0, 0.0, 0.0]]])]
    found = redundancy(divergences(weights))
    assert found.isfinite().all()
    assert float(found[2]) > 0.99
