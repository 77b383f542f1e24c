"""Section 9: calibration of the voxel probabilities, as `lnn-med calibrate` has measured it for a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lnn_med.evaluation.results.installed import installed_bundles
from lnn_med.evaluation.results.values import plain

CALIBRATION = "calibration.json"


def voxel_results(models: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the calibration of each installed bundle of the run holds; bundles without one are left out.

    Label maps carry no probabilities, so this cannot be computed from the predictions. The values after
    temperature and the coverages are cross-fitted: each case was judged by a fit without it.
    """
    found = [
        bundle_calibration(name, place)
        for name, place in installed_bundles(models, same_version=True).items()
    ]
    return [one for one in found if one is not None]


def bundle_calibration(name: str, place: Path) -> dict[str, Any] | None:
    """What the calibration.json in the folder of a bundle holds; None when it has none that is understood."""
    try:
        content = json.loads((place / CALIBRATION).read_bytes())
        last = content["measured"]["exits"][-1]
        volumes = [
            {"name": structure, **{key: one[key] for key in ("n", "cross_fitted", "width_pct")}}
            for structure, one in content["volumes"].items()
            if one["cross_fitted"] is not None
        ]
        return plain(
            {
                "bundle": name,
                "date": content["date"],
                "n": content["cases"],
                "splits": content["splits"],
                "region": content["measured"]["region"],
                "exits": [
                    {"temperature": temperature, **{key: one[key] for key in ("before", "after", "ece_null")}}
                    for temperature, one in zip(
                        content["temperature"], content["measured"]["exits"], strict=True
                    )
                ],
                "diagram": last["diagram"],
                "nominal": content["coverage"],
                "volumes": volumes,
            }
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None  # the report then says that there is none
