"""Teachers: trained networks whose mean answer another one learns beside the labels.

Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531) from an ensemble; teachers see the very variant
that the student sees ("consistent teaching", Beyer et al. 2022, arXiv 2106.05237).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lnn_med.errors import ConfigError
from lnn_med.inference.bundle import Bundle, load_bundle
from lnn_med.inference.runtime import has_bf16
from lnn_med.training.datasets import Split
from lnn_med.training.run_config import RunConfig

AS_GOOD = 0.001  # Dice that a teacher's earlier exit may be worse, for half of the work
SMALLEST = 1e-6  # probability; its logarithm is finite in bf16 as well


class Teachers:
    """Networks, each at its earliest exit that was about as good as its best one on the validation fold.

    No module, so that nothing of them is trained or stored.

    Args:
        bundles: with the labels and the spacing of the student.
        device: where they run.
    """

    def __init__(self, bundles: Sequence[Bundle], device: torch.device) -> None:
        self.bundles = list(bundles)
        self.dtype = torch.bfloat16 if has_bf16(device) else torch.float32
        self.networks = [bundle.network().fold().to(device).cast(self.dtype) for bundle in bundles]
        self.stages = [_stages(bundle.info.metrics["dice_exits"]) for bundle in bundles]

    def named(self) -> list[str]:
        """Each teacher as `name version (first digits of its weights' SHA-256)`."""
        return [f"{each.info.name} {each.info.version} ({each.weights_sha256[:8]})" for each in self.bundles]

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        """Logarithm of the mean probabilities (B, classes, X, Y, Z) of a batch (B, in, X, Y, Z)."""
        seen = image.to(self.dtype)
        total = image.new_zeros(())
        for network, stages in zip(self.networks, self.stages, strict=True):
            logits = network.dense(seen, network.features(seen), stages).float()
            total = total + (logits / network.temperature[stages]).softmax(dim=1)
        return (total / len(self.networks)).clamp(min=SMALLEST).log()


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
    bundles = [load_bundle(name) for name in config.teachers]
    held_back = {*split.val, *split.calibration}
    for name, bundle in zip(config.teachers, bundles, strict=True):
        if bundle.info.labels != config.labels or bundle.info.space != config.space:
            raise ConfigError(f"teachers: `{name}` has other labels or another model space.")
        if known := held_back & set(bundle.info.split.get("train", ())):
            raise ConfigError(f"teachers: `{name}` was trained on {len(known)} cases held back here.")
    return Teachers(bundles, device)
