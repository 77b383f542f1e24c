"""Calibration of the voxels: reliability diagrams of bundles as SVG; with --data, errors by class and region.

    reliability.py [NAME ...] [-o docs/reliability.svg]      from calibration.json, cross-fitted
    reliability.py brain-t1 --data DATA [--split val]        measured anew, pooled and image by image

The second form counts around the labels and at their borders, of each exit, and of each class at full depth;
docs/validation.md says what the two ways of counting mean. The temperatures were fitted on these very cases;
of one number on 27 cases or more that flatters little.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from lnn_med.allocator import keep_memory
from lnn_med.errors import ConfigError
from lnn_med.evaluation.coverage import coverage_check
from lnn_med.evaluation.dataset import EvaluationCase, select_cases
from lnn_med.evaluation.labels import check_same_grid, group, read_reference
from lnn_med.evaluation.report.figures import chances
from lnn_med.evaluation.report.figures.canvas import STYLE, svg_of
from lnn_med.evaluation.results.voxels import bundle_calibration
from lnn_med.evaluation.voxel_calibration import (
    ALL,
    BORDER,
    ERRORS,
    Counts,
    PlaceErrors,
    errors_over_images,
    voxel_counts,
)
from lnn_med.inference.bundle import Bundle, load_bundle
from lnn_med.inference.head import spacing_ratio
from lnn_med.inference.model_space import into_model_space
from lnn_med.io.nifti import read_nifti

SHIPPED = ("hippocampus-t1", "brain-t1")
OTHERS = tuple(map(str.upper, ERRORS[1:]))
DRAWING = Path(__file__).parents[1] / "docs" / "reliability.svg"


def main() -> None:
    """Read or measure, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", nargs="*", default=SHIPPED, metavar="NAME", help="default: all that ship")
    parser.add_argument("--data", type=Path, help="folder with imagesTr/ and labelsTr/")
    parser.add_argument("--split", default="val", help="of the bundle (default val)")
    parser.add_argument("-o", "--out", type=Path, default=DRAWING)
    chosen = parser.parse_args()
    if chosen.data:
        keep_memory()
        for name in chosen.bundles:
            measure(load_bundle(name), chosen.data, chosen.split)
        return
    found = [calibration_of(name) for name in chosen.bundles]
    show(found)
    show_intervals(found)
    chosen.out.write_text(drawing(found), encoding="utf-8")
    print(f"Wrote {chosen.out}")


def calibration_of(name: str) -> dict[str, Any]:
    """What was measured when a bundle was calibrated.

    Raises:
        ConfigError: it is not calibrated.
    """
    bundle = load_bundle(name)
    found = bundle_calibration(f"{bundle.info.name} {bundle.info.version}", bundle.path)
    if found is None:
        raise ConfigError(f"{name} is not calibrated; run lnn-med calibrate {name} DATA.")
    return found


def show(found: Sequence[Mapping[str, Any]]) -> None:
    """Errors of each exit as a table, before and after temperature."""
    print_row("bundle", "exit", "temperature", "ECE of chance", *map(str.upper, ERRORS))
    print_row(*["---"] * (4 + len(ERRORS)))
    for one in found:
        for place, at in enumerate(one["exits"], start=1):
            pairs = [f"{at['before'][key]:.4f} → {at['after'][key]:.4f}" for key in ERRORS]
            print_row(one["bundle"], place, f"{at['temperature']:.3f}", f"{at['ece_null']:.4f}", *pairs)


def show_intervals(found: Sequence[Mapping[str, Any]]) -> None:
    """Cross-fitted coverage of the volume intervals, and the structures whose share is more than chance."""
    print()
    for one in found:
        rows = one["volumes"]
        shares = [100 * row["cross_fitted"] for row in rows]
        widths = [row["width_pct"] for row in rows]
        outside = [row["name"] for row in rows if not by_chance(row, one["nominal"])]
        words = f"{one['bundle']}, {100 * one['nominal']:g} % intervals of volumes, n = {one['n']}: coverage"
        words += f" {np.mean(shares):.1f} % as the mean of {len(rows)} structures ({min(shares):.1f} to"
        words += f" {max(shares):.1f}); outside their binomial band: {', '.join(outside) or 'none'}; median"
        words += f" width {np.median(widths):.0f} % ({min(widths):.0f} to {max(widths):.0f}) of the volume"
        print(words)


def by_chance(row: Mapping[str, Any], nominal: float) -> bool:
    """Whether the coverage of a structure lies in the binomial band of its cases."""
    covered = np.arange(row["n"]) < round(row["cross_fitted"] * row["n"])
    return coverage_check(covered, nominal).inside


def drawing(found: Sequence[Mapping[str, Any]]) -> str:
    """One panel a bundle, as SVG."""
    matplotlib.use("svg")
    with matplotlib.rc_context(STYLE):
        figure = chances.voxels({"voxels": found})
        if figure is None:
            raise ConfigError("No bundle was named.")
        return svg_of(figure)


def measure(bundle: Bundle, data: Path, split: str) -> None:
    """Print the errors of every exit in all, and of every class at full depth."""
    cases = select_cases(data, split, bundle.info.split).cases
    measured = [counts_of(case, bundle) for case in cases]
    patients = [case.patient for case in cases]
    print(f"{bundle.info.name} {bundle.info.version}, split {split}, {len(cases)} scans")
    print(f"Before → after temperature. Chance: of a perfect network. {', '.join(OTHERS)}: by image\n")
    pooled, by_image = ("pooled ECE", "chance"), ("ECE by image (95 % interval)", "chance")
    print_row("exit", "what", "where", *pooled, *by_image, *OTHERS)
    print_row(*["---"] * (7 + len(OTHERS)))
    for number in range(bundle.info.network.exits):
        before, after = (
            errors_over_images([scan[number][place] for scan in measured], patients) for place in (0, 1)
        )
        for one, other in zip(before, after, strict=True):
            print_row(number + 1, *cells(one, other, bundle))
    print()


@torch.inference_mode()
def counts_of(case: EvaluationCase, bundle: Bundle) -> list[tuple[Counts, Counts]]:
    """Pairs of one scan on the model's grid, exit by exit, before and after temperature."""
    volume, reference = read_nifti(case.image), read_reference(case.reference)
    check_same_grid(reference, volume)
    seen = into_model_space(volume, bundle.info.space)
    truth = seen.placement.labels_to_model(group(reference.data, bundle.info.labels))
    ratio = torch.tensor([spacing_ratio(volume, bundle.info.space.spacing_mm)])
    network, image = bundle.network(), torch.from_numpy(seen.image)[None, None]
    exits = bundle.info.network.exits
    found: list[tuple[Counts, Counts]] = []
    for number in range(1, exits + 1):
        after = network(image, number, spacing_ratio=ratio).logits[0].float()
        before = after * network.temperature[number - 1]
        pair = [voxel_counts(each.softmax(dim=0).numpy(), truth, number == exits) for each in (before, after)]
        found.append((pair[0], pair[1]))
    return found


def cells(before: PlaceErrors, after: PlaceErrors, bundle: Bundle) -> list[str]:
    """One row of the table."""
    place, now = after.place, after.ece
    name = "most likely class" if place.label == ALL else bundle.label_names[place.label]
    where = "2 voxels around the border" if place.region == BORDER else "labels and 2 voxels around"
    band = f" ({now.low:.4f} to {now.high:.4f})" if now.low is not None else ""
    return [
        *(name, where, f"{before.pooled:.4f} → {after.pooled:.4f}", f"{after.pooled_null:.4f}"),
        *(f"{before.ece.estimate:.4f} → {now.estimate:.4f}{band}", f"{after.null:.4f}"),
        *(f"{before.means[key]:.4f} → {after.means[key]:.4f}" for key in ERRORS[1:]),
    ]


def print_row(*values: object) -> None:
    """A row of a Markdown table."""
    print("| " + " | ".join(map(str, values)) + " |", flush=True)


if __name__ == "__main__":
    main()
