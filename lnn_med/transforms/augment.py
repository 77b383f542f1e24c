"""Random variants of a training case: first drawn as a record, then applied, so that a case can be replayed.

Works on normalised model-space tensors: image (1, I, J, K) in [0, ceiling], labels (I, J, K), axes R, A, S.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class AugmentConfig:
    """How often and how strongly; every probability is per case."""

    rotation_deg: float = 15.0  # about each axis; oblique scans and tilted heads
    scale: float = 0.15  # relative size, the same along all axes
    stretch: float = 0.05  # relative size, along each axis on its own
    shift_mm: float = 20.0  # of the window over the case
    anywhere: float = 0.05  # window at a random place instead of around the labels
    flip: float = 0.5  # left-right mirror, swapping the labels of sides
    strip_skull: float = 0.35  # zero outside the labels, loosely or tightly
    deface: float = 0.1  # zero the face below and in front of the brain
    cut_view: float = 0.15  # zero a slab, as when the field of view is short
    low_resolution: float = 0.3  # blur to 1..4 mm in plane and up to 6 mm along one axis
    coarsest_mm: float = 6.0
    gamma: float = 0.35  # log-range of the contrast exponent
    brightness: float = 0.3  # log-range of a factor
    bias_field: float = 0.4  # log-range of a smooth multiplicative field
    noise: float = 0.06  # largest standard deviation of Gaussian noise; bright tissue is 1
    plain: float = 0.1  # share of cases left without intensity changes


@dataclass(frozen=True)
class Draw:
    """One random variant. Angles in radians, shift in voxels, spacing in mm; None: not applied."""

    angles: tuple[float, float, float]
    scales: tuple[float, float, float]
    centre: tuple[float, float, float]
    flip: bool
    strip: int | None  # voxels of dilation around the labels; -1: tight, without outer fluid
    deface: bool
    cut: tuple[int, bool, float] | None  # axis, from its far end, share of the window
    resolution_mm: tuple[float, float, float] | None
    gamma: float
    factor: float
    bias: tuple[float, ...] | None  # 64 log values on a 4³ grid
    noise: float
    seed: int


def draw(config: AugmentConfig, labels: Tensor, spacing_mm: float, window: Shape, seed: int) -> Draw:
    """Choose the variant of a case.

    Args:
        config: how often and how strongly.
        labels: (I, J, K); the window is laid around its foreground.
        spacing_mm: spacing of the grid.
        window: shape of the result.
        seed: the same seed gives the same variant.
    """
    rng = np.random.default_rng(seed)
    shape = np.array(labels.shape)
    foreground = _extent(labels)
    middle = (foreground[0] + foreground[1]) / 2 if foreground is not None else (shape - 1) / 2
    if rng.random() < config.anywhere:
        room = np.maximum(shape - np.array(window), 0)
        centre = (np.array(window) - 1) / 2 + rng.random(3) * room
    else:
        centre = middle + rng.uniform(-1, 1, 3) * config.shift_mm / spacing_mm
    size = np.exp(rng.uniform(-config.scale, config.scale)) * np.exp(rng.uniform(-1, 1, 3) * config.stretch)
    angles = np.deg2rad(rng.uniform(-1, 1, 3) * config.rotation_deg)
    strip: int | None = int(rng.integers(-1, 3)) if rng.random() < config.strip_skull else None
    cut = None
    if rng.random() < config.cut_view:
        cut = (int(rng.integers(3)), bool(rng.random() < 0.5), float(rng.uniform(0.05, 0.3)))
    resolution = None
    if rng.random() < config.low_resolution:
        plane = rng.uniform(spacing_mm, 2 * spacing_mm)
        lengths = np.full(3, plane)
        if rng.random() < 0.6:
            lengths[rng.integers(3)] = rng.uniform(plane, max(plane, config.coarsest_mm))
        resolution = (float(lengths[0]), float(lengths[1]), float(lengths[2]))
    changed = rng.random() >= config.plain
    return Draw(
        angles=_triple(angles),
        scales=_triple(size),
        centre=_triple(centre),
        flip=bool(rng.random() < config.flip),
        strip=strip,
        deface=bool(rng.random() < config.deface),
        cut=cut,
        resolution_mm=resolution,
        gamma=float(np.exp(rng.uniform(-1, 1) * config.gamma)) if changed else 1.0,
        factor=float(np.exp(rng.uniform(-1, 1) * config.brightness)) if changed else 1.0,
        bias=tuple(rng.uniform(-1, 1, 64) * config.bias_field) if changed and rng.random() < 0.5 else None,
        noise=float(rng.uniform(0, config.noise)) if changed and rng.random() < 0.5 else 0.0,
        seed=int(rng.integers(2**31)),
    )


def apply(
    chosen: Draw,
    image: Tensor,
    labels: Tensor,
    window: Shape,
    spacing_mm: float,
    mirror: Tensor,
    fluid: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Make the variant.

    Args:
        chosen: what `draw` returned.
        image: (1, I, J, K) float32, normalised.
        labels: (I, J, K) integers.
        window: shape of the result.
        spacing_mm: spacing of the grid.
        mirror: (classes,) label that each label becomes when left and right are swapped.
        fluid: label of the outer fluid that a tight skull-strip removes; 0 when there is none.

    Returns:
        image (1, *window) float32, labels (*window) int64, and the spacing ratio (3,) the scan now has.
    """
    if chosen.strip is not None:
        image, labels = _strip(image, labels, chosen.strip, fluid)
    if chosen.deface:
        image = _deface(image, labels)
    grid = _sampling_grid(chosen, labels.shape, window)
    image = F.grid_sample(image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=True)[0]
    picked = F.grid_sample(
        labels[None, None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=True
    )
    labels = picked[0, 0].long()
    if chosen.flip:
        image, labels = image.flip(1), mirror[labels.flip(0)]
    if chosen.cut is not None:
        image, labels = _cut(image, labels, chosen.cut)
    ratio = torch.ones(3)
    if chosen.resolution_mm is not None:
        image = coarsen(image, chosen.resolution_mm, spacing_mm)
        ratio = torch.tensor(chosen.resolution_mm) / spacing_mm
    return _intensity(image, chosen), labels, ratio


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _extent(labels: Tensor) -> tuple[np.ndarray, np.ndarray] | None:
    low, high = [], []
    for axis in range(3):
        others = tuple(n for n in range(3) if n != axis)
        filled = (labels > 0).any(dim=others[1]).any(dim=others[0]).nonzero()
        if not len(filled):
            return None
        low.append(int(filled[0]))
        high.append(int(filled[-1]))
    return np.array(low), np.array(high)


def _sampling_grid(chosen: Draw, shape: torch.Size, window: Shape) -> Tensor:
    """Sampling positions (1, *window, 3) for grid_sample, which wants (z, y, x) order in [-1, 1]."""
    a, b, c = chosen.angles
    about_x = torch.tensor([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = torch.tensor([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = torch.tensor([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    matrix = (about_z.double() @ about_y.double() @ about_x.double()) / torch.tensor(chosen.scales).double()
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in window]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)  # (*window, 3) voxels
    source = offsets @ matrix.float().t() + torch.tensor(chosen.centre, dtype=torch.float32)
    unit = source / (torch.tensor(shape, dtype=torch.float32) - 1) * 2 - 1
    return unit.flip(-1)[None]


def _strip(image: Tensor, labels: Tensor, dilation: int, fluid: int) -> tuple[Tensor, Tensor]:
    if dilation < 0 and fluid > 0:
        brain = dilate((labels > 0) & (labels != fluid), 1)
    else:
        brain = dilate(labels > 0, max(dilation, 0))
    return image * brain, torch.where(brain, labels, 0)


def dilate(mask: Tensor, voxels: int) -> Tensor:
    """Grow a mask (I, J, K) by a cube of `voxels` on each side."""
    if voxels == 0:
        return mask
    grown = F.max_pool3d(mask[None, None].float(), 2 * voxels + 1, stride=1, padding=voxels)
    return grown[0, 0] > 0


def _deface(image: Tensor, labels: Tensor) -> Tensor:
    extent = _extent(labels)
    if extent is None:
        return image
    low, high = extent
    face = torch.zeros_like(image[0], dtype=torch.bool)
    face[:, int((low[1] + high[1]) // 2) :, : int(low[2] + 0.35 * (high[2] - low[2]))] = True
    return image * ~(face & ~dilate(labels > 0, 3))


def _cut(image: Tensor, labels: Tensor, cut: tuple[int, bool, float]) -> tuple[Tensor, Tensor]:
    axis, far, share = cut
    size = labels.shape[axis]
    count = int(size * share)
    kept = torch.ones(size, dtype=torch.bool)
    kept[size - count if far else 0 : size if far else count] = False
    mask = kept.reshape([-1 if n == axis else 1 for n in range(3)])
    return image * mask, torch.where(mask, labels, 0)


def coarsen(image: Tensor, resolution_mm: tuple[float, ...], spacing_mm: float) -> Tensor:
    """An image (1, X, Y, Z) averaged to voxels of that size and interpolated back to its own grid."""
    shape = image.shape[1:]
    coarse = [max(2, round(n * spacing_mm / mm)) for n, mm in zip(shape, resolution_mm, strict=True)]
    small = F.interpolate(image[None], size=coarse, mode="area")
    return F.interpolate(small, size=shape, mode="trilinear", align_corners=False)[0]


def _intensity(image: Tensor, chosen: Draw) -> Tensor:
    air = image <= 0
    if chosen.gamma != 1.0:
        image = image.clamp(min=0) ** chosen.gamma
    if chosen.bias is not None:
        field = torch.tensor(chosen.bias, dtype=torch.float32).reshape(1, 1, 4, 4, 4)
        image = (
            image * F.interpolate(field, size=image.shape[1:], mode="trilinear", align_corners=True)[0].exp()
        )
    image = image * chosen.factor
    if chosen.noise > 0:
        generator = torch.Generator().manual_seed(chosen.seed)
        noise = torch.randn(image.shape, generator=generator) * chosen.noise
        image = torch.where(air & (chosen.seed % 2 == 0), image, (image + noise).abs())  # masked air stays 0
    return image
