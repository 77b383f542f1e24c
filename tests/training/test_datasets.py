"""Cases and splits: neighbours stay together, labels are grouped and fit their image, variants repeat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.inference.bundle import Label
from lnn_med.inference.model_space import ModelSpaceConfig
from lnn_med.io.nifti import write_nifti
from lnn_med.training.datasets import (
    Case,
    DataConfig,
    Variants,
    case_names,
    collate,
    load_cases,
    source_table,
    split_cases,
)
from lnn_med.transforms.augment import AugmentConfig
from lnn_med.volume import Volume
from tests.training.toys import SHAPE, write_data

LABELS = (Label(1, "Alpha_L", (7,)), Label(2, "Alpha_R", (3, 4)))
SPACE = ModelSpaceConfig(1.0, minimum=32, crop_to_head=False)
NAMES = [f"case_{n:03d}" for n in range(53)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_data(tmp_path, cases=3)
    return tmp_path


def relabel(root: Path, data: np.ndarray, affine: np.ndarray | None = None) -> None:
    """Give case_00 other labels."""
    path = root / "labelsTr" / "case_00.nii.gz"
    write_nifti(Volume(data, np.eye(4) if affine is None else affine), path, "label")


@pytest.mark.parametrize(("block", "calibration"), [(1, 0), (10, 8), (4, 5)])
def test_a_split_takes_each_case_once_and_keeps_neighbours_together(block: int, calibration: int) -> None:
    validated: list[str] = []
    for fold in range(5):
        split = split_cases(NAMES, DataConfig("", fold=fold, block=block, calibration=calibration))
        assert sorted(split.train + split.val + split.calibration) == NAMES
        assert len(split.calibration) >= calibration
        home = {name: part for part, names in enumerate(split) for name in names}
        for first in range(0, len(NAMES), block):
            assert len({home[name] for name in NAMES[first : first + block]}) == 1
        validated += split.val
    assert sorted(validated) == NAMES  # over the folds, each case validates once


def test_a_split_depends_on_its_seed_alone() -> None:
    config = DataConfig("", block=3)
    assert split_cases(NAMES, config) == split_cases(NAMES, config)
    assert split_cases(NAMES, config) != split_cases(NAMES, replace(config, seed=1))


@pytest.mark.parametrize(
    "config",
    [
        DataConfig("", folds=1),
        DataConfig("", calibration=60),
        DataConfig("", fold=5),
        DataConfig("", block=99),
    ],
)
def test_a_split_that_leaves_nothing_is_refused(config: DataConfig) -> None:
    with pytest.raises(ConfigError, match="of 53 cases"):
        split_cases(NAMES, config)


def test_only_cases_with_image_and_labels_count(root: Path) -> None:
    (root / "labelsTr" / "case_01.nii.gz").unlink()
    (root / "imagesTr" / "._case_02.nii.gz").write_bytes(b"")  # left behind by another system
    assert case_names(DataConfig(str(root))) == ["case_00", "case_02"]


def test_a_folder_that_is_missing_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder `imagesTr`.*lnn-data fetch"):
        case_names(DataConfig(str(tmp_path)))


def test_labels_are_grouped_into_model_space(root: Path) -> None:
    cases = load_cases(DataConfig(str(root)), ["case_00", "case_01"], SPACE, LABELS)
    for case in cases:
        assert case.image.shape == case.labels.shape == (32, 32, 32)
        assert case.image.dtype == torch.float16
        assert case.labels.unique().tolist() == [0, 1, 2]  # 7 became 1; 3 of one and 4 of the other became 2
        assert float(case.image[case.labels == 1].min()) > float(case.image[case.labels == 2].max())
    assert [case.name for case in cases] == ["case_00", "case_01"]


def test_a_case_without_structures_is_a_case(root: Path) -> None:
    relabel(root, np.zeros(SHAPE, dtype=np.uint8))
    (case,) = load_cases(DataConfig(str(root)), ["case_00"], SPACE, LABELS)
    assert not case.labels.any()


@pytest.mark.parametrize(
    ("data", "affine", "code"),
    [
        (np.zeros((28, 30, 25), dtype=np.uint8), np.eye(4), Code.GEOMETRY),
        (np.zeros(SHAPE, dtype=np.uint8), np.diag([-1.0, 1, 1, 1]), Code.GEOMETRY),  # mirrored
        (np.full(SHAPE, -3, dtype=np.int16), np.eye(4), Code.DTYPE),
        (np.full(SHAPE, 70_000, dtype=np.float32), np.eye(4), Code.DTYPE),
        (np.full(SHAPE, 0.5, dtype=np.float32), np.eye(4), Code.DTYPE),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    root: Path, data: np.ndarray, affine: np.ndarray, code: Code
) -> None:
    relabel(root, data, affine)
    with pytest.raises(InputError) as refused:
        load_cases(DataConfig(str(root)), ["case_00"], SPACE, LABELS)
    assert refused.value.code is code


def test_the_source_table_groups_and_leaves_the_rest_to_the_background() -> None:
    table = source_table(LABELS)
    assert table[[7, 3, 4]].tolist() == [1, 2, 2]
    assert int((table > 0).sum()) == 3


@pytest.mark.parametrize("sources", [(7,), (0,), (-1,), (65_536,)])
def test_a_source_label_that_is_taken_or_impossible_is_refused(sources: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="Beta: label"):
        source_table((*LABELS, Label(3, "Beta", sources)))


def variants(seed: int = 1) -> Variants:
    rng = np.random.default_rng(0)
    cases = [
        Case(
            str(n),
            torch.from_numpy(rng.random((20, 20, 20), dtype=np.float32)).half(),
            torch.full((20, 20, 20), n, dtype=torch.uint8),
        )
        for n in range(3)
    ]
    return Variants(cases, LABELS, AugmentConfig(flip=0.0, strip_skull=0.0), (16, 16, 16), 1.0, seed, 12)


def test_item_n_is_the_same_in_every_run_and_differs_between_items_and_seeds() -> None:
    first, second, other = variants()[5], variants()[5], variants(2)[5]
    assert torch.equal(first.image, second.image)
    assert first.seed == second.seed != other.seed
    assert not torch.equal(first.image, variants()[4].image)


def test_each_round_sees_every_case_once() -> None:
    items = variants()
    for start in range(0, 12, 3):
        assert sorted(int(items[start + n].labels.max()) for n in range(3)) == [0, 1, 2]


def test_items_are_stacked_in_order() -> None:
    items = [variants()[n] for n in range(2)]
    batch = collate(items)
    assert batch.image.shape == (2, 1, 16, 16, 16)
    assert batch.labels.shape == (2, 16, 16, 16)
    assert batch.spacing_ratio.shape == (2, 3)
    assert torch.equal(torch.as_tensor(batch.seed), torch.tensor([item.seed for item in items]))


def test_an_excluded_case_leaves_the_others_where_they_were() -> None:
    whole = split_cases(NAMES, DataConfig("", fold=1, block=4, calibration=5))
    gone = (whole.train[3], whole.val[0], whole.calibration[1])
    found = split_cases(NAMES, DataConfig("", fold=1, block=4, calibration=5, exclude=gone))
    for before, after in zip(whole, found, strict=True):
        assert after == [name for name in before if name not in gone]
        assert len(after) == len(before) - 1
    with pytest.raises(ConfigError, match="no case elsewhere"):
        split_cases(NAMES, DataConfig("", exclude=("elsewhere",)))
