"""Does quality control catch bad results, and does it let good ones pass?

    quality.py brain-t1 DATA [--cases 3]

Good scans: those of the bundle's splits `val` and `calibration`, as they are and with the skull removed.
Broken ones: the same scans rotated, inverted, noisy, with motion or ghosts, cut, with slices missing, with
their blocks shuffled, and phantoms. DSC is the mean over structures of 100 voxels or more in the reference
that went along; where there is no brain, it is 0. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from lnn_med.allocator import keep_memory
from lnn_med.errors import ConfigError, InputError
from lnn_med.evaluation.dataset import select_cases
from lnn_med.evaluation.intervals import wilson
from lnn_med.evaluation.labels import group, predicted_indices, read_reference, without_skull
from lnn_med.evaluation.metrics import overlaps
from lnn_med.evaluation.summary import LARGE_VOXELS
from lnn_med.inference.bundle import Label, load_bundle
from lnn_med.inference.predict import Predictor
from lnn_med.io.nifti import read_nifti
from lnn_med.prediction import SEGMENTATION
from lnn_med.transforms import disturb
from lnn_med.transforms.disturb import Change
from lnn_med.volume import Volume

BAD_DSC = 0.7
CAUGHT, FALSE_ALARMS = 0.95, 0.05  # targets: at least, at most
SPLITS = ("val", "calibration")
BLOCKS = 3  # along each axis, when a head is shuffled


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
    """A cylinder of water with a little noise, as scanned for calibration."""
    at_mm = (np.indices(scan.shape).T - (np.array(scan.shape) - 1) / 2) * scan.spacing_mm
    inside = (np.linalg.norm(at_mm[..., :2], axis=-1) < 70) & (np.abs(at_mm[..., 2]) < 80)
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


@dataclass(frozen=True)
class Judged:
    """One scan: what was done to it, the DSC reached, and what quality control said."""

    kind: str
    good: bool
    dsc: float
    status: str  # pass, review, fail, refused

    @property
    def bad(self) -> bool:
        """Whether its numbers should not be used."""
        return self.dsc < BAD_DSC

    @property
    def flagged(self) -> bool:
        """Whether a reader is warned."""
        return self.status != "pass"


def judged(
    kind: str, good: bool, scan: Volume, truth: Volume, labels: Sequence[Label], predict: Callable
) -> Judged:
    """Predict one scan and compare."""
    counts = np.bincount(truth.data.ravel(), minlength=1 + len(labels))
    large = [label.index for label in labels if counts[label.index] >= LARGE_VOXELS]
    try:
        prediction = predict(scan)
    except (InputError, ConfigError):
        return Judged(kind, good, 0.0, "refused")
    found = prediction.maps[SEGMENTATION]
    indices = predicted_indices(found, prediction.label_names[SEGMENTATION], labels)
    dsc = float(np.mean(list(overlaps(indices, truth.data, large).values()))) if large else 0.0
    return Judged(kind, good, dsc, prediction.quality.status)


def show(found: Sequence[Judged]) -> bool:
    """Print the table and the two targets; whether both are reached."""
    print("| scan | n | mean DSC | bad | of these flagged | PASS | REVIEW | FAIL | refused |\n|" + "---|" * 9)
    for kind in dict.fromkeys(one.kind for one in found):
        own = [one for one in found if one.kind == kind]
        states = [sum(one.status == state for one in own) for state in ("pass", "review", "fail", "refused")]
        bad = [one for one in own if one.bad]
        cells = [
            len(own),
            f"{np.mean([one.dsc for one in own]):.3f}",
            len(bad),
            sum(one.flagged for one in bad),
        ]
        print("| " + " | ".join(str(cell) for cell in (kind, *cells, *states)) + " |")
    bad = [one for one in found if one.bad and not one.good]
    plain = [one for one in found if one.good]
    print()
    caught = share(f"broken and DSC < {BAD_DSC}: flagged", bad, f">= {100 * CAUGHT:g} %")
    alarms = share("good: flagged", plain, f"<= {100 * FALSE_ALARMS:g} %")
    return caught >= CAUGHT and alarms <= FALSE_ALARMS


def share(words: str, scans: Sequence[Judged], target: str) -> float:
    """Print the flagged share with its interval."""
    count = sum(one.flagged for one in scans)
    found = wilson(count, len(scans))
    print(f"{words} {count} of {len(scans)}, {100 * count / len(scans):.1f} % "
          f"({100 * (found.low or 0):.1f} to {100 * (found.high or 0):.1f}); target {target}")  # fmt: skip
    return count / len(scans)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("data", type=Path, help="folder with imagesTr/ and labelsTr/")
    parser.add_argument("--cases", type=int, help="at most so many, spread over the splits")
    chosen = parser.parse_args()
    keep_memory()
    bundle = load_bundle(chosen.bundle)
    predict, labels = Predictor((bundle.path,)), bundle.info.labels
    cases = [c for split in SPLITS for c in select_cases(chosen.data, split, bundle.info.split).cases]
    if chosen.cases:
        cases = [cases[int(n)] for n in np.linspace(0, len(cases) - 1, min(chosen.cases, len(cases))).round()]
    found = []
    for seed, case in enumerate(cases):
        scan, raw = read_nifti(case.image), read_reference(case.reference)
        truth = raw.with_data(group(raw.data, labels))
        for good, kinds in ((True, GOOD), (False, BROKEN)):
            for kind, change in kinds.items():
                found.append(judged(kind, good, *change(scan, truth, seed), labels, predict))
    print(f"{bundle.info.name} {bundle.info.version} ({bundle.weights_sha256[:8]}), {len(cases)} scans\n")
    raise SystemExit(0 if show(found) else 1)


if __name__ == "__main__":
    main()
