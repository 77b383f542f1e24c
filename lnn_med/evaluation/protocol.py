"""What a validation promises before anybody sees a result: endpoints, thresholds, margins, rules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lnn_med import config
from lnn_med.errors import ConfigError

MEAN = "mean"  # an endpoint on the mean over all structures of a case
HIGHER_IS_BETTER = {
    **{"dsc": True, "nsd": True, "hd95_mm": False, "msd_mm": False, "abs_error_pct": False},
    **{"auc": True, "sensitivity": True, "specificity": True},
}
OF_PROBABILITIES = ("auc", "sensitivity", "specificity")  # the others compare label maps
SUBGROUPS = ("sex", "age", "vendor", "field_t", "slice_mm", "site", "diagnosis")
DRAFT, FINAL = "DRAFT", "FINAL"

Metric = Literal["dsc", "nsd", "hd95_mm", "msd_mm", "abs_error_pct", "auc", "sensitivity", "specificity"]


@dataclass(frozen=True)
class Endpoint:
    """One number that decides: met when its confidence bound (or its estimate) is on the right side."""

    metric: Metric
    threshold: float  # in the unit of the metric
    structure: str = MEAN  # a structure by name, or "mean" over all structures of a case
    statistic: Literal["mean", "median"] = "mean"  # over cases; the median has an exact interval
    rule: Literal["bound", "estimate"] = "bound"  # what must pass the threshold

    def __post_init__(self) -> None:
        if self.of_probabilities and (self.structure, self.statistic) != (MEAN, "mean"):
            raise ValueError(f"an endpoint on {self.metric} has neither `structure` nor `statistic`.")

    @property
    def of_probabilities(self) -> bool:
        """Whether it judges the probability that `classification` names, and no label map."""
        return self.metric in OF_PROBABILITIES


@dataclass(frozen=True)
class Classification:
    """How a probability of the predictions is compared with a diagnosis of the reference table."""

    reference: str  # column of the reference table
    positive: tuple[str, ...] = ("1", "yes", "true")  # its values that mean "has the disease"
    target: str = "dementia"  # of the run's results; of another tool column TARGET_probability in scores.csv
    threshold: float = 0.5  # locked before unblinding
    prevalence: tuple[float, ...] = ()  # for predictive values; each 0 to 1

    def __post_init__(self) -> None:
        _between(0, self.threshold, 1, "threshold")
        for share in self.prevalence:
            if not 0 < share < 1:
                raise ValueError(f"prevalence is {share:g}; a share between 0 and 1 is needed, such as 0.2.")


@dataclass(frozen=True)
class Protocol:
    """A protocol as it stands in `protocol.yaml`; every key may be left out, the report then says so."""

    id: str = "none"
    title: str = "Validation report"
    status: Literal["DRAFT", "FINAL"] = "DRAFT"
    registered: str = ""  # where and when it was fixed, before unblinding
    purpose: str = ""  # of the study, in one sentence
    intended_use: str = ""
    predicate: str = ""  # device and published numbers that the thresholds are taken from
    input_limits: str = ""
    data_source: str = ""  # where the scans come from, with licence and acknowledgement
    eligibility: str = ""  # in words; the column `eligible` of the table decides case by case
    reference_standard: str = ""  # how the reference came about
    readers: str = ""  # who made it: number, training, blinding
    second_reader: str = ""  # folder of a second reader's label maps, beside this file
    rerun: str = ""  # folder of a second run of the device on the same scans, beside this file
    training_table: str = ""  # CSV of training cases (case, patient, series_uid, sha256), beside this file
    stress_result: str = ""  # robustness result (JSON) of `lnn-med stress`, beside this file
    structures: tuple[str, ...] = ()  # to be compared; none: all that both sides name
    labels: Mapping[str, int] = field(default_factory=dict)  # structure: integer in the reference
    prediction_labels: Mapping[str, int] = field(default_factory=dict)  # the same for another tool's maps
    primary: Endpoint | None = None
    secondary: tuple[Endpoint, ...] = ()
    tolerance_mm: float = 1.0  # tau of the NSD; the Decathlon's for the hippocampus
    margin_dsc: float = 0.02  # non-inferiority in DSC: 24 patients at an SD of 0.03
    margin_auc: float = 0.05  # non-inferiority in AUC
    level: float = 0.95  # of all confidence intervals, two-sided
    coverage: float = 0.9  # promised by the volume intervals
    missing: Literal["worst", "leave_out"] = "worst"  # how a missing prediction counts
    low_dsc: float = 0.7  # below it a case counts as bad: what quality control should catch
    classification: Classification | None = None
    subgroups: tuple[str, ...] = SUBGROUPS  # columns of the reference table
    age_bands: tuple[float, ...] = (40, 60, 70, 80)  # borders, years
    seed: int = 0  # of the bootstrap

    def __post_init__(self) -> None:
        _between(0.5, self.level, 0.999, "level")
        _between(0.5, self.coverage, 0.999, "coverage")
        _positive(self.tolerance_mm, "tolerance_mm")
        _positive(self.margin_dsc, "margin_dsc")
        _positive(self.margin_auc, "margin_auc")
        check_labels(self.labels, "labels")
        check_labels(self.prediction_labels, "prediction_labels")
        if list(self.age_bands) != sorted(set(self.age_bands)):
            raise ValueError(f"age_bands are {list(self.age_bands)}; they must grow.")
        if self.classification is None:
            for entry in self.endpoints:
                if entry.of_probabilities:
                    raise ValueError(
                        f"an endpoint asks for {entry.metric}, but there is no `classification` that says "
                        "which probability is compared with which diagnosis."
                    )
        unknown = [
            entry.structure
            for entry in self.endpoints
            if self.structures and entry.structure not in (MEAN, *self.structures)
        ]
        if unknown:
            raise ValueError(f"an endpoint names {unknown[0]}, which is not among `structures`.")

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The primary endpoint, if any, then the secondary ones."""
        return ((self.primary,) if self.primary else ()) + self.secondary

    @property
    def sha256(self) -> str:
        """Hash of the values, the same however the file is laid out; defaults are part of it."""
        return hashlib.sha256(json.dumps(config.as_dict(self), sort_keys=True).encode()).hexdigest()


def load_protocol(path: Path | None) -> Protocol:
    """Read a protocol; without a path the defaults hold.

    Raises:
        ConfigError: unreadable file, unknown key (the nearest known one is named), wrong value.
    """
    return Protocol() if path is None else config.build(Protocol, config.load_yaml(path))


def parse_labels(text: str | None) -> dict[str, int]:
    """`Hippocampus_Anterior=1,Hippocampus_Posterior=2` as a mapping; nothing for None.

    Raises:
        ConfigError: a part is not NAME=INTEGER, or a name or integer comes twice.
    """
    found: dict[str, int] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        name, separator, number = (piece.strip() for piece in part.partition("="))
        if not separator or not name or not number.isdigit():
            raise ConfigError(
                f"--labels holds `{part.strip()}`; NAME=INTEGER is needed, such as Caudate_L=37."
            )
        if name in found:
            raise ConfigError(f"--labels names {name} twice.")
        found[name] = int(number)
    try:
        check_labels(found, "--labels")
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return found


def check_labels(labels: Mapping[str, int], where: str) -> None:
    """Refuse a label table that is not one integer of 1 or more for each name.

    Raises:
        ValueError.
    """
    for name, value in labels.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{where}`: {name} is {value!r}; an integer of 1 or more is needed.")
        if name == MEAN or not isinstance(name, str):
            raise ValueError(f"`{where}`: `{name}` cannot be the name of a structure.")
    values = list(labels.values())
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise ValueError(f"`{where}`: two names share the integer {twice}.")


def _between(low: float, value: float, high: float, name: str) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value:g}; {low:g} to {high:g} is allowed.")


def _positive(value: float, name: str) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value:g}; it must be above 0.")
