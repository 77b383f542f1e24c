"""Measure healthy people with a bundle and keep the percentile curves of their volumes with it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lnn_med.errors import ConfigError
from lnn_med.inference.bundle import Bundle, load_bundle, save_percentiles
from lnn_med.inference.percentiles import Percentiles, Person, both_sides
from lnn_med.inference.predict import HEAD, Predictor, job_of
from lnn_med.inference.runtime import Engine
from lnn_med.io import read
from lnn_med.training.percentile_fit import FEWEST, Values, fit_curve
from lnn_med.training.template import template_centroids

logger = logging.getLogger(__name__)
COLUMNS = ("image", "age", "sex")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Row:
    name: str  # of the case
    image: Path
    age: float
    sex: str


def add_percentiles(
    bundle: str | Path, dataset: Path, table: Path, reference: str, out: Path | None = None,
    progress: Progress | None = None,
) -> Bundle:  # fmt: skip
    """Run a head bundle over healthy people and fit its percentiles.json.

    Singles and sums of both sides get a curve each. People whose scan fails quality control are left out.

    Args:
        bundle: by name or folder.
        dataset: folder that the table's images are relative to.
        table: CSV with columns image, age (years) and sex (F or M), one person a row.
        reference: who the people are, for every place that shows a percentile.
        out: folder for a copy with percentiles; the bundle itself is changed when None.
        progress: called with people done and people in all.

    Raises:
        ConfigError: a bundle that measures no heads, a table without its columns, or too few people.
        InputError: a scan that cannot be read.
    """
    model = load_bundle(bundle)
    if job_of(model.info.labels) != HEAD:
        raise ConfigError(f"{model.info.name} measures no heads; percentiles need the whole brain.")
    rows = _rows(table, dataset)
    predictor = Predictor((model.path,))
    people: list[Person] = []
    volumes: list[dict[str, float]] = []
    kept: list[_Row] = []
    for number, row in enumerate(rows, start=1):
        prediction = predictor(read(row.image))
        if prediction.quality.status == "fail":
            logger.warning("person %d fails quality control and is left out", number)
        else:
            found = {entry.name: entry.volume_mm3 or 0.0 for entry in prediction.structures}
            volumes.append(found | both_sides(found))
            people.append(Person(row.age, row.sex, float(prediction.derived["icv_mm3"] or 0.0)))
            kept.append(row)
        if progress:
            progress(number, len(rows))
    if len(people) < FEWEST:
        raise ConfigError(f"{len(people)} people can be used; {FEWEST} or more are needed.")
    usual_icv_mm3 = float(np.mean([person.icv_mm3 for person in people]))
    fits = {
        name: fit_curve(np.array([each[name] for each in volumes]), people, usual_icv_mm3)
        for name in volumes[0]
    }
    ages = [person.age for person in people]
    percentiles = Percentiles(
        reference_people=reference,
        answers_sha256=model.answers_sha256,
        people=len(people),
        ages=(min(ages), max(ages)),
        usual_icv_mm3=usual_icv_mm3,
        curves={name: curve for name, curve in fits.items() if curve is not None},
        measured=_measured(kept, people, volumes, model),
        template_mm=_places(predictor.engines[HEAD]),
    )
    if out is not None:
        shutil.copytree(model.path, out, dirs_exist_ok=True)
    return save_percentiles(out or model.path, percentiles)


def _places(engine: Engine) -> dict[str, tuple[float, float, float]]:
    """Where each structure lies in the MNI152 template, RAS mm to 0.01."""
    found = np.round(template_centroids(engine), 2)
    names = engine.bundle.label_names
    return {names[1 + n]: (x, y, z) for n, (x, y, z) in enumerate(found.tolist()) if np.isfinite(x)}


def _measured(
    rows: Sequence[_Row], people: Sequence[Person], volumes: Sequence[Mapping[str, float]], model: Bundle
) -> dict[str, Any]:
    """Who they are, and whether scans that trained the network are measured differently from the others."""
    trained = np.isin([row.name for row in rows], model.info.split.get("train", []))
    shift = {}
    if 0 < trained.sum() < len(rows):
        for name in ("Hippocampus", "LateralVentricle"):
            values = np.log([each[name] for each in volumes])
            shift[name] = _shift_pct(values, people, trained)
    return {
        "women": sum(person.sex == "F" for person in people),
        "trained_the_network": int(trained.sum()),
        "shift_of_those_pct": shift,
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
        rows.append(_Row(path.name.removesuffix(".gz").removesuffix(".nii"), path, float(age), sex))
    return rows
