"""The bundle of a classifier: networks that read another bundle's features, and risk models beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lnn_med import config as configuration
from lnn_med.errors import Code, InputError
from lnn_med.inference.bundle import Bundle, load_bundle
from lnn_med.inference.bundle_files import (
    CALIBRATION,
    DESCRIPTION,
    WEIGHTS,
    find_bundle,
    read_json,
    write_description,
    write_json,
    write_weights,
)
from lnn_med.inference.calibration import UsualInput
from lnn_med.inference.risk_model import Reliability, RiskModel
from lnn_med.models.brain_classifier import BrainClassifier, ClassifierConfig

KIND = "classifier"
TEMPLATE = "template_mm"  # name of the template's centroids among the weights


@dataclass(frozen=True)
class ClassifierInfo:
    """Content of bundle.yaml of a classifier.

    `members` networks answer together. They read features and volumes of the bundle `segmentation`, which
    must be the one they were fitted on: `segmentation_sha256` is its `answers_sha256`. `structures` are both
    sides together.
    """

    kind: str
    name: str
    version: str
    job: str
    network: ClassifierConfig
    members: int
    segmentation: str
    segmentation_sha256: str
    structures: tuple[str, ...]
    ages_years: tuple[float, float]
    largest_residual_mm: float
    data: dict[str, Any] = field(default_factory=dict)  # name, licence, citation
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkCalibration:
    """Logit = `intercept` + `offset_slope` * the risk model's + `evidence_slope` * the places'.

    Fitted on answers about people held back: `evidence_slope` is what the image is worth beside volumes and
    record.
    """

    intercept: float = 0.0
    offset_slope: float = 1.0
    evidence_slope: float = 1.0
    reliability: Reliability = field(default_factory=Reliability)


@dataclass(frozen=True)
class ClassifierCalibration:
    """Content of calibration.json of a classifier. `sure` is the size of the logit from which on the first
    exit answers; None: never. `usual` is what scans of the people look like whom it was fitted on."""

    coverage: float = 0.9
    sure: float | None = None
    risk_models: tuple[RiskModel, ...] = ()
    with_mmse: NetworkCalibration = field(default_factory=NetworkCalibration)
    without_mmse: NetworkCalibration = field(default_factory=NetworkCalibration)
    brain_age_mae: float = 0.0  # years, of healthy people held back
    usual: UsualInput | None = None


@dataclass(frozen=True)
class ClassifierBundle:
    """A verified bundle of a classifier."""

    path: Path
    info: ClassifierInfo
    weights_sha256: str
    calibration: ClassifierCalibration

    def load(self) -> tuple[list[BrainClassifier], NDArray[np.float64]]:
        """The networks in evaluation mode on the CPU; the template's centroids, RAS mm, (classes - 1, 3).

        Raises:
            InputError: E_MODEL when the weights do not fit the description or hold non-finite values.
        """
        try:
            weights = load_file(self.path / WEIGHTS)
            template = weights.pop(TEMPLATE).double().reshape(-1, 3).numpy()
            networks = [BrainClassifier(self.info.network) for _ in range(self.info.members)]
            for number, network in enumerate(networks):
                network.load_state_dict(_member(weights, number))
        except (SafetensorError, RuntimeError, KeyError) as error:
            raise InputError(
                Code.MODEL,
                f"{self.info.name}: the weights do not fit the description ({type(error).__name__}).",
            ) from error
        if not all(bool(value.isfinite().all()) for value in weights.values()):
            raise InputError(Code.MODEL, f"{self.info.name}: the weights hold values that are not finite.")
        return [network.eval() for network in networks], template


def load_classifier(name_or_path: str | Path) -> ClassifierBundle:
    """Find the bundle of a classifier and check its hashes.

    Raises:
        ConfigError: no such bundle.
        InputError: E_MODEL when a file is missing or does not match SHA256SUMS.
    """
    path, sums = find_bundle(name_or_path)
    values = configuration.load_yaml(path / DESCRIPTION)
    info = configuration.build(ClassifierInfo, values, where="bundle.")
    return ClassifierBundle(path, info, sums[WEIGHTS], read_json(path, CALIBRATION, ClassifierCalibration))


def load_any(name_or_path: str | Path) -> Bundle | ClassifierBundle:
    """A bundle of either kind.

    Raises:
        ConfigError, InputError: as `load_classifier`.
    """
    return load_classifier(name_or_path) if is_classifier(name_or_path) else load_bundle(name_or_path)


def is_classifier(name_or_path: str | Path) -> bool:
    """Whether the bundle of that name or at that path is a classifier's.

    Raises:
        ConfigError, InputError: as `load_classifier`.
    """
    path, _ = find_bundle(name_or_path)
    return configuration.load_yaml(path / DESCRIPTION).get("kind") == KIND


def save_classifier(
    path: Path,
    info: ClassifierInfo,
    networks: list[BrainClassifier],
    template_mm: NDArray[np.float64],
    calibration: ClassifierCalibration,
    card: str,
) -> ClassifierBundle:
    """Write a bundle and its hashes."""
    tensors: dict[str, Tensor] = {
        TEMPLATE: torch.from_numpy(template_mm).float().flatten()
    }  # 1-D: not halved
    for number, network in enumerate(networks):
        tensors |= {f"{number}.{name}": value for name, value in network.state_dict().items()}
    write_weights(path, tensors)
    write_description(path, configuration.as_dict(info), card)
    write_json(path, CALIBRATION, calibration)
    return load_classifier(path)


def _member(weights: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    prefix = f"{number}."
    return {
        name.removeprefix(prefix): value.float() for name, value in weights.items() if name.startswith(prefix)
    }
