"""Dementia from a head and a record: the shipped models beside simpler and larger ones, on the same folds.

    dementia.py RUN patients.root=OASIS1 others.root=IXI           RUN: folder of `lnn-med train dementia-t1`
    dementia.py RUN patients.root=OASIS1 others.root=IXI --resnet 20        3D ResNet-18 too, so many epochs
    dementia.py RUN ... --resnet 20 --only ResNet          the first row, and those whose name has this in it
    dementia.py RUN ... --more --only other           what the default number and the network might have been
    dementia.py RUN ... --more --only calibration         corrected by people held back in another way

Everyone is held back once for each seed and judged by models that learnt from the other folds; a person's
answers of all seeds are averaged. Intervals are bootstrapped over people; "seeds" is the range of the AUC
over seeds. The last column compares with the risk model (DeLong, paired). Folds of networks are kept in RUN,
which is of one configuration (a ResNet takes 45 minutes of CPU time a seed). Probabilities are as they come;
the bundle corrects its own, so that their slope is 1. Nothing is tuned on these folds here but the ridge,
whose penalty for the risk is the best of those tried. Each training fold chooses the volumes of its risk
models; rows of other volumes have the same ones in every fold, chosen by looking at everyone, which flatters
them.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from dementia_rivals import (
    MMSE,
    PENALTIES,
    Rows,
    Study,
    Values,
    coarse_images,
    held_back,
    image_alone,
    logistic,
    on_a_split,
    resnet,
    ridge,
    ridge_on,
    varied,
)
from scipy.special import expit

from lnn_med.allocator import keep_memory
from lnn_med.evaluation.classification import auc, compare_auc
from lnn_med.evaluation.statistics import paired_difference
from lnn_med.inference.bundle import load_bundle
from lnn_med.inference.risk_model import AGE_CENTRE, AGE_SCALE, RECORD, RiskModel
from lnn_med.inference.runtime import Engine, RuntimeConfig
from lnn_med.training.classifier_config import read_classifier_run
from lnn_med.training.dementia import (
    FOLDS,
    Cohort,
    cross_validate,
    gather,
    risk_models,
    with_offsets,
)
from lnn_med.training.held_back import OLD_YEARS, HeldBack, fit_sum, mean_logit, reliability
from lnn_med.training.risk_fit import code_of
from lnn_med.training.run_config import shipped_config
from lnn_med.training.template import template_centroids

AGE, EDUCATION = RECORD.index("age"), RECORD.index("education")
USUAL = ("Hippocampus", "InfLatVentricle")  # what everyone together would choose
VOXEL_MM, RESNET_MM = 6.0, 4.0  # of the images that the ridge and the ResNet see


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--config", default="dementia-t1")
    parser.add_argument("--resnet", type=int, default=0, metavar="EPOCHS")
    parser.add_argument("--more", action="store_true", help="also other volumes, terms and fusions")
    parser.add_argument("--only", default="", metavar="TEXT")
    chosen = parser.parse_args()
    keep_memory()
    warnings.filterwarnings("ignore", category=FutureWarning)
    run = read_classifier_run(shipped_config(chosen.config), chosen.overrides)
    engine = Engine(load_bundle(run.segmentation), RuntimeConfig(depth=1))
    cohort = gather(run, engine, template_centroids(engine), chosen.run / "people")
    held = cross_validate(run, cohort, chosen.run / FOLDS)
    people = cohort.people
    known = np.flatnonzero(people.dementia.isfinite().numpy())
    clinical = people.clinical.double().numpy()
    study = Study(run, cohort, known, people.dementia.double().numpy()[known], clinical[known])
    filled = np.where(np.isfinite(clinical), clinical, 0.0)  # IXI's rows, which no baseline learns from
    record = np.column_stack([filled[:, :EDUCATION], filled[:, AGE] ** 2 / 100, filled[:, EDUCATION]])
    everything = np.column_stack([record, people.volumes.numpy()])
    images = coarse_images(run, cohort, VOXEL_MM)
    plain, keep = RECORD[:MMSE], chosen.run / "rivals"

    def risk(names: tuple[str, ...]) -> Values:
        return expit(held.risk[:, known, code_of(names)])  # type: ignore[no-any-return]

    def network(column: int, names: tuple[str, ...]) -> Values:
        places = held.evidence[:, known, column, -1]
        return expit(held.risk[:, known, code_of(names)] + places)  # type: ignore[no-any-return]

    with_mmse = np.column_stack([record, filled[:, MMSE]])
    rows: dict[str, Callable[[], Values]] = {
        "risk model: 2 volumes, age, sex, education": lambda: risk(plain),
        "network: the same and the image": lambda: network(0, plain),
        "age, sex, education": lambda: held_back(study, logistic(record, study)),
        "all volumes, age, sex, education (logistic)": lambda: held_back(
            study, logistic(everything, study, 10.0)
        ),
        f"ridge on voxels of {VOXEL_MM:g} mm": lambda: held_back(study, ridge(images, study)),
        "network: image alone": lambda: held_back(
            study, image_alone(study, with_record=False), keep / "image"
        ),
        "network: image and record, no volumes": lambda: held_back(
            study, image_alone(study, with_record=True), keep / "image-record"
        ),
        "risk model: volumes alone": lambda: risk(()),
        f"3D ResNet-18, {chosen.resnet} epochs": lambda: held_back(
            study,
            resnet(coarse_images(run, cohort, RESNET_MM), study, chosen.resnet),
            keep / f"resnet-{chosen.resnet}",
        ),
        "MMSE, age, sex, education": lambda: held_back(study, logistic(with_mmse, study)),
        "risk model with MMSE": lambda: risk(RECORD),
        "network with MMSE": lambda: network(1, RECORD),
    }
    if chosen.more:
        rows |= others_of(study, record, [label.name for label in engine.bundle.info.labels], keep)
        rows |= calibrations_of(study, held)
    first, *others = (name for name in rows if chosen.resnet or "ResNet" not in name)
    wanted = [first, *(name for name in others if chosen.only in name)]
    show(study, {name: rows[name]() for name in wanted})
    if chosen.only:
        return
    show_others(cohort, risk_models(run, cohort))
    show_ages(held.age[:, known], ridge_age(images, study), study)


def others_of(study: Study, record: Values, names: list[str], keep: Path) -> dict[str, Callable[[], Values]]:
    """What the default number and the network might have been; each was named before it was tried.

    Volumes adjusted for age, its square and sex are not among them: such scores are sums of terms that the
    model has anyway. The sets of structures are those that atrophy of Alzheimer's disease reaches first
    (Braak and Braak 1991): the medial temporal lobe, then the temporal lobe.
    """
    volumes, clinical = study.cohort.people.volumes, study.cohort.people.clinical
    both, pairs = study.cohort.log_volumes, study.cohort.structures
    usual = both[:, [pairs.index(name) for name in USUAL]]

    def added(*more: str) -> Values:
        return np.column_stack([record, usual, both[:, [pairs.index(name) for name in more]]])

    def side(extreme: str, structure: str) -> Values:
        found = volumes[:, [names.index(f"{structure}_{side}") for side in "LR"]].double().numpy()
        return found.min(axis=1) if extreme == "smallest" else found.max(axis=1)

    age = (clinical[:, AGE].double().numpy() - AGE_CENTRE) / AGE_SCALE
    worse = np.column_stack([record, side("smallest", "Hippocampus"), side("largest", "InfLatVentricle")])
    tables = {
        f"{' and '.join(USUAL)} in every fold": added(),
        "amygdala as well": added("Amygdala"),
        "amygdala and temporal cortex as well": added("Amygdala", "Temporal_GM"),
        "the worse side of each": worse,
        "the hippocampus counts otherwise with age": np.column_stack(
            [added(), age * (usual[:, 0] - usual[:, 0].mean())]
        ),
    }
    found: dict[str, Callable[[], Values]] = {
        f"other volumes: {name}": lambda table=table: held_back(study, logistic(table, study, 0.1))  # type: ignore[misc]
        for name, table in tables.items()
    }
    found |= {
        "other network: scaled and shifted by the record (DAFT)": lambda: held_back(
            study, varied(study, fusion="daft"), keep / "daft"
        ),
        "other network: not guided by the record": lambda: held_back(
            study, varied(study, fusion="none"), keep / "not-guided"
        ),
        "other network: without learning age and sex first": lambda: held_back(
            study, varied(study, first_epochs=0), keep / "no-first"
        ),
        "other network: not guided by tokens of the volumes": lambda: held_back(
            study, varied(study, volume_tokens=False), keep / "no-tokens"
        ),
    }
    return found


def calibrations_of(study: Study, held: HeldBack) -> dict[str, Callable[[], Values]]:
    """Corrected as the bundle corrects itself, cross-fitted over everyone held back, or on a split."""
    risk = held.risk[:, study.known, code_of(RECORD[:MMSE])]
    places = held.evidence[:, study.known, 0, -1]

    def crossed(*logits: Values) -> Values:
        return np.stack(
            [fit_sum(np.column_stack(each), study.truth)[1] for each in zip(*logits, strict=True)]
        )

    return {
        "calibration: cross-fitted": lambda: crossed(risk),
        "calibration: on a fifth of each training fold": lambda: held_back(study, on_a_split(study, False)),
        "calibration: network, cross-fitted": lambda: crossed(risk, places),
        "calibration: network, on a fifth of each training fold": lambda: held_back(
            study, on_a_split(study, True)
        ),
    }


def show_others(cohort: Cohort, models: tuple[RiskModel, ...]) -> None:
    """Print what a risk model of age and sex says of the healthy people whom no risk model learnt from."""
    people = with_offsets(cohort, models)
    other = ~people.dementia.isfinite().numpy() & (people.clinical[:, AGE].numpy() >= OLD_YEARS)
    risk = expit(people.offsets[:, code_of(RECORD[:2])].double().numpy())[other]
    print(
        f"\n{len(risk)} healthy people of another source from 60 years on: mean risk {risk.mean():.2f}, "
        f"{int((risk > 0.5).sum())} above 0.5"
    )


def ridge_age(images: Values, study: Study) -> Values:
    """Ages (seeds, N) by a ridge on voxels, of people held back; it learns from the patients' table alone."""
    dementia, ages = (
        study.cohort.people.dementia.numpy(),
        study.cohort.people.clinical[:, AGE].double().numpy(),
    )
    x = images.reshape(len(images), -1)

    def method(train: Rows, test: Rows, seed: int) -> Values:
        rows = train[np.isfinite(dementia[train])]
        return ridge_on(x[rows], ages[rows], PENALTIES)(x[test])

    return held_back(study, method)


def show_ages(network: Values, ridge: Values, study: Study) -> None:
    """Print errors of brain age in people without dementia, and differences, paired over people.

    Args:
        network: years (seeds, N, exits).
        ridge: years (seeds, N).
        study: who the N are.
    """
    healthy = study.truth == 0
    ages = study.clinical[healthy, AGE]
    other = np.abs(ridge.mean(axis=0)[healthy] - ages)
    print(f"\nbrain age, {len(ages)} people without dementia, mean absolute error in years")
    print(f"  ridge on voxels {other.mean():.2f}")
    for number, years in enumerate(network.mean(axis=0)[healthy].T, start=1):
        one = np.abs(years - ages)
        gap = paired_difference(one.tolist(), other.tolist(), list(range(len(ages))))
        told = f"{gap.estimate:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})"
        print(f"  network, exit {number} {one.mean():.2f}, difference {told}")


def show(study: Study, methods: dict[str, Values]) -> None:
    """One row a method; the first is what the others are compared with."""
    ages, persons = study.clinical[:, AGE], [study.cohort.persons[n] for n in study.known]
    old = ages >= OLD_YEARS
    first = mean_logit(next(iter(methods.values())))
    print(
        f"{len(study.truth)} people, {int(study.truth.sum())} with dementia; "
        f"{int(old.sum())} from 60 years on\n"
    )
    titles = (
        "AUC",
        "seeds",
        "AUC from 60 on",
        "seeds",
        "Brier",
        "intercept",
        "slope",
        "from 60 on, against 1st",
    )
    print("| model | " + " | ".join(titles) + " |\n" + "|---" * (1 + len(titles)) + "|")
    for name, values in methods.items():
        one = mean_logit(values)
        found = reliability(one, one, study.truth, ages, persons)
        against = compare_auc(one[old], first[old], study.truth[old]).difference
        gap = (
            "-"
            if against.low is None
            else f"{against.estimate:+.3f} ({against.low:+.3f} to {against.high:+.3f})"
        )
        cells = [
            "{:.3f} ({:.3f} to {:.3f})".format(*found.auc),
            spread_of([auc(each, study.truth).estimate for each in values]),
            "{:.3f} ({:.3f} to {:.3f})".format(*found.auc_old),
            spread_of([auc(each[old], study.truth[old]).estimate for each in values]),
            f"{found.brier:.3f}",
            f"{found.intercept:+.2f}",
            f"{found.slope:.2f}",
            gap,
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")


def spread_of(values: list[float | None]) -> str:
    """Smallest to largest."""
    found = [value for value in values if value is not None]
    return f"{min(found):.3f} to {max(found):.3f}"


if __name__ == "__main__":
    main()
