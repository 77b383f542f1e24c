"""Networks that count: those that came with the package pass, others only when allowed, and marked."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from lnn_med.errors import Code, InputError
from lnn_med.inference.bundle import Bundle, load_bundle, save_calibration
from lnn_med.inference.bundle_files import list_bundles
from lnn_med.inference.calibration import Calibration
from lnn_med.inference.classifier_bundle import load_any
from lnn_med.inference.runtime import RuntimeConfig
from lnn_med.prediction import ModelUsed
from lnn_med.scoring.locked import LockedPredictor, execution_of
from lnn_med.scoring.models import BundledModels
from lnn_med.volume import Source, Volume
from tests.scoring.fakes import head, prediction_of

NAME = "hippocampus-t1"


@dataclass
class Networks:
    """Stands for a `Predictor` of one bundle, without loading weights."""

    bundle: Bundle

    @property
    def engines(self) -> dict[str, SimpleNamespace]:
        device = SimpleNamespace(type="cpu")
        return {NAME: SimpleNamespace(bundle=self.bundle, device=device, config=RuntimeConfig(budget=0.5))}

    @property
    def bundles(self) -> list[Bundle]:
        return [self.bundle]

    def __call__(self, volume: Volume, clinical: object = None):
        made = prediction_of(volume, self.bundle.weights_sha256)
        return made.__class__(
            **{**vars(made), "models": (ModelUsed(NAME, "1.0", self.bundle.weights_sha256),)}
        )


@pytest.fixture
def recalibrated(tmp_path: Path) -> Bundle:
    """The shipped weights with another calibration."""
    shutil.copytree(load_bundle(NAME).path, tmp_path / "mine")
    return save_calibration(tmp_path / "mine", Calibration())


def scan() -> Volume:
    return replace(head(), source=Source("x.nii", "nifti", "0" * 64))


@pytest.mark.parametrize("name", list_bundles())
def test_each_shipped_bundle_needs_no_leave(name: str) -> None:
    bundle = load_any(name)
    measure = LockedPredictor(Networks(bundle))  # type: ignore[arg-type]
    assert [used.version for used in measure(scan()).models] == ["1.0"]
    assert BundledModels((name,)).describe()["bundles"][0]["name"] == name


def test_known_weights_with_another_calibration_are_refused(recalibrated: Bundle) -> None:
    for action in (
        lambda: LockedPredictor(Networks(recalibrated)),  # type: ignore[arg-type]
        lambda: BundledModels((str(recalibrated.path),)).describe(),
    ):
        with pytest.raises(InputError, match="--allow-unlocked") as error:
            action()
        assert error.value.code is Code.MODEL


def test_allowed_bundles_mark_what_they_make(recalibrated: Bundle) -> None:
    measure = LockedPredictor(Networks(recalibrated), allow_unlocked=True)  # type: ignore[arg-type]
    assert [used.version for used in measure(scan()).models] == ["1.0+unlocked"]
    allowed = BundledModels((str(recalibrated.path),), allow_unlocked=True).describe()
    assert "allow_unlocked" not in allowed["options"]  # a case keeps its key


def test_execution_names_options_and_every_file_of_the_bundles(recalibrated: Bundle) -> None:
    began = datetime.now(UTC)
    told = execution_of(LockedPredictor(Networks(recalibrated), True), began)  # type: ignore[arg-type]
    assert (told.started_utc, told.device) == (began, "cpu")
    assert told.ended_utc is not None
    assert told.ended_utc >= began
    assert told.configuration["budget"] == 0.5
    shipped = execution_of(LockedPredictor(Networks(load_bundle(NAME))), began)  # type: ignore[arg-type]
    assert told.configuration["bundles"] != shipped.configuration["bundles"]
    assert execution_of(lambda volume: prediction_of(volume, ""), began).device is None
