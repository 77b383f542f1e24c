"""The YAML file of a run: shipped ones work, and what cannot work is refused before any data is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lnn_med.errors import ConfigError
from lnn_med.training.datasets import source_table
from lnn_med.training.loop import find_config
from lnn_med.training.run_config import read_run_config
from tests.training.toys import write_config

TWO_PLANES = {"trunk_channels": [8, 12], "trunk_blocks": [1, 1], "decoder_blocks": [1], "block_size": 4}
TWO_PLANES |= {"attention_level": -1}
ABLATIONS = Path(__file__).parents[2] / "benchmarks" / "ablations"


@pytest.mark.parametrize("name", ["brain-t1", "hippocampus-t1"])
def test_shipped_configurations_are_valid_and_found_by_name(name: str) -> None:
    config = read_run_config(find_config(Path(name)))
    assert config.name == name
    table = source_table(config.labels)
    assert int((table > 0).sum()) == sum(len(label.sources) for label in config.labels)
    assert config.about["licence"]


def test_a_file_of_a_few_lines_changes_a_shipped_configuration(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text("base: brain-t1\nname: small\nnetwork: {attention_level: -1}\nwindow: [64, 64, 64]\n")
    shipped = read_run_config(find_config(Path("brain-t1")))
    config = read_run_config(path, ["data.fold=1"])
    assert (config.name, config.window, config.network.attention_level) == ("small", (64, 64, 64), -1)
    assert (config.labels, config.network.trunk_channels) == (shipped.labels, shipped.network.trunk_channels)
    assert config.data == replace(shipped.data, fold=1)
    path.write_text("base: brain-t2\n")
    with pytest.raises(ConfigError, match="brain-t2"):
        read_run_config(path)


@pytest.mark.parametrize("path", sorted(ABLATIONS.glob("*.yaml")), ids=lambda path: path.stem)
def test_ablations_are_valid_configurations_of_ten_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 10
    assert read_run_config(path).network != read_run_config(ABLATIONS / "trunk.yaml").network or (
        path.stem == "trunk"
    )


def test_labels_are_numbered_in_order_and_count_the_classes(tmp_path: Path) -> None:
    config = read_run_config(write_config(tmp_path))
    assert [(label.index, label.name, label.sources) for label in config.labels] == [
        (1, "Alpha", (7,)),
        (2, "Beta", (3, 4)),
    ]
    assert config.network.classes == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "`labels` is missing"),
        ({"labels": [["Alpha"]]}, r"`labels[0]` is ['Alpha']; [name, [sources]] is needed"),
        ({"labels": [["Alpha", 7], ["Beta", [3]]]}, r"`labels[0].sources` is 7; a list is needed"),
        ({"labels": [{"index": 2, "name": "Alpha", "sources": [7]}]}, "numbered 1, 2, 3"),
        ({"network": {"classes": 9}}, "network.classes is 9; labels and background are 3"),
        ({"window": [32, 33, 32]}, "window is (32, 33, 32)"),
        ({"window": [8, 32, 32], "bf16": True, "network": TWO_PLANES}, "coarsest level has two planes"),
        ({"space": {"spacing_mm": 1.0, "multiple": 4, "minimum": 32}}, "space.multiple is 4"),
        ({"space": {"spacing_mm": 1.0, "minimum": 40}}, "minimum is 40"),
        ({"loss": {"box": [32, 40, 32]}}, "loss.box is (32, 40, 32)"),
        ({"loss": {"box": [32, 31, 32]}}, "must be even"),
        ({"augment": {"rotation": 3}}, "Did you mean `rotation_deg`?"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_run_config(write_config(tmp_path, **changes))
    assert message in str(refused.value)
