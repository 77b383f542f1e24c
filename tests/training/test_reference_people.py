"""Reference people: measured, fitted and kept with the bundle; a table that cannot be used is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lnn_med.errors import ConfigError
from lnn_med.inference.bundle import load_bundle, save_bundle
from lnn_med.inference.percentiles import both_sides
from lnn_med.io.nifti import write_nifti
from lnn_med.models.lnn import LNN
from lnn_med.prediction import Prediction, Quality
from lnn_med.training import reference_people
from lnn_med.training.reference_people import add_percentiles
from lnn_med.volume import Volume
from tests.inference.heads import CROP, HEAD, head, info, predictor

PEOPLE = 48


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return save_bundle(tmp_path / "tiny", info(), LNN(info().network), "").path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    scan = head()
    frame = pd.DataFrame({"age": rng.uniform(20, 80, PEOPLE), "sex": rng.choice(["F", "M"], PEOPLE)})
    frame["image"] = [f"images/p{number}.nii.gz" for number in range(PEOPLE)]
    (tmp_path / "images").mkdir()
    small = Volume(scan.data[::3, ::3, ::3].copy(), scan.affine @ np.diag([3, 3, 3, 1]))
    for name in frame["image"]:
        write_nifti(small, tmp_path / name)
    frame.to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


class Wavering:
    """Stands in for `Predictor`: structures of the phantom, each time a little larger or smaller."""

    def __init__(self, chain: tuple[Path, ...], depth: str = "auto") -> None:
        self.scale = 1.0 if chain[0].name == "tiny" else 2.0
        self.depth = depth
        self.seen = 0
        self.engines = predictor(HEAD).engines
        self.one = predictor(HEAD)(head())

    def __call__(self, volume: Volume) -> Prediction:
        self.seen += 1
        noise = self.scale * (1 + 0.02 * np.sin(7.0 * self.seen))
        entries = tuple(
            replace(entry, volume_mm3=(entry.volume_mm3 or 0.0) * noise) for entry in self.one.structures
        )
        status = "fail" if self.seen == 5 and self.scale == 1 else "pass"
        return replace(self.one, structures=entries, quality=Quality(status))


def test_people_are_measured_and_their_curves_kept(
    bundle: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_people, "Predictor", Wavering)
    steps: list[tuple[int, int]] = []
    made = add_percentiles(
        bundle, tmp_path, table, "phantoms", tmp_path / "copy", progress=lambda *step: steps.append(step)
    )
    known = made.percentiles
    assert steps == [(number, PEOPLE) for number in range(1, PEOPLE + 1)]
    assert (known.reference_people, known.people) == ("phantoms", PEOPLE - 1)  # one failed quality control
    ages = pd.read_csv(table)["age"].drop(4)
    assert known.ages == (pytest.approx(ages.min()), pytest.approx(ages.max()))
    assert set(known.curves) == {"Hippocampus_L", "Hippocampus_R", "Hippocampus", "Frontal_GM", "CSF"}
    assert load_bundle(tmp_path / "copy").percentiles == known
    assert not load_bundle(bundle).percentiles.curves  # the bundle itself stays as it was


def test_people_who_trained_the_bundle_are_measured_by_others(
    bundle: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_people, "Predictor", Wavering)
    names = [f"p{number}" for number in range(PEOPLE)]
    for folder, train in (("tiny", names[:20]), ("one", names[:10]), ("two", names[10:20])):
        split = {"train": train}
        save_bundle(tmp_path / folder, replace(info(), split=split), LNN(info().network), "")
    steps: list[tuple[int, int]] = []
    made = add_percentiles(
        bundle, tmp_path, table, "phantoms", tmp_path / "copy",
        others=[tmp_path / "one", tmp_path / "two"], others_depth="1",
        progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert steps[-1] == (3 * PEOPLE - 21, 3 * PEOPLE - 20)  # one failed quality control, and is asked no more
    facts = made.percentiles.measured
    assert (facts["trained_the_network"], facts["measured_by_others"]) == (19, 19)
    assert facts["others_matched_on"] == [28, 28]
    assert abs(facts["own_above_others_pct"]["Hippocampus"]["mean"]) < 3  # twice as large, but for the match


def test_a_bundle_for_crops_is_refused(table: Path, tmp_path: Path) -> None:
    crop = save_bundle(tmp_path / "crop", info(CROP), LNN(info(CROP).network), "").path
    with pytest.raises(ConfigError, match="measures no heads"):
        add_percentiles(crop, tmp_path, table, "phantoms")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("sex", "x", "line 2: sex"), ("age", -3.0, "line 2: age"), ("age", np.nan, "line 2: age")],
)
def test_a_table_with_an_impossible_value_is_refused(
    bundle: Path, table: Path, tmp_path: Path, column: str, value: object, message: str
) -> None:
    frame = pd.read_csv(table).astype({column: object})
    frame.loc[0, column] = value
    frame.to_csv(table, index=False)
    with pytest.raises(ConfigError, match=message):
        add_percentiles(bundle, tmp_path, table, "phantoms")


def test_a_table_without_ages_is_refused(bundle: Path, table: Path, tmp_path: Path) -> None:
    pd.read_csv(table).drop(columns="age").to_csv(table, index=False)
    with pytest.raises(ConfigError, match="no column age"):
        add_percentiles(bundle, tmp_path, table, "phantoms")


def test_too_few_people_are_refused(
    bundle: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_people, "Predictor", Wavering)
    pd.read_csv(table).head(30).to_csv(table, index=False)
    with pytest.raises(ConfigError, match="29 people"):
        add_percentiles(bundle, tmp_path, table, "phantoms")


def test_both_sides_need_a_partner() -> None:
    assert both_sides({"CSF": 4.0}) == {}
