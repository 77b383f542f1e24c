"""Dice on the validation fold in model space, at every exit and with gates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lnn_med.inference.runtime import has_bf16
from lnn_med.models.lnn import LNN
from lnn_med.training.datasets import Case
from lnn_med.training.run_config import RunConfig

LARGE = 100  # voxels; smaller structures are reported on their own (a shell of one voxel is most of them)


def dice_of(found: Tensor, truth: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Dice of each structure (classes - 1,), 1 where it is in neither, and its voxels in the truth."""
    truth, found = truth.flatten(), found.flatten()
    count = torch.bincount(truth, minlength=classes).double()
    hit = torch.bincount(truth[truth == found], minlength=classes).double()
    total = count + torch.bincount(found, minlength=classes)
    return torch.where(total > 0, 2 * hit / total.clamp(min=1), 1.0)[1:], count[1:]


def mean_dice(found: Tensor, truth: Tensor, classes: int) -> float:
    """Mean over the structures that have at least LARGE voxels in this case, over all where none has."""
    dice, sizes = dice_of(found, truth, classes)
    large = sizes >= LARGE
    return float(dice[large if large.any() else slice(None)].mean())


@torch.inference_mode()
def validate(network: LNN, cases: list[Case], config: RunConfig, exits: int) -> dict[str, Any]:
    """Mean Dice over cases and structures at each of the first `exits` exits; with gates if these are all.

    Structures of at least 100 voxels (median) count in the mean, or all where none is so large; all are
    listed. A structure that is absent from a case's reference and prediction counts 1, from one of them 0.
    """
    device = next(network.parameters()).device
    network.eval()
    classes = len(config.labels) + 1
    depths: list[int | str] = [*range(1, exits + 1), *(["auto"] if exits == network.config.exits else [])]
    dice = np.zeros((len(depths), len(cases), classes - 1))
    sizes = np.zeros((len(cases), classes - 1))
    active = []
    for row, case in enumerate(cases):
        image = case.image.float()[None, None].to(device)
        truth = case.labels.long()
        for column, depth in enumerate(depths):
            with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16 and has_bf16(device)):
                output = network(image, depth)
            if depth == "auto":
                active.append(float((output.stages > 0).float().mean()))
            found = output.logits[0].argmax(dim=0).cpu()
            dice[column, row], sizes[row] = (each.numpy() for each in dice_of(found, truth, classes))
    large = np.median(sizes, axis=0) >= LARGE
    if not large.any():
        large[:] = True
    by_depth = dice[:, :, large].mean(axis=(1, 2))
    full = dice[exits - 1].mean(axis=0)
    return {
        "dice_full": round(float(by_depth[exits - 1]), 4),
        "dice_auto": round(float(by_depth[-1]), 4) if active else None,
        "dice_exits": [round(float(value), 4) for value in by_depth[:exits]],
        "active_blocks": round(float(np.mean(active)), 3) if active else None,
        "cases": len(cases),
        "structures": {label.name: round(float(full[label.index - 1]), 4) for label in config.labels},
        "median_voxels": {label.name: int(np.median(sizes[:, label.index - 1])) for label in config.labels},
    }
