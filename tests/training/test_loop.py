"""Training on a toy data set: it learns, it goes on where it stopped, two processes equal one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lnn_med.errors import ConfigError
from lnn_med.inference.bundle import Bundle, load_bundle, save_calibration
from lnn_med.inference.calibration import Calibration
from lnn_med.training import loop
from lnn_med.training.datasets import load_cases
from lnn_med.training.loop import train
from lnn_med.training.run_config import read_run_config
from tests.ports import free_port
from tests.training.toys import gradient, help_train, write_config, write_data

STEPS = 40
PNG = b"\x89PNG\r\n\x1a\n"


class PowerCutError(Exception):
    """Stands for a power cut."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy")
    write_data(path / "data")
    return path


@pytest.fixture(scope="module")
def config(folder: Path) -> Path:
    return write_config(folder)


@pytest.fixture(scope="module")
def losses() -> list[dict[str, float]]:
    """Filled by the undisturbed run."""
    return []


@pytest.fixture(scope="module")
def undisturbed(folder: Path, config: Path, losses: list[dict[str, float]]) -> Bundle:
    bundle = train(config, folder / "whole", progress=lambda step, steps, parts: losses.append(parts))
    assert bundle is not None
    return bundle


def rows(run: Path) -> list[dict]:
    """The log without its clock."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "minutes"} for line in lines]


def final_weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / json.loads((run / "state.json").read_text())["checkpoint"])


def test_the_loss_falls_at_every_exit(undisturbed: Bundle, losses: list[dict[str, float]]) -> None:
    assert len(losses) == STEPS
    first = [parts["exit_1"] for parts in losses[:5]]
    last = [parts["exit_1"] for parts in losses[-5:]]
    assert sum(last) < 0.7 * sum(first)
    fine = [parts["exit_3"] for parts in losses if "exit_3" in parts]
    assert len(fine) == 28  # after the coarse share of 0.3
    assert sum(fine[-5:]) < sum(fine[:5])


def test_a_run_leaves_a_log_a_curve_and_one_checkpoint(undisturbed: Bundle, folder: Path) -> None:
    run = folder / "whole"
    log = rows(run)
    assert [row["step"] for row in log] == [20, 20, 40, 40]
    assert log[0]["exit_1"] > 0
    assert log[1]["validation"]["cases"] == 2
    assert (run / "curve.png").read_bytes().startswith(PNG)
    assert [path.name for path in run.glob("*checkpoint*")] == ["40-checkpoint.safetensors"]
    assert json.loads((run / "state.json").read_text())["best"] == undisturbed.info.metrics["dice_full"]


def test_the_bundle_knows_where_it_comes_from_and_finds_the_ellipsoids(
    undisturbed: Bundle, folder: Path, config: Path
) -> None:
    info = load_bundle(folder / "whole" / "bundle").info
    assert len(info.split["train"]) == 6
    assert len(info.split["val"]) == 2
    (piece,) = info.training["pieces"]
    assert piece["steps"] in (20, 40)
    assert set(info.metrics["structures"]) == {"Alpha", "Beta"}
    card = (folder / "whole" / "bundle" / "model_card.md").read_text()
    assert "Research use only" in card
    assert "0 steps of 2 (trunk and stages), muon at 0.02; the trunk alone for the first 30 %" in card
    read = read_run_config(config)
    cases = load_cases(read.data, info.split["val"], read.space, read.labels)
    network, dice = undisturbed.network(), torch.zeros(2)
    for case in cases:
        with torch.inference_mode():
            found = network(case.image.float()[None, None], "full").logits[0].argmax(0)
        for n in (1, 2):
            both = ((found == n) & (case.labels == n)).sum()
            dice[n - 1] += both / ((found == n).sum() + (case.labels == n).sum())
    assert dice.tolist() == pytest.approx(list(info.metrics["structures"].values()), abs=0.01)
    assert dice.min() > 0.25
    assert dice.mean() > 0.5


def test_an_interrupted_run_goes_on_to_the_same_curve_and_weights(
    undisturbed: Bundle, folder: Path, config: Path
) -> None:
    run = folder / "interrupted"

    def power_cut(step: int, steps: int, parts: dict[str, float]) -> None:
        if step == 25:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        train(config, run, progress=power_cut)
    assert json.loads((run / "state.json").read_text())["step"] == 24
    with (run / "log.jsonl").open("a") as log:
        log.write('{"step": 25, "exit_1": 9}\n{"step": 26, "exi')  # written after the checkpoint, and torn
    train(config, run)
    assert rows(run) == rows(folder / "whole")
    expected, found = final_weights(folder / "whole"), final_weights(run)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert load_bundle(run / "bundle").weights_sha256 == undisturbed.weights_sha256


def test_a_timed_run_stops_resumes_and_keeps_its_best(folder: Path, config: Path) -> None:
    run = folder / "timed"
    bundle = train(config, run, ["minutes=1e-9", "schedule.steps=3"])
    assert bundle is not None
    state = json.loads((run / "state.json").read_text())
    assert state["step"] == 1
    assert state["best"] == bundle.info.metrics["dice_full"]
    steps: list[int] = []
    train(config, run, ["schedule.steps=3"], progress=lambda step, total, parts: steps.append(step))
    assert steps == [2, 3]


def test_a_complete_run_gives_its_bundle_again(undisturbed: Bundle, folder: Path, config: Path) -> None:
    called: list[int] = []
    again = train(config, folder / "whole", progress=lambda step, steps, parts: called.append(step))
    assert again == undisturbed
    assert called == []


def test_the_run_folder_of_another_configuration_is_refused(
    undisturbed: Bundle, folder: Path, config: Path
) -> None:
    with pytest.raises(ConfigError, match="whole: the run was started with another configuration"):
        train(config, folder / "whole", ["schedule.learning_rate=0.03"])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("schedule.step=3", "Did you mean `steps`?"),
        ("lables=[]", "Did you mean `labels`?"),
        ("schedule.batch=0", "at least 1"),
        ("window=[32, 32, 30]", "multiples of 8"),
        ("init=weights.pt", "`bundle:NAME` is needed"),
        ("data.root=/nowhere", "no folder `imagesTr`"),
        ("data.folds=1", "0 remain to train"),
    ],
)
def test_a_configuration_that_cannot_work_stops_before_training(
    tmp_path: Path, config: Path, assignment: str, message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        train(config, tmp_path / "run", [assignment])
    assert message in str(refused.value)


def test_a_run_can_start_from_the_weights_of_a_bundle(
    undisturbed: Bundle, folder: Path, config: Path
) -> None:
    start = f"init=bundle:{folder / 'whole' / 'bundle'}"
    run = loop._Run(read_run_config(config, [start]), folder / "warm", ALONE)
    expected = undisturbed.network().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in run.network.state_dict().items())
    assert run.earlier == undisturbed.info.training["pieces"]  # the next bundle tells the whole story
    with pytest.raises(ConfigError, match="do not fit this network"):
        loop._Run(read_run_config(config, [start, "network.fine_channels=4"]), folder / "other", ALONE)


def test_a_calibrated_start_leaves_its_temperatures_behind(
    undisturbed: Bundle, folder: Path, config: Path, tmp_path: Path
) -> None:
    """Else the next calibration would be fitted on top of them, and loading would lose them."""
    shutil.copytree(folder / "whole" / "bundle", tmp_path / "calibrated")
    hot = (1.7,) * undisturbed.info.network.exits
    calibrated = save_calibration(tmp_path / "calibrated", Calibration(temperature=hot))
    assert calibrated.network().temperature.tolist() == pytest.approx(hot)
    run = loop._Run(read_run_config(config, [f"init=bundle:{calibrated.path}"]), tmp_path / "run", ALONE)
    assert run.network.temperature.tolist() == [1.0] * len(hot)


ALONE = loop.Team(0, 1, torch.device("cpu"))


def test_a_batch_that_does_not_divide_among_processes_is_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch 2 does not divide among 3 processes"):
        loop._Run(read_run_config(config), tmp_path, loop.Team(0, 3, torch.device("cpu")))


def test_batch_norm_needs_one_process(config: Path, tmp_path: Path) -> None:
    run_config = read_run_config(config, ["network.norm=batch", "network.reversible=[]"])
    with pytest.raises(ConfigError, match="norm batch"):
        loop._Run(run_config, tmp_path, loop.Team(0, 2, torch.device("cpu")))


def test_a_bundle_with_batch_norm_can_be_loaded_and_trained_on(config: Path, tmp_path: Path) -> None:
    batch = ["network.norm=batch", "network.reversible=[]", "schedule.steps=3"]
    bundle = loop.train(config, tmp_path / "first", batch)
    assert bundle is not None
    seen = bundle.network()
    assert any(isinstance(part, nn.BatchNorm3d) for part in seen.modules())
    image = torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(bundle.network().fold()(image, "full").logits, seen(image, "full").logits)
    alone = ["only=gates", "loss.coarse_share=0", "loss.gate_share=1"]
    gates = loop.train(config, tmp_path / "gates", [*batch, f"init=bundle:{bundle.path}", *alone])
    assert gates is not None
    for name, value in gates.network().state_dict().items():
        same = torch.equal(value, seen.state_dict()[name])
        assert same or name.startswith("gates"), name
    again = loop.train(config, tmp_path / "second", [*batch, f"init=bundle:{bundle.path}"])
    assert again is not None
    assert len(again.info.training["pieces"]) == 2


@pytest.fixture(scope="module")
def short(folder: Path) -> Path:
    """Three steps of plain gradient descent, so that weights follow gradients in proportion."""
    (folder / "short").mkdir()
    (folder / "short" / "data").symlink_to(folder / "data")
    schedule = {"steps": 3, "batch": 2, "optimizer": "sgd", "learning_rate": 0.1, "warmup": 1}
    return write_config(folder / "short", schedule=schedule)


@pytest.fixture(scope="module")
def two_processes(folder: Path, short: Path) -> Path:
    torch.multiprocessing.spawn(help_train, (short, folder, (free_port(), free_port())), nprocs=2)
    return folder


@pytest.mark.parametrize("coarse", [True, False])
def test_two_processes_have_the_loss_and_gradient_of_one(
    two_processes: Path, folder: Path, short: Path, coarse: bool
) -> None:
    expected = gradient(short, folder / "one_gradient", ALONE, coarse)
    found = torch.load(two_processes / f"gradients_{coarse}.pt", weights_only=True)
    assert any(name.startswith("fine") for name in expected) is not coarse
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4, msg=name)


def test_two_processes_end_with_the_weights_and_files_of_one(
    two_processes: Path, folder: Path, short: Path
) -> None:
    train(short, folder / "one", ["workers=1"])
    expected, found = final_weights(folder / "one"), final_weights(folder / "two")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4, equal_nan=True, msg=name)
    names = sorted(path.name for path in (folder / "one").iterdir())
    assert sorted(path.name for path in (folder / "two").iterdir()) == names
