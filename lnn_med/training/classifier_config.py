"""The YAML file of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lnn_med import config as configuration
from lnn_med.inference.classifier_bundle import KIND
from lnn_med.models.brain_classifier import ClassifierConfig
from lnn_med.training.classify import ClassifierSchedule
from lnn_med.training.people import PeopleSource


@dataclass(frozen=True)
class ClassifierRun:
    """The YAML file of a classifier; `kind` tells it from a segmentation network's."""

    kind: str
    name: str
    job: str
    patients: PeopleSource  # with and without dementia
    others: PeopleSource  # age and sex alone
    network: ClassifierConfig
    version: str = "0.1.0"
    segmentation: str = "brain-t1"
    structures: int = 2  # volumes of the risk models, chosen by those who are learnt from
    schedule: ClassifierSchedule = field(default_factory=ClassifierSchedule)
    copies: int = 0  # of each scan, disturbed, that the networks learn from beside it
    folds: int = 5
    seeds: int = 3  # of the cross-validation; as many networks answer together in the bundle
    coverage: float = 0.9
    residual_mm: float = 4.5  # worse placed brains are not learnt from and not judged
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind != KIND:
            raise ValueError(f"kind is {self.kind!r}; {KIND} is needed")
        if self.folds < 2 or self.seeds < 1 or self.structures < 1 or self.copies < 0:
            found = (
                f"folds {self.folds}, seeds {self.seeds}, structures {self.structures}, copies {self.copies}"
            )
            raise ValueError(f"{found}; at least 2, 1, 1 and 0 are needed")


def is_classifier_run(path: Path) -> bool:
    """Whether a configuration is a classifier's; a file that is not there is none.

    Raises:
        ConfigError: see `lnn_med.config.load_yaml`.
    """
    return path.is_file() and configuration.load_yaml(path).get("kind") == KIND


def read_classifier_run(path: Path, assignments: Sequence[str] = ()) -> ClassifierRun:
    """Read a YAML file and apply `key=value` assignments.

    Raises:
        ConfigError: see `lnn_med.config.build`.
    """
    values = configuration.override(configuration.load_yaml(path), assignments)
    return configuration.build(ClassifierRun, values)
