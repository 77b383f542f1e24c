"""What the classifier's answers rest on, and how steady they are.

    dementia_evidence.py RUN patients.root=OASIS1 others.root=IXI --people 60 --scans 12
    dementia_evidence.py RUN patients.root=OASIS1 others.root=IXI --people 0 --scans 0 --heads 12

Deletion: places of a brain, then whole structures, are made usual one after the other, those with the largest
evidence first, or at random, at the exit that answers; printed is how much of the whole change has happened
on average on the way (0.5: no better than chance). People and networks are those of the bundle, so this tests
the map, not the network.
Repeatability: heads are measured again after small changes that a second scan could have (turned by 5°,
noise, bias field, blur, other axes), and as their mirror image; printed is by how much the probability moves.
(`--raw`: the same of heads of the other source, as the scanner gives them.)
Heads: those of the other source, from 60 years on, as the scanner gives them and then prepared as the people
of the data were (without skull, in the template's grid of 2 mm); printed is how the answer changes.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.special import logit

from lnn_med.allocator import keep_memory
from lnn_med.inference.brain_features import BrainFeatures
from lnn_med.inference.bundle import load_bundle
from lnn_med.inference.classifier_bundle import load_classifier
from lnn_med.inference.dementia import DementiaReader, look, structure_shares
from lnn_med.inference.head import segment_head
from lnn_med.inference.risk_model import RECORD, record_of
from lnn_med.inference.runtime import Engine, RuntimeConfig
from lnn_med.io import read
from lnn_med.models.brain_classifier import Answer
from lnn_med.training.classifier_config import read_classifier_run
from lnn_med.training.classify import People, answers, known_code
from lnn_med.training.dementia import Cohort, gather, with_offsets
from lnn_med.training.held_back import OLD_YEARS
from lnn_med.training.people import PeopleSource, people_table
from lnn_med.training.run_config import shipped_config
from lnn_med.training.template import template_centroids
from lnn_med.transforms import disturb
from lnn_med.volume import Volume

Values = NDArray[np.float64]
Record = dict[str, float]
MNI_2MM, MNI_SHAPE = (
    np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]]),
    (91, 109, 91),
)
STEPS = 20  # of the deletion curve
RANDOM = 5  # orders
MMSE = RECORD.index("mmse")
CHANGES: dict[str, Callable[[Volume], Volume]] = {
    "turned by 5 degrees": lambda scan: disturb.rotation(scan, scan, 1, 5.0)[0],
    "noise of 3 %": lambda scan: disturb.noise(scan, scan, 1, 0.03)[0],
    "bias field of 1.2": lambda scan: disturb.bias_field(scan, scan, 1, 1.2)[0],
    "blur of 2 mm": lambda scan: disturb.blur(scan, scan, 1, 2.0)[0],
    "other axes": lambda scan: disturb.orientation(scan, scan, 1, "PIR")[0],
    "mirrored": lambda scan: mirrored(scan),
}


def mirrored(scan: Volume) -> Volume:
    """The head with left and right exchanged, as after a wrong header."""
    axis = next(n for n, code in enumerate(scan.orientation) if code in "LR")
    return scan.with_data(np.flip(scan.data, axis).copy())


def summed(evidence: torch.Tensor) -> Values:
    """Evidence for dementia of all places (N,), from (N, tasks, X, Y, Z)."""
    return evidence[:, 0].flatten(1).sum(dim=1).double().numpy()  # type: ignore[no-any-return]


@torch.inference_mode()
def evidence_of(reader: DementiaReader, some: People) -> list[torch.Tensor]:
    """Of every exit, mean of the networks, each (N, tasks, X, Y, Z)."""
    told = zip(*(answers(network, some) for network in reader.networks), strict=True)
    return [torch.stack([each.evidence for each in exits]).mean(dim=0) for exits in told]


def answering(reader: DementiaReader, one: People) -> int:
    """Index of the exit that answers about one person whose MMSE is not known."""
    offset = float(one.offsets[0, known_code(one.clinical)[0]])
    found = iter(Answer(each, each) for each in evidence_of(reader, one))
    return reader.leave(found, reader.bundle.calibration.without_mmse, offset)[0] - 1


def curve(reader: DementiaReader, one: People, at: int, order: NDArray[np.intp]) -> NDArray[np.float64]:
    """Evidence left at an exit, (STEPS + 1,), after places of one person were made usual in that order."""
    usual = torch.stack([network.feature_centre for network in reader.networks]).mean(dim=0)
    image = one.image.expand(STEPS + 1, *one.image.shape[1:]).clone()
    for step in range(1, STEPS + 1):
        gone = order[: round(len(order) * step / STEPS)]
        image[step].flatten(1)[:, gone] = usual.flatten(1)[:, gone]
    many = one._replace(
        image=image,
        inside=one.inside.expand(STEPS + 1, *one.inside.shape[1:]),
        volumes=one.volumes.expand(STEPS + 1, -1),
        clinical=one.clinical.expand(STEPS + 1, -1),
        offsets=one.offsets.expand(STEPS + 1, -1),
    )
    return summed(evidence_of(reader, many)[at])


def deletion(reader: DementiaReader, cohort: Cohort, people: int) -> None:
    """Print the mean share of the change that has happened along the way, of people chosen evenly."""
    rng = np.random.default_rng(0)
    known = np.flatnonzero(cohort.people.dementia.isfinite().numpy())
    known = known[np.linspace(0, len(known) - 1, min(people, len(known))).astype(int)]
    found: dict[str, list[float]] = {"largest evidence first": [], "at random": []}
    for row in map(int, known):
        one = cohort.people.pick(torch.tensor([row]))
        at = answering(reader, one)
        evidence = evidence_of(reader, one)[at][0, 0].flatten().numpy()
        inside = np.flatnonzero(one.inside.flatten().numpy())
        first = curve(reader, one, at, inside)  # to know the whole change
        whole = first[0] - first[-1]
        ranked = inside[np.argsort(-evidence[inside] * np.sign(whole))]
        orders = {
            "largest evidence first": [ranked],
            "at random": [rng.permutation(inside) for _ in range(RANDOM)],
        }
        for name, several in orders.items():
            curves = np.stack([curve(reader, one, at, order) for order in several])
            found[name].append(float(((curves[:, :1] - curves) / whole).mean()))
    print(f"deletion of places, {len(known)} people, median share of the change on the way")
    ranked_first, chance = found.values()
    better = sum(one > other for one, other in zip(ranked_first, chance, strict=True))
    for name, shares in found.items():
        low, high = np.quantile(shares, [0.25, 0.75])
        print(f"  {name}: {np.median(shares):.2f} (half of the people {low:.2f} to {high:.2f})")
    print(f"  sooner than at random in {better} of {len(chance)}")


@torch.inference_mode()
def regions(reader: DementiaReader, folder: Path, table: list[tuple[str, dict[str, float | str]]]) -> None:
    """Print the deletion curve of whole structures, in the order of what `result.json` calls evidence.

    Each structure is made usual alone to find its importance, then all of them one after the other.
    """
    rng = np.random.default_rng(0)
    names_first: list[str] = []
    found: list[tuple[float, float]] = []
    for image, clinical in table:
        scan = read(folder / image)
        brain = segment_head(scan, reader.engine)
        if brain.seen is None:
            continue
        seen = look(brain.run, brain.seen, reader.engine, reader.template_mm)
        affine, names = brain.seen.placement.affine, reader.engine.bundle.label_names
        parts, both = structure_shares(seen.labels, affine, names, seen.space)
        shares, record = torch.from_numpy(parts), record_of(clinical)

        offset, calibration = reader.offset(seen, record), reader.bundle.calibration.without_mmse
        at, _, _ = reader.leave(reader.answers(seen, record, offset), calibration, offset)

        def evidence(
            weights: torch.Tensor, seen: BrainFeatures = seen, record: Record = record, at: int = at
        ) -> Values:
            *_, told = islice(reader.answers(seen, record, 0.0, reader.hidden(seen, weights)), at)
            return summed(told.evidence)

        none, every = torch.zeros_like(shares[:1]), shares.sum(dim=0, keepdim=True)
        start, end = evidence(torch.cat([none, every]))
        falls = start - evidence(shares)
        ranked = np.argsort(-falls * np.sign(start - end))

        def moved(order: NDArray[np.intp]) -> float:
            curve = evidence(shares[torch.from_numpy(order.copy())].cumsum(dim=0))  # noqa: B023
            return float(((start - curve) / (start - end)).mean())  # noqa: B023

        found.append(
            (moved(ranked), float(np.mean([moved(rng.permutation(len(both))) for _ in range(RANDOM)])))
        )
        names_first.append(both[ranked[0]])
    mine, chance = np.array(found).T
    print(f"\ndeletion of structures, {len(found)} heads, median share of the change on the way")
    for title, shares_moved in (("most important first", mine), ("at random", chance)):
        low, high = np.quantile(shares_moved, [0.25, 0.75])
        print(f"  {title}: {np.median(shares_moved):.2f} (half of the heads {low:.2f} to {high:.2f})")
    print(f"  sooner than at random in {(mine > chance).sum()} of {len(found)}")
    print(f"  first: {', '.join(f'{name} {n}' for name, n in Counter(names_first).most_common())}")


def as_the_data_are(scan: Volume, reader: DementiaReader) -> Volume:
    """A head without its skull in the template's grid of 2 mm, as the people of the data were stored."""
    brain = segment_head(scan, reader.engine)
    if brain.seen is None:
        raise ValueError("what the network saw was not kept")
    space = look(brain.run, brain.seen, reader.engine, reader.template_mm).space
    to_scan = np.linalg.inv(scan.affine) @ np.linalg.inv(space.affine) @ MNI_2MM
    bare = np.where(brain.labels > 0, scan.data, 0).astype(np.float32)
    moved = affine_transform(bare, to_scan, output_shape=MNI_SHAPE, order=1)
    return Volume(np.round(moved * (255 / moved.max())).astype(np.uint8), MNI_2MM)


def prepared(reader: DementiaReader, folder: Path, table: list[tuple[str, dict[str, float | str]]]) -> None:
    """Print what becomes of an answer when a head is prepared as the people of the data were."""
    found = []
    for image, clinical in table:
        scan = read(folder / image)
        pair = [
            reader(segment_head(each, reader.engine), each, clinical).entries[0]
            for each in (scan, as_the_data_are(scan, reader))
        ]
        if any(entry["probability"] is None for entry in pair):
            continue
        values = [float(entry["probability"]) for entry in pair]  # type: ignore[arg-type]
        found.append([*values, *logit(values)])
    each = np.array(found)
    shift = each[:, 3] - each[:, 2]
    error = shift.std(ddof=1) / np.sqrt(len(shift))
    print(f"\nas a scanner gives them, and without skull in the template: {len(each)} of {len(table)} heads")
    print(f"  mean probability {each[:, 0].mean():.3f}, then {each[:, 1].mean():.3f}")
    print(f"  log-odds {shift.mean():+.2f} (standard error {error:.2f}, largest {np.abs(shift).max():.2f})")


def repeatability(
    reader: DementiaReader, folder: Path, table: list[tuple[str, dict[str, float | str]]]
) -> None:
    """Print by how much probabilities move between two scans of a head."""
    moves: dict[str, list[list[float]]] = {name: [] for name in CHANGES}
    same, judged = 0, 0
    for image, clinical in table:
        scan = read(folder / image)
        first = reader(segment_head(scan, reader.engine), scan, clinical).entries
        for name, change in CHANGES.items():
            again = change(scan)
            second = reader(segment_head(again, reader.engine), again, clinical).entries
            pairs = [(one["probability"], two["probability"]) for one, two in zip(first, second, strict=True)]
            if any(value is None for pair in pairs for value in pair):
                continue
            each = np.array(pairs, dtype=float)
            moves[name].append([*np.abs(np.diff(each)[:, 0]), *np.abs(np.diff(logit(each))[:, 0])])
            judged += 1
            same += first[0]["prediction_set"] == second[0]["prediction_set"]
    print(f"\nrepeatability, {len(table)} heads: change of probability and of log-odds, median (largest)")
    print("| change | risk model | network | risk model, log-odds | network, log-odds | pairs |")
    print("|---|---|---|---|---|---|")
    for name, found in moves.items():
        if found:
            cells = [f"{np.median(column):.3f} ({column.max():.3f})" for column in np.array(found).T]
            print(f"| {name} | " + " | ".join(cells) + f" | {len(found)} |")
    print(f"the prediction set stays the same in {same} of {judged}")


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of `lnn-med train dementia-t1`")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--bundle", default="dementia-t1")
    parser.add_argument("--people", type=int, default=60, help="for the deletion curve; 0: none")
    parser.add_argument("--scans", type=int, default=12, help="for structures and repeatability; 0: none")
    parser.add_argument("--raw", type=int, default=0, help="of the other source, for repeatability; 0: none")
    parser.add_argument("--heads", type=int, default=0, help="of the other source, with and without skull")
    chosen = parser.parse_args()
    keep_memory()
    run = read_classifier_run(shipped_config("dementia-t1"), chosen.overrides)
    engine = Engine(load_bundle(run.segmentation), RuntimeConfig(depth=1))
    reader = DementiaReader(load_classifier(chosen.bundle), engine)
    if chosen.people:
        cohort = gather(run, engine, template_centroids(engine), chosen.run / "people")
        people = with_offsets(cohort, reader.bundle.calibration.risk_models)
        clinical = people.clinical.clone()
        clinical[:, MMSE] = float("nan")
        deletion(reader, cohort._replace(people=people._replace(clinical=clinical)), chosen.people)
    if chosen.scans:
        root, table = people_of(run.patients, chosen.scans)
        regions(reader, root, table)
        repeatability(reader, root, table)
    if chosen.raw:
        repeatability(reader, *people_of(run.others, chosen.raw, OLD_YEARS))
    if chosen.heads:
        prepared(reader, *people_of(run.others, chosen.heads, OLD_YEARS))


def people_of(
    source: PeopleSource, count: int, from_years: float = 0.0
) -> tuple[Path, list[tuple[str, dict[str, float | str]]]]:
    """Folder, and image, age and sex of people of a table, chosen evenly."""
    rows = people_table(source)
    rows = rows[rows[source.age] >= from_years]
    rows = rows.iloc[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
    table: list[tuple[str, dict[str, float | str]]] = [
        (str(row[source.image]), {"age": float(row[source.age]), "sex": str(row[source.sex])})
        for _, row in rows.iterrows()
    ]
    return Path(source.root).expanduser(), table


if __name__ == "__main__":
    main()
