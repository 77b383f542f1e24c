"""A network, its loss and its teachers as one module, in bf16 and compiled where that helps."""

from __future__ import annotations

import logging
import os
import shutil

import torch
from torch import Tensor, nn

from lnn_med.inference.runtime import has_bf16
from lnn_med.models.lnn import LNN
from lnn_med.training.losses import Terms, network_loss
from lnn_med.training.run_config import RunConfig
from lnn_med.training.teachers import Teachers

logger = logging.getLogger(__name__)


class NetworkAndLoss(nn.Module):
    """Network and loss as one module, so that DDP sees every parameter used in `forward`."""

    def __init__(
        self, network: LNN, weights: Tensor, config: RunConfig, teachers: Teachers | None = None
    ) -> None:
        super().__init__()
        self.teachers = teachers
        self.network, self.config = network, config
        self.register_buffer("class_weights", weights, persistent=False)
        self.bf16 = config.bf16 and has_bf16(weights.device)
        self.terms = Terms()
        if config.compile and _can_compile(weights.device):
            network.fuse()
            self.terms = Terms.compiled()

    def forward(
        self, image: Tensor, labels: Tensor, ratio: Tensor, seeds: Tensor, coarse: bool, gates: bool
    ) -> tuple[Tensor, dict[str, float]]:
        weights = self.get_buffer("class_weights")
        taught = self.teachers(image) if self.teachers else None
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            return network_loss(
                self.network,
                image,
                labels,
                ratio,
                seeds,
                weights,
                self.config.loss,
                coarse,
                gates,
                self.terms,
                taught,
            )


def _can_compile(device: torch.device) -> bool:
    if device.type == "cuda" or shutil.which(os.environ.get("CXX", "g++")):
        return True
    logger.warning("compile: no C++ compiler (g++, or CXX) here; training takes longer")
    return False
