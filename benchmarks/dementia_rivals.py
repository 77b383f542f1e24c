"""Rivals of the dementia models: each learns from the rows of a fold and judges those held back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from lnn_med.inference.risk_model import RECORD
from lnn_med.io import read
from lnn_med.training.classifier_config import ClassifierRun
from lnn_med.training.classify import answers, fit_classifier, known_code
from lnn_med.training.dementia import (
    Cohort,
    fit_network,
    folds_of,
    risk_models,
    with_offsets,
)
from lnn_med.training.people import people_table

Rows = NDArray[np.intp]
Values = NDArray[np.float64]
Method = Callable[[Rows, Rows, int], Values]  # rows to learn from, rows held back, seed -> probabilities
MMSE = RECORD.index("mmse")
# Of the ridge, times the number of voxels; the last for the risk.
PENALTIES = np.array([0.01, 0.03, 0.1, 0.3, 1.0])
BRAIN = 0.05  # mean brightness, as a share of white matter's, from which on a voxel is one of the brain
BATCH = 8


class Study(NamedTuple):
    """Everyone with an outcome: rows of the cohort, truth and clinical values (N, 4), all in that order."""

    run: ClassifierRun
    cohort: Cohort
    known: Rows
    truth: Values
    clinical: Values


def held_back(study: Study, method: Method, keep: Path | None = None) -> Values:
    """Probabilities (seeds, N) of people held back.

    Args:
        study: who is judged.
        method: what judges them.
        keep: folder where the answers of a fold lie once they are there; a slow method goes on from them.
    """
    found = np.full((study.run.seeds, len(study.cohort.persons)), np.nan)
    for seed in range(len(found)):
        for number, (train, test) in enumerate(folds_of(study.cohort, study.run.folds, seed)):
            file = keep / f"seed{seed}_fold{number}.npy" if keep else None
            if file is not None and file.is_file():
                found[seed, test] = np.load(file)
                continue
            found[seed, test] = method(train, test, seed)
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                np.save(file, found[seed, test])
    return found[:, study.known]


def logistic(table: Values, study: Study, penalty: float = 1.0) -> Method:
    """Logistic regression on standardised columns of a table (cohort rows, columns)."""
    dementia = study.cohort.people.dementia.numpy()

    def method(train: Rows, test: Rows, seed: int) -> Values:
        rows = train[np.isfinite(dementia[train])]
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / penalty, max_iter=2000))
        return model.fit(table[rows], dementia[rows]).predict_proba(table[test])[:, 1]  # type: ignore[no-any-return]

    return method


def ridge_on(x: Values, truth: Values, penalties: Values) -> Callable[[Values], Values]:
    """Linear ridge regression on standardised voxels of the brain, (N, voxels).

    Of the penalties, times the number of voxels, the one counts that is best for people left out.
    """
    brain = x.mean(axis=0) > BRAIN
    usual, spread = x[:, brain].mean(axis=0), x[:, brain].std(axis=0).clip(min=1e-3)
    model = RidgeCV(alphas=brain.sum() * penalties).fit((x[:, brain] - usual) / spread, truth)
    return lambda other: model.predict((other[:, brain] - usual) / spread)  # type: ignore[no-any-return]


def ridge(images: Values, study: Study) -> Method:
    """Linear ridge regression of the outcome on voxels, cut to 0..1."""
    dementia = study.cohort.people.dementia.numpy()
    x = images.reshape(len(images), -1)

    def method(train: Rows, test: Rows, seed: int) -> Values:
        rows = train[np.isfinite(dementia[train])]
        return np.clip(ridge_on(x[rows], dementia[rows], PENALTIES[-1:])(x[test]), 0, 1)

    return method


def varied(study: Study, first_epochs: int | None = None, **changes: object) -> Method:
    """The network of the run with another way in for record or volumes, or with so many epochs of age and sex
    before dementia; MMSE is hidden."""
    schedule = study.run.schedule
    if first_epochs is not None:
        schedule = replace(schedule, first_epochs=first_epochs)

    def method(train: Rows, test: Rows, seed: int) -> Values:
        learners, unseen = (study.cohort.of(rows) for rows in (train, test))
        models = risk_models(study.run, learners)
        network_of = replace(study.run.network, **changes)  # type: ignore[arg-type]
        run = replace(study.run, network=network_of, schedule=schedule)
        network = fit_network(run, learners, models, seed)
        people = with_offsets(unseen, models)
        record = people.clinical.clone()
        record[:, MMSE] = torch.nan
        with torch.inference_mode():
            told = answers(network, people, record)[-1]
        return expit(told.logits[:, 0].double().numpy())  # type: ignore[no-any-return]

    return method


def on_a_split(study: Study, with_network: bool) -> Method:
    """The default number, or the network, calibrated on a fifth of the training fold that they never saw.

    The correction is the bundle's: weights of a constant and of logits, but of people kept from learning.
    """
    dementia = study.cohort.people.dementia.numpy()

    def method(train: Rows, test: Rows, seed: int) -> Values:
        known = train[np.isfinite(dementia[train])]
        split = StratifiedKFold(5, shuffle=True, random_state=seed).split(known, dementia[known])
        kept = known[next(iter(split))[1]]
        learners = study.cohort.of(np.setdiff1d(train, kept))
        models = risk_models(study.run, learners)
        network = fit_network(study.run, learners, models, seed) if with_network else None

        def logits(rows: Rows) -> Values:
            people = with_offsets(study.cohort.of(rows), models)
            record = people.clinical.clone()
            record[:, MMSE] = torch.nan
            offset = people.offsets.gather(1, known_code(record)[:, None]).double().numpy()
            if network is None:
                return offset  # type: ignore[no-any-return]
            with torch.inference_mode():
                told = answers(network, people, record)[-1].logits[:, :1].double().numpy()
            return np.column_stack([offset, told - offset])

        model = LogisticRegression(C=np.inf, max_iter=1000).fit(logits(kept), dementia[kept])
        return model.predict_proba(logits(test))[:, 1]  # type: ignore[no-any-return]

    return method


def image_alone(study: Study, with_record: bool) -> Method:
    """The network without risk model and without volumes as tokens: on the image, or on image and record.

    Without the record it never sees one, in training either; with it MMSE is hidden.
    """
    config, schedule = replace(study.run.network, volume_tokens=False), study.run.schedule
    if not with_record:
        schedule = replace(schedule, shown=(0.0,) * len(RECORD))

    def method(train: Rows, test: Rows, seed: int) -> Values:
        learners = study.cohort.of(train)
        blind = [each.people for each in (learners, *learners.copies)]  # offsets are 0 without risk models
        network = fit_classifier(blind[0], config, schedule, seed, blind[1:])
        people = study.cohort.of(test).people
        record = people.clinical.clone()
        record[:, MMSE if with_record else slice(None)] = torch.nan
        with torch.inference_mode():
            told = answers(network, people, record)[-1]
        return expit(told.logits[:, 0].double().numpy())  # type: ignore[no-any-return]

    return method


def resnet(images: Values, study: Study, epochs: int) -> Method:
    """MONAI's 3D ResNet-18 on the same images, mirrored at random; AdamW, one cycle.

    In float32: the gradients of bfloat16 convolutions of two planes, as its last stages have, are not numbers
    on some CPUs. Its first convolution has a stride of 2 along all axes, as that of He 2016 (MONAI's default
    is 1).
    """
    from monai.networks.nets import resnet18

    options = {"spatial_dims": 3, "n_input_channels": 1, "num_classes": 1, "conv1_t_stride": 2}

    dementia = torch.from_numpy(study.cohort.people.dementia.numpy())
    x = torch.from_numpy(images).float()[:, None]

    def method(train: Rows, test: Rows, seed: int) -> Values:
        rows = torch.from_numpy(train[np.isfinite(dementia.numpy()[train])])
        torch.manual_seed(seed)
        network = resnet18(**options).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
        steps = epochs * -(-len(rows) // BATCH)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
        centre, spread = x[rows].mean(), x[rows].std()
        for _ in range(epochs):
            for chosen in rows[torch.randperm(len(rows))].split(BATCH):
                seen = (x[chosen] - centre) / spread
                seen = seen.flip(2) if torch.rand(()) < 0.5 else seen
                loss = F.binary_cross_entropy_with_logits(network(seen)[:, 0], dementia[chosen].float())
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                cycle.step()
        with torch.inference_mode():
            logits = network.eval()((x[torch.from_numpy(test)] - centre) / spread)[:, 0]
        return expit(logits.double().numpy())  # type: ignore[no-any-return]

    return method


def coarse_images(run: ClassifierRun, cohort: Cohort, voxel_mm: float) -> Values:
    """Brains of the patients' table at a coarser grid, in the order of the cohort; zeros for the others.

    A coarse voxel is the mean of its fine ones: picking one of them costs the ridge 0.02 of its AUC.
    """
    table = people_table(run.patients)
    files = dict(zip(table[run.patients.person].astype(str), table[run.patients.image], strict=True))
    found: list[NDArray[np.float32] | None] = []
    for person in cohort.persons:
        if person not in files:
            found.append(None)
            continue
        scan = read(Path(run.patients.root).expanduser() / files[person])
        data = scan.data.astype(np.float32)
        x, y, z = (round(n * mm / voxel_mm) for n, mm in zip(scan.shape, scan.spacing_mm, strict=True))
        means = F.adaptive_avg_pool3d(torch.from_numpy(data)[None], (x, y, z))[0].numpy()
        found.append((means / max(1.0, float(np.percentile(data, 99)))).astype(np.float32))
    shape = next(each.shape for each in found if each is not None)
    return np.stack([np.zeros(shape, np.float32) if each is None else each for each in found])
