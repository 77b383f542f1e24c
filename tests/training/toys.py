"""A tiny data set of coloured ellipsoids, the configuration to learn it, and a second process to help."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
import yaml
from torch.nn.parallel import DistributedDataParallel

from lnn_med.io.nifti import write_nifti
from lnn_med.training import loop
from lnn_med.training.network_and_loss import NetworkAndLoss
from lnn_med.training.run_config import read_run_config
from lnn_med.volume import Volume

SHAPE = (28, 30, 26)
CONFIG = {
    "name": "toy",
    "job": "ellipsoids to their colours",
    "labels": [["Alpha", [7]], ["Beta", [3, 4]]],
    "data": {"folds": 4, "block": 1},
    "space": {"spacing_mm": 1.0, "minimum": 32, "crop_to_head": False},
    "window": [32, 32, 32],
    "network": {
        "trunk_channels": [8, 12],
        "trunk_blocks": [3, 1],
        "layer_attention": [0],
        "reversible": [1],
        "decoder_blocks": [1],
        "attention_level": 1,
        "attention_block": 2,
        "fine_channels": 6,
        "fine_blocks": [1, 1],
        "block_size": 8,
    },
    "schedule": {"steps": 40, "batch": 2, "learning_rate": 0.02, "warmup": 3, "ema": 0.8},
    "augment": {
        "shift_mm": 2.0,
        "rotation_deg": 5.0,
        "strip_skull": 0.0,
        "anywhere": 0.0,
        "cut_view": 0.0,
        "flip": 0.0,
        "low_resolution": 0.0,
        "plain": 1.0,
    },
    "loss": {"blocks": 6, "coarse_share": 0.3},
    "skip": {"share": 0.4, "threshold": 0.6, "patience": 2, "warmup": 4, "every": 3},
    "bf16": False,
    "workers": 0,
    "validate_every": 20,
    "checkpoint_minutes": 0.0,
    "about": {"data": "made up", "licence": "none", "citation": "none"},
}


def write_data(folder: Path, cases: int = 8) -> None:
    """Two ellipsoids, bright and half bright, in noise; labels 7, and 3 or 4."""
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    rng = np.random.default_rng(0)
    for number in range(cases):
        image = rng.uniform(0, 100, SHAPE)
        labels = np.zeros(SHAPE, dtype=np.uint8)
        for label, value, centre in ((7, 900, (8, 14, 12)), (3 + number % 2, 500, (19, 15, 13))):
            offset = np.indices(SHAPE).T - centre - rng.uniform(-1.5, 1.5, 3)
            inside = ((offset / rng.uniform(4, 7, 3)) ** 2).sum(axis=-1).T < 1
            image[inside], labels[inside] = value, label
        name = f"case_{number:02d}.nii.gz"
        write_nifti(Volume(image.astype(np.float32), np.eye(4)), folder / "imagesTr" / name)
        write_nifti(Volume(labels, np.eye(4)), folder / "labelsTr" / name, "label")


def write_config(folder: Path, **changes: object) -> Path:
    """The configuration as a file beside its data; `changes` replace whole groups."""
    values = {**CONFIG, **changes}
    values["data"] = {"root": str(folder / "data"), **values["data"]}  # type: ignore[dict-item]
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def gradient(config: Path, run: Path, team: loop.Team, coarse: bool) -> dict[str, torch.Tensor]:
    """Loss and gradient of the first global batch, as this team sees them."""
    one = loop._Run(read_run_config(config), run, team)
    wrapped = NetworkAndLoss(one.network, one.weights, one.config)
    model = DistributedDataParallel(wrapped, find_unused_parameters=True) if team.size > 1 else wrapped
    image, labels, ratio, seeds = next(iter(one._batches()))
    assert len(image) == one.config.schedule.batch // team.size
    loss, _ = model(image, labels, ratio, seeds, coarse, True)
    loss.backward()
    loss = loss.detach().clone()
    if team.size > 1:
        torch.distributed.all_reduce(loss)
    found = {name: p.grad for name, p in one.network.named_parameters() if p.grad is not None}
    return {"loss": loss / team.size, **found}


def help_train(rank: int, config: Path, folder: Path, ports: tuple[int, int]) -> None:
    """One of two processes: gradients into gradients_<coarse>.pt files, then a short run."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    os.environ["MASTER_PORT"] = str(ports[0])
    team = loop._join()
    for coarse in (True, False):
        found = gradient(config, folder / "two_gradient", team, coarse)
        if rank == 0:
            torch.save(found, folder / f"gradients_{coarse}.pt")
    torch.distributed.destroy_process_group()
    os.environ["MASTER_PORT"] = str(ports[1])
    bundle = loop.train(config, folder / "two")
    assert (bundle is None) == (rank == 1)
