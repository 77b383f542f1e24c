"""Stored peers: what is written comes back, and what is no peer is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lnn_med.errors import ConfigError
from lnn_med.training import loop
from lnn_med.training.peers import PEERS, InMultiples, job_of, load_peer, save_peer
from lnn_med.training.run_config import RunConfig, read_run_config
from lnn_med.training.teachers import Teachers, find_teachers, peer_teacher
from tests.training import toys

CPU = torch.device("cpu")


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """The configuration of a toy data set, which lies beside it."""
    toys.write_data(tmp_path / "data")
    return read_run_config(toys.write_config(tmp_path))


def stored(path: Path, config: RunConfig, seen: tuple[str, ...] = (), seed: int = 1) -> Path:
    """A file with an untrained U-Net."""
    torch.manual_seed(seed)
    save_peer(path, "unet-16", PEERS["unet-16"](len(config.labels) + 1), config, seen)
    return path


def test_a_stored_peer_answers_as_it_did(tmp_path: Path, config: RunConfig) -> None:
    torch.manual_seed(1)
    network = PEERS["unet-16"](3).eval()
    save_peer(tmp_path / "peer.safetensors", "unet-16", network, config, ["case_1"])
    peer = load_peer(tmp_path / "peer.safetensors")
    image = torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(peer.network(image), network(image))
    assert (peer.kind, peer.train, peer.job) == ("unet-16", ("case_1",), job_of(config))


@pytest.mark.parametrize("content", ["nothing", "text", "weights of something else"])
def test_what_is_no_peer_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "peer.safetensors"
    if content == "text":
        path.write_text("no weights")
    elif content != "nothing":
        save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(ConfigError, match=r"`peer.safetensors` is no peer"):
        load_peer(path)


def test_peers_teach_the_mean_of_their_probabilities(tmp_path: Path, config: RunConfig) -> None:
    peers = [load_peer(stored(tmp_path / f"{seed}.safetensors", config, seed=seed)) for seed in (1, 2)]
    image = torch.rand(2, 1, 32, 32, 32)
    with torch.no_grad():
        each = [peer.network(image).softmax(dim=1) for peer in peers]
    taught = Teachers([peer_teacher(peer, CPU) for peer in peers])(image)
    assert (each[0] - each[1]).abs().max() > 0.05
    torch.testing.assert_close(taught.exp(), (each[0] + each[1]) / 2, atol=0.02, rtol=0)  # bf16


def test_a_student_learns_from_a_peer_and_its_record_names_it(tmp_path: Path, config: RunConfig) -> None:
    path = stored(tmp_path / "peer.safetensors", config)
    options = ["schedule.steps=2", f"teachers=[{path}]", "loss.teach=1"]
    bundle = loop.train(toys.write_config(tmp_path), tmp_path / "student", options)
    assert bundle is not None
    assert bundle.info.training["pieces"][0]["teachers"] == [
        f"unet-16 ({load_peer(path).weights_sha256[:8]})"
    ]


def test_a_peer_that_has_seen_cases_held_back_or_has_another_space_is_refused(
    tmp_path: Path, config: RunConfig
) -> None:
    split = loop.split_cases(loop.case_names(config.data), config.data)
    path = stored(tmp_path / "peer.safetensors", config, (split.val[0],))
    learning = replace(config, teachers=(str(path),), loss=replace(config.loss, teach=1.0))
    with pytest.raises(ConfigError, match="trained on 1 cases held back"):
        find_teachers(learning, split, CPU)
    coarser = replace(learning, space=replace(config.space, spacing_mm=2.0))
    with pytest.raises(ConfigError, match="another model space"):
        find_teachers(coarser, split, CPU)


def test_a_network_for_multiples_takes_any_size() -> None:
    seen = []

    class Doubled(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(image.shape[2:])
            return 2 * image

    image = torch.rand(1, 1, 33, 32, 5)
    assert torch.equal(InMultiples(Doubled(), 32)(image), 2 * image)
    assert seen == [(64, 32, 32)]
