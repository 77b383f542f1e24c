"""Starts a viewer whose networks are a threshold: `python -m tests.app.serve PORT [--runs FOLDER] ...`."""

from __future__ import annotations

import argparse
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

FAILS_AT = 120.0  # years: a head of this age fails its quality check
SECRETS = {
    "auth": {
        "redirect_uri": "http://localhost/oauth2callback",
        "cookie_secret": "made up",
        "client_id": "viewer",
        "client_secret": "made up",
        "server_metadata_url": "http://localhost:9/.well-known/openid-configuration",  # nobody answers there
    }
}
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
            status = "fail" if (clinical or {}).get("age") == FAILS_AT else "review"
            return stand_in_prediction(volume, status, clinical)

        return predict

    def describe(self) -> Mapping[str, Any]:
        """See `Models`."""
        return {"stand-in": True}


if __name__ == "__main__":
    from tests.app.serve import StandIn as Importable  # not __main__'s: workers find it by name

    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    for name in ("--runs", "--readings", "--access"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--auth", default="none")
    parser.add_argument("--seconds", type=float, default=0.0, help="that a scan takes")
    given = parser.parse_args()
    serve(
        Settings(
            given.port,
            given.auth,
            Importable(given.seconds),
            given.runs,
            given.access,
            SECRETS if given.auth == "oidc" else None,
            readings=given.readings,
            upload_total_bytes=8 << 20,
        )
    )
