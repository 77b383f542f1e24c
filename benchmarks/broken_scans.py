"""Scans that quality control should let pass, and the same scans broken on purpose, with their labels.

Where nothing of a brain is left, the labels are empty. What only disturbs a scan is in `transforms.disturb`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from lnn_med.evaluation.labels import without_skull
from lnn_med.transforms import disturb
from lnn_med.transforms.disturb import Change
from lnn_med.volume import Volume

BLOCKS = 3  # along each axis, when a head is shuffled
BOTTLE = 0.38  # radius of the bottle over the shortest side of the image


def inverted(scan: Volume, labels: Volume, seed: int) -> tuple[Volume, Volume]:
    """Bright becomes dark inside the head, as in another contrast; air stays dark."""
    head = scan.data > np.percentile(scan.data, 50)
    top = np.percentile(scan.data, 99)
    return scan.with_data(np.where(head, np.clip(top - scan.data, 0, top), scan.data)), labels


def cut(scan: Volume, labels: Volume, seed: int, code: str, share: float) -> tuple[Volume, Volume]:
    """A field of view that ends early: the part of the image towards R, L, A, P, S or I is gone."""
    pairs = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}
    axis = next(n for n, own in enumerate(scan.orientation) if own in (code, pairs[code]))
    lost = round(share * scan.shape[axis])
    kept = [slice(None)] * 3
    ends_there = scan.orientation[axis] == code
    kept[axis] = slice(0, scan.shape[axis] - lost) if ends_there else slice(lost, None)
    affine = scan.affine.copy()
    if not ends_there:
        affine[:3, 3] += affine[:3, axis] * lost
    part = tuple(kept)
    return replace(scan, data=scan.data[part], affine=affine), Volume(labels.data[part], affine)


def slices_missing(scan: Volume, labels: Volume, seed: int) -> tuple[Volume, Volume]:
    """Every second slice from below is lost, and the header does not know it."""
    axis = next(n for n, code in enumerate(scan.orientation) if code in "SI")
    every = tuple(slice(None, None, 2 if n == axis else 1) for n in range(3))
    return replace(scan, data=scan.data[every]), Volume(labels.data[every], scan.affine)


def slices_black(scan: Volume, labels: Volume, seed: int) -> tuple[Volume, Volume]:
    """Every second slice from below is black."""
    axis = next(n for n, code in enumerate(scan.orientation) if code in "SI")
    data = np.array(scan.data)
    np.moveaxis(data, axis, 0)[1::2] = 0
    return scan.with_data(data), labels


def shuffled(scan: Volume, labels: Volume, seed: int) -> tuple[Volume, Volume]:
    """Blocks of the head in another order: its brightness, but no brain."""
    size = [n // BLOCKS for n in scan.shape]
    places = [tuple(place) for place in np.ndindex(BLOCKS, BLOCKS, BLOCKS)]
    data = np.array(scan.data)
    for to, place in enumerate(np.random.default_rng(seed).permutation(len(places))):
        here, there = (
            tuple(slice(step * n, (step + 1) * n) for step, n in zip(places[at], size, strict=True))
            for at in (to, int(place))
        )
        data[here] = scan.data[there]
    return scan.with_data(data), nothing(labels)


def bottle(scan: Volume, labels: Volume, seed: int) -> tuple[Volume, Volume]:
    """A cylinder of water with a little noise, as scanned for calibration; it fills most of the image."""
    at_mm = (np.indices(scan.shape).T - (np.array(scan.shape) - 1) / 2) * scan.spacing_mm
    radius = BOTTLE * min(n * mm for n, mm in zip(scan.shape, scan.spacing_mm, strict=True))
    inside = (np.linalg.norm(at_mm[..., :2], axis=-1) < radius) & (np.abs(at_mm[..., 2]) < 1.1 * radius)
    noise = np.random.default_rng(seed).normal(0, 20, scan.shape)
    return scan.with_data(np.abs(1000 * inside.T + noise).astype(np.float32)), nothing(labels)


def texture(scan: Volume, labels: Volume, seed: int) -> tuple[Volume, Volume]:
    """Smooth random tissue in the shape of the head: an organ that is no brain."""
    rough = scan.with_data(np.random.default_rng(seed).normal(0, 1, scan.shape).astype(np.float32))
    smooth = disturb.blur(rough, labels, seed, 15.0)[0].data
    tissue = 500 + 300 * smooth / smooth.std()
    inside = disturb.blur(scan, labels, seed, 10.0)[0].data > np.percentile(scan.data, 60)
    return scan.with_data(np.where(inside, np.clip(tissue, 50, None), 5).astype(np.float32)), nothing(labels)


def nothing(labels: Volume) -> Volume:
    """No structure anywhere."""
    return labels.with_data(np.zeros_like(labels.data))


GOOD: Mapping[str, Change] = {
    "as it is": lambda scan, labels, seed: (scan, labels),
    "skull removed": lambda scan, labels, seed: (without_skull(scan, labels), labels),
}
BROKEN: Mapping[str, Change] = {
    **{f"rotation {deg}°": partial(disturb.rotation, degrees=float(deg)) for deg in (20, 45, 90, 180)},
    "inverted": inverted,
    **{f"noise {100 * s:g} %": partial(disturb.noise, share=s) for s in (0.1, 0.2, 0.4)},
    **{f"motion {size}° and mm": partial(disturb.motion, size=float(size)) for size in (5, 10, 20)},
    **{f"ghosts {100 * s:g} %": partial(disturb.ghosts, strength=s) for s in (0.5, 0.9)},
    **{f"bias field × {f:g}": partial(disturb.bias_field, factor=f) for f in (2.0, 5.0)},
    **{f"blur {mm:g} mm": partial(disturb.blur, fwhm_mm=mm) for mm in (6.0, 12.0)},
    **{f"slices × {f:g}": partial(disturb.slices, factor=f) for f in (3.0, 4.0)},
    **{f"cut {100 * s:g} % {code}": partial(cut, code=code, share=s) for code in "SIA" for s in (0.2, 0.4)},
    "cut 40 % R": partial(cut, code="R", share=0.4),
    "every second slice missing": slices_missing,
    "every second slice black": slices_black,
    "shuffled": shuffled,
    "bottle": bottle,
    "texture": texture,
}
