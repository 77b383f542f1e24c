"""Gates, budgets, and cutting boxes out of volumes and putting them back."""

from __future__ import annotations

import pytest
import torch

from lnn_med.models.adaptive_depth import (
    Gates,
    block_entropy,
    decide,
    gather,
    sample_stages,
    scatter,
    straight_through,
)


def test_straight_through_is_exactly_0_or_1_and_carries_a_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(1000, generator=generator)).requires_grad_()
    gate = straight_through(logits, torch.rand(1000, generator=generator), 0.7)
    assert set(gate.tolist()) == {0.0, 1.0}
    gate.sum().backward()
    assert logits.grad is not None
    assert (logits.grad >= 0).all()
    assert (logits.grad > 0).float().mean() > 0.99


@pytest.mark.parametrize("logit", [-2.0, 0.0, 1.0])
def test_straight_through_is_on_as_often_as_its_probability_says(logit: float) -> None:
    noise = torch.rand(20_000, generator=torch.Generator().manual_seed(1))
    share = float(straight_through(torch.full((20_000,), logit), noise, 0.7).mean())
    assert share == pytest.approx(float(torch.tensor(logit).sigmoid()), abs=0.01)


def test_sampled_stages_are_nested_and_gates_that_are_off_still_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    case = torch.randn(2, 3, generator=generator, requires_grad=True)
    block = torch.randn(2, 3, 4, 4, 4, generator=generator, requires_grad=True)
    on = sample_stages(case, block, torch.rand(2, 3 + 3 * 64, generator=generator), 0.7)
    assert on.shape == block.shape
    assert set(on.unique().tolist()) == {0.0, 1.0}
    assert (on[:, 1:] <= on[:, :-1]).all()
    on.sum().backward()
    assert case.grad is not None
    assert block.grad is not None
    off = on.detach()[:, 0] == 0
    assert (block.grad[:, 0][off] > 0).float().mean() > 0.99
    assert (case.grad > 0).all()


def test_certain_gates_are_sampled_as_they_are_decided() -> None:
    generator = torch.Generator().manual_seed(1)
    case, block = (40 * torch.randn(shape, generator=generator).sign() for shape in ((3, 2), (3, 2, 2, 3, 4)))
    on = sample_stages(case, block, torch.rand(3, 2 + 2 * 24, generator=generator), 0.7)
    assert torch.equal(on.sum(dim=1).long(), decide(case, block))


@pytest.mark.parametrize(
    ("case", "block", "stages"),
    [
        ((1, 1, 1), (1, 1, 1), 3),
        ((1, 1, 1), (1, -1, 1), 1),  # the third stage needs the second
        ((1, 1, 1), (-1, 1, 1), 0),
        ((1, -1, 1), (1, 1, 1), 1),  # the case stops, whatever the block wants
        ((-1, 1, 1), (1, 1, 1), 0),
        ((1, 1, 1), (1, 1, -1), 2),
    ],
)
def test_a_stage_needs_all_stages_before_it(case: tuple, block: tuple, stages: int) -> None:
    found = decide(torch.tensor([case]).float(), torch.tensor(block).float().reshape(1, 3, 1, 1, 1))
    assert found.tolist() == [[[[stages]]]]


def test_gates_see_the_block_they_decide_about() -> None:
    torch.manual_seed(0)
    gates = Gates(channels=3, stages=2, cells=4)
    torch.nn.init.normal_(gates.block[-1].weight)
    features, entropy, ratio = torch.rand(1, 3, 8, 12, 16), torch.rand(1, 1, 8, 12, 16), torch.ones(1, 3)
    case, block = gates(features, entropy, ratio)
    assert case.shape == (1, 2)
    assert block.shape == (1, 2, 2, 3, 4)
    features[:, :, 4:8, 0:4, 8:12] += 5
    changed = (gates(features, entropy, ratio)[1] != block).any(dim=1)[0]
    assert changed.nonzero().tolist() == [[1, 0, 2]]


def test_case_gate_knows_the_spacing_of_the_scan() -> None:
    torch.manual_seed(0)
    gates = Gates(channels=3, stages=2, cells=4)
    torch.nn.init.normal_(gates.case[-1].weight)
    features, entropy = torch.rand(1, 3, 8, 8, 8), torch.rand(1, 1, 8, 8, 8)
    fine, _ = gates(features, entropy, torch.tensor([[1.0, 1.0, 1.0]]))
    thick, _ = gates(features, entropy, torch.tensor([[1.0, 1.0, 3.0]]))
    assert not torch.allclose(fine, thick)


def test_boxes_come_back_to_their_places() -> None:
    volume = torch.rand(2, 3, 8, 9, 10, generator=torch.Generator().manual_seed(0))
    corners = [(0, 0, 0, 0), (1, 4, 5, 6), (0, 4, 2, 3)]
    boxes = gather(volume, corners, (4, 3, 2))
    for box, (n, i, j, k) in zip(boxes, corners, strict=True):
        assert torch.equal(box, volume[n, :, i : i + 4, j : j + 3, k : k + 2])
    target = torch.zeros_like(volume)
    scatter(target, boxes, corners)
    assert torch.equal(target[target != 0], volume[target != 0])
    assert int((target != 0).sum()) == boxes.numel()


def test_gradient_of_overlapping_boxes_adds_up() -> None:
    volume = torch.rand(2, 2, 4, 4, 5, dtype=torch.float64, requires_grad=True)
    corners = [(0, 0, 0, 0), (0, 1, 1, 2), (1, 2, 2, 2)]
    assert torch.autograd.gradcheck(lambda x: gather(x, corners, (2, 2, 3)) ** 2, (volume,))


def test_entropy_runs_from_certain_to_undecided() -> None:
    logits = torch.zeros(1, 4, 2, 1, 1)
    logits[0, 2, 0] = 100
    assert block_entropy(logits).flatten().tolist() == pytest.approx([0, 1], abs=1e-6)
