"""Losses against plain formulas, and a batch that equals the mean of its cases."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lnn_med.models.lnn import LNN
from lnn_med.models.lnn_config import LNNConfig
from lnn_med.training.losses import (
    LossConfig,
    Terms,
    class_weights,
    cross_entropy_and_dice,
    distillation,
    gate_loss,
    network_loss,
    sample_blocks,
    sample_box,
)

TINY = LNNConfig(
    classes=3, trunk_channels=(6, 8), trunk_blocks=(1, 1), decoder_blocks=(1,), attention_level=-1,
    fine_channels=4, fine_blocks=(1, 1), block_size=8,
)  # fmt: skip
EQUAL = torch.ones(3)


def batch(cases: int = 2, size: int = 24) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image, labels with a box of each class in another place, spacing ratios, seeds."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(cases, size, size, size, dtype=torch.long)
    for n in range(cases):
        labels[n, 2 + 3 * n : 9, 4:10, 3:11] = 1
        labels[n, 12:18, 9 + n : 20, 6:15] = 2
    image = labels[:, None] / 2 + 0.3 * torch.rand(labels[:, None].shape, generator=generator)
    return image, labels, torch.ones(cases, 3), torch.arange(5, 5 + cases)


def test_cross_entropy_and_dice_equal_their_formulas() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, 6, generator=generator, dtype=torch.float64).float()
    target = torch.randint(0, 3, (2, 4, 5, 6), generator=generator)
    weights = torch.tensor([0.5, 1.0, 2.0])
    p = logits.softmax(1)
    dice = []
    for label in (1, 2):
        truth = (target == label).float()
        dice.append(2 * (p[:, label] * truth).sum() / (p[:, label].sum() + truth.sum()))
    expected = torch.nn.functional.cross_entropy(logits, target, weights) + 1 - torch.stack(dice).mean()
    torch.testing.assert_close(cross_entropy_and_dice(logits, target, weights), expected)


def test_a_perfect_answer_costs_nothing_and_absent_classes_do_not_count() -> None:
    target = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    target[0, :2] = 2  # class 1 is absent
    logits = 30 * torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    assert float(cross_entropy_and_dice(logits, target, EQUAL)) == pytest.approx(0, abs=1e-4)
    only_background = torch.zeros_like(target)
    confident = 30 * torch.nn.functional.one_hot(only_background, 3).movedim(-1, 1).float()
    assert float(cross_entropy_and_dice(confident, only_background, EQUAL)) == pytest.approx(0, abs=1e-4)


def test_a_doubtful_label_moves_the_generalised_cross_entropy_less() -> None:
    logits, target = torch.randn(1, 3, 4, 4, 4), torch.randint(0, 3, (1, 4, 4, 4))
    weights = torch.tensor([0.5, 1.0, 2.0])
    dice = cross_entropy_and_dice(logits, target, weights) - torch.nn.functional.cross_entropy(
        logits, target, weights
    )
    p = logits.softmax(1).gather(1, target[:, None])[:, 0]
    each = (1 - p**0.7) / 0.7 * weights[target]
    expected = each.sum() / weights[target].sum() + dice
    torch.testing.assert_close(cross_entropy_and_dice(logits, target, weights, 0.0, 0.7), expected)
    small = cross_entropy_and_dice(logits, target, weights, 0.0, 1e-4)
    torch.testing.assert_close(small, cross_entropy_and_dice(logits, target, weights), atol=1e-3, rtol=1e-3)
    wrong = torch.tensor([[-8.0, 8.0, 0.0]]).reshape(1, 3, 1, 1, 1).requires_grad_()
    pulls = []
    for noise in (0.0, 0.7):
        loss = cross_entropy_and_dice(wrong, torch.zeros(1, 1, 1, 1, dtype=torch.long), EQUAL, 0.0, noise)
        pulls.append(torch.autograd.grad(loss, wrong)[0].abs().max().item())
    assert pulls[1] < 1e-3 < pulls[0]


def test_label_smoothing_is_that_of_torch() -> None:
    logits, target = torch.randn(1, 3, 2, 2, 2), torch.zeros(1, 2, 2, 2, dtype=torch.long)
    expected = torch.nn.functional.cross_entropy(logits, target, label_smoothing=0.1)
    torch.testing.assert_close(cross_entropy_and_dice(logits, target, EQUAL, 0.1), expected)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_class_weights_favour_the_rare_and_average_to_one(power: float) -> None:
    frequency = torch.tensor([0.9, 0.09, 0.01, 0.0])
    weights = class_weights(frequency, power)
    assert float((weights * frequency).sum()) == pytest.approx(1)
    assert float(weights[2] / weights[0]) == pytest.approx(90**power, rel=1e-4)
    assert weights[3] == 0


def test_distillation_is_0_for_equals_and_teaches_the_student_alone() -> None:
    student, teacher = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)
    assert float(distillation(student, student).detach()) == pytest.approx(0, abs=1e-6)
    loss = distillation(student, teacher)
    p, q = teacher.softmax(1), student.softmax(1)
    torch.testing.assert_close(loss, (p * (p / q).log()).sum(1).mean())
    loss.backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_sampled_blocks_repeat_lie_on_the_grid_and_favour_labels() -> None:
    _, labels, _, seeds = batch()
    first, second = (sample_blocks(labels, 8, 8, seeds) for _ in range(2))
    assert first == second
    assert len(first) == 16
    for _, i, j, k in first:
        assert i % 8 == j % 8 == k % 8 == 0
        assert max(i, j, k) <= 16
    filled = [bool(labels[n, i : i + 8, j : j + 8, k : k + 8].any()) for n, i, j, k in first]
    assert sum(filled) >= 12
    assert [corner[0] for corner in first] == [0] * 8 + [1] * 8


def test_a_case_draws_its_blocks_whatever_stands_beside_it() -> None:
    _, labels, _, seeds = batch()
    together = sample_blocks(labels, 8, 8, seeds)
    alone = sample_blocks(labels[1:], 8, 8, seeds[1:])
    assert [corner[1:] for corner in together[8:]] == [corner[1:] for corner in alone]


def test_sampled_boxes_are_even_and_within_the_window_around_the_labels() -> None:
    _, labels, _, _ = batch(cases=1)
    for seed in range(30):
        ((n, i, j, k),) = sample_box(labels, (12, 16, 24), torch.tensor([seed]))
        assert n == 0
        assert i % 2 == j % 2 == k % 2 == 0
        assert 0 <= i <= 12
        assert 0 <= j <= 8
        assert k == 0
        assert labels[0, i : i + 12, j : j + 16, k : k + 24].any()
    empty = torch.zeros_like(labels)
    assert len(sample_box(empty, (12, 16, 24), torch.tensor([0]))) == 1


def gates(cases: int = 1, logit: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Case and block logits, and every block as sampled, of a grid of 4 x 4 x 4 blocks."""
    case = torch.full((cases, 2), 10.0)
    block = torch.full((cases, 2, 4, 4, 4), logit, requires_grad=True)
    everywhere = torch.nonzero(torch.ones(cases, 4, 4, 4))
    return case, block, everywhere


@pytest.mark.parametrize(("gain", "opens"), [(1.0, True), (0.0, False)])
def test_gates_open_where_depth_pays_and_close_where_it_does_not(gain: float, opens: bool) -> None:
    """One step down the gradient raises the gates' logits when depth lowers the loss, else lowers them."""
    case, block, everywhere = gates()
    gains = torch.tensor([[2 * gain, gain, 0.0]]).expand(64, -1)
    loss = gate_loss(case, block, [0.6, 1.0], gains, everywhere, torch.tensor([3]), LossConfig())
    loss.backward()
    assert block.grad is not None
    assert (float(block.grad.sum()) < 0) is opens


def test_work_beyond_the_budget_is_charged() -> None:
    case, block, everywhere = gates(logit=20.0)
    gains = torch.zeros(64, 3)
    seeds = torch.tensor([3])
    config = LossConfig(gate_cost=0.0, gate_budget=0.4)
    loss = gate_loss(case, block, [0.6, 1.0], gains, everywhere, seeds, config)
    assert float(loss) == pytest.approx(0.6, abs=1e-3)  # all of 1.0 is spent
    free = gate_loss(case, block, [0.6, 1.0], gains, everywhere, seeds, replace(config, gate_budget=1.0))
    assert float(free) == pytest.approx(0.0, abs=1e-3)


def test_gate_loss_of_a_batch_is_the_mean_of_its_cases_also_with_unequal_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    case, block = torch.randn(2, 2, generator=generator), torch.randn(2, 2, 4, 4, 4, generator=generator)
    sampled = torch.nonzero(
        torch.rand(2, 4, 4, 4, generator=generator) < torch.tensor([0.1, 0.6]).reshape(2, 1, 1, 1)
    )
    gains, seeds = torch.rand(len(sampled), 3, generator=generator), torch.tensor([4, 9])
    together = gate_loss(case, block, [0.6, 1.0], gains, sampled, seeds, LossConfig())
    alone = []
    for n in range(2):
        mine = sampled[:, 0] == n
        places = sampled[mine] * torch.tensor([0, 1, 1, 1])
        one = slice(n, n + 1)
        alone.append(
            gate_loss(case[one], block[one], [0.6, 1.0], gains[mine], places, seeds[one], LossConfig())
        )
    torch.testing.assert_close(together, torch.stack(alone).mean())


@pytest.mark.parametrize(
    ("config", "coarse"),
    [
        (LossConfig(blocks=6), True),
        (LossConfig(blocks=6), False),
        (LossConfig(box=(12, 16, 14)), False),
    ],
)
def test_loss_and_gradient_of_a_batch_are_the_means_of_its_cases(config: LossConfig, coarse: bool) -> None:
    """The law that lets cases be dealt to processes."""
    torch.manual_seed(0)
    network = LNN(TINY)
    image, labels, ratio, seeds = batch()

    def run(cases: slice) -> tuple[Tensor, dict[str, Tensor]]:
        network.zero_grad(set_to_none=True)
        parts = (image[cases], labels[cases], ratio[cases], seeds[cases])
        loss, _ = network_loss(network, *parts, EQUAL, config, coarse)
        loss.backward()
        return loss.detach(), {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}

    (loss, gradient), one, two = run(slice(0, 2)), run(slice(0, 1)), run(slice(1, 2))
    torch.testing.assert_close(loss, (one[0] + two[0]) / 2)
    assert any(name.startswith("fine") for name in gradient) is not coarse
    for name, value in gradient.items():
        torch.testing.assert_close(value, (one[1][name] + two[1][name]) / 2, atol=1e-6, rtol=1e-4, msg=name)


def test_exit_1_learns_from_one_voxel_in_eight_or_from_all() -> None:
    torch.manual_seed(0)
    network, (image, labels, ratio, _) = LNN(TINY), batch(cases=1)
    whole = LossConfig(whole_exit=True)
    with torch.no_grad():
        logits = network(image, 1).logits
        for seed in range(8):
            seeds = torch.tensor([seed])
            cut = tuple(slice(seed >> axis & 1, None, 2) for axis in range(3))
            some, _ = network_loss(network, image, labels, ratio, seeds, EQUAL, LossConfig(), coarse=True)
            every, _ = network_loss(network, image, labels, ratio, seeds, EQUAL, whole, coarse=True)
            expected = cross_entropy_and_dice(logits[:, :, *cut], labels[:, *cut], EQUAL)
            torch.testing.assert_close(some, expected)
            torch.testing.assert_close(every, cross_entropy_and_dice(logits, labels, EQUAL))


def test_the_log_has_a_loss_for_each_exit() -> None:
    torch.manual_seed(0)
    _, parts = network_loss(LNN(TINY), *batch(), EQUAL, LossConfig(blocks=4), coarse=False)
    assert {"exit_1", "exit_2", "exit_3", "gate", "active"} <= set(parts)
    assert parts["active"] == 1.0  # a new network begins with all gates open
    _, coarse = network_loss(LNN(TINY), *batch(), EQUAL, LossConfig(blocks=4), coarse=True)
    assert set(coarse) == {"exit_1"}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_network_and_terms_give_the_same_loss_and_gradient() -> None:
    torch.manual_seed(0)
    network, fused = LNN(TINY), LNN(TINY)
    fused.load_state_dict(network.state_dict())
    config = LossConfig(box=(12, 16, 14))
    loss, _ = network_loss(network, *batch(), EQUAL, config, coarse=False)
    same, _ = network_loss(fused.fuse(), *batch(), EQUAL, config, coarse=False, terms=Terms.compiled())
    torch.testing.assert_close(same, loss)
    loss.backward()
    same.backward()
    assert list(fused.state_dict()) == list(network.state_dict())
    for (name, one), two in zip(network.named_parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, atol=1e-5, rtol=1e-3, msg=name)
