"""Models without a network: the name of a scan tells how they behave. Worker processes can import them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.io.nifti import write_nifti
from lnn_med.prediction import (
    DEPTH,
    SEGMENTATION,
    Attention,
    Compute,
    ModelUsed,
    Prediction,
    Quality,
    Structure,
)
from lnn_med.scoring.case import Clinical, Predict
from lnn_med.volume import Volume

CANARY = "ZZCANARY^JOHN"
SHAPE = (14, 13, 12)
AFFINE = np.array([[0, 0, 1.5, -9], [-1, 0, 0, 10], [0, 2, 0, -7], [0, 0, 0, 1]], dtype=float)
GREED_MB = 600
BRIGHT = 50.0  # above it a voxel is hippocampus


@dataclass(frozen=True)
class FakeModels:
    """`log` receives one line for each loading and each scan, with the process that did it."""

    log: Path
    weights: str = "a" * 64
    broken: bool = False
    seconds: float = 0.0

    def load(self) -> Predict:
        if self.broken:
            raise ConfigError("The weights are gone.")
        self._note("load")
        return self._predict

    def describe(self) -> Mapping[str, Any]:
        return {"weights": self.weights}

    def _predict(self, volume: Volume, clinical: Clinical) -> Prediction:
        assert volume.source is not None
        name = volume.source.name
        self._note(f"predict {name}")
        if clinical:
            self._note(f"clinical {name} {json.dumps(clinical)}")
        time.sleep(self.seconds)
        if "fov" in name:
            raise InputError(Code.FOV, "The field of view misses the structure.")
        if "bug" in name:
            raise KeyError(CANARY)
        if "memory" in name:
            raise MemoryError
        if "killed" in name:
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in name:
            time.sleep(600)
        if "greedy" in name:
            held = bytearray(GREED_MB << 20)  # zeros, but written: they take memory
            held[::4096] = b"x" * len(held[::4096])
            time.sleep(600)
        return prediction_of(volume, self.weights)

    def _note(self, text: str) -> None:
        with self.log.open("a") as stream:
            stream.write(f"{text} {os.getpid()} {os.environ.get('OMP_NUM_THREADS', '-')}\n")


def prediction_of(volume: Volume, weights: str) -> Prediction:
    """The bright voxels as one structure that two bundles measure, and one of its own."""
    assert volume.source is not None
    inside = (volume.data > BRIGHT).astype(np.uint8)
    volume_mm3 = float(inside.sum()) * volume.voxel_mm3
    return Prediction(
        scan=volume,
        source=volume.source,
        models=(ModelUsed("fake-t1", "1.0", weights),),
        maps={SEGMENTATION: volume.with_data(inside), DEPTH: volume.with_data(inside * 3 + 1)},
        label_names={SEGMENTATION: {1: "Hippocampus_L"}},
        structures=(
            Structure(
                "Hippocampus_L", "L", "fake-t1", volume_mm3, (volume_mm3 - 10, volume_mm3 + 10), 0.9, 4.0
            ),
            Structure("Amygdala_L", "L", "fake-t1", 1.25, None, None, 1.0),
        ),
        derived={"icv_mm3": 1_400_000.0, "hippocampus_asymmetry_pct": -1.5},
        quality=Quality("pass"),
        compute=Compute(0.25, 2.0, 8.0, {1: 1.0}, (Attention("trunk", 64, "dense"),)),
        software={"python": "3"},
        findings=volume.findings,
    )


def head(seed: int = 0) -> Volume:
    """A tiny image with a bright box; its size depends on the seed."""
    data = np.random.default_rng(seed).uniform(1, 40, SHAPE).astype(np.float32)
    data[3 : 7 + seed % 4, 4:8, 3:8] = 100 + seed
    return Volume(np.rint(data).astype(np.int16), AFFINE)


def write_head(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(head(seed), path)
    return path
