"""A tiny LNN whose parts all matter, and two cases."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lnn_med.models.blocks import ChannelNorm, ResidualBlock
from lnn_med.models.lnn import LNN
from tests.models.tiny import SHAPE, TINY


@pytest.fixture(scope="module", params=["channel", "batch"])
def network(request: pytest.FixtureRequest) -> LNN:
    """A network with either norm whose parts all matter: nothing is left at its gentle beginning."""
    torch.manual_seed(0)
    result = LNN(replace(TINY, norm=request.param))
    for module in result.modules():
        if isinstance(module, ResidualBlock):
            nn.init.normal_(module.mix.weight, std=0.3)
            nn.init.normal_(module.mix.bias, std=0.3)
        if isinstance(module, ChannelNorm | nn.BatchNorm3d):
            nn.init.normal_(module.bias, std=0.3)
        if isinstance(module, nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    result.temperature.copy_(torch.tensor([0.7, 1.3, 2.0]))
    return result.eval()


@pytest.fixture(scope="module")
def image() -> Tensor:
    """Two cases (2, in, X, Y, Z)."""
    return torch.rand(2, TINY.in_channels, *SHAPE, generator=torch.Generator().manual_seed(1))
