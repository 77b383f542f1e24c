"""LNN-Med: brain-MRI analysis with adaptive-depth networks. Research use only.

Names are imported when they are first used, so that `import lnn_med` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lnn_med.errors import Code, ConfigError, Finding, InputError, LnnMedError, WarningCode
    from lnn_med.evaluation.evaluate import evaluate
    from lnn_med.inference.bundle import Bundle, load_bundle
    from lnn_med.inference.bundle_files import list_bundles
    from lnn_med.inference.predict import Predictor, predict
    from lnn_med.io import read
    from lnn_med.io.nifti import write_nifti
    from lnn_med.io.result_files import write_prediction
    from lnn_med.models.lnn import LNN
    from lnn_med.models.lnn_config import LNNConfig
    from lnn_med.prediction import Prediction, Structure
    from lnn_med.scoring.runner import score
    from lnn_med.training.loop import train
    from lnn_med.volume import Source, Volume

_HOMES = {
    "Bundle": "inference.bundle",
    "Code": "errors",
    "ConfigError": "errors",
    "Finding": "errors",
    "InputError": "errors",
    "LNN": "models.lnn",
    "LNNConfig": "models.lnn_config",
    "LnnMedError": "errors",
    "Prediction": "prediction",
    "Predictor": "inference.predict",
    "Source": "volume",
    "Structure": "prediction",
    "Volume": "volume",
    "WarningCode": "errors",
    "evaluate": "evaluation.evaluate",
    "list_bundles": "inference.bundle_files",
    "load_bundle": "inference.bundle",
    "predict": "inference.predict",
    "read": "io",
    "score": "scoring.runner",
    "train": "training.loop",
    "write_nifti": "io.nifti",
    "write_prediction": "io.result_files",
}

__all__ = [
    "LNN",
    "Bundle",
    "Code",
    "ConfigError",
    "Finding",
    "InputError",
    "LNNConfig",
    "LnnMedError",
    "Prediction",
    "Predictor",
    "Source",
    "Structure",
    "Volume",
    "WarningCode",
    "evaluate",
    "list_bundles",
    "load_bundle",
    "predict",
    "read",
    "score",
    "train",
    "write_nifti",
    "write_prediction",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lnn_med' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lnn_med.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
