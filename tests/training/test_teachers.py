"""Teachers: what they say, what it costs to disagree with them, and which may not teach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lnn_med.errors import ConfigError
from lnn_med.inference.bundle import Bundle, load_bundle
from lnn_med.models.lnn import LNN
from lnn_med.training import loop
from lnn_med.training.losses import LossConfig, network_loss
from lnn_med.training.run_config import read_run_config
from lnn_med.training.teachers import Teachers, bundle_teacher, find_teachers
from tests.training import toys
from tests.training.test_losses import EQUAL, TINY, batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy data set, and two short runs of other seeds with their bundles."""
    folder = tmp_path_factory.mktemp("teachers")
    toys.write_data(folder / "data")
    config = toys.write_config(folder)
    for seed in (1, 2):
        loop.train(config, folder / f"run{seed}", ["schedule.steps=4", f"seed={seed}"])
    return folder


def bundles(folder: Path) -> list[Bundle]:
    """Both."""
    return [load_bundle(folder / f"run{seed}" / "bundle") for seed in (1, 2)]


def test_teachers_say_the_logarithm_of_their_mean_probabilities_at_their_good_exits(folder: Path) -> None:
    image = torch.rand(2, 1, 32, 32, 32)
    found = bundles(folder)
    dice = [np.array(bundle.info.metrics["dice_exits"]) for bundle in found]
    exits = [1 + int(np.flatnonzero(each >= each.max() - 0.001)[0]) for each in dice]
    with torch.no_grad():
        each = [
            bundle.network()(image, number).logits.softmax(dim=1)
            for bundle, number in zip(found, exits, strict=True)
        ]
    taught = Teachers([bundle_teacher(bundle, torch.device("cpu")) for bundle in found])(image)
    mean = (each[0] + each[1]) / 2
    assert (each[0] - each[1]).abs().max() > 0.01  # two different teachers
    torch.testing.assert_close(taught.exp(), mean.clamp(min=1e-6), atol=0.02, rtol=0)  # bf16
    assert not taught.requires_grad


@pytest.mark.parametrize("coarse", [True, False])
def test_agreeing_with_the_teachers_costs_nothing_and_disagreeing_does(coarse: bool) -> None:
    torch.manual_seed(0)
    network = LNN(TINY)
    for norm in (network.exit, *network.fine.heads):  # every exit answers the same everywhere
        torch.nn.init.zeros_(norm.weight)
        torch.nn.init.zeros_(norm.bias)
    image, labels, ratio, seeds = batch()
    config = LossConfig(blocks=4, teach=2.0)
    same = torch.full((*labels.shape, 3), 1 / 3).log().movedim(-1, 1)
    other = torch.tensor([0.5, 0.25, 0.25]).log().expand(*labels.shape, 3).movedim(-1, 1)

    def loss(taught: torch.Tensor | None) -> float:
        parts = (image, labels, ratio, seeds, EQUAL, config, coarse)
        return network_loss(network, *parts, gates=False, taught=taught)[0].item()

    divergence = (other[0, :, 0, 0, 0].exp() * (other[0, :, 0, 0, 0] - same[0, :, 0, 0, 0])).sum().item()
    exits = 1 if coarse else 3
    assert loss(same) == pytest.approx(loss(None), abs=1e-5)
    assert loss(other) - loss(None) == pytest.approx(exits * 2.0 * divergence, rel=1e-3)


def test_a_student_learns_from_bundles_and_its_record_names_them(folder: Path) -> None:
    teachers = ", ".join(str(folder / f"run{seed}" / "bundle") for seed in (1, 2))
    options = ["schedule.steps=4", f"teachers=[{teachers}]", "loss.teach=2"]
    bundle = loop.train(toys.write_config(folder), folder / "student", options)
    assert bundle is not None
    (piece,) = bundle.info.training["pieces"]
    hashes = [each.weights_sha256[:8] for each in bundles(folder)]
    assert piece["teachers"] == [f"toy 0.1.0 ({each})" for each in hashes]
    assert f"the mean answer of toy 0.1.0 ({hashes[0]})" in (bundle.path / "model_card.md").read_text()


def test_a_teacher_that_has_seen_cases_held_back_is_refused(folder: Path) -> None:
    teacher = folder / "run1" / "bundle"
    options = [f"teachers=[{teacher}]", "loss.teach=1", "data.fold=1"]
    with pytest.raises(ConfigError, match="2 cases held back"):
        loop.train(toys.write_config(folder), folder / "leaking", options)


def test_a_teacher_of_other_labels_is_refused(folder: Path) -> None:
    options = [f"teachers=[{folder / 'run1' / 'bundle'}]", "loss.teach=1"]
    config = read_run_config(toys.write_config(folder), options)
    swapped = tuple(replace(label, name=f"{label.name}_other") for label in config.labels)
    split = loop.split_cases(loop.case_names(config.data), config.data)
    with pytest.raises(ConfigError, match="other labels"):
        find_teachers(replace(config, labels=swapped), split, torch.device("cpu"))


@pytest.mark.parametrize("options", [["loss.teach=1"], ["teachers=[somewhere]"]])
def test_teachers_and_their_weight_need_each_other(folder: Path, options: list[str]) -> None:
    with pytest.raises(ConfigError, match="need each other"):
        read_run_config(toys.write_config(folder), options)
