"""Scans disturbed on purpose, each way at growing strengths, with the reference labels going along.

Every change takes a scan, its label map and a seed, and returns both; the same seed gives the same scan. What
moves anatomy or voxels moves the labels alike: each new voxel takes the label with the largest share in it.
Noise, bias field, blur and movement come from MONAI; motion mixes lines of k-space from several positions of
the head, as in Shaw et al. (MIDL 2019), ghosts are a periodic error of these lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from monai.transforms import Affine, GaussianSmooth, RandBiasField, RandRicianNoise
from nibabel.orientations import apply_orientation, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lnn_med import geometry
from lnn_med.transforms.intensity import IntensityConfig, fit_scaling
from lnn_med.transforms.space import place
from lnn_med.volume import Volume

Change = Callable[[Volume, Volume, int], tuple[Volume, Volume]]  # scan, labels, seed
Array = NDArray[np.float32]  # (I, J, K)

FWHM = 2.3548  # of a Gaussian, in standard deviations
FIELD_DEGREE = 3  # of the polynomials of a bias field
POSITIONS = 4  # of the head during a scan with motion, besides the one at rest
AGAIN = {"degrees": 8.0, "shift_mm": 4.0, "fwhm_mm": 2.5, "field": 0.3, "noise": 0.04}  # most, another scan
AT_REST = 0.2  # share of the lines, those of low frequency, that are read before the head moves


def noise(scan: Volume, labels: Volume, seed: int, share: float) -> tuple[Volume, Volume]:
    """Rician noise; its standard deviation is a share of bright tissue."""
    sd = share * _bright(scan)
    rician = RandRicianNoise(prob=1.0, std=sd, sample_std=False).set_random_state(seed)
    return scan.with_data(np.asarray(rician(_values(scan)))), labels


def bias_field(scan: Volume, labels: Volume, seed: int, factor: float) -> tuple[Volume, Volume]:
    """A smooth field that multiplies by 1 / factor to factor."""
    polynomial = RandBiasField(FIELD_DEGREE, (-1.0, 1.0), prob=1.0).set_random_state(seed)
    field = np.log(np.asarray(polynomial(np.ones((1, *scan.shape), dtype=np.float32)))[0])
    field *= np.log(factor) / np.abs(field).max()
    return scan.with_data(_values(scan) * np.exp(field)), labels


def blur(scan: Volume, labels: Volume, seed: int, fwhm_mm: float) -> tuple[Volume, Volume]:
    """A Gaussian of that full width at half maximum."""
    smooth = GaussianSmooth([fwhm_mm / FWHM / mm for mm in scan.spacing_mm])
    return scan.with_data(np.asarray(smooth(_values(scan)[None]))[0]), labels


def motion(scan: Volume, labels: Volume, seed: int, size: float) -> tuple[Volume, Volume]:
    """Rigid movement during the scan: `size` degrees about each axis and mm along it, at most.

    The lines of low frequency are read at rest, so that the labels still fit.
    """
    rng = np.random.default_rng(seed)
    data, lines = _values(scan), _k_space(_values(scan))
    count = scan.shape[0]
    moving = np.flatnonzero(np.abs(np.fft.fftshift(np.fft.fftfreq(count))) >= AT_REST / 2)
    for part in np.array_split(moving, POSITIONS):
        turn, shift = rng.uniform(-size, size, (2, 3))
        moved = _carried(data, _rigid(scan, turn, shift))
        lines[part] = _k_space(moved)[part]
    return scan.with_data(_image(lines)), labels


def ghosts(scan: Volume, labels: Volume, seed: int, strength: float) -> tuple[Volume, Volume]:
    """Every third line of k-space weakened by a share: shifted copies of the head, as from pulsation."""
    lines = _k_space(_values(scan))
    lines[seed % 3 :: 3] *= 1 - strength
    return scan.with_data(_image(lines)), labels


def rotation(scan: Volume, labels: Volume, seed: int, degrees: float) -> tuple[Volume, Volume]:
    """The head turned about a random axis through the middle of the image; the grid stays."""
    axis = np.random.default_rng(seed).standard_normal(3)
    matrix = _rigid(scan, degrees * axis / np.linalg.norm(axis), np.zeros(3))
    turned = scan.with_data(_carried(_values(scan), matrix))
    return turned, labels.with_data(_labels_carried(labels.data, matrix))


def another_scan(scan: Volume, seed: int) -> Volume:
    """The head as a further scan might show it: turned, blurred, shaded and noisy, each within `AGAIN`."""
    rng = np.random.default_rng(seed)
    turn = rng.uniform(-1, 1, 3) * AGAIN["degrees"]
    shift = rng.uniform(-1, 1, 3) * AGAIN["shift_mm"]
    seen = scan.with_data(_carried(_values(scan), _rigid(scan, turn, shift)))
    seen, _ = blur(seen, seen, seed, rng.uniform(0.1, 1) * AGAIN["fwhm_mm"])
    seen, _ = bias_field(seen, seen, seed, 1 + rng.uniform(0.01, 1) * AGAIN["field"])
    return noise(seen, seen, seed, rng.uniform(0.01, 1) * AGAIN["noise"])[0]


def slices(scan: Volume, labels: Volume, seed: int, factor: float) -> tuple[Volume, Volume]:
    """Axial slices thicker by a factor, averaged over what they cover."""
    axis = [code in "SI" for code in scan.orientation].index(True)
    grid = dict(zip("RAS", (1.0, 1.0, 1.0), strict=True))
    for code, mm in zip(scan.orientation, scan.spacing_mm, strict=True):
        grid[{"L": "R", "P": "A", "I": "S"}.get(code, code)] = mm
    placement = place(scan, (grid["R"], grid["A"], scan.spacing_mm[axis] * factor))
    shares = _largest_share(labels.data, placement.to_model)
    thick = Volume(placement.to_model(_values(scan)), placement.affine, scan.source, scan.findings)
    return thick, Volume(shares, placement.affine)


def orientation(scan: Volume, labels: Volume, seed: int, codes: str) -> tuple[Volume, Volume]:
    """The same voxels at the same places, with the array's axes in another order and direction."""
    return _reordered(scan, codes), _reordered(labels, codes)


def _graded(change: Callable[..., tuple[Volume, Volume]], name: str, words: Mapping[str, object]) -> dict:
    return {text: partial(change, **{name: value}) for text, value in words.items()}


DISTURBANCES: Mapping[str, Mapping[str, Change]] = {
    "noise": _graded(noise, "share", {f"SD {100 * s:g} % of tissue": s for s in (0.02, 0.05, 0.1)}),
    "bias field": _graded(bias_field, "factor", {f"up to × {f:g}": f for f in (1.2, 1.5, 2.0)}),
    "blur": _graded(blur, "fwhm_mm", {f"FWHM {mm:g} mm": mm for mm in (2.0, 3.0, 5.0)}),
    "motion": _graded(motion, "size", {f"up to {s:g}° and mm": s for s in (1.0, 2.0, 5.0)}),
    "ghosts": _graded(ghosts, "strength", {f"{100 * s:g} % of a line": s for s in (0.2, 0.4, 0.8)}),
    "rotation": _graded(rotation, "degrees", {f"{deg:g}°": deg for deg in (5.0, 15.0, 30.0)}),
    "resampling": _graded(slices, "factor", {f"slices × {f:g}": f for f in (1.5, 2.0, 3.0)}),
    "orientation": _graded(orientation, "codes", {codes: codes for codes in ("LPS", "PIR", "SAL")}),
}


def _values(scan: Volume) -> Array:
    return np.asarray(scan.data, dtype=np.float32)


def _bright(scan: Volume) -> float:
    """Difference between air and bright tissue, in the units of the scan."""
    scaling = fit_scaling(scan.data, IntensityConfig())
    return scaling.high - scaling.low


def _rigid(scan: Volume, turn_deg: NDArray[np.float64], shift_mm: NDArray[np.float64]) -> Array:
    """Matrix (4, 4) from the voxels of the moved image to those of the original, about the middle."""
    scale = np.diag(scan.spacing_mm)
    matrix = np.eye(4, dtype=np.float32)
    turn = Rotation.from_rotvec(turn_deg, degrees=True).as_matrix()
    matrix[:3, :3] = np.linalg.inv(scale) @ turn @ scale
    matrix[:3, 3] = np.linalg.inv(scale) @ shift_mm
    return matrix


def _carried(data: Array, matrix: Array) -> Array:
    """An image moved by a matrix, linear in between, 0 outside."""
    move = Affine(affine=torch.from_numpy(matrix), padding_mode="zeros", image_only=True)
    return np.asarray(move(data[None]), dtype=np.float32)[0]


def _labels_carried(labels: NDArray[np.integer], matrix: Array) -> NDArray[np.integer]:
    """`_largest_share` of a matrix: only voxels whose eight neighbours differ have shares to compare."""
    middle = (np.array(labels.shape) - 1) / 2
    result = np.zeros_like(labels)
    padded = np.pad(labels, 1)
    plane = np.indices((1, *labels.shape[1:])).reshape(3, -1).T
    for row in range(labels.shape[0]):
        places = plane + np.array((row, 0, 0))
        source = (places - middle) @ matrix[:3, :3].T.astype(np.float64) + matrix[:3, 3] + middle
        lower = np.floor(source).astype(np.int64)
        near, shares = [], []
        for corner in np.ndindex(2, 2, 2):
            at = lower + corner
            inside = ((at >= 0) & (at < labels.shape)).all(axis=1)
            near.append(padded[tuple(np.clip(at + 1, 0, np.array(padded.shape) - 1).T)])
            shares.append(inside * np.prod(1 - np.abs(source - at), axis=1))
        found, weight = np.stack(near), np.stack(shares)  # (8, voxels)
        best = found[0].copy()
        mixed = np.flatnonzero((found != found[0]).any(axis=0))
        found, weight = found[:, mixed], weight[:, mixed]
        totals = np.stack([(weight * (found == one)).sum(axis=0) for one in found])
        best[mixed] = found[totals.argmax(axis=0), np.arange(len(mixed))]
        result[row] = best.reshape(labels.shape[1:])
    return result


def _largest_share(labels: NDArray[np.integer], carry: Callable[[Array], Array]) -> NDArray[np.integer]:
    """Labels carried as images, one by one; each voxel takes the largest, the background where none is."""
    best: Array | None = None
    result = None
    for label in np.unique(np.append(labels, 0)):
        share = carry((labels == label).astype(np.float32))
        if best is None or result is None:
            best, result = share, np.full(share.shape, label, dtype=labels.dtype)
            continue
        result[share > best] = label
        best = np.maximum(best, share)
    assert result is not None
    return result


def _k_space(data: Array) -> NDArray[np.complex64]:
    """Lines of k-space along the first axis, the low frequencies in the middle."""
    return np.fft.fftshift(np.fft.fft(data, axis=0), axes=0).astype(np.complex64)


def _image(lines: NDArray[np.complex64]) -> Array:
    return np.abs(np.fft.ifft(np.fft.ifftshift(lines, axes=0), axis=0)).astype(np.float32)


def _reordered(volume: Volume, codes: str) -> Volume:
    change = ornt_transform(geometry.orientation_of(volume.affine), geometry.orientation_from_codes(codes))
    data = np.ascontiguousarray(apply_orientation(volume.data, change))
    return replace(volume, data=data, affine=volume.affine @ inv_ornt_aff(change, volume.shape))
