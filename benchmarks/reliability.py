"""Reliability diagrams of the voxels, drawn from the calibration.json of bundles: docs/reliability.svg.

    reliability.py [BUNDLE ...] [-o docs/reliability.svg]

Prints the errors of each exit before and after temperature as a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from lnn_med.errors import ConfigError
from lnn_med.evaluation.report.figures import chances
from lnn_med.evaluation.report.figures.canvas import STYLE, svg_of
from lnn_med.evaluation.results.voxels import bundle_calibration
from lnn_med.inference.bundle import load_bundle

SHIPPED = ("hippocampus-t1", "brain-t1")
DRAWING = Path(__file__).parents[1] / "docs" / "reliability.svg"
ERRORS = ("ece", "ace", "mce", "brier", "nll")


def main() -> None:
    """Read, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", nargs="*", default=SHIPPED, metavar="NAME", help="default: all that ship")
    parser.add_argument("-o", "--out", type=Path, default=DRAWING)
    chosen = parser.parse_args()
    found = [calibration_of(name) for name in chosen.bundles]
    show(found)
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
    """Errors of each exit as a table."""
    print(f"| bundle | exit | temperature | ECE of chance | {' | '.join(map(str.upper, ERRORS))} |")
    print("|" + "---|" * (4 + len(ERRORS)))
    for one in found:
        for place, at in enumerate(one["exits"], start=1):
            pairs = [f"{at['before'][key]:.4f} → {at['after'][key]:.4f}" for key in ERRORS]
            cells = (one["bundle"], place, f"{at['temperature']:.3f}", f"{at['ece_null']:.4f}", *pairs)
            print("| " + " | ".join(map(str, cells)) + " |")


def drawing(found: Sequence[Mapping[str, Any]]) -> str:
    """One panel a bundle, as SVG."""
    matplotlib.use("svg")
    with matplotlib.rc_context(STYLE):
        figure = chances.voxels({"voxels": found})
        if figure is None:
            raise ConfigError("No bundle was named.")
        return svg_of(figure)


if __name__ == "__main__":
    main()
