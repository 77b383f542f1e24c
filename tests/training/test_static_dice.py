"""What bfloat16 costs in a static graph is a difference of Dice against the labels, exit by exit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from lnn_med.errors import ConfigError
from lnn_med.inference.bundle import Bundle, BundleInfo, load_bundle, save_bundle
from lnn_med.inference.static_exit import StaticExit
from lnn_med.models.lnn import LNN
from lnn_med.training import static_dice
from lnn_med.training.run_config import read_run_config
from lnn_med.training.static_dice import measure_static_dice
from lnn_med.training.validate import dice_of, mean_dice
from tests.cli_runner import run
from tests.training.toys import write_config, write_data

WRONG = 0.25  # share of voxels that the second exit of a bad graph calls background


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    write_data(tmp_path / "data", 6)
    config = read_run_config(write_config(tmp_path))
    names = [f"case_{number:02d}" for number in range(6)]
    torch.manual_seed(0)
    info = BundleInfo(
        *("toy", "0.0.1", "toy", config.network, config.space, config.labels),
        split={"train": names[:2], "val": names[2:4], "calibration": names[4:]},
    )
    return save_bundle(tmp_path / "bundle", info, LNN(config.network), "# card\n")


class Graph:
    """A graph whose second exit forgets labels in a corner."""

    def __init__(self, network: LNN, exit_number: int, precision: str) -> None:
        assert precision == "bf16"
        self.exit, self.number = StaticExit(network, exit_number), exit_number

    def prepare(self, image: Tensor) -> None:
        self.shape = image.shape

    def __call__(self, image: Tensor) -> SimpleNamespace:
        logits = self.exit(image)[0].clone()
        if self.number == 2:
            part = round(WRONG * image.shape[2])
            logits[:, 0, :part] = 1e3
        return SimpleNamespace(logits=logits)


def test_the_change_of_each_exit_is_written_down_and_asked_at_run_time(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static_dice, "has_bf16", lambda _: True)
    monkeypatch.setattr(static_dice, "OpenVinoExit", Graph)
    seen: list[tuple[int, int]] = []
    made = measure_static_dice(bundle, bundle.path.parent / "data", lambda *now: seen.append(now))
    assert seen == [(n, 12) for n in range(1, 13)]  # 4 cases that trained nothing, 3 exits
    first, second, third = load_bundle(bundle.path).calibration.static_bf16
    assert (first, third) == (0, 0)
    assert abs(second) > 0.001
    found = made.calibration
    assert [found.static_precision(number) for number in (1, 2, 3)] == ["bf16", "f32", "bf16"]
    assert made.answers_sha256 == bundle.answers_sha256  # percentiles and classifiers still fit


def test_the_command_prints_the_changes_and_wants_no_copy(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(static_dice, "has_bf16", lambda _: True)
    monkeypatch.setattr(static_dice, "OpenVinoExit", Graph)
    data = bundle.path.parent / "data"
    assert run("calibrate", bundle.path, data, "--static", "-o", bundle.path.parent / "copy") == 3
    assert run("calibrate", bundle.path, data, "--static", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dice_change"] == list(load_bundle(bundle.path).calibration.static_bf16)
    assert len(told["dice_change"]) == 3


def test_cases_of_another_data_set_are_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_dice, "has_bf16", lambda _: True)
    nobody = replace(bundle, info=replace(bundle.info, split={"train": ["case_00"]}))
    with pytest.raises(ConfigError, match="No cases of val and calibration"):
        measure_static_dice(nobody, bundle.path.parent / "data")


def test_it_needs_a_cpu_that_has_bfloat16(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_dice, "has_bf16", lambda _: False)
    with pytest.raises(ConfigError, match="no bfloat16"):
        measure_static_dice(bundle, bundle.path.parent / "data")


def test_dice_counts_large_structures_or_all_where_none_is() -> None:
    truth = torch.zeros(10, 10, 10, dtype=torch.long)
    truth[:2], truth[5, 5, :4] = 1, 2  # 200 and 4 voxels
    found = truth.clone()
    found[0, 0], found[5, 5, :2] = 0, 0
    dice, sizes = dice_of(found, truth, 4)
    assert sizes.tolist() == [200, 4, 0]
    assert dice.tolist() == pytest.approx([2 * 190 / 390, 2 * 2 / 6, 1.0])
    assert mean_dice(found, truth, 4) == pytest.approx(2 * 190 / 390)
    assert mean_dice(found[3:], truth[3:], 3) == pytest.approx((1 + 2 * 2 / 6) / 2)
