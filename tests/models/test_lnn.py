"""The adaptive network: gathered blocks against the dense path, depth, budget, and the bill for the work."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lnn_med.models.blocks import ChannelNorm, ResidualBlock
from lnn_med.models.cover import Box, Plan, plan
from lnn_med.models.expected_gain import ExpectedGain
from lnn_med.models.layer_attention import LayerAttentionStage
from lnn_med.models.lnn import LNN
from lnn_med.models.lnn_config import LNNConfig

TINY = LNNConfig(
    classes=4,
    in_channels=2,
    trunk_channels=(8, 12),
    trunk_blocks=(1, 2),
    decoder_blocks=(1,),
    attention_level=1,
    attention_block=2,
    attention_top_k=3,
    fine_channels=6,
    fine_blocks=(2, 1),
    block_size=8,
)
SHAPE = (40, 24, 32)  # 5 x 3 x 4 blocks, 480 tokens at 1/4
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


class FixedGates(nn.Module):
    """Gates that order the stages they were given (B, I, J, K)."""

    def __init__(self, stages: Tensor, count: int) -> None:
        super().__init__()
        self.stages, self.count = stages, count

    def forward(self, features: Tensor, entropy: Tensor, spacing_ratio: Tensor) -> tuple[Tensor, Tensor]:
        sure = torch.rand(self.stages.shape[1:], generator=torch.Generator().manual_seed(0)) + 0.1
        block = torch.stack([torch.where(self.stages > n, sure, -sure) for n in range(self.count)], dim=1)
        return torch.ones(len(self.stages), self.count), block


@pytest.fixture(scope="module", params=["channel", "batch"])
def network(request: pytest.FixtureRequest) -> LNN:
    """A network with either norm whose parts all matter: nothing is left at its gentle beginning."""
    torch.manual_seed(0)
    result = LNN(replace(TINY, norm=request.param))
    for module in result.modules():
        if isinstance(module, ResidualBlock):
            nn.init.normal_(module.mix.weight, std=0.3)
            nn.init.normal_(module.mix.bias, std=0.3)
        if isinstance(module, ChannelNorm | nn.BatchNorm3d):
            nn.init.normal_(module.bias, std=0.3)
        if isinstance(module, nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    result.temperature.copy_(torch.tensor([0.7, 1.3, 2.0]))
    return result.eval()


@pytest.fixture(scope="module")
def image() -> Tensor:
    """Two cases (2, in, X, Y, Z)."""
    return torch.rand(2, TINY.in_channels, *SHAPE, generator=torch.Generator().manual_seed(1))


def with_gates(network: LNN, stages: Tensor) -> LNN:
    """The same weights under gates that order `stages` (B, I, J, K)."""
    result = copy.copy(network)
    result._modules = dict(network._modules)
    result.gates = FixedGates(stages, TINY.exits - 1)  # type: ignore[assignment]
    return result


def grid_of(shape: tuple[int, int, int] = SHAPE, cases: int = 1) -> tuple[int, int, int, int]:
    i, j, k = (size // TINY.block_size for size in shape)
    return cases, i, j, k


def random_stages(cases: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, TINY.exits, grid_of(cases=cases), generator=generator)


def at_block(logits: Tensor, place: tuple[int, int, int]) -> Tensor:
    i, j, k = (slice(n * TINY.block_size, (n + 1) * TINY.block_size) for n in place)
    return logits[..., i, j, k]


def block_by_block(stages: Tensor) -> list[Plan]:
    """Plans (one a case) in which every block is a box of its own."""
    plans = []
    for case in stages:
        boxes = [
            Box((i, j, k), (1, 1, 1), int(case[i, j, k])) for i, j, k in case.nonzero().tolist()
        ]  # fmt: skip
        plans.append(Plan(boxes, 0.0, case.numpy()))
    return plans


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


@pytest.mark.parametrize(("depth", "budget"), [("full", None), (1, None), ("auto", None), ("auto", 0.5)])
@torch.inference_mode()
def test_a_batch_equals_its_cases_one_by_one(
    network: LNN, image: Tensor, depth: str | int, budget: float | None
) -> None:
    stages = torch.cat([random_stages(1, 3), torch.full(grid_of(), 2)])
    ratio = torch.tensor([[1.0, 1.0, 3.0], [1.0, 2.0, 1.0]])
    together = with_gates(network, stages)(image, depth, budget, ratio)
    for n in range(2):
        alone = with_gates(network, stages[n : n + 1])(image[n : n + 1], depth, budget, ratio[n : n + 1])
        assert torch.equal(together.stages[n], alone.stages[0])
        torch.testing.assert_close(together.logits[n], alone.logits[0], **CLOSE)


@torch.inference_mode()
def test_auto_takes_the_dense_path_where_halos_cost_more(network: LNN, image: Tensor) -> None:
    nearly_all = torch.full(grid_of(), 2)
    nearly_all[0, 0, 0, 0] = 0
    found = with_gates(network, nearly_all)(image[:1], "auto")
    assert (found.stages == 2).all()
    assert found.flops == [network.costs(SHAPE).full]
    assert torch.equal(found.logits, network(image[:1], "full").logits)


@pytest.mark.parametrize("budget", [0.3, 0.5, 0.8, 1.0])
@torch.inference_mode()
def test_auto_stays_within_its_budget(network: LNN, image: Tensor, budget: float) -> None:
    costs = network.costs(SHAPE)
    assert costs.trunk < 0.3 * costs.full
    for wanted in (torch.full(grid_of(), 2), random_stages(1, 5)):
        gated = with_gates(network, wanted)
        (free,), (spent,) = gated(image[:1], "auto").flops, gated(image[:1], "auto", budget).flops
        assert costs.trunk < spent <= budget * costs.full
        assert spent > 0.5 * min(budget * costs.full, free)  # and uses what it may


@torch.inference_mode()
def test_a_budget_goes_where_the_first_exit_doubts(network: LNN, image: Tensor) -> None:
    costs, seen = network.costs(SHAPE), network.see(image[:1])
    assert seen.entropy.shape == grid_of()
    coarse = network(image[:1], 1).logits[..., ::2, ::2, ::2].softmax(dim=1)  # one of eight voxels
    entropy = -(coarse * coarse.log()).sum(dim=1) / np.log(TINY.classes)
    blocks = torch.nn.functional.avg_pool3d(entropy, TINY.block_size // 2)
    torch.testing.assert_close(seen.entropy, blocks, **CLOSE)
    doubts = torch.zeros_like(seen.entropy)
    doubts[0, 1, 2, 3], doubts[0, 4, 0, 0] = 1.0, 0.6
    for boxes, expected in (
        ([1], {(1, 2, 3): 1}),
        ([1, 1], {(1, 2, 3): 1, (4, 0, 0): 1}),  # 0.6 is more than half of 1
        ([2, 1], {(1, 2, 3): 2, (4, 0, 0): 1}),
    ):
        price = costs.trunk + sum(costs.box((1, 1, 1), stages) for stages in boxes)
        (found,) = network._plans(seen._replace(entropy=doubts), costs, 1.001 * price / costs.full)
        deep = {tuple(place): int(found.stages[tuple(place)]) for place in np.argwhere(found.stages)}
        assert deep == expected


@torch.inference_mode()
def test_auto_goes_where_the_fitted_gain_pays_and_coarse_scans_leave_earlier(
    network: LNN, image: Tensor
) -> None:
    fitted, costs = copy.deepcopy(network), network.costs(SHAPE)
    entropy = network.see(image[:1]).entropy
    price, most = (float(entropy.quantile(share)) for share in (0.6, 0.95))
    halved = float(np.log(price / most) / np.log(2))  # at 2 the 0.95 quantile gains what the 0.6 does at 1
    later = 0.5 * np.log(price / most)
    fitted.gain = ExpectedGain((0.0, later), (1.0, 1.0), (halved, halved), price)
    native, coarse = (fitted(image[:1], "auto", spacing_ratio=torch.full((1, 3), r)) for r in (1.0, 2.0))
    pays = torch.stack([entropy, entropy * np.exp(later)]) > price
    assert (native.stages >= pays.sum(dim=0)).all()  # boxes may hold more
    expected = plan(pays.sum(dim=0)[0].numpy(), costs.box)
    assert np.array_equal(native.stages[0].numpy(), expected.stages)
    assert native.flops == [costs.trunk + expected.cost]
    assert costs.trunk < coarse.flops[0] < native.flops[0] < costs.full
    assert int(coarse.stages.amax()) > 0


@pytest.mark.parametrize("shape", [SHAPE, (48, 32, 32)])  # 480 tokens: dense attention; 768: blocks
def test_costs_equal_an_independent_count(network: LNN, shape: tuple[int, int, int]) -> None:
    costs = network.costs(shape)
    image = torch.zeros(1, TINY.in_channels, *shape)
    features = torch.zeros(1, TINY.trunk_channels[0], *(size // 2 for size in shape))
    block = TINY.block_size
    trunk = counted(lambda: network.trunk(image))
    assert costs.trunk == trunk + counted(lambda: network.exit(features))
    assert costs.dense == [
        costs.trunk,
        *(trunk + counted(lambda s=s: network.dense(image, features, s)) for s in (1, 2)),
    ]
    assert costs.full == costs.dense[-1]
    one = torch.zeros(1, TINY.in_channels, block, 2 * block, block)
    its_features = torch.zeros(1, TINY.trunk_channels[0], block // 2, block, block // 2)
    for stages in (1, 2):
        expected = counted(lambda s=stages: network.dense(one, its_features, s))
        assert costs.box((1, 2, 1), stages) == expected
        grid = tuple(size // block for size in shape)
        assert costs.trunk + costs.box(grid, stages) == costs.dense[stages]


@pytest.mark.parametrize(
    ("change", "skipped"),
    [
        ({"layer_attention": (1,)}, False),
        ({"layer_attention": (0, 1), "trunk_blocks": (3, 2)}, True),
        ({"reversible": (0, 1)}, False),
        ({"reversible": (1,), "layer_attention": (0,)}, False),
    ],
)
def test_variants_of_the_trunk_run_learn_and_cost_what_is_counted(
    change: dict[str, object], skipped: bool, image: Tensor
) -> None:
    network = LNN(replace(TINY, **change))  # type: ignore[arg-type]
    if skipped:
        for part in network.modules():
            if isinstance(part, LayerAttentionStage):
                part.skipped[1] = True
    features = network.see(image).features
    features.square().mean().backward()
    missing = {name for name, p in network.trunk.named_parameters() if p.grad is None}
    assert all(".retrievals.1." in name for name in missing)
    assert bool(missing) == skipped
    counted_there = counted(lambda: network.trunk(image[:1])) + counted(
        lambda: network.exit(features[:1].detach())
    )
    assert network.costs(SHAPE).trunk == pytest.approx(counted_there, rel=2e-3)  # without queries and keys


def test_counted_work_of_sparse_runs_is_the_work_really_done(network: LNN, image: Tensor) -> None:
    for seed in (0, 1):
        stages = random_stages(1, seed) * (torch.rand(grid_of(), generator=torch.manual_seed(seed)) < 0.4)
        gated = with_gates(network, stages)
        found = gated(image[:1], "auto")
        assert 0 < len(found.stages.unique()) < 4
        done = counted(lambda gated=gated: gated(image[:1], "auto"))
        looked = counted(lambda: network.exit_at(network.see(image[:1]).features, (0, 0, 0)))
        deciding = counted(lambda gated=gated: gated.see(image[:1])) - counted(
            lambda: network.trunk(image[:1])
        )
        assert looked > deciding > 0
        assert found.flops == [done - deciding]


def counted(work: object) -> int:
    """FLOPs that torch's own counter sees."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()  # type: ignore[operator]
    return counter.get_total_flops()


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
