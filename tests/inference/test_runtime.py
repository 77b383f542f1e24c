"""A bundle's network at work: options, counted depth, and the bill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.inference import runtime
from lnn_med.inference.bundle import load_bundle, save_bundle
from lnn_med.inference.head import spacing_ratio, uncertainty
from lnn_med.inference.runtime import Engine, RuntimeConfig, choose_device, number_type
from lnn_med.models.lnn import LNN
from lnn_med.volume import Volume
from tests.inference.heads import TINY, info
from tests.phantoms import phantom, reordered

ONES = (1.0, 1.0, 1.0)
IMAGE = np.random.default_rng(0).random((48, 32, 32), dtype=np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    network = LNN(TINY)
    torch.nn.init.normal_(network.gates.block[-1].weight, std=3.0)  # so that blocks differ
    save_bundle(path, info(), network, "")
    return path


def engine_of(folder: Path, **options: object) -> Engine:
    return Engine(load_bundle(folder), RuntimeConfig(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": "deep"}, "depth is 'deep'"),
        ({"depth": 0}, "depth is '0'"),
        ({"depth": "-1"}, "depth is '-1'"),
        ({"budget": 0.0}, "budget is 0"),
        ({"budget": 1.5}, "budget is 1.5"),
        ({"budget": 0.5, "depth": "full"}, "budget works with depth auto"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"runtime": "magic"}, "runtime is 'magic'"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RuntimeConfig(**options)


def test_a_depth_given_as_text_is_a_number() -> None:
    assert RuntimeConfig(depth="2").network_depth == 2
    assert RuntimeConfig(depth="full").network_depth == "full"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_that_is_absent_is_refused() -> None:
    with pytest.raises(ConfigError, match="--device cpu"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


@pytest.mark.parametrize(
    ("device", "bf16", "capability", "expected"),
    [
        ("cuda", True, (8, 0), torch.bfloat16),
        ("cuda", False, (7, 5), torch.float16),
        ("cuda", False, (6, 1), torch.float32),
        ("cpu", True, None, torch.bfloat16),
        ("cpu", False, None, torch.float32),  # float16 would take a hundred times as long
    ],
)
def test_the_number_type_is_what_the_device_is_fast_in(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    bf16: bool,
    capability: tuple[int, int] | None,
    expected: torch.dtype,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert number_type(torch.device(device)) == expected


def test_float16_gives_the_labels_of_float32_and_where_it_overflows_float32_answers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    loud = LNN(TINY)
    torch.nn.init.constant_(next(loud.trunk.parameters()), 6e4)
    save_bundle(tmp_path / "loud", info(), loud, "")
    for place, kept in ((folder, torch.float16), (tmp_path / "loud", torch.float32)):
        runs = {}
        for dtype in (torch.float32, torch.float16):
            monkeypatch.setattr(runtime, "number_type", lambda _, dtype=dtype: dtype)
            engine = engine_of(place, depth="full", device="cpu")
            assert next(engine.network.trunk.parameters()).dtype == dtype
            runs[dtype] = engine(IMAGE, ONES).probabilities
        assert engine.dtype == kept
        assert next(engine.network.trunk.parameters()).dtype == kept
        assert runs[torch.float16].isfinite().all()
        labels = [run.argmax(dim=-1) for run in runs.values()]
        assert (labels[0] == labels[1]).double().mean() > 0.998
        assert ("float16 overflowed" in caplog.text) == (kept == torch.float32)


@pytest.mark.parametrize(
    ("fast", "changes", "expected"),
    [
        (True, (0.5, -0.001, 0.0), "bf16"),
        (True, (0.0, -0.0011, 0.0), "f32"),
        (True, (0.0, 0.0011, 0.0), "f32"),
        (True, (), "f32"),  # was never measured
        (False, (0.0, 0.0, 0.0), "f32"),
    ],
)
def test_a_static_graph_computes_in_bfloat16_only_where_its_dice_was_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fast: bool, changes: tuple[float, ...], expected: str
) -> None:
    pytest.importorskip("openvino", reason="needs the extra cpu")
    monkeypatch.setattr(runtime, "has_bf16", lambda _: fast)
    bundle = load_bundle(folder)
    measured = replace(bundle, calibration=replace(bundle.calibration, static_bf16=changes))
    engine = Engine(measured, RuntimeConfig(depth=2, runtime="openvino"))
    assert engine.graph is not None
    assert engine.graph.precision == expected


def test_a_run_gives_probabilities_depth_and_cost(folder: Path) -> None:
    engine = engine_of(folder, depth="full", device="cpu")
    run = engine(IMAGE, ONES)
    assert run.probabilities.shape == (*IMAGE.shape, TINY.classes)
    np.testing.assert_allclose(run.probabilities.float().sum(-1), 1, atol=0.02)
    assert run.depth.dtype == np.uint8
    assert (run.depth == TINY.depths[-1]).all()
    assert run.gflops == run.gflops_full == engine.network.costs(IMAGE.shape).full / 1e9
    assert run.seconds > 0
    (attention,) = run.attention
    assert (attention.tokens, attention.path) == (12 * 8 * 8, "block")
    assert "1/4" in attention.stage


def test_exit_1_can_be_asked_for_at_every_depth(folder: Path) -> None:
    alone = engine_of(folder, depth=1, device="cpu")(IMAGE, ONES).probabilities
    for depth in ("auto", "full", 1):
        run = engine_of(folder, depth=depth, device="cpu")(IMAGE, ONES)
        assert run.first_exit is not None
        assert torch.equal(run.first_exit(), alone)
        assert torch.equal(run.probabilities, alone) == (depth == 1)


@pytest.mark.parametrize(("depth", "exit_number"), [(1, 1), (2, 2), (3, 3)])
def test_each_depth_costs_and_shows_what_it_runs(folder: Path, depth: int, exit_number: int) -> None:
    engine = engine_of(folder, depth=depth, device="cpu")
    run = engine(IMAGE, ONES)
    assert (run.depth == TINY.depths[exit_number - 1]).all()
    assert run.gflops == engine.network.costs(IMAGE.shape).dense[exit_number - 1] / 1e9
    assert run.gflops_full == engine.network.costs(IMAGE.shape).full / 1e9


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_a_depth_that_the_network_has_not_is_refused(folder: Path, runtime: str) -> None:
    with pytest.raises(ConfigError, match=r"depth is 4; .* has 3 exits"):
        engine_of(folder, depth=4, device="cpu", runtime=runtime)


def test_a_budget_is_spent_whatever_the_gates_would_do_and_one_below_the_trunk_is_refused(
    folder: Path,
) -> None:
    closed = engine_of(folder, device="cpu")
    torch.nn.init.constant_(closed.network.gates.case[-1].bias, -9.0)
    assert (closed(IMAGE, ONES).depth == TINY.depths[0]).all()
    trunk = closed.network.costs(IMAGE.shape).trunk / closed.network.costs(IMAGE.shape).full
    spent = []
    for budget in (trunk + 0.1, 0.7, 1.0):
        engine = engine_of(folder, device="cpu", budget=budget)
        engine.network.gates = closed.network.gates
        run = engine(IMAGE, ONES)
        spent.append(run.gflops / run.gflops_full)
        assert trunk < spent[-1] <= budget
    assert spent[0] < spent[1] < spent[2] == 1
    with pytest.raises(
        ConfigError, match=r"budget is 0.05; the trunk .* Give at least 0\.\d\d, or --depth 1"
    ):
        engine_of(folder, device="cpu", budget=0.05)


def test_auto_never_costs_more_than_full_and_its_map_is_what_ran(folder: Path) -> None:
    engine = engine_of(folder, device="cpu")
    for budget in (None, 0.5):
        run = engine_of(folder, device="cpu", budget=budget)(IMAGE, ONES)
        assert run.gflops <= (budget or 1) * run.gflops_full
        blocks = run.depth[::16, ::16, ::16]
        assert np.array_equal(blocks.repeat(16, 0).repeat(16, 1).repeat(16, 2), run.depth)
        assert set(np.unique(run.depth)) <= set(TINY.depths)
        costs = engine.network.costs(IMAGE.shape)
        assert (run.gflops > costs.trunk / 1e9) == bool((run.depth > TINY.depths[0]).any())


def test_all_blocks_open_costs_the_dense_path_and_no_halos(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_bundle(tmp_path / "open", info(), LNN(TINY), "")  # a new network has all gates open
    run = engine_of(tmp_path / "open", device="cpu")(IMAGE, ONES)
    assert (run.depth == TINY.depths[-1]).all()
    assert run.gflops == run.gflops_full


def test_memory_that_does_not_suffice_has_its_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(folder, device="cpu")

    def no_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(LNN, "forward", no_memory)
    with pytest.raises(InputError) as refused:
        engine(IMAGE, ONES)
    assert refused.value.code is Code.RESOURCE


def test_entropy_is_0_where_certain_and_1_where_all_classes_are_equal(folder: Path) -> None:
    run = engine_of(folder, depth=1, device="cpu")(IMAGE, ONES)
    probabilities = torch.zeros(3, 2, 2, 5)
    probabilities[0, ..., 1] = 1
    probabilities[1:] = 0.2
    found, spread = uncertainty(run._replace(probabilities=probabilities))
    np.testing.assert_allclose(found[0], 0, atol=1e-6)
    np.testing.assert_allclose(found[1:], 1, atol=1e-5)
    np.testing.assert_allclose(spread, 8 * 0.2 * 0.8, rtol=1e-6)  # 8 uncertain voxels of 12


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SAL", "IPR", "ARS"])
def test_spacing_ratio_is_told_along_right_front_up(codes: str) -> None:
    scan = reordered(phantom(shape=(9, 8, 7), spacing_mm=(1.0, 3.0, 5.0), tilt_deg=(3, -4, 5)), codes)
    assert spacing_ratio(scan, 2.0) == pytest.approx((1.0, 1.5, 2.5))


def test_spacing_ratio_of_a_volume_in_memory() -> None:
    assert spacing_ratio(Volume(np.zeros((2, 2, 2)), np.diag([4.0, 2.0, 1.0, 1.0])), 2.0) == (2.0, 1.0, 1.0)


@pytest.mark.parametrize("options", [{"depth": "auto"}, {"depth": "full", "device": "cuda"}])
def test_openvino_runs_fixed_exits_on_the_cpu_only(options: dict) -> None:
    with pytest.raises(ConfigError, match="--depth full, or 1, 2"):
        RuntimeConfig(runtime="openvino", **options)


@pytest.mark.parametrize("depth", ["1", "full"])
def test_openvino_gives_what_torch_gives(folder: Path, depth: str) -> None:
    pytest.importorskip("openvino", reason="needs the extra cpu")
    torch_run = engine_of(folder, depth=depth, device="cpu", runtime="torch")(IMAGE, ONES)
    engine = engine_of(folder, depth=depth, runtime="openvino")
    for image in (IMAGE, IMAGE[:32], IMAGE):  # every shape gets a graph of its own
        run = engine(image, ONES)
        assert run.probabilities.shape == (*image.shape, TINY.classes)
    np.testing.assert_allclose(run.probabilities, torch_run.probabilities.float(), atol=0.03)
    np.testing.assert_array_equal(run.depth, torch_run.depth)
    np.testing.assert_allclose(run.summary, torch_run.summary, atol=0.05, rtol=0.05)
    assert (run.gflops, run.gflops_full) == (torch_run.gflops, torch_run.gflops_full)


def test_openvino_that_answers_otherwise_than_torch_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="needs the extra cpu")
    engine = engine_of(folder, depth="1", runtime="openvino")
    assert engine.graph is not None
    run = engine.graph._run
    monkeypatch.setattr(engine.graph, "_run", lambda image: (run(image)[0].flip(1), run(image)[1]))
    with pytest.raises(ConfigError, match=r"Use --runtime torch"):
        engine(IMAGE, ONES)
