"""Fixtures of the archive tests: an Orthanc for the session, a small MR series, a listener."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import dicom_factory as factory
from tests.pacs import orthanc

if TYPE_CHECKING:
    from lnn_med.pacs.inbox import Inbox
    from lnn_med.pacs.listener import Listener

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


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Inbox, Listener]]:
    """A receiver of ours with time for slow machines: its port, inbox and listener."""
    from tests.pacs.senders import listening  # needs the extra

    with listening(tmp_path_factory.mktemp("listener")) as started:
        yield started
