"""Entries of `classification` as the dementia classifier makes them, with numbers made up."""

from __future__ import annotations

from collections.abc import Mapping

REASON = "The models know ages from 18 to 96 years."
RELIABILITY = {
    "people": 188,
    "with_dementia": 80,
    "auc": [0.871234, 0.81, 0.92],
    "auc_from_60": [0.79, 0.71, 0.86],
    "ece": 0.0512345,
    "ece_null": 0.1,
}
BOTH = ["no dementia", "dementia"]


def answered() -> tuple[Mapping[str, object], ...]:
    """Both models answer; age and sex are known."""
    shared = {"bundle": "dementia-t1", "coverage": 0.9, "known": ["age", "sex"], "abstained": None}
    return (
        {
            "target": "dementia",
            "probability": 0.34217,
            "prediction_set": BOTH,
            "reliability": RELIABILITY,
            **shared,
            "model": "logistic regression on volumes and record",
            "drivers": {
                "log Hippocampus": -0.51239,
                "log InfLatVentricle": 0.2,
                "age": 0.3,
                "age squared": 0.1,
                "sex": -0.05,
            },
        },
        {
            "target": "dementia_network",
            "probability": 0.41,
            "prediction_set": ["dementia"],
            "reliability": RELIABILITY | {"people": 187},
            **shared,
            "model": "network on image, volumes and record",
            "exit": 1,
            "evidence": {"Hippocampus": 0.41237, "Amygdala": -0.6, "Temporal_GM": 0.05},
            "brain_age_mae_years": 6.21,
        },
    )


def abstained() -> tuple[Mapping[str, object], ...]:
    """Neither answers."""
    nothing = dict.fromkeys(("probability", "prediction_set", "coverage"))
    return tuple(
        {"target": target, **nothing, "bundle": "dementia-t1", "abstained": REASON}
        for target in ("dementia", "dementia_network")
    )
