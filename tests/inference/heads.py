"""A made-up head with two unequal hippocampi, and engines that label by brightness instead of weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lnn_med.inference.bundle import Bundle, BundleInfo, Label
from lnn_med.inference.calibration import Calibration
from lnn_med.inference.model_space import ModelSpaceConfig
from lnn_med.inference.predict import CROP, HEAD, Predictor
from lnn_med.inference.runtime import Engine, Run
from lnn_med.models.lnn_config import LNNConfig
from lnn_med.transforms.intensity import IntensityConfig
from lnn_med.volume import Volume
from tests.phantoms import phantom

SHAPE, SPACING_MM = (80, 98, 88), (1.5, 1.4, 1.3)  # 120 x 137 x 114 mm
LEFT_MM, RIGHT_MM = (-24.0, -11.0, -9.0), (24.0, -11.0, -9.0)
LEFT_RADII_MM, RIGHT_RADII_MM = (8.0, 15.0, 8.0), (7.0, 12.0, 8.0)
SKULL, BRAIN, HIPPOCAMPUS = 300.0, 600.0, 1000.0
HEAD_LABELS = ("Hippocampus_L", "Hippocampus_R", "Frontal_GM", "CSF")
CROP_LABELS = ("Hippocampus_Anterior", "Hippocampus_Posterior")
TINY = LNNConfig(
    classes=1 + len(HEAD_LABELS),
    trunk_channels=(4, 6),
    trunk_blocks=(1, 1),
    decoder_blocks=(1,),
    attention_level=1,
    attention_block=2,
    fine_channels=4,
    fine_blocks=(1, 1),
    block_size=16,
)


@lru_cache(maxsize=8)
def head(shape: tuple[int, int, int] = SHAPE, spacing_mm: tuple[float, float, float] = SPACING_MM) -> Volume:
    """Skull, brain, a nose, and a left hippocampus larger than the right one; tilted with its grid."""
    place = phantom(shape=shape, spacing_mm=spacing_mm)
    extent_mm = np.array(shape) * spacing_mm
    at_mm = (np.stack(np.indices(shape), axis=-1) - (np.array(shape) - 1) / 2) * spacing_mm
    data = np.zeros(shape, dtype=np.float32)
    for centre, radii, value in (
        ((0, 0.42 * extent_mm[1], 0), 0.12 * extent_mm, SKULL),
        ((0, 0, 0), np.array((0.42, 0.44, 0.46)) * extent_mm, SKULL),
        ((0, 0, 0), np.array((0.40, 0.40, 0.40)) * extent_mm, BRAIN),
        (LEFT_MM, LEFT_RADII_MM, HIPPOCAMPUS),
        (RIGHT_MM, RIGHT_RADII_MM, HIPPOCAMPUS),
    ):
        data[(((at_mm - centre) / radii) ** 2).sum(axis=-1) <= 1] = value
    return Volume(data, place.affine)


def info(name: str = HEAD, network: LNNConfig = TINY, spacing_mm: float = 2.0) -> BundleInfo:
    """Description of a bundle for heads or for crops."""
    names = HEAD_LABELS if name == HEAD else CROP_LABELS
    space = ModelSpaceConfig(spacing_mm)
    if name == CROP:
        intensity = IntensityConfig(high_percentile=99.0, ceiling=2.0)
        space = ModelSpaceConfig(spacing_mm, minimum=48, crop_to_head=False, intensity=intensity)
    labels = tuple(Label(number, label, (number,)) for number, label in enumerate(names, start=1))
    return BundleInfo(name, "0.0.1", "test", network, space, labels)


@dataclass
class BrightnessEngine:
    """Stands in for `Engine`: brightness gives the tissue, position in the head or crop the part."""

    bundle: Bundle
    calls: list[tuple[tuple[int, ...], tuple[float, float, float]]]

    def __call__(self, image: NDArray[np.float32], spacing_ratio: tuple[float, float, float]) -> Run:
        self.calls.append((image.shape, spacing_ratio))
        labels = self._of_head(image) if self.bundle.info.name == HEAD else _lateral_and_medial(image)
        classes = 1 + len(self.bundle.info.labels)
        probabilities = torch.nn.functional.one_hot(torch.from_numpy(labels), classes).half()
        depth = np.full(image.shape, 7 if self.bundle.info.name == HEAD else 4, dtype=np.uint8)
        return Run(probabilities, depth, 0.25, 2.0, 4.0, (), np.zeros(8, dtype=np.float32))

    def _of_head(self, image: NDArray[np.float32]) -> NDArray[np.int64]:
        level = image / image.max() * HIPPOCAMPUS
        x = np.indices(image.shape)[0]
        left = x < x[level > SKULL / 2].mean()
        labels = np.select([level > 800, level > 450, level > 150], [1, 3, 4], 0)
        return np.where((labels == 1) & ~left, 2, labels)


def _lateral_and_medial(image: NDArray[np.float32]) -> NDArray[np.int64]:
    """1 in the half that is lateral in a left hippocampus, else 2: mirrored wrongly, they swap."""
    found = image > 0.75 * image.max()  # between brain (0.6 at most) and hippocampus
    x = np.indices(image.shape)[0]
    return np.where(found, np.where(x < x[found].mean(), 1, 2), 0)


def engine(name: str) -> BrightnessEngine:
    """An engine by brightness for heads at 2 mm or crops at 1 mm."""
    description = info(name, spacing_mm=2.0 if name == HEAD else 1.0)
    return BrightnessEngine(Bundle(Path(name), description, "0" * 64, Calibration()), [])


def predictor(*names: str) -> Predictor:
    """A predictor whose networks are engines by brightness."""
    result = object.__new__(Predictor)
    engines: dict[str, Engine] = {name: engine(name) for name in names}  # type: ignore[misc]
    result.engines, result.readers = engines, []
    return result
