"""Calibration of a bundle: fits on known answers, cross-fitting without leaks, and the whole command."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from lnn_med.errors import ConfigError
from lnn_med.inference.bundle import Bundle, BundleInfo, save_bundle
from lnn_med.inference.calibration import Calibration, conformal_quantile
from lnn_med.inference.predict import Predictor
from lnn_med.io.nifti import read_nifti
from lnn_med.models.lnn import LNN
from lnn_med.training.calibrate import calibrate
from lnn_med.training.calibration_fit import (
    FOLDS,
    Measured,
    Sample,
    fit_temperatures,
    folds,
    reliability,
    usual_input,
    usual_limit,
    usual_of,
    volume_calibration,
)
from lnn_med.training.run_config import read_run_config
from tests.training.toys import write_config, write_data

CASES = 14


def samples(true_temperature: float, count: int = 10, voxels: int = 2000) -> list[Sample]:
    """Cases whose labels were drawn with softmax(logits / true_temperature)."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        logits = 4 * torch.randn(voxels, 5, generator=generator)
        chances = (logits / true_temperature).softmax(dim=1)
        truth = torch.multinomial(chances, 1, generator=generator)[:, 0]
        made.append(Sample(torch.stack([logits, 2 * logits]), truth))
    return made


def test_the_temperature_that_made_the_labels_is_found_at_every_exit() -> None:
    assert fit_temperatures(samples(2.5)) == pytest.approx((2.5, 5.0), rel=0.03)


def test_the_report_shows_what_temperature_mends() -> None:
    for exit_ in reliability(samples(2.5))["exits"]:
        assert exit_["before"]["ece"] > 0.1
        assert exit_["after"]["ece"] < 0.02
        assert exit_["after"]["nll"] < exit_["before"]["nll"]
        assert 0 < exit_["ece_null"] < exit_["after"]["ece"] * 2
        assert sum(part["n"] for part in exit_["diagram"]) == 10 * 2000


def test_every_case_is_judged_once_by_a_fit_without_it() -> None:
    for count in (10, 28):
        parts = list(folds(count))
        assert len(parts) == FOLDS
        assert sorted(n for _, judged in parts for n in judged) == list(range(count))
        assert all(
            not set(fitted) & set(judged) and len(fitted) + len(judged) == count for fitted, judged in parts
        )


def cases(rng: np.random.Generator, count: int = 30) -> list[Measured]:
    made = []
    for _ in range(count):
        true = rng.uniform(1000, 4000)
        spread = rng.uniform(0.05, 0.2)
        found = true * math.exp(spread * rng.standard_normal())
        made.append(
            Measured(
                np.array([0, found]),
                np.array([0, spread * found]),
                np.array([0, true]),
                np.zeros(2, np.float32),
            )
        )
    return made


def test_the_quantile_of_normal_errors_is_that_of_the_normal_distribution() -> None:
    found = volume_calibration(cases(np.random.default_rng(0), 4000), 1, 0.9)
    assert found.quantile == pytest.approx(1.645, abs=0.08)
    assert found.cross_fitted == pytest.approx(0.9, abs=0.015)
    assert found.n == 4000
    assert found.width_pct == pytest.approx(2 * 100 * math.sinh(1.645 * 0.125), rel=0.1)


def test_a_structure_that_is_absent_or_rare_gets_no_interval() -> None:
    few = cases(np.random.default_rng(0), 30)
    few = [case if n < 5 else case._replace(reference=np.zeros(2)) for n, case in enumerate(few)]
    found = volume_calibration(few, 1, 0.9)
    assert (found.n, found.quantile, found.cross_fitted) == (5, None, None)


def test_a_structure_that_was_missed_counts_as_not_covered() -> None:
    some = cases(np.random.default_rng(0), 30)
    missed = [case._replace(volume=np.zeros(2)) if n < 6 else case for n, case in enumerate(some)]
    found = volume_calibration(missed, 1, 0.9)
    assert found.quantile is None
    assert volume_calibration(some, 1, 0.9).quantile is not None


def test_usual_input_is_within_the_limit_and_other_input_is_not() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((6, 6))
    trained, unseen, later = (rng.standard_normal((n, 6)) @ mixing for n in (200, 60, 400))
    usual = usual_input(trained.astype(np.float32), unseen.astype(np.float32))
    inside = np.mean([usual.oddness(each.astype(np.float32)) <= 1 for each in later])
    assert 0.93 < inside <= 1
    assert usual.oddness((later[0] + 8 * mixing[0]).astype(np.float32)) > 1.3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A network that nobody trained, with a data set of 14 cases: 4 train, 4 val, 6 calibration."""
    folder = tmp_path_factory.mktemp("calibrate")
    write_data(folder / "data", CASES)
    config = read_run_config(write_config(folder))
    names = [f"case_{number:02d}" for number in range(CASES)]
    split = {"train": names[:4], "val": names[4:8], "calibration": names[8:]}
    torch.manual_seed(0)
    info = BundleInfo("toy", "0.0.1", "toy", config.network, config.space, config.labels, split=split)
    return save_bundle(folder / "bundle", info, LNN(config.network), "# card\n")


def test_a_bundle_is_calibrated_and_predicts_with_it(bundle: Bundle, tmp_path: Path) -> None:
    data = bundle.path.parent / "data"
    seen: list[tuple[int, int]] = []
    made = calibrate(bundle, data, tmp_path / "copy", 0.8, date(2026, 1, 31), lambda *now: seen.append(now))
    assert seen == [(n, 34) for n in range(1, 35)]  # 10 unseen cases three times, 4 of training once
    assert bundle.calibration == Calibration()
    assert made.weights_sha256 == bundle.weights_sha256
    found = made.calibration
    assert (found.cases, found.coverage, found.date) == (10, 0.8, "2026-01-31")
    assert made.network().temperature.tolist() == pytest.approx(found.temperature)
    assert len(found.temperature) == 3
    assert json.loads((made.path / "calibration.json").read_text())["measured"]["exits"]
    for exit_ in found.measured["exits"]:
        assert exit_["after"]["nll"] < exit_["before"]["nll"]
    again = calibrate(made, data, tmp_path / "again", 0.8, date(2026, 1, 31))
    assert again.calibration == found  # a calibration in place does not disturb the next one
    scan = read_nifti(data / "imagesTr" / "case_09.nii.gz")
    prediction = Predictor((made.path,))(scan)
    for structure in prediction.structures:
        quantile = found.volumes[structure.name].quantile
        if quantile is None or structure.volume_mm3 == 0:
            assert structure.interval_mm3 is None
        if structure.interval_mm3 is not None and structure.volume_mm3 is not None:
            assert structure.coverage == 0.8
            low, high = structure.interval_mm3
            assert low * high == pytest.approx(structure.volume_mm3**2)
    assert any(structure.interval_mm3 for structure in prediction.structures)
    assert found.gain is not None
    assert len(found.gain.level) == 2
    assert made.network().gain == found.gain
    assert [row["times_coarser"] for row in found.measured["auto"]] == [1.0, 1.5, 2.0]


def test_a_temperature_that_the_weights_bring_along_is_not_counted_twice(
    bundle: Bundle, tmp_path: Path
) -> None:
    """Training that goes on from a calibrated network leaves its temperature in the weights."""
    network = bundle.network()
    network.temperature.fill_(2.0)
    warm = save_bundle(tmp_path / "warm", bundle.info, network, "# card\n")
    data = bundle.path.parent / "data"
    cold, found = calibrate(bundle, data, tmp_path / "cold"), calibrate(warm, data)
    assert found.calibration.temperature == cold.calibration.temperature
    assert found.network().temperature.tolist() == pytest.approx(found.calibration.temperature)


def test_heads_are_also_told_apart_without_their_skull(bundle: Bundle, tmp_path: Path) -> None:
    sides = ("Hippocampus_L", "Hippocampus_R")
    labels = tuple(replace(one, name=name) for one, name in zip(bundle.info.labels, sides, strict=True))
    info = replace(bundle.info, labels=labels)
    head = save_bundle(tmp_path / "head", info, bundle.network(), "# card\n")
    seen: list[tuple[int, int]] = []
    found = calibrate(head, bundle.path.parent / "data", progress=lambda *now: seen.append(now)).calibration
    assert seen[-1] == (
        48,
        48,
    )  # 10 unseen cases for temperature, depth, and twice whole; 4 of training twice
    assert found.usual is not None
    assert found.usual_stripped is not None
    assert found.usual.mean != found.usual_stripped.mean
    assert found.usual_doubt is not None
    assert found.usual_doubt > 0  # a network that labels nothing doubts everything


@pytest.mark.parametrize(
    ("count", "expected"),
    [(10, 9 * 1.1), (39, 38.0), (100, 98.0)],  # too few; the largest of just enough; the 99th of 101 ranks
)
def test_the_usual_limit_is_a_conformal_quantile_or_above_all(count: int, expected: float) -> None:
    assert usual_limit([float(n) for n in range(count)]) == pytest.approx(expected)


def test_the_quantile_is_that_of_all_unseen_cases() -> None:
    rng = np.random.default_rng(3)
    made = cases(rng, 28)
    scores = np.array([abs(math.log(c.volume[1] / c.reference[1])) * c.volume[1] / c.spread[1] for c in made])
    found = volume_calibration(made, 1, 0.9)
    assert found.quantile == pytest.approx(conformal_quantile(scores, 0.9), abs=1e-6)


@pytest.mark.parametrize(
    ("coverage", "split"), [(0.0, None), (1.0, None), (0.9, {"train": ["case_00"], "val": ["case_01"]})]
)
def test_what_cannot_be_calibrated_is_refused(
    bundle: Bundle, coverage: float, split: dict[str, list[str]] | None, tmp_path: Path
) -> None:
    if split:
        bundle = replace(bundle, info=replace(bundle.info, split=split))
    with pytest.raises(ConfigError):
        calibrate(bundle, bundle.path.parent / "data", tmp_path / "out", coverage)
    assert not (tmp_path / "out").exists()


def test_a_copy_never_overwrites_what_is_there(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        calibrate(bundle, bundle.path.parent / "data", tmp_path)


def test_scans_like_the_group_are_usual_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    spread = np.linspace(0.1, 3, 12)
    usual = usual_of((rng.normal(size=(200, 12)) * spread).astype(np.float32))
    fresh = (rng.normal(size=(400, 12)) * spread).astype(np.float32)
    inside = np.mean([usual.oddness(each) <= 1 for each in fresh])
    assert inside == pytest.approx(0.975, abs=0.025)
    narrow, wide = (8 * np.eye(12)[axis].astype(np.float32) for axis in (0, -1))  # the same length
    assert usual.oddness(narrow) > 1 > usual.oddness(wide)
