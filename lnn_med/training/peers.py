"""Peers: other networks that segment, to compare an LNN with and to teach it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from lnn_med import config as configuration
from lnn_med.errors import ConfigError
from lnn_med.training.run_config import RunConfig


class InMultiples(nn.Module):
    """A network that takes any size: its input is padded to multiples of a number of voxels."""

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network, self.multiple = network, multiple

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, classes, X, Y, Z) of an image (B, 1, X, Y, Z)."""
        x, y, z = image.shape[2:]
        grown = F.pad(image, [pad for size in (z, y, x) for pad in (0, -size % self.multiple)])
        return self.network(grown)[:, :, :x, :y, :z]  # type: ignore[no-any-return]


def dyn_unet(filters: tuple[int, ...], norm: str, classes: int) -> nn.Module:
    """The U-Net of nnU-Net (two 3³ convolutions a level, leaky ReLU) as MONAI builds it."""
    from monai.networks.nets import DynUNet  # importing MONAI takes seconds

    levels = len(filters)
    strides = [1] + [2] * (levels - 1)
    return DynUNet(3, 1, classes, [3] * levels, strides, strides[1:], filters=filters, norm_name=norm)


def seg_res_net(channels: int, classes: int) -> nn.Module:
    """SegResNet as MONAI builds it."""
    from monai.networks.nets import SegResNet

    return SegResNet(3, channels, 1, classes)


def swin_unetr(channels: int, classes: int) -> nn.Module:
    """SwinUNETR as MONAI builds it, for any size."""
    from monai.networks.nets import SwinUNETR

    return InMultiples(SwinUNETR(1, classes, feature_size=channels), 32)


PEERS: dict[str, Callable[[int], nn.Module]] = {
    "unet-16": partial(dyn_unet, (16, 32, 64, 128), "batch"),
    "unet-16-deep": partial(dyn_unet, (16, 32, 64, 128, 160), "batch"),
    "nnunet": partial(dyn_unet, (32, 64, 128, 256), "instance"),
    "segresnet-16": partial(seg_res_net, 16),
    "swinunetr-24": partial(swin_unetr, 24),
}


@dataclass(frozen=True)
class StoredPeer:
    """A trained peer, with what it answers and which cases it has seen."""

    kind: str
    network: nn.Module
    job: str  # labels and model space as `job_of` writes them
    train: tuple[str, ...]
    weights_sha256: str


def job_of(config: RunConfig) -> str:
    """Labels and model space of a configuration as JSON: equal where two networks do the same."""
    plain = configuration.as_dict(config)
    return json.dumps({"labels": plain["labels"], "space": plain["space"]}, sort_keys=True)


def save_peer(path: Path, kind: str, network: nn.Module, config: RunConfig, train: Sequence[str]) -> None:
    """Write weights with what `load_peer` needs to know."""
    facts = {"kind": kind, "job": job_of(config), "train": json.dumps(list(train))}
    tensors = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, path, facts)  # copies: MONAI's DynUNet names its weights twice


def load_peer(path: Path) -> StoredPeer:
    """Read a peer that `save_peer` wrote.

    Raises:
        ConfigError: no such file, or it is not one of these.
    """
    try:
        with safe_open(path, "pt") as stored:
            facts = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        network = PEERS[facts["kind"]](len(json.loads(facts["job"])["labels"]) + 1)
        network.load_state_dict(tensors)
        train = tuple(json.loads(facts["train"]))
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ConfigError(f"teachers: `{path.name}` is no peer that train_peers.py stored.") from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return StoredPeer(facts["kind"], network.eval(), facts["job"], train, digest)
