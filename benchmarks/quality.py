"""Does quality control catch bad results, and does it let good ones pass?

    quality.py brain-t1 DATA [--split val] [--cases 4] [--each 2] [--depth 1] [-o FOUND.jsonl]

Good scans: those of a split as they are and, if heads, with the skull removed. Broken ones: the same scans
turned, inverted, noisy, with motion or ghosts, cut, with slices missing, with their blocks shuffled, and
objects that are no head. DSC is the mean over structures of 100 voxels or more in the reference that went
along; where there is no brain, it is 0. Limits are chosen on the split `calibration`, judged on `val`. With
-o an interrupted run goes on. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from broken_scans import BROKEN, GOOD

from lnn_med.allocator import keep_memory
from lnn_med.errors import Code, InputError
from lnn_med.evaluation.dataset import select_cases
from lnn_med.evaluation.intervals import wilson
from lnn_med.evaluation.labels import group, read_reference
from lnn_med.evaluation.metrics import overlaps
from lnn_med.evaluation.summary import LARGE_VOXELS
from lnn_med.inference.bundle import load_bundle
from lnn_med.inference.head import Segmented, segment_head
from lnn_med.inference.hippocampus import segment_crop
from lnn_med.inference.judgement import head_quality, seen_quality
from lnn_med.inference.predict import CROP, job_of
from lnn_med.inference.quality import ALIEN, CROP_MARGIN_MM, UNSURE, UNUSUAL, doubt, is_crop, judge_crop
from lnn_med.inference.runtime import Engine, RuntimeConfig
from lnn_med.io.nifti import read_nifti
from lnn_med.prediction import Quality
from lnn_med.transforms.disturb import Change
from lnn_med.volume import Volume

BAD_DSC = 0.7
CAUGHT, FALSE_ALARMS = 0.95, 0.05  # targets: at least, at most
REFUSED = "refused"
LIMITS = f"limits {UNUSUAL:g} {ALIEN:g} {UNSURE:g} {CROP_MARGIN_MM:g} mm"  # rows of other limits do not count


@dataclass(frozen=True)
class Judged:
    """One scan: what was done to it, the DSC reached, and what quality control said and saw.

    `oddness` and `doubt` are over the usual limit; None where a scan was refused or nothing is calibrated.
    """

    kind: str
    good: bool
    case: int  # place in the split
    dsc: float
    status: str  # pass, review, fail, refused
    reasons: tuple[str, ...] = ()
    oddness: float | None = None
    doubt: float | None = None

    @property
    def bad(self) -> bool:
        """Whether its numbers should not be used."""
        return self.dsc < BAD_DSC

    @property
    def flagged(self) -> bool:
        """Whether a reader is warned."""
        return self.status != "pass"


class Task(NamedTuple):
    """A change to be tried on a case."""

    kind: str
    good: bool
    change: Change


def tasks(crops: bool, case: int, cases: int, each: int) -> Iterator[Task]:
    """What is tried on one of the cases: every good kind, and broken kinds so that each has `each` cases."""
    for kind, change in GOOD.items():
        if not crops or kind == "as it is":
            yield Task(kind, True, change)
    for number, (kind, change) in enumerate(BROKEN.items()):
        if (case - number * each) % cases < each:
            yield Task(kind, False, change)


def judged(task: Task, case: int, scan: Volume, truth: Volume, engine: Engine) -> Judged:
    """Predict one scan and compare."""
    labels = engine.bundle.info.labels
    counts = np.bincount(truth.data.ravel(), minlength=1 + len(labels))
    large = [label.index for label in labels if counts[label.index] >= LARGE_VOXELS]
    try:
        answer, quality = answered(scan, engine)
    except InputError as error:
        return Judged(task.kind, task.good, case, 0.0, REFUSED, (error.code.value,))
    dsc = float(np.mean(list(overlaps(answer.labels, truth.data, large).values()))) if large else 0.0
    calibration = engine.bundle.calibration
    usual, odd = calibration.usual_doubt, calibration.oddness(answer.run.summary)
    return Judged(
        *(task.kind, task.good, case, round(dsc, 4), quality.status, quality.reasons),
        oddness=None if odd is None else round(odd, 4),
        doubt=None if usual is None else round(doubt(answer.labels, answer.entropy) / usual, 4),
    )


def answered(scan: Volume, engine: Engine) -> tuple[Segmented, Quality]:
    """What the bundle answers, and the judgement of it.

    Raises:
        InputError: E_FOV for an image that is neither a head nor a crop, or not what the bundle reads.
    """
    crop = job_of(engine.bundle.info.labels) == CROP
    if is_crop(scan) != crop:
        raise InputError(Code.FOV, "The image is nothing that the bundle reads.")
    if not crop:
        brain = segment_head(scan, engine)
        names = engine.bundle.label_names
        counts = np.bincount(brain.labels.ravel(), minlength=1 + max(names))
        sizes = {name: float(counts[index] * scan.voxel_mm3) for index, name in names.items()}
        return brain, head_quality(scan, brain, sizes, engine)
    best, other = segment_crop(scan, engine)
    plain = judge_crop(scan, best.segmented.labels, best.certainty, other.certainty)
    return best.segmented, seen_quality(plain, best.segmented, engine)


def show(found: Sequence[Judged]) -> bool:
    """Print the table and the two targets; whether both are reached."""
    print("| scan | n | mean DSC | bad | of these flagged | PASS | REVIEW | FAIL | refused |\n|" + "---|" * 9)
    for kind in dict.fromkeys(one.kind for one in found):
        own = [one for one in found if one.kind == kind]
        states = [sum(one.status == state for one in own) for state in ("pass", "review", "fail", REFUSED)]
        bad = [one for one in own if one.bad]
        mean = f"{np.mean([one.dsc for one in own]):.3f}"
        cells = (kind, len(own), mean, len(bad), sum(one.flagged for one in bad), *states)
        print("| " + " | ".join(str(cell) for cell in cells) + " |")
    print()
    bad = [one for one in found if one.bad and not one.good]
    caught = share(f"broken and DSC < {BAD_DSC}: flagged", bad, f">= {100 * CAUGHT:g} %")
    alarms = share("good: flagged", [one for one in found if one.good], f"<= {100 * FALSE_ALARMS:g} %")
    return (caught is None or caught >= CAUGHT) and (alarms is None or alarms <= FALSE_ALARMS)


def share(words: str, scans: Sequence[Judged], target: str) -> float | None:
    """Print the flagged share with its interval; None where there are no such scans."""
    if not scans:
        print(f"{words}: none; target {target}")
        return None
    count = sum(one.flagged for one in scans)
    found = wilson(count, len(scans))
    print(f"{words} {count} of {len(scans)}, {100 * count / len(scans):.1f} % "
          f"({100 * (found.low or 0):.1f} to {100 * (found.high or 0):.1f}); target {target}")  # fmt: skip
    return count / len(scans)


class Book:
    """Judged scans, in a file of lines where one is named; those of another run in it are left alone."""

    def __init__(self, path: Path | None, run: str) -> None:
        self.path, self.run = path, run
        lines = path.read_text().splitlines() if path and path.is_file() else []
        rows = [row for row in map(json.loads, lines) if row.pop("run") == run]
        self.found = [Judged(**row | {"reasons": tuple(row["reasons"])}) for row in rows]

    def holds(self, task: Task, case: int) -> bool:
        """Whether this scan was judged before."""
        return any((one.kind, one.case) == (task.kind, case) for one in self.found)

    def add(self, one: Judged) -> None:
        """Keep one more."""
        self.found.append(one)
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps({"run": self.run, **asdict(one)}) + "\n")


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("data", type=Path, help="folder with imagesTr/ and labelsTr/")
    parser.add_argument("--split", default="val", help="of the bundle (default val)")
    parser.add_argument("--cases", type=int, help="at most so many, spread over the split")
    parser.add_argument(
        "--each", type=int, help="cases that each broken kind is tried on (default all; 0: good scans alone)"
    )
    parser.add_argument("--depth", default="auto", help="auto, full or 1, 2, ... (default auto)")
    parser.add_argument("-o", "--out", type=Path, help="file of lines that an interrupted run goes on from")
    return parser.parse_args()


def main() -> None:
    """Judge every scan that was not judged before, print the table."""
    chosen = options()
    keep_memory()
    bundle = load_bundle(chosen.bundle)
    engine, crops = Engine(bundle, RuntimeConfig(depth=chosen.depth)), job_of(bundle.info.labels) == CROP
    cases = list(enumerate(select_cases(chosen.data, chosen.split, bundle.info.split).cases))
    if chosen.cases and chosen.cases < len(cases):
        cases = [cases[int(n)] for n in np.linspace(0, len(cases) - 1, chosen.cases).round()]
    name = f"{bundle.info.name} {bundle.info.version} ({bundle.weights_sha256[:8]})"
    book = Book(chosen.out, f"{name}, split {chosen.split}, depth {chosen.depth}, {LIMITS}")
    each = len(cases) if chosen.each is None else min(chosen.each, len(cases))
    for place, (number, case) in enumerate(cases):
        missing = [task for task in tasks(crops, place, len(cases), each) if not book.holds(task, number)]
        if missing:
            scan, raw = read_nifti(case.image), read_reference(case.reference)
            truth = raw.with_data(group(raw.data, bundle.info.labels))
        for task in missing:
            book.add(judged(task, number, *task.change(scan, truth, number), engine))
    print(f"{book.run}, {len(cases)} scans\n")
    raise SystemExit(0 if show(book.found) else 1)


if __name__ == "__main__":
    main()
