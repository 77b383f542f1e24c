"""What bfloat16 in a static graph costs in Dice, at each exit: without it such a graph runs in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lnn_med.errors import ConfigError
from lnn_med.inference.bundle import Bundle, save_calibration
from lnn_med.inference.runtime import has_bf16
from lnn_med.inference.static_exit import OpenVinoExit, StaticExit
from lnn_med.training.calibrate import model_space_case, unseen_cases
from lnn_med.training.validate import mean_dice

MOST = 10  # cases, spread over those held back: their changes differ by 0.0003


def measure_static_dice(
    bundle: Bundle, dataset: Path, progress: Callable[[int, int], None] | None = None
) -> Bundle:
    """Write the mean change of Dice from torch in float32 to OpenVINO in bfloat16 into calibration.json.

    Args:
        bundle: is changed in place.
        dataset: folder with the cases of its splits.
        progress: called with graphs done and graphs in all.

    Raises:
        ConfigError: a CPU without bfloat16, no openvino, or no cases of the bundle's.
        InputError: a case that cannot be read.
    """
    if not has_bf16(torch.device("cpu")):
        raise ConfigError("This CPU has no bfloat16: what it costs can only be measured on one that has.")
    cases = unseen_cases(bundle, dataset)
    chosen = [cases[n] for n in np.unique(np.linspace(0, len(cases) - 1, MOST).astype(int))]
    network = bundle.network().fold()
    classes, exits = network.config.classes, range(1, network.config.exits + 1)
    changes = np.zeros((len(chosen), len(exits)))
    for row, case in enumerate(chosen):
        image, truth, _ = model_space_case(case, bundle)
        for column, number in enumerate(exits):
            graph = OpenVinoExit(network, number, "bf16")
            with torch.inference_mode():
                exact = StaticExit(network, number)(image)[0][0].argmax(dim=0)
                graph.prepare(image)
                found = graph(image).logits[0].argmax(dim=0)
            changes[row, column] = mean_dice(found, truth, classes) - mean_dice(exact, truth, classes)
            if progress:
                progress(row * len(exits) + column + 1, changes.size)
    measured = tuple(round(float(change), 6) for change in changes.mean(axis=0))
    return save_calibration(bundle.path, replace(bundle.calibration, static_bf16=measured))
