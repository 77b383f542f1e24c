"""How a result came about: models, software, input by UIDs and hashes, time, machine; no other patient data.

One `provenance.json` lies in each folder of results. What a caller does not tell stays null.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation

from lnn_med.errors import Code, InputError
from lnn_med.io.files import sha256_of
from lnn_med.prediction import ModelUsed, Prediction
from lnn_med.volume import DicomOrigin, Volume

PROVENANCE = "provenance.json"
SCHEMA_VERSION = "1.0"
PACKAGE_FOLDER = Path(__file__).parents[1]
SHIPPED = PACKAGE_FOLDER / "bundles"
SUMS, WEIGHTS = "SHA256SUMS", "weights.safetensors"
# What can change a number, besides ourselves.
PACKAGES = (
    *("lnn-med", "torch", "monai", "numpy", "scipy", "nibabel", "pydicom", "highdicom", "pillow"),
    *("safetensors", "pylibjpeg", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm"),
)
UNLOCKED = "+unlocked"  # a local version after PEP 440: behind the version it shows in every output
GEOMETRY_DIGITS = 6  # of the affine, mm: far below any scanner's precision, above rounding noise
GIT_WAIT_S = 10.0
PIXEL_DIGITS = 16  # of the hash of a training case's voxels, in bundle.yaml


@dataclass(frozen=True)
class Execution:
    """What only the caller knows: when, where and with which settings the networks ran.

    `device` is "cpu" or "cuda" with its name, `cuda` the version that torch was built for. `seed` is None
    when nothing was drawn. `configuration` holds the options and hashes that decide the outcome, as plain
    values. `clinical_from` names the DICOM elements that age and sex were taken from, never their values.
    """

    started_utc: datetime | None = None
    ended_utc: datetime | None = None
    device: str | None = None
    cuda: str | None = None
    seed: int | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    clinical_from: Mapping[str, str] = field(default_factory=dict)


def provenance_record(
    prediction: Prediction, outputs: Mapping[str, str], execution: Execution | None = None
) -> dict[str, Any]:
    """The content of provenance.json.

    Args:
        prediction: the result.
        outputs: hash of each file that was written, by name.
        execution: what the caller knows.
    """
    known = shipped_weights()
    source, run = prediction.source, execution or Execution()
    return {
        "schema_version": SCHEMA_VERSION,
        "intended_use": "research use only",
        "models": [
            {
                "bundle": used.bundle,
                "version": used.version,
                "weights_sha256": used.weights_sha256,
                "locked": used.weights_sha256 in known and not used.version.endswith(UNLOCKED),
            }
            for used in prediction.models
        ],
        "software": {"python": platform.python_version(), "packages": package_versions(), "commit": commit()},
        "execution": _execution(run),
        "input": {
            "kind": source.kind,
            "sha256": source.sha256,
            "geometry_sha256": geometry_sha256(prediction.scan),
            "pixels_sha256": pixels_sha256(prediction.scan),
            **_dicom(source.dicom),
            **({"clinical_from": dict(run.clinical_from)} if run.clinical_from else {}),
        },
        "qc": {"status": prediction.quality.status, "reasons": list(prediction.quality.reasons)},
        "warnings": sorted({found.code.value for found in prediction.findings}),
        "outputs": dict(sorted(outputs.items())),
    }


def output_hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files in a folder, by name."""
    return {name: sha256_of([folder / name]) for name in names}


def shipped_weights(folder: Path = SHIPPED) -> frozenset[str]:
    """Hashes of the weights that come with this package, from the lists beside them."""
    lines = [line.split() for sums in folder.glob(f"*/{SUMS}") for line in sums.read_text().splitlines()]
    return frozenset(line[0] for line in lines if len(line) == 2 and line[1].lstrip("*") == WEIGHTS)


def shipped_sums(folder: Path = SHIPPED) -> frozenset[str]:
    """Hashes of the lists of hashes that come with this package: each stands for all files of a bundle."""
    return frozenset(sha256_of([sums]) for sums in folder.glob(f"*/{SUMS}"))


def check_locked(
    models: Iterable[tuple[str, str]], allow_unlocked: bool, known: Collection[str] | None = None
) -> None:
    """Refuse bundles that did not come with this package; call it before any work.

    Args:
        models: name and SHA-256 of the weights of each bundle that may run.
        allow_unlocked: let them pass; `mark_unlocked` then marks what they make.
        known: hashes that are let through; None takes those of all shipped weights.

    Raises:
        InputError: E_MODEL.
    """
    allowed = shipped_weights() if known is None else known
    strange = sorted(name for name, sha256 in models if sha256 not in allowed)
    if strange and not allow_unlocked:
        raise InputError(
            Code.MODEL,
            f"Not as it came with this package (weights, labels or calibration): {', '.join(strange)}. "
            "--allow-unlocked uses it and marks every output.",
        )


def mark_unlocked(prediction: Prediction, known: Collection[str] | None = None) -> Prediction:
    """The prediction with "+unlocked" behind the version of each bundle whose weights are not known."""
    allowed = shipped_weights() if known is None else known
    return replace(prediction, models=tuple(_marked(used, allowed) for used in prediction.models))


def geometry_sha256(volume: Volume) -> str:
    """Hash over shape and affine: equal for scans on the same grid, whatever they show."""
    affine = [[round(float(value), GEOMETRY_DIGITS) + 0.0 for value in row] for row in volume.affine]
    return _json_sha256({"shape": list(volume.shape), "affine": affine})


def pixels_sha256(volume: Volume) -> str:
    """Hash over shape and values as float32, in the order of the nearest axes R, A, S.

    Equal for one image as NIfTI and as DICOM, under another name or with its axes in another order.
    """
    turned = apply_orientation(volume.data, io_orientation(volume.affine))
    hashed = hashlib.sha256(repr(turned.shape).encode())
    for plane in turned:  # a float32 copy of the whole would be large
        hashed.update(np.ascontiguousarray(plane, dtype="<f4").data)
    return hashed.hexdigest()


def package_versions() -> dict[str, str]:
    """Versions of the packages that take part, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def commit() -> str | None:
    """Commit of a checkout, with "-dirty" behind it when files differ; None for an installed package."""
    root = PACKAGE_FOLDER.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=GIT_WAIT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _marked(used: ModelUsed, known: Collection[str]) -> ModelUsed:
    if used.weights_sha256 in known or used.version.endswith(UNLOCKED):
        return used
    return replace(used, version=used.version + UNLOCKED)


def _execution(run: Execution) -> dict[str, Any]:
    configuration = dict(run.configuration)
    return {
        "started_utc": _utc(run.started_utc),
        "ended_utc": _utc(run.ended_utc),
        "device": run.device,
        "cuda": run.cuda,
        "seed": run.seed,
        "configuration": configuration or None,
        "configuration_sha256": _json_sha256(configuration) if configuration else None,
    }


def _dicom(origin: DicomOrigin | None) -> dict[str, Any]:
    if origin is None:
        return {}
    images = [
        {
            "sop_instance_uid": image.sop_instance_uid,
            "sop_class_uid": image.sop_class_uid,
            "transfer_syntax_uid": image.transfer_syntax,
            "sha256": image.sha256,
        }
        for image in origin.images
    ]
    return {
        "study_instance_uid": origin.study_uid,
        "series_instance_uid": origin.series_uid,
        "frame_of_reference_uid": origin.frame_of_reference_uid,
        "images": images,
    }


def _utc(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _json_sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
