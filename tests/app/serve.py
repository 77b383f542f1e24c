"""Starts a viewer whose networks are a threshold: `python -m tests.app.serve PORT [RUNS [READINGS]]`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.server import serve
from app.settings import Settings
from lnn_med.inference import depth_scale
from lnn_med.inference.depth_scale import DepthScale, Exits
from lnn_med.prediction import Prediction
from lnn_med.volume import Volume
from tests.app.stand_in import stand_in_prediction

SCALE = DepthScale(30, (Exits("brain-t1", (11, 13, 15)), Exits("hippocampus-t1", (11, 13, 15))))


@dataclass(frozen=True)
class StandIn:
    """Models that need no weights; found by name in the worker process."""

    seconds: float = 0.0
    own_process: bool = True  # where the scale of depth may be replaced without a way back

    def load(self) -> Callable[..., Prediction]:
        """A predictor that answers at once, or after `seconds`."""
        if self.own_process:
            depth_scale.depth_scale = lambda: SCALE  # type: ignore[assignment]  # the real one imports torch

        def predict(volume: Volume, clinical: Mapping[str, Any] | None = None) -> Prediction:
            time.sleep(self.seconds)
            return stand_in_prediction(volume, clinical=clinical)

        return predict

    def describe(self) -> Mapping[str, Any]:
        """See `Models`."""
        return {"stand-in": True}


if __name__ == "__main__":
    from tests.app.serve import StandIn as Importable  # not __main__'s: workers find it by name

    runs, readings = (Path(sys.argv[at]) if len(sys.argv) > at else None for at in (2, 3))
    port, largest = int(sys.argv[1]), 8 << 20
    serve(Settings(port, models=Importable(), runs=runs, readings=readings, upload_total_bytes=largest))
