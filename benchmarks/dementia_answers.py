"""Who of the data gets an answer from the shipped classifier, and what it is worth where there is one.

    dementia_answers.py RUN patients.root=OASIS1 others.root=IXI             everyone of the patients' table
    dementia_answers.py RUN ... --people 0 --broken 6             broken heads of both sources

Age and sex are given. Probabilities behind the AUC are those of people held back (RUN: folder of
`lnn-med train dementia-t1`); a person who is not among them, or gets no answer, counts as the least likely
where it says "at worst".
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from broken_scans import cut, inverted
from dementia_evidence import people_of
from numpy.typing import NDArray
from scipy.special import expit

from lnn_med.allocator import keep_memory
from lnn_med.evaluation.classification import auc
from lnn_med.inference.predict import HEAD, Predictor
from lnn_med.inference.risk_model import RECORD
from lnn_med.inference.runtime import Engine
from lnn_med.io import read
from lnn_med.prediction import Prediction
from lnn_med.training.classifier_config import ClassifierRun, read_classifier_run
from lnn_med.training.dementia import FOLDS, cross_validate, gather
from lnn_med.training.held_back import OLD_YEARS
from lnn_med.training.people import people_table
from lnn_med.training.risk_fit import code_of
from lnn_med.training.run_config import shipped_config
from lnn_med.training.template import template_centroids
from lnn_med.volume import Volume

Values = NDArray[np.float64]
FAILS = "fails quality control"


def why_not(prediction: Prediction) -> str:
    """Why there is no answer, or nothing."""
    if prediction.quality.status == "fail":
        return FAILS
    return str(prediction.classification[0]["abstained"] or "")


def risks(run: ClassifierRun, engine: Engine, folder: Path) -> dict[str, float]:
    """Mean probability of each person held back, by the default number with age, sex and education."""
    cohort = gather(run, engine, template_centroids(engine), folder / "people")
    held = cross_validate(run, cohort, folder / FOLDS).risk[:, :, code_of(RECORD[:-1])].mean(axis=0)
    return {
        person: float(expit(value))
        for person, value in zip(cohort.persons, held, strict=True)
        if np.isfinite(value)
    }


def everyone(run: ClassifierRun, predictor: Predictor, folder: Path) -> None:
    """Print who gets no answer and why, and AUCs with and without them."""
    source, table = run.patients, people_table(run.patients)
    known = risks(run, predictor.engines[HEAD], folder)
    reasons: Counter[tuple[str, str]] = Counter()
    rows = []
    for _, row in table.iterrows():
        clinical: dict[str, float | str] = {"age": float(row[source.age]), "sex": str(row[source.sex])}
        scan = read(Path(source.root).expanduser() / row[source.image])
        reason = why_not(predictor(scan, clinical))
        ill = bool(row[source.dementia])
        if reason:
            reasons["with dementia" if ill else "without", reason] += 1
        rows.append((ill, float(row[source.age]), known.get(str(row[source.person]), np.nan), not reason))
    truth, ages, risk, answered = np.array(rows, dtype=float).T
    print(f"{len(truth)} people, {int(truth.sum())} with dementia; without an answer:")
    for (group, reason), count in reasons.most_common():
        print(f"  {count} {group}: {reason}")
    at_worst = np.where((answered == 1) & np.isfinite(risk), risk, 0.0)
    for title, chosen in (("all ages", ages > 0), ("from 60 years on", ages >= OLD_YEARS)):
        held = chosen & np.isfinite(risk)
        told = held & (answered == 1)
        found = [
            auc(risk[held], truth[held]),
            auc(risk[told], truth[told]),
            auc(at_worst[chosen], truth[chosen]),
        ]
        every, those, worst = (each.estimate or 0.0 for each in found)
        print(f"{title}: AUC {every:.3f}; of those with an answer {those:.3f}; at worst {worst:.3f}")


def upside_down(scan: Volume) -> Volume:
    """Turned by 180° under a header that does not say so."""
    axes = tuple(n for n, code in enumerate(scan.orientation) if code in "ISAP")
    return scan.with_data(np.flip(scan.data, axes).copy())


def without(code: str, share: float) -> Callable[[Volume], Volume]:
    """A share of the field of view missing on one side."""
    return lambda scan: cut(scan, scan, 1, code, share)[0]


BROKEN: dict[str, Callable[[Volume], Volume]] = {
    "contrast turned round": lambda scan: inverted(scan, scan, 1)[0],
    "turned by 180 degrees": upside_down,
    **{
        f"{share:.0%} missing, {side}": without(code, share)
        for code, side in (("I", "below"), ("S", "above"), ("R", "right"))
        for share in (0.25, 0.33, 0.5)
    },
}


def broken(run: ClassifierRun, predictor: Predictor, count: int) -> None:
    """Print what becomes of broken heads of both sources, from 60 years on."""
    for source in (run.patients, run.others):
        root, table = people_of(source, count, OLD_YEARS)
        titles = (
            f"{Path(source.root).name}, {len(table)} heads",
            FAILS,
            "no answer",
            "answered, review",
            "pass",
        )
        print("\n| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")
        for kind, change in BROKEN.items():
            found: Counter[str] = Counter()
            for image, clinical in table:
                prediction = predictor(change(read(root / image)), clinical)
                reason = why_not(prediction)
                found[reason if reason == FAILS else "none" if reason else prediction.quality.status] += 1
            print(f"| {kind} | {found[FAILS]} | {found['none']} | {found['review']} | {found['pass']} |")


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--bundle", default="dementia-t1")
    parser.add_argument("--people", type=int, default=1, help="0: leave everyone out")
    parser.add_argument("--broken", type=int, default=0, help="heads of each source")
    chosen = parser.parse_args()
    keep_memory()
    run = read_classifier_run(shipped_config("dementia-t1"), chosen.overrides)
    predictor = Predictor((run.segmentation, chosen.bundle), depth=1)
    if chosen.people:
        everyone(run, predictor, chosen.run)
    if chosen.broken:
        broken(run, predictor, chosen.broken)


if __name__ == "__main__":
    main()
