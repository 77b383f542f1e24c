"""Fits of a calibration, each judged on cases that did not take part in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.covariance import LedoitWolf
from sklearn.model_selection import KFold
from torch import Tensor

from lnn_med.evaluation.calibration import (
    calibration_errors,
    ece_null,
    reliability_diagram,
)
from lnn_med.evaluation.calibration_counts import CalibrationCounts, calibration_counts
from lnn_med.inference.calibration import (
    UsualInput,
    VolumeCalibration,
    conformal_quantile,
    nonconformity,
    relative_spread,
)

FOLDS = 5  # of the cross-fitting
FEW = 1.1  # times the largest value, where there are too few cases for the quantile
USUAL_FOLDS = 5
USUAL = 0.975  # share of unseen good scans that should count as usual


class Sample(NamedTuple):
    """Voxels of one case: logits of each exit (exits, n, classes) at temperature 1, and true labels (n,)."""

    logits: Tensor
    truth: Tensor


class Measured(NamedTuple):
    """Volumes of one case, each (classes,) in mm³, the summary (F,) of its trunk features, and its doubt."""

    volume: NDArray[np.float64]
    spread: NDArray[np.float64]
    reference: NDArray[np.float64]
    summary: NDArray[np.float32]
    doubt: float = 0.0


def fit_temperatures(samples: Sequence[Sample]) -> tuple[float, ...]:
    """Temperature of each exit that minimises the NLL over all sampled voxels, each case counting alike."""
    return tuple(round(_temperature(samples, number), 4) for number in range(samples[0].logits.shape[0]))


def _temperature(samples: Sequence[Sample], number: int) -> float:
    def nll(log_temperature: float) -> float:
        factor = float(np.exp(-log_temperature))
        losses = [
            torch.nn.functional.cross_entropy(each.logits[number].float() * factor, each.truth)
            for each in samples
        ]
        return float(torch.stack(losses).mean())

    return float(
        np.exp(minimize_scalar(nll, bounds=(-2.0, 2.0), method="bounded", options={"xatol": 1e-3}).x)
    )


def counts_of(sample: Sample, number: int, temperature: float) -> CalibrationCounts:
    """Confidence of the most likely class of one exit, and whether it was right."""
    confidence, found = (sample.logits[number].float() / temperature).softmax(dim=1).max(dim=1)
    return calibration_counts(confidence.numpy(), (found == sample.truth).numpy())


def folds(count: int) -> Iterator[tuple[list[int], list[int]]]:
    """Fitted and judged case numbers of each fold, neighbours apart."""
    for fold in range(min(FOLDS, count)):
        judged = list(range(fold, count, FOLDS))
        yield [n for n in range(count) if n not in judged], judged


def reliability(samples: Sequence[Sample]) -> dict[str, Any]:
    """ECE around the labels before and after temperature, exit by exit, with null value and diagram."""
    exits = []
    for number in range(samples[0].logits.shape[0]):
        before = _summed([counts_of(sample, number, 1.0) for sample in samples])
        after = _summed(
            [
                counts_of(samples[n], number, _temperature([samples[m] for m in fitted], number))
                for fitted, judged in folds(len(samples))
                for n in judged
            ]
        )
        exits.append(
            {
                "before": _rounded(asdict(calibration_errors(before))),
                "after": _rounded(asdict(calibration_errors(after))),
                "ece_null": round(ece_null(after).mean, 6),
                "diagram": [_rounded(asdict(bin_)) for bin_ in reliability_diagram(after)],
            }
        )
    return {"exits": exits}


def volume_calibration(cases: Sequence[Measured], index: int, coverage: float) -> VolumeCalibration:
    """Quantile of one structure, and how intervals made without a case did on it."""
    held = [case for case in cases if case.reference[index] > 0]
    scores = np.array(
        [nonconformity(case.volume[index], case.spread[index], case.reference[index]) for case in held]
    )
    covered, widths = [], []
    for fitted, judged in folds(len(held)):
        quantile = conformal_quantile(scores[fitted], coverage)
        if quantile is None:
            continue
        covered += [bool(scores[n] <= quantile) for n in judged]
        found = [held[n] for n in judged if held[n].volume[index] > 0]
        spreads = [relative_spread(case.volume[index], case.spread[index]) for case in found]
        widths += [100 * (np.exp(quantile * s) - np.exp(-quantile * s)) for s in spreads]
    value = conformal_quantile(scores, coverage)
    return VolumeCalibration(
        quantile=None if value is None else round(value, 6),
        n=len(held),
        cross_fitted=round(float(np.mean(covered)), 4) if covered else None,
        width_pct=round(float(np.median(widths)), 2) if widths else None,
    )


def usual_input(trained: NDArray[np.float32], unseen: NDArray[np.float32]) -> UsualInput:
    """Mean and shrunk covariance (Ledoit and Wolf 2004) of training summaries; the limit from unseen ones."""
    usual = _without_limit(trained)
    return replace(usual, limit=usual_limit([usual.oddness(summary) for summary in unseen]))


def usual_of(summaries: NDArray[np.float32]) -> UsualInput:
    """The same of one group of scans (N, F): the limit from distances of scans left out, in folds."""
    folds = KFold(USUAL_FOLDS, shuffle=True, random_state=0).split(summaries)
    distances = [
        _without_limit(summaries[fitted]).oddness(summaries[n]) for fitted, left in folds for n in left
    ]
    return replace(_without_limit(summaries), limit=usual_limit(distances))


def _without_limit(summaries: NDArray[np.float32]) -> UsualInput:
    fit = LedoitWolf().fit(summaries.astype(np.float64))
    return UsualInput(
        tuple(round(float(value), 6) for value in fit.location_),
        tuple(tuple(float(f"{value:.6g}") for value in row) for row in fit.precision_),
        limit=1.0,
    )


def usual_limit(values: Sequence[float]) -> float:
    """What a share USUAL of further cases stays within; with too few cases somewhat above the largest."""
    limit = conformal_quantile(np.array(values), USUAL)
    return round(max(values) * FEW if limit is None else limit, 4)


def _summed(counts: Sequence[CalibrationCounts]) -> CalibrationCounts:
    total = counts[0]
    for each in counts[1:]:
        total = total + each
    return total


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in values.items()}
