"""Training of a classifier bundle: measure people, cross-validate, calibrate on who was held back, fit all.

Folds are drawn by person, with the same share of dementia and of people from 60 years on. Whatever learns
(the choice of volumes, risk models, standardisation, networks) learns from the people of the other folds
alone; of the test fold nothing is used, not even age and sex.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from lnn_med import config as configuration
from lnn_med.inference.bundle import load_bundle
from lnn_med.inference.classifier_bundle import (
    KIND,
    ClassifierBundle,
    ClassifierInfo,
    save_classifier,
)
from lnn_med.inference.risk_model import RECORD, RiskModel
from lnn_med.inference.runtime import Engine, RuntimeConfig
from lnn_med.models.brain_classifier import BrainClassifier
from lnn_med.training.calibration_fit import usual_of
from lnn_med.training.card import classifier_card
from lnn_med.training.classifier_calibrate import calibrate
from lnn_med.training.classifier_config import ClassifierRun, read_classifier_run
from lnn_med.training.classify import People, answers, fit_classifier
from lnn_med.training.held_back import (
    OLD_YEARS,
    HeldBack,
)
from lnn_med.training.people import Measured, PeopleSource, measure_people
from lnn_med.training.risk_fit import SETS, both_sides_log, choose_structures, fit_risk_models, logits
from lnn_med.training.template import template_centroids

logger = logging.getLogger(__name__)
AGE, MMSE = RECORD.index("age"), RECORD.index("mmse")
BUNDLE, FOLDS = "bundle", "folds"
Progress = Callable[[int, int, dict[str, float]], None]
Values = NDArray[np.float64]


class Cohort(NamedTuple):
    """Everyone who can be learnt from: `log_volumes` (N, structures), both sides together, `persons` (N,),
    `summaries` (N, 2C) of their scans.

    `copies` are the same people in disturbed scans, for the networks alone.
    """

    people: People
    log_volumes: Values
    structures: tuple[str, ...]
    persons: list[str]
    summaries: NDArray[np.float32]
    copies: tuple[Cohort, ...] = ()

    def of(self, rows: NDArray[np.intp]) -> Cohort:
        """Some of them."""
        chosen = self.people.pick(torch.from_numpy(rows))
        copies = tuple(each.of(rows) for each in self.copies)
        persons = [self.persons[n] for n in rows]
        volumes, summaries = self.log_volumes[rows], self.summaries[rows]
        return Cohort(chosen, volumes, self.structures, persons, summaries, copies)


def train_classifier(
    path: Path, folder: Path | None, assignments: Sequence[str] = (), progress: Progress | None = None
) -> ClassifierBundle:
    """Train; the same command goes on where an interrupted run stopped.

    Raises:
        ConfigError: a configuration or table that cannot be used.
        InputError: a scan that cannot be read.
    """
    run = read_classifier_run(path, assignments)
    place = folder or Path("runs") / run.name
    engine = Engine(load_bundle(run.segmentation), RuntimeConfig(depth=1))  # all that classifiers read
    template = template_centroids(engine)
    cohort = gather(run, engine, template, place / "people", progress)
    held = cross_validate(run, cohort, place / FOLDS, progress)
    models = risk_models(run, cohort)
    calibration, metrics = calibrate(run, cohort.people, cohort.persons, held, models)
    judged = cohort.people.dementia.isfinite().numpy()
    calibration = replace(calibration, usual=usual_of(cohort.summaries[judged]))
    networks = [fit_network(run, cohort, models, seed) for seed in range(run.seeds)]
    people = cohort.people
    ages = people.clinical[:, AGE]
    info = ClassifierInfo(
        kind=KIND,
        name=run.name,
        version=run.version,
        job=run.job,
        network=run.network,
        members=run.seeds,
        segmentation=run.segmentation,
        segmentation_sha256=engine.bundle.answers_sha256,
        structures=models[0].structures,
        ages_years=(
            float(ages[people.dementia.isfinite()].min()),
            float(ages[people.dementia.isfinite()].max()),
        ),
        largest_residual_mm=run.residual_mm,
        data=dict(run.about),
        metrics=metrics,
        training=configuration.as_dict(
            replace(run, patients=_nameless(run.patients), others=_nameless(run.others))
        ),
    )
    return save_classifier(
        place / BUNDLE, info, networks, template, calibration, classifier_card(info, calibration)
    )


def gather(
    run: ClassifierRun, engine: Engine, template_mm: Values, cache: Path, progress: Progress | None = None
) -> Cohort:
    """Measure everyone; brains that could not be placed are left out, and it is said how many.

    Of a disturbed copy that could not be placed the scan itself takes the place.
    """

    def measure(copy: int) -> Measured:
        def advance(done: int, total: int) -> None:
            if progress:
                progress(copy * total + done, (run.copies + 1) * total, {})

        return measure_people([run.patients, run.others], engine, template_mm, cache, advance, copy)

    measured = measure(0)
    rows = np.flatnonzero(measured.residual_mm.numpy() <= run.residual_mm)
    if len(rows) < len(measured.persons):
        logger.warning("%d brains could not be placed and are left out", len(measured.persons) - len(rows))
    names = [label.name for label in engine.bundle.info.labels]

    def cohort(people: People, copies: tuple[Cohort, ...] = ()) -> Cohort:
        volumes, structures = both_sides_log(people.volumes, names)
        return Cohort(people, volumes, structures, measured.persons, measured.summaries.numpy(), copies)

    copies = []
    for number in range(1, run.copies + 1):
        again = measure(number)
        rows_again = torch.where(again.residual_mm <= run.residual_mm, 1, 0) * len(measured.persons)
        both = People(*(torch.cat(pair) for pair in zip(measured.people, again.people, strict=True)))
        copies.append(cohort(both.pick(rows_again + torch.arange(len(rows_again)))))
    return cohort(measured.people, tuple(copies)).of(rows)


def risk_models(run: ClassifierRun, cohort: Cohort) -> tuple[RiskModel, ...]:
    """Fitted on these people, who choose their structures, too."""
    table, truth = cohort.people.clinical.double().numpy(), cohort.people.dementia.double().numpy()
    chosen = choose_structures(cohort.log_volumes, table, truth, cohort.persons, run.structures)
    names = [cohort.structures[column] for column in chosen]
    return fit_risk_models(cohort.log_volumes[:, chosen], names, table, truth)


def with_offsets(cohort: Cohort, models: Sequence[RiskModel]) -> People:
    """People with what the risk models say of them."""
    table = cohort.people.clinical.double().numpy()
    found = logits(models, cohort.log_volumes, cohort.structures, table)
    return cohort.people._replace(offsets=torch.from_numpy(found).float())


def fit_network(
    run: ClassifierRun, cohort: Cohort, models: Sequence[RiskModel], seed: int
) -> BrainClassifier:
    """A network that learnt from these people, in their scans and in the disturbed copies of them."""
    copies = [with_offsets(each, models) for each in cohort.copies]
    return fit_classifier(with_offsets(cohort, models), run.network, run.schedule, seed, copies)


def folds_of(cohort: Cohort, folds: int, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows to learn from and rows held back; who has no outcome is only ever learnt from."""
    known = np.flatnonzero(cohort.people.dementia.isfinite().numpy())
    other = np.setdiff1d(np.arange(len(cohort.persons)), known)
    truth = cohort.people.dementia.numpy()[known]
    old = cohort.people.clinical[:, AGE].numpy()[known] >= OLD_YEARS
    persons = [cohort.persons[n] for n in known]
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return [
        (np.concatenate([known[train], other]), known[test])
        for train, test in split.split(known, truth + 2 * old, persons)
    ]


def cross_validate(
    run: ClassifierRun, cohort: Cohort, folder: Path, progress: Progress | None = None
) -> HeldBack:
    """Answers about everyone with an outcome from models that never saw them, for each seed."""
    folder.mkdir(parents=True, exist_ok=True)
    n, exits = len(cohort.persons), run.network.exits
    shapes = HeldBack(*[(run.seeds, n, *rest) for rest in ((len(SETS),), (2, exits), (exits,), ())])  # type: ignore[arg-type]
    held = HeldBack(*(np.full(shape, math.nan) for shape in shapes))  # type: ignore[arg-type]
    for seed in range(run.seeds):
        for number, (train, test) in enumerate(folds_of(cohort, run.folds, seed)):
            file = folder / f"seed{seed}_fold{number}.npz"
            if not file.is_file():
                found = _one_fold(run, cohort, train, test, seed)
                temporary = file.with_suffix(".tmp.npz")
                np.savez(temporary, **found._asdict())
                temporary.replace(file)
            with np.load(file) as stored:
                for name, values in held._asdict().items():
                    values[seed, test] = stored[name]
            if progress:
                progress(seed * run.folds + number + 1, run.seeds * run.folds, {})
    return held


def _one_fold(
    run: ClassifierRun, cohort: Cohort, train: NDArray[np.intp], test: NDArray[np.intp], seed: int
) -> HeldBack:
    """Answers about the rows `test`, without the axis of seeds."""
    learners, unseen = cohort.of(train), cohort.of(test)
    models = risk_models(run, learners)
    network = fit_network(run, learners, models, seed)
    people = with_offsets(unseen, models)
    record = people.clinical.clone()
    evidence = []
    with torch.inference_mode():
        for hide in (True, False):
            record[:, MMSE] = math.nan if hide else people.clinical[:, MMSE]
            found = answers(network, people, record)
            evidence.append(torch.stack([each.evidence[:, 0].flatten(1).sum(dim=1) for each in found], dim=1))
    age = torch.stack([each.logits[:, 1] for each in found], dim=1)
    return HeldBack(
        people.offsets.double().numpy(),
        torch.stack(evidence, dim=1).double().numpy(),
        (age * network.clinical_spread[AGE] + network.clinical_centre[AGE]).double().numpy(),
        found[-1].logits[:, 2].double().numpy(),
    )


def _nameless(source: PeopleSource) -> PeopleSource:
    """Without the folder, which is of this machine."""
    return replace(source, root=Path(source.root).name)
