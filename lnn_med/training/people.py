"""People for a classifier: scans measured once by the segmentation network, records from a table."""

from __future__ import annotations

import logging
import math
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from lnn_med.errors import ConfigError
from lnn_med.inference.brain_features import BrainFeatures
from lnn_med.inference.dementia import look
from lnn_med.inference.head import spacing_ratio
from lnn_med.inference.model_space import into_model_space
from lnn_med.inference.risk_model import RECORD
from lnn_med.inference.runtime import Engine
from lnn_med.io import read
from lnn_med.training.classify import People
from lnn_med.transforms.disturb import another_scan
from lnn_med.volume import Volume

logger = logging.getLogger(__name__)
CACHE = 2  # what its files hold; another number where that changes
SEX_CODES = {"F": 0.0, "M": 1.0}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PeopleSource:
    """A table of people, one scan a row, and the names of its columns; an empty name: the table has none.

    `image` is relative to `root`; `sex` holds F or M; `dementia` 1 or 0. Cells may be empty.
    """

    root: str
    table: str = "participants.csv"
    image: str = "image"
    person: str = "subject"
    age: str = "age"
    sex: str = "sex"
    education: str = ""
    mmse: str = ""
    dementia: str = ""

    @property
    def clinical(self) -> tuple[str, str, str, str]:
        """Columns in the order of the classifier's clinical values."""
        return self.age, self.sex, self.education, self.mmse


class Measured(NamedTuple):
    """People, the name of each (scans of one person share it), how well each brain was placed, and the
    summary of each scan, by which unusual ones show (see `lnn.foreground_summary`)."""

    people: People
    persons: list[str]
    residual_mm: Tensor  # (N,)
    summaries: Tensor  # (N, 2C)


def measure_people(
    sources: Sequence[PeopleSource],
    engine: Engine,
    template_mm: NDArray[np.float64],
    cache: Path,
    progress: Progress | None = None,
    copy: int = 0,
) -> Measured:
    """Features and records of everyone, risk unknown; what is in `cache` is not measured again.

    Args:
        sources: tables of people.
        engine: the segmentation network; of any depth, as exit 1 counts.
        template_mm: where its structures lie in the template, RAS mm, (classes - 1, 3).
        cache: folder for one file a scan, named after the network and the scan.
        copy: 0 for the scans as they are; else a number of their own for disturbed copies, of which one
            that cannot be placed has an infinite residual.

    Raises:
        ConfigError: a table without a named column, or with a value that cannot be.
        InputError: a scan that cannot be read.
    """
    rows = [(source, row) for source in sources for _, row in people_table(source).iterrows()]
    found = []
    records, persons = [], []
    cache.mkdir(parents=True, exist_ok=True)
    for number, (source, row) in enumerate(rows, start=1):
        scan = Path(source.root).expanduser() / str(row[source.image])
        found.append(_measured(scan, engine, template_mm, cache, copy))
        records.append([_value(row, name) for name in (*source.clinical, source.dementia)])
        persons.append(str(row[source.person]))
        if progress:
            progress(number, len(rows))
    table = torch.tensor(records, dtype=torch.float32)
    places, inside, volumes, residual, summaries = (
        torch.stack([each[name] for each in found])
        for name in ("places", "inside", "volumes", "residual_mm", "summary")
    )
    people = People(
        places.float(),
        inside,
        volumes,
        table[:, :-1],
        table[:, -1],
        torch.zeros(len(rows), 2 ** len(RECORD)),
    )
    return Measured(people, persons, residual, summaries)


def see(
    volume: Volume, engine: Engine, template_mm: NDArray[np.float64]
) -> tuple[BrainFeatures, NDArray[np.float32]]:
    """A head as a classifier sees it, and its summary (2C,).

    Raises:
        ValueError: too few structures were found to place the brain.
    """
    space = engine.bundle.info.space
    seen = into_model_space(volume, space)
    run = engine(seen.image, spacing_ratio(volume, space.spacing_mm))
    return look(run, seen, engine, template_mm), run.summary


def _measured(
    scan: Path, engine: Engine, template_mm: NDArray[np.float64], cache: Path, copy: int
) -> dict[str, Tensor]:
    name = scan.name.removesuffix(".gz").removesuffix(".nii")
    stem = f"{engine.bundle.answers_sha256[:8]}-{CACHE}-{name}"
    file = cache / f"{stem}.{copy}.safetensors" if copy else cache / f"{stem}.safetensors"
    if not file.is_file():
        volume = read(scan)
        try:
            seen = another_scan(volume, zlib.crc32(f"{name}.{copy}".encode())) if copy else volume
            made, summary = see(seen, engine, template_mm)
        except ValueError:
            if not copy:
                raise
            content = load_file(cache / f"{stem}.safetensors") | {"residual_mm": torch.tensor(math.inf)}
        else:
            content = {
                "places": made.places.half().contiguous(),
                "inside": made.inside.contiguous(),
                "volumes": made.volumes.float().contiguous(),
                "residual_mm": torch.tensor(made.space.residual_mm),
                "summary": torch.from_numpy(summary),
            }
        temporary = file.with_suffix(f".{os.getpid()}")
        save_file(content, temporary)
        os.replace(temporary, file)
    return load_file(file)


def people_table(source: PeopleSource) -> pd.DataFrame:
    """The table of a source.

    Raises:
        ConfigError: no such table, or a column that it lacks.
    """
    path = Path(source.root).expanduser() / source.table
    if not path.is_file():
        raise ConfigError(f"No table `{source.table}` in `{source.root}`.")
    frame = pd.read_csv(path)
    for name in (source.image, source.person, *source.clinical, source.dementia):
        if name and name not in frame:
            raise ConfigError(f"{source.table}: no column `{name}`; it has {', '.join(frame.columns)}.")
    return frame


def _value(row: pd.Series[object], name: str) -> float:
    """A cell as a number: sex as 0 (F) or 1 (M), NaN where the cell is empty or there is no such column."""
    if not name or pd.isna(row[name]):
        return math.nan
    cell = row[name]
    if isinstance(cell, str):
        if cell not in SEX_CODES:
            raise ConfigError(f"column `{name}` holds `{cell}`; F, M or a number is needed.")
        return SEX_CODES[cell]
    return float(cell)  # type: ignore[arg-type]
