"""Fixtures that all tests share: where the real data is, which bundles ship."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA_VARIABLE = "LNN_MED_DATA"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `data` where no real data is at hand."""
    if os.environ.get(DATA_VARIABLE):
        return
    skip = pytest.mark.skip(reason=f"needs real data: set {DATA_VARIABLE} to its folder")
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data: hippocampus/, ixi_brain/, oasis1/, dicom_head/."""
    value = os.environ.get(DATA_VARIABLE)
    if not value:
        pytest.skip(f"needs real data: set {DATA_VARIABLE} to its folder")
    folder = Path(value)
    assert folder.is_dir(), f"{DATA_VARIABLE} is {value}, which is no folder."
    return folder


@pytest.fixture(scope="session")
def shipped_bundles() -> Path:
    """The folder of the shipped bundles; skips while the head bundle is not there."""
    folder = ROOT / "lnn_med" / "bundles"
    if not (folder / "brain-t1").is_dir():
        pytest.skip("the bundle brain-t1 is not in this checkout")
    return folder
