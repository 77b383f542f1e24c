"""Where a run starts: the weights of a bundle, or the mean of several, with the record of all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lnn_med.errors import ConfigError
from lnn_med.inference.bundle import load_bundle
from lnn_med.training import loop
from lnn_med.training.start import find_start, mean_of
from tests.training import toys

QUICK = ["schedule.steps=2", "network.reversible=[]", "network.norm=batch", "skip.share=0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A first run, two that start from it, and one of another shape."""
    folder = tmp_path_factory.mktemp("start")
    toys.write_data(folder / "data")
    config = toys.write_config(folder)
    loop.train(config, folder / "first", QUICK)
    start = f"init=bundle:{folder / 'first' / 'bundle'}"
    for seed in (2, 3):
        more = [start, f"seed={seed}", f"version=0.{seed}.0"]
        loop.train(config, folder / f"seed{seed}", [*QUICK, *more])
    loop.train(config, folder / "wider", [*QUICK, "network.fine_channels=8"])
    return folder


def named(folder: Path, *runs: str) -> str:
    """What `init` says to start from these runs."""
    return ", ".join(f"bundle:{folder / run / 'bundle'}" for run in runs)


def test_a_run_starts_from_the_mean_of_several_bundles_and_tells_the_story_of_all(folder: Path) -> None:
    start = find_start(named(folder, "seed2", "seed3"))
    states = [load_bundle(folder / run / "bundle").network().state_dict() for run in ("seed2", "seed3")]
    differing = 0
    for name, value in start.weights.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (states[0][name] + states[1][name]) / 2)
            differing += not torch.equal(states[0][name], states[1][name])
    assert differing > 20
    assert [piece.get("version") for piece in start.pieces] == ["0.1.0", "0.2.0", "0.3.0"]

    bundle = loop.train(
        toys.write_config(folder),
        folder / "mean",
        [*QUICK, f"init={named(folder, 'seed2', 'seed3')}", "version=0.4.0", "schedule.learning_rate=1e-12"],
    )
    assert bundle is not None
    names = [load_bundle(folder / run / "bundle").named for run in ("seed2", "seed3")]
    assert bundle.info.training["pieces"][-1]["init"] == names
    card = (bundle.path / "model_card.md").read_text()
    assert f"4. From the mean of the weights of {names[0]}, {names[1]}: 2 steps" in card
    assert "Gave 0.4.0." in card
    for name, value in bundle.network().trunk.named_parameters(prefix="trunk"):
        torch.testing.assert_close(value.data, start.weights[name], atol=1e-4, rtol=1e-3)  # stored as float16


def test_no_step_writes_the_start_as_it_is(folder: Path) -> None:
    init = named(folder, "seed2", "seed3")
    options = [*QUICK, f"init={init}", "version=0.5.0", "schedule.steps=0"]
    bundle = loop.train(toys.write_config(folder), folder / "as_it_is", options)
    assert bundle is not None
    weights = bundle.network().state_dict()
    for name, value in find_start(init).weights.items():
        torch.testing.assert_close(weights[name], value, atol=1e-4, rtol=1e-3)  # stored as float16
    assert len(bundle.info.metrics["dice_exits"]) == bundle.info.network.exits
    card = (bundle.path / "model_card.md").read_text()
    assert "no further step. Gave 0.5.0." in card
    again = loop.train(toys.write_config(folder), folder / "as_it_is", options)
    assert again is not None
    assert again.weights_sha256 == bundle.weights_sha256


def test_no_step_and_no_start_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="without init there is nothing to write"):
        loop.train(toys.write_config(folder), folder / "nothing", ["schedule.steps=0"])


def test_means_keep_the_type_of_each_entry() -> None:
    first = {"a": torch.tensor([1.0, 2.0]), "n": torch.tensor(3), "mask": torch.tensor([True, False, False])}
    other = {"a": torch.tensor([3.0, 2.0]), "n": torch.tensor(6), "mask": torch.tensor([True, True, False])}
    mean = mean_of([first, other])
    assert torch.equal(mean["a"], torch.tensor([2.0, 2.0]))
    assert (mean["n"].item(), mean["n"].dtype) == (4, torch.int64)
    assert mean["mask"].tolist() == [True, True, False]


@pytest.mark.parametrize("init", ["weights.pt", "bundle:", "bundle:hippocampus-t1, weights.pt", "bundle:a,"])
def test_another_form_is_refused(init: str) -> None:
    with pytest.raises(ConfigError, match="with commas between"):
        find_start(init)


def test_networks_of_other_shapes_have_no_mean(folder: Path) -> None:
    with pytest.raises(ConfigError, match="have no mean"):
        find_start(named(folder, "first", "wider"))
