"""Measure healthy people with a bundle and keep the percentile curves of their volumes with it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lnn_med.errors import ConfigError
from lnn_med.inference.bundle import Bundle, load_bundle, save_percentiles
from lnn_med.inference.percentiles import Percentiles, Person, both_sides
from lnn_med.inference.predict import HEAD, Predictor, job_of
from lnn_med.inference.runtime import Depth, Engine
from lnn_med.io import read
from lnn_med.training.out_of_fold import Other, OutOfFold, Volumes, out_of_fold
from lnn_med.training.percentile_fit import FEWEST, Values, fit_curve
from lnn_med.training.template import template_centroids

logger = logging.getLogger(__name__)
COLUMNS = ("image", "age", "sex")
ICV = "icv_mm3"
LOOKED_AT = ("Hippocampus", "LateralVentricle")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Row:
    line: int  # of the table
    name: str  # of the case
    image: Path
    age: float
    sex: str


def add_percentiles(
    bundle: str | Path, dataset: Path, table: Path, reference: str, out: Path | None = None,
    others: Sequence[str | Path] = (), others_depth: Depth = "auto", progress: Progress | None = None,
) -> Bundle:  # fmt: skip
    """Run a head bundle over healthy people and fit its percentiles.json.

    Singles and sums of both sides get a curve each. People whose scan fails quality control are left out.

    Args:
        bundle: by name or folder.
        dataset: folder that the table's images are relative to.
        table: CSV with columns image, age (years) and sex (F or M), one person a row.
        reference: who the people are, for every place that shows a percentile.
        out: folder for a copy with percentiles; the bundle itself is changed when None.
        others: bundles trained without some of the people that trained the bundle; they measure these.
        others_depth: at which depth they do.
        progress: called with scans measured and scans in all.

    Raises:
        ConfigError: a bundle that measures no heads, a table without its columns, too few people, or other
            bundles that cannot stand in (see `out_of_fold`).
        InputError: a scan that cannot be read.
    """
    model = _head_bundle(bundle)
    rows = _rows(table, dataset)
    models = [_head_bundle(other) for other in others]
    done = Counter(len(rows) + sum(_unseen(rows, each) for each in models), progress)
    predictor = Predictor((model.path,))
    measured = [_measure(row, predictor, done) for row in rows]
    kept = _good(rows, measured)
    own = [volumes for volumes in measured if volumes is not None]
    _enough(kept)
    trained_on = model.info.split.get("train", [])
    found = OutOfFold(own, 0, [])
    if others:
        stand_ins = [
            _other(str(name), each, kept, others_depth, done)
            for name, each in zip(others, models, strict=True)
        ]
        found = out_of_fold([row.name for row in kept], own, trained_on, stand_ins)
        own = [mine for mine, volumes in zip(own, found.volumes, strict=True) if volumes is not None]
        kept = _good(kept, found.volumes)
        _enough(kept)
    volumes = [each for each in found.volumes if each is not None]
    people = [Person(row.age, row.sex, each[ICV]) for row, each in zip(kept, volumes, strict=True)]
    usual_icv_mm3 = float(np.mean([person.icv_mm3 for person in people]))
    fits = {
        name: fit_curve(np.array([each[name] for each in volumes]), people, usual_icv_mm3)
        for name in own[0]
        if name != ICV
    }
    ages = [person.age for person in people]
    percentiles = Percentiles(
        reference_people=reference,
        answers_sha256=model.answers_sha256,
        people=len(people),
        ages=(min(ages), max(ages)),
        usual_icv_mm3=usual_icv_mm3,
        curves={name: curve for name, curve in fits.items() if curve is not None},
        measured=_facts(kept, people, volumes, trained_on) | _stand_ins(kept, own, found, trained_on),
        template_mm=_places(predictor.engines[HEAD]),
    )
    if out is not None:
        shutil.copytree(model.path, out, dirs_exist_ok=True)
    return save_percentiles(out or model.path, percentiles)


class Counter:
    """Tells how many of all scans are measured."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def __call__(self) -> None:
        self.done += 1
        if self.progress:
            self.progress(self.done, self.total)


def _good(rows: Sequence[_Row], measured: Sequence[Volumes | None]) -> list[_Row]:
    """Those who could be measured; the others are named by their line of the table."""
    for row, volumes in zip(rows, measured, strict=True):
        if volumes is None:
            logger.warning("table, line %d: fails quality control and is left out", row.line)
    return [row for row, volumes in zip(rows, measured, strict=True) if volumes is not None]


def _enough(kept: Sequence[_Row]) -> None:
    if len(kept) < FEWEST:
        raise ConfigError(f"{len(kept)} people can be used; {FEWEST} or more are needed.")


def _head_bundle(bundle: str | Path) -> Bundle:
    model = load_bundle(bundle)
    if job_of(model.info.labels) != HEAD:
        raise ConfigError(f"{model.info.name} measures no heads; percentiles need the whole brain.")
    return model


def _measure(row: _Row, predictor: Predictor, done: Counter) -> Volumes | None:
    """Volumes of a person's structures, of both sides together and of the whole; None after a FAIL."""
    prediction = predictor(read(row.image))
    done()
    if prediction.quality.status == "fail":
        return None
    found = {entry.name: entry.volume_mm3 or 0.0 for entry in prediction.structures}
    return found | both_sides(found) | {ICV: float(prediction.derived[ICV] or 0.0)}


def _unseen(rows: Sequence[_Row], model: Bundle) -> int:
    return sum(row.name not in model.info.split.get("train", []) for row in rows)


def _other(name: str, model: Bundle, kept: Sequence[_Row], depth: Depth, done: Counter) -> Other:
    predictor = Predictor((model.path,), depth=depth)
    return Other(name, model.info.split.get("train", []), lambda n: _measure(kept[n], predictor, done))


def _places(engine: Engine) -> dict[str, tuple[float, float, float]]:
    """Where each structure lies in the MNI152 template, RAS mm to 0.01."""
    found = np.round(template_centroids(engine), 2)
    names = engine.bundle.label_names
    return {names[1 + n]: (x, y, z) for n, (x, y, z) in enumerate(found.tolist()) if np.isfinite(x)}


def _facts(
    rows: Sequence[_Row], people: Sequence[Person], volumes: Sequence[Volumes], trained_on: Sequence[str]
) -> dict[str, Any]:
    """Who they are, and whether those who trained the network differ from the others."""
    trained = np.isin([row.name for row in rows], trained_on)
    shift = {}
    if 0 < trained.sum() < len(rows):
        for name in _looked_at(volumes[0]):
            values = np.log([each[name] for each in volumes])
            shift[name] = _shift_pct(values, people, trained)
    return {
        "women": sum(person.sex == "F" for person in people),
        "trained_the_network": int(trained.sum()),
        "shift_of_those_pct": shift,
    }


def _stand_ins(
    rows: Sequence[_Row], own: Sequence[Volumes], found: OutOfFold, trained_on: Sequence[str]
) -> dict[str, Any]:
    """Who was measured by other bundles, and by how much the bundle's own volumes lie above theirs."""
    facts: dict[str, Any] = {"measured_by_others": found.replaced, "others_matched_on": found.matched_on}
    if found.replaced:
        volumes = [each for each in found.volumes if each is not None]
        pairs = [
            (mine, theirs)
            for row, mine, theirs in zip(rows, own, volumes, strict=True)
            if row.name in trained_on
        ]
        facts["own_above_others_pct"] = {
            name: _mean_pct([np.log(mine[name] / theirs[name]) for mine, theirs in pairs])
            for name in (*_looked_at(volumes[0]), ICV)
        }
    return facts


def _looked_at(volumes: Volumes) -> list[str]:
    return [name for name in LOOKED_AT if name in volumes]


def _mean_pct(differences: Sequence[float]) -> dict[str, float]:
    """Mean of differences of logarithms and their spread between people, percent."""
    return {
        "mean": round(100 * float(np.mean(differences)), 2),
        "standard_deviation": round(100 * float(np.std(differences, ddof=1)), 2),
    }


def _shift_pct(values: Values, people: Sequence[Person], trained: np.ndarray) -> dict[str, float]:
    """Difference of trained minus other people at equal age, sex and head size, percent, with its error."""
    ages = np.array([person.age for person in people]) / 10
    rows = np.c_[
        np.ones(len(people)), ages, ages**2, [person.sex == "M" for person in people],
        np.log([person.icv_mm3 for person in people]), trained,
    ]  # fmt: skip
    factors, *_ = np.linalg.lstsq(rows, values, rcond=None)
    away = values - rows @ factors
    variance = away @ away / (len(values) - rows.shape[1])
    error = float(np.sqrt(variance * np.linalg.inv(rows.T @ rows)[-1, -1]))
    return {"estimate": round(100 * float(factors[-1]), 2), "standard_error": round(100 * error, 2)}


def _rows(table: Path, dataset: Path) -> list[_Row]:
    if not table.is_file():
        raise ConfigError(f"No table {table.name}.")
    frame = pd.read_csv(table)
    if missing := [name for name in COLUMNS if name not in frame]:
        raise ConfigError(f"{table.name}: no column {missing[0]}; image, age and sex are needed.")
    rows = []
    for line, (image, age, sex) in enumerate(frame[list(COLUMNS)].itertuples(index=False), start=2):
        if not (isinstance(sex, str) and sex in ("F", "M")):
            raise ConfigError(f"{table.name}, line {line}: sex must be F or M.")
        if not 0 < float(age) < 120:
            raise ConfigError(f"{table.name}, line {line}: age must be years between 0 and 120.")
        path = dataset / str(image)
        rows.append(_Row(line, path.name.removesuffix(".gz").removesuffix(".nii"), path, float(age), sex))
    return rows
