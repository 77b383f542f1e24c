"""Runs whose disk fills up, or that were killed at the wrong moment: they end as if nothing had been."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lnn_med.errors import Code, InputError
from lnn_med.io.provenance import PROVENANCE
from lnn_med.io.result_files import RESULT
from lnn_med.scoring.ledger import read_ledger
from lnn_med.scoring.runner import score
from lnn_med.scoring.state import FOUND
from tests.scoring.fakes import FakeModels, write_head
from tests.scoring.test_runner import log_of


def write_scans(folder: Path, good: int, broken: int) -> Path:
    for number in range(good):
        write_head(folder / f"s{number:02d}.nii", number)
    for number in range(broken):
        (folder / f"broken{number}.nii").write_bytes(b"no scan")
    return folder


def assert_equal_runs(run: Path, other: Path) -> None:
    """Every file of every case has the same bytes; provenance tells when the networks ran, and may differ."""
    files = {path.relative_to(other): path for path in (other / "cases").rglob("*") if path.is_file()}
    found = {path.relative_to(run) for path in (run / "cases").rglob("*") if path.is_file()}
    assert found == set(files)
    for name, path in files.items():
        if name.name != PROVENANCE:
            assert (run / name).read_bytes() == path.read_bytes(), name
    for name in ("scores.csv", "manifest.jsonl", "skipped.csv"):
        assert (run / name).read_bytes() == (other / name).read_bytes()


def test_result_whose_runner_was_killed_before_it_wrote_the_line_gets_its_line(tmp_path: Path) -> None:
    scans, run = write_scans(tmp_path / "scans", 2, 0), tmp_path / "run"
    models = FakeModels(tmp_path / "log.txt")
    score(scans, run, models, workers=0)
    lines = (run / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (run / "ledger.jsonl").write_bytes(lines[0])  # as if killed after the second result was in place
    score(scans, run, models, workers=0)
    assert [entry.message for entry in read_ledger(run)] == [None, FOUND]
    assert len(log_of(models, "predict")) == 2
    score(scans, run, models, workers=0)
    assert len(read_ledger(run)) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 160 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a tmpfs is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk_stops_the_run_without_half_results_and_it_goes_on_later(
    tmp_path: Path, small_disk: Path
) -> None:
    scans, run = write_scans(tmp_path / "scans", 12, 1), small_disk / "run"
    models = FakeModels(tmp_path / "log.txt")
    with pytest.raises(InputError) as error:
        score(scans, run, models, workers=0)
    assert error.value.code is Code.STORAGE
    cases = list((run / "cases").iterdir())
    assert 0 < len(cases) < 12
    assert all((case / "DONE.json").stat().st_size and (case / RESULT).stat().st_size for case in cases)
    assert len(log_of(models, "predict")) <= len(cases) + 1  # it did not go on without a place to write
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    summary = score(scans, run, models, workers=0)
    assert (summary.done, summary.failed) == (12, 1)
    score(scans, tmp_path / "undisturbed", FakeModels(tmp_path / "other.txt"), workers=0)
    assert_equal_runs(run, tmp_path / "undisturbed")
