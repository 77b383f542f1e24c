"""What the classifier's answers rest on, and how steady they are.

    dementia_evidence.py RUN patients.root=OASIS1 others.root=IXI --people 60 --scans 12

Deletion: places of a brain are made usual one after the other, those with the largest evidence first, or at
random; printed is how much of the whole change has happened on average on the way (0.5: no better than
chance). People and networks are those of the bundle, so this tests the map, not the network. Repeatability:
heads are measured again after small changes that a second scan could have (turned by 5 degrees, noise, bias
field, blur, other axes); printed is by how much the probability moves.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lnn_med.allocator import keep_memory
from lnn_med.inference.bundle import load_bundle
from lnn_med.inference.classifier_bundle import load_classifier
from lnn_med.inference.dementia import DementiaReader
from lnn_med.inference.head import segment_head
from lnn_med.inference.risk_model import RECORD
from lnn_med.inference.runtime import Engine, RuntimeConfig
from lnn_med.io import read
from lnn_med.training.classifier_config import read_classifier_run
from lnn_med.training.classify import answers
from lnn_med.training.dementia import Cohort, gather, risk_models, with_offsets
from lnn_med.training.people import people_table
from lnn_med.training.run_config import shipped_config
from lnn_med.training.template import template_centroids
from lnn_med.transforms import disturb
from lnn_med.volume import Volume

STEPS = 20  # of the deletion curve
RANDOM = 5  # orders
MMSE = RECORD.index("mmse")
CHANGES: dict[str, Callable[[Volume], Volume]] = {
    "turned by 5 degrees": lambda scan: disturb.rotation(scan, scan, 1, 5.0)[0],
    "noise of 3 %": lambda scan: disturb.noise(scan, scan, 1, 0.03)[0],
    "bias field of 1.2": lambda scan: disturb.bias_field(scan, scan, 1, 1.2)[0],
    "blur of 2 mm": lambda scan: disturb.blur(scan, scan, 1, 2.0)[0],
    "other axes": lambda scan: disturb.orientation(scan, scan, 1, "PIR")[0],
}


@torch.inference_mode()
def curve(reader: DementiaReader, cohort: Cohort, row: int, order: NDArray[np.intp]) -> NDArray[np.float64]:
    """Evidence left, (STEPS + 1,), after places were made usual in that order."""
    one = cohort.people.pick(torch.tensor([row]))
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
    told = [answers(network, many)[-1].evidence[:, 0].flatten(1).sum(dim=1) for network in reader.networks]
    return torch.stack(told).mean(dim=0).double().numpy()


def deletion(reader: DementiaReader, cohort: Cohort, people: int) -> None:
    """Print the mean share of the change that has happened along the way, of people chosen evenly."""
    rng = np.random.default_rng(0)
    known = np.flatnonzero(cohort.people.dementia.isfinite().numpy())
    known = known[np.linspace(0, len(known) - 1, min(people, len(known))).astype(int)]
    found: dict[str, list[float]] = {"largest evidence first": [], "at random": []}
    for row in map(int, known):
        one = cohort.people.pick(torch.tensor([row]))
        with torch.inference_mode():
            told = [answers(network, one)[-1].evidence[0, 0].flatten() for network in reader.networks]
        evidence = torch.stack(told).mean(dim=0).numpy()
        inside = np.flatnonzero(one.inside.flatten().numpy())
        first = curve(reader, cohort, row, inside)  # to know the whole change
        whole = first[0] - first[-1]
        ranked = inside[np.argsort(-evidence[inside] * np.sign(whole))]
        orders = {
            "largest evidence first": [ranked],
            "at random": [rng.permutation(inside) for _ in range(RANDOM)],
        }
        for name, several in orders.items():
            curves = np.stack([curve(reader, cohort, row, order) for order in several])
            found[name].append(float(((curves[:, :1] - curves) / whole).mean()))
    print(f"deletion of places, {len(known)} people, median share of the change on the way")
    ranked_first, chance = found.values()
    better = sum(one > other for one, other in zip(ranked_first, chance, strict=True))
    for name, shares in found.items():
        low, high = np.quantile(shares, [0.25, 0.75])
        print(f"  {name}: {np.median(shares):.2f} (half of the people {low:.2f} to {high:.2f})")
    print(f"  sooner than at random in {better} of {len(chance)}")


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
            moves[name].append([abs(float(one) - float(two)) for one, two in pairs])  # type: ignore[arg-type]
            judged += 1
            same += first[0]["prediction_set"] == second[0]["prediction_set"]
    print(f"\nrepeatability, {len(table)} heads: change of the probability, median (largest)")
    print("| change | risk model | network | pairs |\n|---|---|---|---|")
    for name, found in moves.items():
        if found:
            each = np.array(found)
            cells = [f"{np.median(column):.3f} ({column.max():.3f})" for column in each.T]
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
    parser.add_argument("--scans", type=int, default=12, help="for repeatability; 0: none")
    chosen = parser.parse_args()
    keep_memory()
    run = read_classifier_run(shipped_config("dementia-t1"), chosen.overrides)
    engine = Engine(load_bundle(run.segmentation), RuntimeConfig())
    reader = DementiaReader(load_classifier(chosen.bundle), engine)
    cohort = gather(run, engine, template_centroids(engine), chosen.run / "people")
    people = with_offsets(cohort, risk_models(run, cohort), run)
    clinical = people.clinical.clone()
    clinical[:, MMSE] = float("nan")
    if chosen.people:
        deletion(reader, cohort._replace(people=people._replace(clinical=clinical)), chosen.people)
    if not chosen.scans:
        return
    rows = people_table(run.patients)
    rows = rows.iloc[np.linspace(0, len(rows) - 1, chosen.scans).astype(int)]
    table: list[tuple[str, dict[str, float | str]]] = [
        (
            str(row[run.patients.image]),
            {"age": float(row[run.patients.age]), "sex": str(row[run.patients.sex])},
        )
        for _, row in rows.iterrows()
    ]
    repeatability(reader, Path(run.patients.root).expanduser(), table)


if __name__ == "__main__":
    main()
