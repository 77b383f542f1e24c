"""Cases in model space, held in memory, and the random variants that a step sees."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.inference.bundle import Label, mirror_table
from lnn_med.inference.model_space import ModelSpaceConfig, into_model_space
from lnn_med.io.nifti import read_labels, read_nifti
from lnn_med.io.provenance import PIXEL_DIGITS, pixels_sha256
from lnn_med.transforms import augment
from lnn_med.transforms.augment import AugmentConfig
from lnn_med.volume import Volume

logger = logging.getLogger(__name__)
TABLE = 65536  # integers that a data set may use for its labels
GRID_TOLERANCE = 1e-2  # of affine entries, mm; tools round to float32


@dataclass(frozen=True)
class DataConfig:
    """Where the cases are and how they are split; paths are relative to `root`.

    `block` consecutive cases (in the order of their names) stay together: neighbours may be one person.
    """

    root: str
    images: str = "imagesTr"
    labels: str = "labelsTr"
    folds: int = 5
    fold: int = 0  # this fold validates
    block: int = 1  # cases with neighbouring names that stay in one fold
    calibration: int = 0  # cases of the training folds that no weight ever sees
    seed: int = 2024
    exclude: tuple[str, ...] = ()  # cases whose reference is wrong; the split of the others does not change


class Case(NamedTuple):
    """One case in model space: image float16 (I, J, K), labels uint8 (I, J, K)."""

    name: str
    image: Tensor
    labels: Tensor


class Split(NamedTuple):
    """Case names of a split."""

    train: list[str]
    val: list[str]
    calibration: list[str]


def case_names(config: DataConfig) -> list[str]:
    """Names of the cases that have both image and label file, sorted."""
    root = Path(config.root).expanduser()
    images = root / config.images
    if not images.is_dir():
        raise ConfigError(
            f"data.root: no folder `{config.images}` in `{config.root}`. Fetch it with lnn-data fetch."
        )
    names = sorted(f.name for f in images.glob("*.nii*") if not f.name.startswith("."))
    return [
        name.removesuffix(".gz").removesuffix(".nii")
        for name in names
        if (root / config.labels / name).exists()
    ]


def split_cases(names: list[str], config: DataConfig) -> Split:
    """Deal blocks of neighbouring names to folds; fold `config.fold` validates."""
    blocks = [names[n : n + config.block] for n in range(0, len(names), config.block)]
    order = np.random.default_rng(config.seed).permutation(len(blocks))
    fold_of = {int(block): place % config.folds for place, block in enumerate(order)}
    val = [name for n, block in enumerate(blocks) if fold_of[n] == config.fold for name in block]
    rest = [block for place in order if fold_of[int(place)] != config.fold for block in [blocks[int(place)]]]
    calibration: list[str] = []
    while rest and len(calibration) < config.calibration:
        calibration += rest.pop()
    left_out = set(config.exclude)
    if unknown := left_out - set(names):
        raise ConfigError(f"data.exclude: no case {min(unknown)} in the data.")
    train = sorted(name for block in rest for name in block if name not in left_out)
    val = [name for name in val if name not in left_out]
    calibration = [name for name in calibration if name not in left_out]
    if not train or not val:
        raise ConfigError(
            f"data: of {len(names)} cases in blocks of {config.block}, {len(train)} remain to train "
            f"and {len(val)} to validate; folds: {config.folds}, calibration: {config.calibration}."
        )
    return Split(train, sorted(val), sorted(calibration))


def load_cases(
    config: DataConfig, names: list[str], space: ModelSpaceConfig, labels: tuple[Label, ...]
) -> list[Case]:
    """Read cases into model space, several at a time."""
    root = Path(config.root).expanduser()
    table = source_table(labels)

    def load(name: str) -> Case:
        path = image_path(config, name)
        volume = read_nifti(path)
        reference = read_labels(root / config.labels / path.name)
        _check_pair(name, volume, reference)
        seen = into_model_space(volume, space)
        grouped = table[reference.data]
        return Case(
            name,
            torch.from_numpy(seen.image).half(),
            torch.from_numpy(seen.placement.labels_to_model(grouped).astype(np.uint8)),
        )

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(load, names))


def image_path(config: DataConfig, name: str) -> Path:
    """The scan of a case."""
    folder = Path(config.root).expanduser() / config.images
    return next(path for path in (folder / f"{name}{end}" for end in (".nii.gz", ".nii")) if path.exists())


def pixels_of(config: DataConfig, names: Iterable[str]) -> dict[str, str]:
    """First digits of the hash of each case's voxels, by which it is known under another name."""
    return {name: pixels_sha256(read_nifti(image_path(config, name)))[:PIXEL_DIGITS] for name in names}


def _check_pair(name: str, volume: Volume, reference: Volume) -> None:
    """Refuse labels that lie elsewhere than their image, or that no table can hold."""
    if volume.shape != reference.shape or not np.allclose(
        volume.affine, reference.affine, atol=GRID_TOLERANCE
    ):
        raise InputError(Code.GEOMETRY, f"Case {name}: image and labels lie on different grids.")
    low, high = int(reference.data.min()), int(reference.data.max())
    if low < 0 or high >= TABLE:
        raise InputError(
            Code.DTYPE, f"Case {name}: labels reach from {low} to {high}; 0 to {TABLE - 1} can be used."
        )


def source_table(labels: tuple[Label, ...]) -> np.ndarray:
    """Lookup from the data set's integers to label indices, (65536,) uint8; unknown integers become 0."""
    table = np.zeros(TABLE, dtype=np.uint8)
    for label in labels:
        for source in label.sources:
            if not 0 < source < TABLE:
                raise ConfigError(f"{label.name}: label {source} of the data; 1 to {TABLE - 1} can be used.")
            if table[source]:
                raise ConfigError(f"{label.name}: label {source} of the data belongs to another structure.")
            table[source] = label.index
    return table


class Item(NamedTuple):
    """What a step sees of one case: image (1, *window), labels (*window), spacing ratio (3,), seed."""

    image: Tensor
    labels: Tensor
    spacing_ratio: Tensor
    seed: int


class Variants(Dataset[Item]):
    """Endless random variants; item n is the same in every run with the same seed."""

    def __init__(
        self,
        cases: list[Case],
        labels: tuple[Label, ...],
        config: AugmentConfig,
        window: tuple[int, int, int],
        spacing_mm: float,
        seed: int,
        length: int,
    ) -> None:
        self.cases, self.config, self.window = cases, config, window
        self.spacing_mm, self.seed, self.length = spacing_mm, seed, length
        self.mirror = torch.from_numpy(mirror_table(labels)).long()
        self.fluid = next((label.index for label in labels if label.name == "CSF"), 0)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Item:
        epoch, place = divmod(number, len(self.cases))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.cases))
        case = self.cases[int(order[place])]
        seed = int(np.random.default_rng((self.seed, number, 1)).integers(2**31))
        chosen = augment.draw(self.config, case.labels, self.spacing_mm, self.window, seed)
        image, labels, ratio = augment.apply(
            chosen,
            case.image.float()[None],
            case.labels,
            self.window,
            self.spacing_mm,
            self.mirror,
            self.fluid,
        )
        return Item(image, labels, ratio, seed)


def collate(items: list[Item]) -> Item:
    """Stack items; seeds become a tensor (B,)."""
    columns: list[Callable[..., Tensor]] = [torch.stack, torch.stack, torch.stack, torch.tensor]
    return Item(*(join(list(values)) for join, values in zip(columns, zip(*items, strict=True), strict=True)))  # type: ignore[arg-type]
