"""Twenty scans in a row: what the viewer holds afterwards."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.browser.conftest import Window

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SCANS = 20
ALLOWED_BYTES = 200 << 20


def resident_bytes(port: str) -> int:
    """Resident memory of the server that was started on this port, and of its worker processes."""
    rows = subprocess.run(["ps", "-eo", "pid,ppid,rss,args"], capture_output=True, text=True, check=True)
    table = [line.split(None, 3) for line in rows.stdout.splitlines()[1:]]
    servers = {pid for pid, _, _, words in table if "tests.app.serve" in words and f" {port}" in words}
    family = [int(rss) for pid, parent, rss, _ in table if pid in servers or parent in servers]
    assert len(family) > 1, "The server and its workers are not found."
    return 1024 * sum(family)


def test_twenty_scans_leave_the_memory_where_it_was(window: Window, head_file: Path) -> None:
    port = window.base.rsplit(":", 1)[1]
    after_first = 0
    for number in range(SCANS):
        if number:
            window.page.get_by_role("link", name="Scan", exact=True).click()
        window.measure(head_file)
        after_first = after_first or resident_bytes(port)
    assert resident_bytes(port) - after_first < ALLOWED_BYTES
