"""People from tables: records keep what is missing, scans are measured once, and wrong tables are refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lnn_med.errors import ConfigError
from lnn_med.inference.brain_features import GRID, BrainFeatures
from lnn_med.io.nifti import write_nifti
from lnn_med.training import people
from lnn_med.training.people import PeopleSource, measure_people
from lnn_med.transforms.standard_space import StandardSpace
from lnn_med.volume import Volume
from tests.phantoms import phantom

ROWS = "image,subject,age,sex,educ,mmse,cdr\na.nii.gz,p1,70,F,3,,1\nb.nii.gz,p1,71,M,,29,0\nc.nii,p2,,,,,\n"


@pytest.fixture
def source(tmp_path: Path) -> PeopleSource:
    (tmp_path / "people.csv").write_text(ROWS)
    scan = phantom()
    for number, name in enumerate(("a.nii.gz", "b.nii.gz", "c.nii")):
        data = np.zeros_like(scan.data)
        data[2:, 2:, 2:] = number + 1
        write_nifti(Volume(data, scan.affine), tmp_path / name)
    return PeopleSource(str(tmp_path), "people.csv", education="educ", mmse="mmse", dementia="cdr")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stands in for the network: features that hold the brightness; gives what was looked at."""
    seen: list[float] = []

    def see(volume: Volume, *rest: Any) -> tuple[BrainFeatures, np.ndarray]:
        value = float(volume.data.max())
        seen.append(value)
        space = StandardSpace(np.eye(4), value / 10)
        features = BrainFeatures(
            torch.full((2, *GRID), value),
            torch.ones(GRID, dtype=torch.bool),
            torch.full((3,), value),
            space,
            np.zeros((2, 2, 2), np.uint8),
        )
        return features, np.full(4, -value, np.float32)

    monkeypatch.setattr(people, "see", see)
    return seen


ENGINE: Any = SimpleNamespace(bundle=SimpleNamespace(answers_sha256="0123456789"))
TEMPLATE = np.zeros((3, 3))


def test_records_and_features_of_each_row_stay_together(
    source: PeopleSource, looks: list[float], tmp_path: Path
) -> None:
    found = measure_people([source], ENGINE, TEMPLATE, tmp_path / "cache")
    nan = float("nan")
    expected = torch.tensor([[70.0, 0, 3, nan], [71, 1, nan, 29], [nan, nan, nan, nan]])
    assert torch.allclose(found.people.clinical, expected, equal_nan=True)
    assert torch.allclose(found.people.dementia, torch.tensor([1.0, 0.0, nan]), equal_nan=True)
    assert found.people.image[:, 0, 0, 0, 0].tolist() == [1, 2, 3]
    assert found.people.volumes[:, 0].tolist() == [1, 2, 3]
    assert found.persons == ["p1", "p1", "p2"]
    assert found.residual_mm.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert found.summaries.tolist() == [[-1.0] * 4, [-2.0] * 4, [-3.0] * 4]


def test_a_scan_is_measured_once_for_the_same_weights(
    source: PeopleSource, looks: list[float], tmp_path: Path
) -> None:
    first = measure_people([source], ENGINE, TEMPLATE, tmp_path / "cache")
    again = measure_people([source], ENGINE, TEMPLATE, tmp_path / "cache")
    assert looks == [1, 2, 3]
    assert torch.equal(first.people.image, again.people.image)
    other: Any = SimpleNamespace(bundle=SimpleNamespace(answers_sha256="9876543210"))
    measure_people([source], other, TEMPLATE, tmp_path / "cache")
    assert looks == [1, 2, 3] * 2


def test_copies_are_disturbed_and_kept_apart(
    source: PeopleSource, looks: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure_people([source], ENGINE, TEMPLATE, tmp_path / "cache")
    copy, other = (
        measure_people([source], ENGINE, TEMPLATE, tmp_path / "cache", copy=number) for number in (1, 2)
    )
    again = measure_people([source], ENGINE, TEMPLATE, tmp_path / "cache", copy=1)
    assert len(looks) == 9
    assert torch.equal(copy.people.volumes, again.people.volumes)
    assert torch.equal(copy.people.clinical.nan_to_num(), first.people.clinical.nan_to_num())
    for one, two in ((first, copy), (first, other), (copy, other)):
        assert not torch.isclose(one.people.volumes, two.people.volumes).any()

    def fail(*arguments: Any) -> BrainFeatures:
        raise ValueError("too few structures")

    monkeypatch.setattr(people, "see", fail)
    lost = measure_people([source], ENGINE, TEMPLATE, tmp_path / "cache", copy=3)
    assert lost.residual_mm.tolist() == [float("inf")] * 3
    assert torch.equal(lost.people.volumes, first.people.volumes)
    with pytest.raises(ValueError, match="too few"):
        measure_people([source], ENGINE, TEMPLATE, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("cdr", "stage", "no column `cdr`"),
        (",F,", ",female,", "F, M or a number"),
        ("image,", "scan,", "no column `image`"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(
    source: PeopleSource, looks: list[float], tmp_path: Path, before: str, after: str, message: str
) -> None:
    (tmp_path / "people.csv").write_text(ROWS.replace(before, after))
    with pytest.raises(ConfigError, match=message):
        measure_people([source], ENGINE, TEMPLATE, tmp_path / "cache")
