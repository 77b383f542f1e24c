"""The adaptive network: gathered blocks and boxes against the dense path, and its exits."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lnn_med.models.lnn import LNN
from tests.models.tiny import (
    CLOSE,
    SHAPE,
    TINY,
    at_block,
    block_by_block,
    grid_of,
    random_stages,
    with_gates,
)


@pytest.mark.parametrize("stages", [1, 2])
@torch.inference_mode()
def test_gather_path_with_every_block_active_equals_the_dense_path(
    network: LNN, image: Tensor, stages: int
) -> None:
    features = network.see(image).features
    every = block_by_block(torch.full(grid_of(cases=2), stages))
    dense = network(image, depth=1 + stages).logits
    torch.testing.assert_close(network._sparse(image, features, every), dense, **CLOSE)


@torch.inference_mode()
def test_gather_path_equals_the_dense_path_where_the_trunk_attends_by_blocks(network: LNN) -> None:
    shape = (48, 40, 40)
    image = torch.rand(1, TINY.in_channels, *shape, generator=torch.Generator().manual_seed(2))
    tokens = int(np.prod([size // 4 for size in shape]))
    attention = network.trunk.attention[1].attention
    assert (attention.path(tokens), attention.path(480)) == ("block", "dense")
    every = block_by_block(torch.full(grid_of(shape), 2))
    found = network._sparse(image, network.see(image).features, every)
    torch.testing.assert_close(found, network(image, "full").logits, **CLOSE)


@torch.inference_mode()
def test_each_block_equals_the_dense_result_whatever_the_others_do(network: LNN, image: Tensor) -> None:
    dense = [network(image[:1], depth=number).logits for number in (1, 2, 3)]
    features = network.see(image[:1]).features
    for seed in range(3):
        stages = random_stages(1, seed)
        mixed = network._sparse(image[:1], features, block_by_block(stages))
        for i, j, k in torch.cartesian_prod(*map(torch.arange, grid_of()[1:])).tolist():
            expected = at_block(dense[int(stages[0, i, j, k])], (i, j, k))
            torch.testing.assert_close(at_block(mixed, (i, j, k)), expected, **CLOSE)


@pytest.mark.parametrize("seed", [0, 1, 2])
@torch.inference_mode()
def test_boxes_of_many_blocks_give_each_block_the_depth_that_is_reported(
    network: LNN, image: Tensor, seed: int
) -> None:
    dense = [network(image, depth=number).logits for number in (1, 2, 3)]
    wanted = torch.zeros(grid_of(cases=2), dtype=torch.long)
    wanted[:, 1:, :2] = random_stages(2, seed)[:, 1:, :2].clamp(min=1)
    wanted[:, 2, 0, 1] = 0
    found = with_gates(network, wanted)(image, "auto")
    assert (found.stages >= wanted).all()
    assert (found.stages > wanted).any()  # some lie between others: boxes take them along
    for n, i, j, k in torch.cartesian_prod(*map(torch.arange, grid_of(cases=2))).tolist():
        expected = at_block(dense[int(found.stages[n, i, j, k])][n], (i, j, k))
        torch.testing.assert_close(at_block(found.logits[n], (i, j, k)), expected, **CLOSE)


@torch.inference_mode()
def test_a_lone_active_block_in_a_corner_equals_the_dense_result(network: LNN, image: Tensor) -> None:
    stages = torch.zeros(grid_of(), dtype=torch.long)
    stages[0, -1, 0, -1] = 2
    found = with_gates(network, stages)(image[:1], "auto")
    assert torch.equal(found.stages, stages)
    torch.testing.assert_close(
        at_block(found.logits, (4, 0, 3)), at_block(network(image[:1], "full").logits, (4, 0, 3)), **CLOSE
    )
    exit_1 = network(image[:1], 1).logits
    torch.testing.assert_close(at_block(found.logits, (0, 2, 0)), at_block(exit_1, (0, 2, 0)), **CLOSE)


@torch.inference_mode()
def test_boxes_equal_the_dense_result_at_every_exit(network: LNN, image: Tensor) -> None:
    corners = [(0, 0, 0, 0), (1, 26, 2, 20), (0, 14, 12, 6)]
    shape = (14, 12, 10)
    features = network.see(image).features
    exits = network.exits_of_boxes(image, features, corners, shape, 2)
    for number, found in enumerate(exits, start=1):
        dense = network(image, number).logits * network.temperature[number - 1]
        for (n, i, j, k), box in zip(corners, found, strict=True):
            expected = dense[n, :, i : i + 14, j : j + 12, k : k + 10]
            torch.testing.assert_close(box, expected, **CLOSE)


@torch.inference_mode()
def test_depth_numbers_run_that_exit_and_full_runs_the_last(network: LNN, image: Tensor) -> None:
    answers = [network(image[:1], number) for number in (1, 2, 3)]
    for number, answer in enumerate(answers):
        assert answer.logits.shape == (1, TINY.classes, *SHAPE)
        assert (answer.stages == number).all()
    assert torch.equal(network(image[:1], "full").logits, answers[2].logits)
    assert not torch.allclose(answers[0].logits, answers[1].logits)
    assert not torch.allclose(answers[1].logits, answers[2].logits)
    assert TINY.depths == (4, 6, 7)


@torch.inference_mode()
def test_every_exit_is_what_each_gives_alone(network: LNN, image: Tensor) -> None:
    warm = copy.deepcopy(network)
    warm.temperature.copy_(torch.tensor([2.0, 0.5, 1.5]))
    ratio = torch.tensor([[1.0, 1.0, 3.0], [1.0, 2.0, 1.0]])
    seen, exits = warm.every_exit(image, ratio)
    assert torch.equal(seen.spacing_ratio, ratio)
    for number, logits in enumerate(exits, start=1):
        torch.testing.assert_close(logits, warm(image, number).logits, **CLOSE)


@pytest.mark.parametrize("depth", [0, 4, -1])
def test_a_depth_beyond_the_exits_is_refused(network: LNN, image: Tensor, depth: int) -> None:
    with pytest.raises(ValueError, match="1 to 3"):
        network(image[:1], depth)


def test_a_size_that_is_no_multiple_is_refused(network: LNN) -> None:
    with pytest.raises(ValueError, match=r"\(40, 24, 36\) must be multiples of 8"):
        network(torch.zeros(1, 2, 40, 24, 36))


def test_temperature_divides_the_logits_of_its_exit_on_both_paths(network: LNN, image: Tensor) -> None:
    stages = torch.zeros(grid_of(), dtype=torch.long)
    stages[0, 1, 1, 1] = 1
    other = copy.deepcopy(network)
    other.temperature.mul_(torch.tensor([1.0, 4.0, 1.0]))
    with torch.inference_mode():
        dense, hot = network(image[:1], 2).logits, other(image[:1], 2).logits
        torch.testing.assert_close(dense / 4, hot)
        mixed, warm = (with_gates(n, stages)(image[:1], "auto").logits for n in (network, other))
    torch.testing.assert_close(at_block(mixed, (1, 1, 1)) / 4, at_block(warm, (1, 1, 1)))
    assert torch.equal(at_block(mixed, (0, 0, 0)), at_block(warm, (0, 0, 0)))


def test_folded_norms_change_nothing_and_are_gone(network: LNN, image: Tensor) -> None:
    other = copy.deepcopy(network).fold()
    assert not any(isinstance(module, nn.BatchNorm3d) for module in other.modules())
    with torch.inference_mode():
        for depth in ("full", "auto", 1):
            torch.testing.assert_close(other(image, depth).logits, network(image, depth).logits, **CLOSE)


def test_cast_to_bf16_leaves_gates_and_temperatures_untouched(network: LNN, image: Tensor) -> None:
    other = copy.deepcopy(network).cast(torch.bfloat16)
    for name, value in network.gates.state_dict().items():
        assert torch.equal(other.gates.state_dict()[name], value)
        assert value.dtype == torch.float32
    assert torch.equal(other.temperature, network.temperature)
    assert next(other.trunk.parameters()).dtype == torch.bfloat16
    with torch.inference_mode():
        half, whole = other(image[:1].bfloat16(), "full").logits.float(), network(image[:1], "full").logits
    assert float((half - whole).abs().mean()) < 0.05 * float(whole.abs().mean())


def test_gates_send_no_gradient_into_the_trunk(network: LNN, image: Tensor) -> None:
    seen = network.see(image[:1])
    (seen.case_gate.sum() + seen.block_gate.sum()).backward()
    assert all(parameter.grad is None for parameter in network.trunk.parameters())
    assert all(parameter.grad is not None for parameter in network.gates.parameters())
    network.zero_grad(set_to_none=True)


def test_a_new_network_begins_with_all_gates_open() -> None:
    torch.manual_seed(0)
    found = LNN(TINY)(torch.rand(1, 2, 16, 16, 16), "auto")
    assert (found.stages == TINY.exits - 1).all()
