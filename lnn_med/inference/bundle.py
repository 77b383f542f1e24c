"""A bundle: weights, what they expect, what they give, and the hashes that prove it is the same one.

<name>/weights.safetensors  bundle.yaml  model_card.md  calibration.json  [percentiles.json]  SHA256SUMS
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lnn_med import config as configuration
from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.inference.calibration import Calibration
from lnn_med.inference.model_space import ModelSpaceConfig
from lnn_med.inference.percentiles import Percentiles
from lnn_med.models.lnn import LNN, LNNConfig

Content = TypeVar("Content", Calibration, Percentiles)
SHIPPED = Path(__file__).parents[1] / "bundles"
WEIGHTS, DESCRIPTION, CARD, CALIBRATION, PERCENTILES, SUMS = (
    "weights.safetensors",
    "bundle.yaml",
    "model_card.md",
    "calibration.json",
    "percentiles.json",
    "SHA256SUMS",
)


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
        if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
            raise InputError(Code.MODEL, f"{self.info.name}: the weights hold values that are not finite.")
        return network.eval()

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


def list_bundles(folder: Path = SHIPPED) -> list[str]:
    """Names of the bundles in a folder, sorted."""
    return sorted(path.parent.name for path in folder.glob(f"*/{DESCRIPTION}"))


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Find a shipped bundle by name, or one at a path, and check its hashes.

    Raises:
        ConfigError: no such bundle.
        InputError: E_MODEL when a file is missing or does not match SHA256SUMS.
    """
    path = SHIPPED / str(name_or_path) if str(name_or_path) in list_bundles() else Path(name_or_path)
    if not (path / DESCRIPTION).is_file():
        known = ", ".join(list_bundles()) or "none"
        raise ConfigError(f"No bundle `{Path(name_or_path).name}`. Shipped bundles: {known}.")
    sums = _read_sums(path)
    optional = [name for name in (CALIBRATION, PERCENTILES) if (path / name).is_file()]
    needed = [WEIGHTS, DESCRIPTION, *optional]
    for name in needed:
        if name not in sums:
            raise InputError(Code.MODEL, f"{path.name}: {name} is not listed in {SUMS}.")
    for name, expected in sums.items():
        if not (path / name).is_file() or file_sha256(path / name) != expected:
            raise InputError(Code.MODEL, f"{path.name}: {name} is missing or does not match {SUMS}.")
    info = configuration.build(BundleInfo, configuration.load_yaml(path / DESCRIPTION), where="bundle.")
    digest = sums[WEIGHTS]
    return Bundle(path, info, digest, _read_calibration(path, info), _read_percentiles(path, info, digest))


def save_bundle(
    path: Path, info: BundleInfo, network: LNN, card: str, calibration: Calibration | None = None
) -> Bundle:
    """Write a bundle and its hashes; files are replaced one by one, SHA256SUMS last.

    Kernels are stored in float16: half the size, and finer than the bf16 that computes with them.
    """
    path.mkdir(parents=True, exist_ok=True)
    temporary = path / f".{WEIGHTS}.{os.getpid()}"
    save_file({name: _stored(value) for name, value in network.state_dict().items()}, temporary)
    os.replace(temporary, path / WEIGHTS)
    values = configuration.as_dict(info)
    values["labels"] = [configuration.as_dict(label) for label in info.labels]
    (path / DESCRIPTION).write_text(
        yaml.safe_dump(values, sort_keys=False, width=110, default_flow_style=None), encoding="utf-8"
    )
    (path / CARD).write_text(card, encoding="utf-8")
    (path / PERCENTILES).unlink(missing_ok=True)  # they belong to the weights that were here before
    return save_calibration(path, calibration or Calibration())


def save_calibration(path: Path, calibration: Calibration) -> Bundle:
    """Replace calibration.json of the bundle at `path`, and the hashes."""
    return _save_json(path, CALIBRATION, calibration)


def save_percentiles(path: Path, percentiles: Percentiles) -> Bundle:
    """Replace percentiles.json of the bundle at `path`, and the hashes."""
    return _save_json(path, PERCENTILES, percentiles)


def _save_json(path: Path, name: str, content: Any) -> Bundle:
    text = json.dumps(configuration.as_dict(content), indent=1, allow_nan=False)
    (path / name).write_text(text + "\n", encoding="utf-8")
    found = [
        each for each in (WEIGHTS, DESCRIPTION, CARD, CALIBRATION, PERCENTILES) if (path / each).exists()
    ]
    (path / SUMS).write_text("".join(f"{file_sha256(path / each)}  {each}\n" for each in found))
    return load_bundle(path)


def _read_calibration(path: Path, info: BundleInfo) -> Calibration:
    """Calibration of a bundle, empty where there is none.

    Raises:
        InputError: E_MODEL when it does not fit the bundle.
    """
    found = _read_json(path, CALIBRATION, Calibration, info)
    if found.temperature and len(found.temperature) != info.network.exits:
        wrong = f"{len(found.temperature)} temperatures for {info.network.exits} exits"
        raise _unusable(info, CALIBRATION, wrong)
    if not all(0 < value < 100 for value in found.temperature):
        raise _unusable(info, CALIBRATION, "a temperature that is not between 0 and 100")
    return found


def _read_percentiles(path: Path, info: BundleInfo, weights_sha256: str) -> Percentiles:
    """Percentile curves of a bundle, empty where there are none.

    Raises:
        InputError: E_MODEL when they were made with other weights.
    """
    found = _read_json(path, PERCENTILES, Percentiles, info)
    if found.curves and found.weights_sha256 != weights_sha256:
        raise _unusable(info, PERCENTILES, "made with other weights")
    return found


def _read_json(path: Path, name: str, kind: type[Content], info: BundleInfo) -> Content:
    if not (path / name).is_file():
        return kind()
    try:
        content = json.loads((path / name).read_bytes())
        if not isinstance(content, dict):
            raise ValueError("no object of keys and values")
        return configuration.build(kind, content, where=f"{Path(name).stem}.")
    except (ValueError, ConfigError) as error:
        raise _unusable(info, name, str(error)) from error


def _unusable(info: BundleInfo, name: str, reason: str) -> InputError:
    return InputError(Code.MODEL, f"{info.name}: {name} cannot be used ({reason}).")


def _stored(value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if value.ndim > 1 and value.is_floating_point() else value


def _loaded(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_sums(path: Path) -> dict[str, str]:
    if not (path / SUMS).is_file():
        raise InputError(Code.MODEL, f"{path.name}: {SUMS} is missing.")
    text = (path / SUMS).read_bytes().decode("ascii", errors="replace")
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if any(len(line) != 2 or Path(line[1]).name != line[1] for line in lines):
        raise InputError(Code.MODEL, f"{path.name}: {SUMS} is not a list of hashes and file names.")
    return {name: digest for digest, name in lines}
