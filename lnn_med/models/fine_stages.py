"""The full-resolution stages of an LNN, on blocks or on the whole volume as one."""

from __future__ import annotations

from torch import Tensor, nn

from lnn_med.models.blocks import ResidualBlock, shrink
from lnn_med.models.lnn_config import LNNConfig


class FineStages(nn.Module):
    """Full-resolution stages on blocks that bring a halo; nothing is padded."""

    def __init__(self, config: LNNConfig) -> None:
        super().__init__()
        width = config.fine_channels
        self.depths = config.fine_blocks
        self.image = nn.Conv3d(config.in_channels, width, 3)
        self.lift = nn.ConvTranspose3d(config.trunk_channels[0], width, 2, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width, valid=True, norm=config.norm) for _ in range(n)))
            for n in config.fine_blocks
        )
        self.heads = nn.ModuleList(nn.Conv3d(width, config.classes, 1) for _ in config.fine_blocks)

    def halo(self, stages: int) -> int:
        """Voxels of the image that a block needs around it for its first `stages` stages."""
        return 1 + sum(self.depths[:stages])

    def trunk_halo(self, stages: int) -> int:
        """Trunk voxels needed around a block."""
        return -(-self.halo(stages) // 2)

    def forward(self, image: Tensor, features: Tensor, stages: int, every_exit: bool = False) -> list[Tensor]:
        """Logits after the last of the first `stages` stages, or after each of them.

        Args:
            image: (N, in, n + 2 halo, ...) with `halo(stages)`.
            features: trunk features (N, C, n/2 + 2 trunk_halo, ...) with `trunk_halo(stages)`.
            stages: how many stages run.
            every_exit: also the answers on the way (for training).

        Returns:
            One (N, classes, n, n, n) tensor an answer.
        """
        x = self.image(image)
        lifted = self.lift(features)
        surplus = (lifted.shape[2] - x.shape[2]) // 2
        x = x + shrink(lifted, surplus)
        logits, border = [], self.halo(stages) - 1
        for stage in range(stages):
            x = self.stages[stage](x)
            border -= self.depths[stage]
            if every_exit or stage == stages - 1:
                logits.append(self.heads[stage](shrink(x, border)))
        return logits
