"""The files of a bundle's folder, and the hashes that prove they are the same ones."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from safetensors.torch import save_file
from torch import Tensor

from lnn_med import config as configuration
from lnn_med.errors import Code, ConfigError, InputError

SHIPPED = Path(__file__).parents[1] / "bundles"
WEIGHTS, DESCRIPTION, CARD, CALIBRATION, PERCENTILES, SUMS = (
    "weights.safetensors",
    "bundle.yaml",
    "model_card.md",
    "calibration.json",
    "percentiles.json",
    "SHA256SUMS",
)
HASHED = (WEIGHTS, DESCRIPTION, CARD, CALIBRATION, PERCENTILES)
NEEDED = (WEIGHTS, DESCRIPTION)
Content = TypeVar("Content")


def list_bundles(folder: Path = SHIPPED) -> list[str]:
    """Names of the bundles in a folder, sorted."""
    return sorted(path.parent.name for path in folder.glob(f"*/{DESCRIPTION}"))


def find_bundle(name_or_path: str | Path) -> tuple[Path, dict[str, str]]:
    """Folder of a shipped bundle by name, or of one at a path, and its hashes, which were checked.

    Raises:
        ConfigError: no such bundle.
        InputError: E_MODEL when a file is missing or does not match SHA256SUMS.
    """
    path = SHIPPED / str(name_or_path) if str(name_or_path) in list_bundles() else Path(name_or_path)
    if not (path / DESCRIPTION).is_file():
        known = ", ".join(list_bundles()) or "none"
        raise ConfigError(f"No bundle `{Path(name_or_path).name}`. Shipped bundles: {known}.")
    sums = _read_sums(path)
    present = [name for name in (CALIBRATION, PERCENTILES) if (path / name).is_file()]
    for name in (*NEEDED, *present):
        if name not in sums:
            raise InputError(Code.MODEL, f"{path.name}: {name} is not listed in {SUMS}.")
    for name, expected in sums.items():
        if not (path / name).is_file() or file_sha256(path / name) != expected:
            raise InputError(Code.MODEL, f"{path.name}: {name} is missing or does not match {SUMS}.")
    return path, sums


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Replace the weights at once; kernels in float16: half the size, and finer than bf16, which computes.

    The steps that batch normalisation counts are left out: nothing reads them, PyTorch loads them as 0.
    """
    path.mkdir(parents=True, exist_ok=True)
    temporary = path / f".{WEIGHTS}.{os.getpid()}"
    kept = {name: value for name, value in weights.items() if not name.endswith(".num_batches_tracked")}
    save_file({name: _stored(value) for name, value in kept.items()}, temporary)
    os.replace(temporary, path / WEIGHTS)


def write_description(path: Path, values: Mapping[str, Any], card: str) -> None:
    """Replace bundle.yaml and model_card.md."""
    text = yaml.safe_dump(dict(values), sort_keys=False, width=110, default_flow_style=None)
    (path / DESCRIPTION).write_text(text, encoding="utf-8")
    (path / CARD).write_text(card, encoding="utf-8")


def write_json(path: Path, name: str, content: Any) -> None:
    """Replace a file by a dataclass's values, and the hashes."""
    text = json.dumps(configuration.as_dict(content), indent=1, allow_nan=False)
    (path / name).write_text(text + "\n", encoding="utf-8")
    found = {each: file_sha256(path / each) for each in HASHED if (path / each).is_file()}
    (path / SUMS).write_text("".join(f"{digest}  {each}\n" for each, digest in found.items()))


def read_json(path: Path, name: str, kind: type[Content]) -> Content:
    """A dataclass from a file; its defaults where there is none.

    Raises:
        InputError: E_MODEL when the file does not hold it.
    """
    if not (path / name).is_file():
        return kind()
    try:
        content = json.loads((path / name).read_bytes())
        if not isinstance(content, dict):
            raise ValueError("no object of keys and values")
        return configuration.build(kind, content, where=f"{Path(name).stem}.")
    except (ValueError, OverflowError, ConfigError) as error:
        raise unusable(path, name, str(error)) from error


def unusable(path: Path, name: str, reason: str) -> InputError:
    """The error for a file whose content does not fit the bundle."""
    return InputError(Code.MODEL, f"{path.name}: {name} cannot be used ({reason}).")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _stored(value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if value.ndim > 1 and value.is_floating_point() else value


def _read_sums(path: Path) -> dict[str, str]:
    if not (path / SUMS).is_file():
        raise InputError(Code.MODEL, f"{path.name}: {SUMS} is missing.")
    text = (path / SUMS).read_bytes().decode("ascii", errors="replace")
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if any(len(line) != 2 or Path(line[1]).name != line[1] for line in lines):
        raise InputError(Code.MODEL, f"{path.name}: {SUMS} is not a list of hashes and file names.")
    return {name: digest for digest, name in lines}
