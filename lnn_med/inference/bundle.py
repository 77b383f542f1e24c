"""A bundle: weights, what they expect, what they give, and the hashes that prove it is the same one.

<name>/weights.safetensors  bundle.yaml  model_card.md  calibration.json  [percentiles.json]  SHA256SUMS
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import astuple, dataclass, field
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
from lnn_med.inference.bundle_files import (
    CALIBRATION,
    DESCRIPTION,
    PERCENTILES,
    WEIGHTS,
    find_bundle,
    read_json,
    unusable,
    write_description,
    write_json,
    write_weights,
)
from lnn_med.inference.calibration import Calibration
from lnn_med.inference.calibration_check import problem_of
from lnn_med.inference.model_space import ModelSpaceConfig
from lnn_med.inference.percentiles import Percentiles
from lnn_med.models.lnn import LNN
from lnn_med.models.lnn_config import LNNConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Label:
    """One structure: the integer that the network gives, its name, and the data set's integers for it."""

    index: int
    name: str
    sources: tuple[int, ...]

    @property
    def side(self) -> str | None:
        """ "L", "R" or None, read from the name's parts."""
        parts = self.name.split("_")
        return next((part for part in parts if part in ("L", "R")), None)


@dataclass(frozen=True)
class BundleInfo:
    """Content of bundle.yaml."""

    name: str
    version: str
    job: str
    network: LNNConfig
    space: ModelSpaceConfig
    labels: tuple[Label, ...]
    data: dict[str, Any] = field(default_factory=dict)  # name, licence, citation
    split: dict[str, Any] = field(default_factory=dict)  # train, val, calibration: case names
    pixels: dict[str, str] = field(default_factory=dict)  # case name -> first digits of `pixels_sha256`
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle; `network()` builds its weights in memory."""

    path: Path
    info: BundleInfo
    weights_sha256: str
    calibration: Calibration
    percentiles: Percentiles = field(default_factory=Percentiles)

    def network(self) -> LNN:
        """The network in evaluation mode, float32, on the CPU.

        Raises:
            InputError: E_MODEL when the weights do not fit the description or hold non-finite values.
        """
        network = LNN(self.info.network)
        try:
            weights = load_file(self.path / WEIGHTS)
            if not all(v.is_floating_point() or v.dtype == torch.bool for v in weights.values()):
                raise ValueError("weights that are neither floating point numbers nor masks")
            network.load_state_dict({name: _loaded(value) for name, value in weights.items()})
        except (SafetensorError, RuntimeError, ValueError) as error:
            raise InputError(
                Code.MODEL,
                f"{self.info.name}: the weights do not fit the description ({type(error).__name__}).",
            ) from error
        temperature = self.calibration.temperature
        if temperature:
            network.temperature.copy_(Tensor(temperature))
        network.gain = self.calibration.gain
        if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
            raise InputError(Code.MODEL, f"{self.info.name}: the weights hold values that are not finite.")
        return network.eval()

    @property
    def named(self) -> str:
        """Name, version and first digits of the hash of the weights, for records."""
        return f"{self.info.name} {self.info.version} ({self.weights_sha256[:8]})"

    @property
    def answers_sha256(self) -> str:
        """SHA-256 of what decides about labels and probabilities: hash of the weights, temperatures, gain."""
        temperature, gain = self.calibration.temperature, self.calibration.gain
        text = f"{self.weights_sha256} {temperature}" + (f" {astuple(gain)}" if gain else "")
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def label_names(self) -> dict[int, str]:
        """Integer to structure name."""
        return {label.index: label.name for label in self.info.labels}


def mirror_table(labels: tuple[Label, ...]) -> NDArray[np.int64]:
    """(classes,) index of each label's partner on the other side; itself when it has none."""
    by_name = {label.name: label.index for label in labels}
    table = np.arange(1 + max(label.index for label in labels))
    for label in labels:
        parts = [{"L": "R", "R": "L"}.get(part, part) for part in label.name.split("_")]
        table[label.index] = by_name.get("_".join(parts), label.index)
    return table


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Find a shipped bundle by name, or one at a path, and check its hashes.

    Raises:
        ConfigError: no such bundle.
        InputError: E_MODEL when a file is missing or does not match SHA256SUMS.
    """
    path, sums = find_bundle(name_or_path)
    info = configuration.build(BundleInfo, configuration.load_yaml(path / DESCRIPTION), where="bundle.")
    calibration, percentiles = read_json(path, CALIBRATION, Calibration), _read_percentiles(path)
    _refuse_wrong(path, calibration, info.network.exits)
    bundle = Bundle(path, info, sums[WEIGHTS], calibration, percentiles)
    if percentiles.curves and percentiles.answers_sha256 != bundle.answers_sha256:
        raise unusable(path, PERCENTILES, "made with other weights or another calibration")
    return bundle


def _refuse_wrong(path: Path, calibration: Calibration, exits: int) -> None:
    if problem := problem_of(calibration, exits):
        raise unusable(path, CALIBRATION, problem)


def _read_percentiles(path: Path) -> Percentiles:
    """Those of earlier releases, which carry the hash of the weights alone, are left out."""
    file = path / PERCENTILES
    if file.is_file() and b'"weights_sha256"' in file.read_bytes():
        logger.warning("percentiles of an earlier release are left out: measure them anew")
        return Percentiles()
    return read_json(path, PERCENTILES, Percentiles)


def save_bundle(
    path: Path, info: BundleInfo, network: LNN, card: str, calibration: Calibration | None = None
) -> Bundle:
    """Write a bundle and its hashes; files are replaced one by one, SHA256SUMS last."""
    write_weights(path, network.state_dict())
    values = configuration.as_dict(info)
    values["labels"] = [configuration.as_dict(label) for label in info.labels]
    write_description(path, values, card)
    (path / PERCENTILES).unlink(missing_ok=True)  # they belong to the weights that were here before
    return save_calibration(path, calibration or Calibration())


def save_calibration(path: Path, calibration: Calibration) -> Bundle:
    """Replace calibration.json of the bundle at `path`, and the hashes.

    Percentiles that were measured at another depth or with other temperatures go.

    Raises:
        InputError: E_MODEL, before anything is written, for a calibration that does not fit the network.
    """
    info = configuration.build(BundleInfo, configuration.load_yaml(path / DESCRIPTION), where="bundle.")
    _refuse_wrong(path, calibration, info.network.exits)
    before = read_json(path, CALIBRATION, Calibration)
    if (before.temperature, before.gain) != (calibration.temperature, calibration.gain):
        if (path / PERCENTILES).is_file():
            logger.warning("percentiles of the earlier calibration go: measure them anew")
        (path / PERCENTILES).unlink(missing_ok=True)
    write_json(path, CALIBRATION, calibration)
    return load_bundle(path)


def save_percentiles(path: Path, percentiles: Percentiles) -> Bundle:
    """Replace percentiles.json of the bundle at `path`, and the hashes."""
    write_json(path, PERCENTILES, percentiles)
    return load_bundle(path)


def _loaded(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
