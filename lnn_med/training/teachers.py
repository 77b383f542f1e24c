"""Teachers: trained networks whose mean answer another one learns beside the labels.

Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531) from an ensemble; teachers see the very variant
that the student sees ("consistent teaching", Beyer et al. 2022, arXiv 2106.05237).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lnn_med.errors import ConfigError
from lnn_med.inference.bundle import Bundle, load_bundle
from lnn_med.inference.runtime import has_bf16
from lnn_med.training.datasets import Split
from lnn_med.training.peers import StoredPeer, job_of, load_peer
from lnn_med.training.run_config import RunConfig

AS_GOOD = 0.001  # Dice that a teacher's earlier exit may be worse, for half of the work
SMALLEST = 1e-6  # probability; its logarithm is finite in bf16 as well


@dataclass(frozen=True)
class Teacher:
    """A trained network: its name for the record, and its probabilities (B, classes, X, Y, Z) of an image."""

    name: str
    answer: Callable[[Tensor], Tensor]


class Teachers:
    """Networks whose mean answer is learnt. No module, so that nothing of them is trained or stored."""

    def __init__(self, members: Sequence[Teacher]) -> None:
        self.members = list(members)

    def named(self) -> list[str]:
        """Each teacher's name, which ends with the first digits of its weights' SHA-256."""
        return [each.name for each in self.members]

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        """Logarithm of the mean probabilities (B, classes, X, Y, Z) of a batch (B, in, X, Y, Z)."""
        total = image.new_zeros(())
        for each in self.members:
            total = total + each.answer(image)
        return (total / len(self.members)).clamp(min=SMALLEST).log()


def bundle_teacher(bundle: Bundle, device: torch.device) -> Teacher:
    """An LNN at its earliest exit that was about as good as its best one on the validation fold."""
    dtype = torch.bfloat16 if has_bf16(device) else torch.float32
    network = bundle.network().fold().to(device).cast(dtype)
    stages = _stages(bundle.info.metrics["dice_exits"])

    def answer(image: Tensor) -> Tensor:
        seen = image.to(dtype)
        logits = network.dense(seen, network.features(seen), stages).float()
        return (logits / network.temperature[stages]).softmax(dim=1)

    return Teacher(bundle.named, answer)


def peer_teacher(peer: StoredPeer, device: torch.device) -> Teacher:
    """A peer, in bf16 where that helps."""
    network = peer.network.to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def answer(image: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
            logits = network(image.contiguous(memory_format=torch.channels_last_3d))
        return logits.float().softmax(dim=1)  # type: ignore[no-any-return]

    return Teacher(f"{peer.kind} ({peer.weights_sha256[:8]})", answer)


def _stages(dice_of_exits: Sequence[float]) -> int:
    """Fine stages before the earliest exit that is about as good as the best."""
    return int(np.argmax(np.array(dice_of_exits) >= max(dice_of_exits) - AS_GOOD))


def find_teachers(config: RunConfig, split: Split, device: torch.device) -> Teachers | None:
    """The teachers that a configuration names; None without any.

    Raises:
        ConfigError: a teacher has other labels or another spacing, or has seen cases that are held back.
    """
    if not config.teachers:
        return None
    held_back = {*split.val, *split.calibration}
    members = []
    for name in config.teachers:
        if name.endswith(".safetensors"):
            peer = load_peer(Path(name))
            same, seen = peer.job == job_of(config), set(peer.train)
            members.append(peer_teacher(peer, device))
        else:
            bundle = load_bundle(name)
            same = bundle.info.labels == config.labels and bundle.info.space == config.space
            seen = set(bundle.info.split.get("train", ()))
            members.append(bundle_teacher(bundle, device))
        if not same:
            raise ConfigError(f"teachers: `{name}` has other labels or another model space.")
        if known := held_back & seen:
            raise ConfigError(f"teachers: `{name}` was trained on {len(known)} cases held back here.")
    return Teachers(members)
