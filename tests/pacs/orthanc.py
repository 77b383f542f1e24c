"""Starts Orthanc on free loopback ports with a folder of its own, and asks its own REST interface."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.ports import free_port

PROGRAM = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
AE_TITLE, OUR_AE_TITLE = "ORTHANC", "LNNMED"
START_S = 30


@dataclass
class Orthanc:
    """A running server."""

    process: subprocess.Popen[bytes]
    http_port: int
    dicom_port: int
    our_port: int  # where it sends what we ask it to move
    folder: Path

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def url(self) -> str:
        """Root of DICOMweb; skips the test where Debian's plugin is not installed."""
        if not DICOMWEB_PLUGIN.exists():
            pytest.skip("the Debian package orthanc-dicomweb is not installed")
        return f"{self.rest}/dicom-web"

    def get(self, path: str) -> Any:
        return requests.get(self.rest + path, timeout=10).json()

    def clear(self) -> None:
        for study in self.get("/studies"):
            requests.delete(f"{self.rest}/studies/{study}", timeout=10)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def start(folder: Path) -> Orthanc:
    """Start a server and wait until it answers; skips where there is none."""
    if not Path(PROGRAM).exists():
        pytest.skip("Orthanc is not installed")
    http_port, dicom_port, our_port = free_port(), free_port(), free_port()
    us = {"AET": OUR_AE_TITLE, "Host": "127.0.0.1", "Port": our_port}
    rights = {f"Allow{what}": True for what in ("Echo", "Find", "Get", "Move", "Store")}
    settings = {
        "Name": "tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "DicomAet": AE_TITLE,
        "DicomCheckCalledAet": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomModalities": {"us": us | rights},
        "Plugins": [str(DICOMWEB_PLUGIN)] if DICOMWEB_PLUGIN.exists() else [],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings))
    with open(folder / "orthanc.log", "wb") as log:
        process = subprocess.Popen([PROGRAM, str(path)], stdout=log, stderr=subprocess.STDOUT)
    server = Orthanc(process, http_port, dicom_port, our_port, folder)
    ends = time.monotonic() + START_S
    while time.monotonic() < ends and process.poll() is None:
        try:
            server.get("/system")
            return server
        except requests.RequestException:
            time.sleep(0.05)
    server.stop()
    pytest.fail(f"Orthanc did not start: {(folder / 'orthanc.log').read_text()[-2000:]}")
