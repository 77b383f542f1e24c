"""Fixtures of the archive tests: an Orthanc for the session, a small MR series, a listener."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import dicom_factory as factory
from tests.pacs import orthanc

pytest.importorskip("pynetdicom", reason="the extra pacs is not installed")
pytest.importorskip("dicomweb_client", reason="the extra pacs is not installed")


@pytest.fixture(scope="session")
def orthanc_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[orthanc.Orthanc]:
    """A running Orthanc."""
    server = orthanc.start(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.stop()


@pytest.fixture
def server(orthanc_server: orthanc.Orthanc) -> orthanc.Orthanc:
    """The same Orthanc, emptied."""
    orthanc_server.clear()
    return orthanc_server


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one MR series of the tilted, asymmetric phantom, twelve slices."""
    folder = tmp_path_factory.mktemp("scan")
    return factory.save_all(factory.slices(factory.small_phantom()), folder)
