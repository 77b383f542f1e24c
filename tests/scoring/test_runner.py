"""Runs: every good scan scored once, every bad one listed, resumable after anything."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lnn_med.errors import ConfigError, InputError
from lnn_med.io.provenance import PROVENANCE
from lnn_med.io.tabular import write_csv
from lnn_med.scoring.ledger import Entry, Ledger, read_ledger
from lnn_med.scoring.pool import WorkerError
from lnn_med.scoring.runner import Progress, score
from lnn_med.scoring.state import status
from tests.dicom_factory import save_all, slices, small_phantom
from tests.scoring.fakes import CANARY, FakeModels, head, write_head


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def log_of(models: FakeModels, word: str) -> list[list[str]]:
    if not models.log.exists():
        return []
    return [line.split() for line in models.log.read_text().splitlines() if line.startswith(word)]


def scored(models: FakeModels) -> list[str]:
    return sorted(line[1] for line in log_of(models, "predict"))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three good scans, one that is cut short, one whose field of view is refused."""
    folder = tmp_path / "scans"
    for number, name in enumerate(["a.nii.gz", "b.nii", "deep/c.nii.gz", "fov.nii"]):
        write_head(folder / name, number)
    whole = write_head(folder / "cut.nii").read_bytes()
    (folder / "cut.nii").write_bytes(whole[:-100])
    return folder


@pytest.fixture
def models(tmp_path: Path) -> FakeModels:
    return FakeModels(tmp_path / "log.txt")


def test_good_scans_are_scored_and_bad_ones_listed_with_their_code(
    scans: Path, models: FakeModels, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    summary = score(scans, run, models, workers=0)
    assert (summary.exit_code, summary.total, summary.done, summary.failed) == (2, 5, 3, 2)
    assert [row["case"] for row in table(run / "scores.csv")] == ["a", "b", "deep_c"]
    failures = {row["case"]: row["code"] for row in table(run / "failures.csv")}
    assert failures == {"cut": "E_TRUNCATED", "fov": "E_FOV"}
    assert {path.name for path in (run / "cases").iterdir()} == {"a", "b", "deep_c"}
    for case in ("a", "b", "deep_c"):
        names = {path.name for path in (run / "cases" / case).iterdir()}
        assert {"segmentation.nii.gz", "result.json", "volumes.csv", "thumbnail.png", "DONE.json"} <= names
    assert not (run / ".work").exists() or not any((run / ".work").iterdir())


def test_only_good_scans_end_with_zero(tmp_path: Path, models: FakeModels) -> None:
    write_head(tmp_path / "scans" / "a.nii.gz")
    assert score(tmp_path / "scans", tmp_path / "run", models, workers=0).exit_code == 0
    assert table(tmp_path / "run" / "failures.csv") == []


def test_scores_equal_the_result_of_the_case_to_the_last_digit(
    scans: Path, models: FakeModels, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    score(scans, run, models, workers=0)
    row = table(run / "scores.csv")[1]
    result = json.loads((run / "cases" / "b" / "result.json").read_text())
    voxels = int((head(1).data > 50).sum())
    assert row["Hippocampus_L_mm3"] == str(result["structures"][0]["volume_mm3"]) == str(voxels * 3.0)
    assert row["Hippocampus_L_low_mm3"] == str(voxels * 3.0 - 10)
    assert row["hippocampus_asymmetry_pct"] == "-1.5"  # a number, not prefixed
    assert (row["path"], row["qc"]) == ("b.nii", "pass")


def test_a_second_start_scores_nothing_again(scans: Path, models: FakeModels, tmp_path: Path) -> None:
    run = tmp_path / "run"
    score(scans, run, models, workers=0)
    before = scored(models)
    tables = [(run / name).read_bytes() for name in ("scores.csv", "failures.csv")]
    again = score(scans, run, models, workers=0)
    assert scored(models) == before
    assert (again.exit_code, again.scored, again.done, again.failed) == (2, 0, 3, 2)
    assert [(run / name).read_bytes() for name in ("scores.csv", "failures.csv")] == tables


def test_retry_failed_tries_failures_again_and_counts_attempts(
    scans: Path, models: FakeModels, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    score(scans, run, models, workers=0)
    summary = score(scans, run, models, workers=0, retry_failed=True)
    assert summary.failed_now == 2
    assert {row["attempts"] for row in table(run / "failures.csv")} == {"2"}
    assert scored(models).count("a.nii.gz") == 1


def test_changed_scan_and_changed_weights_are_scored_anew(
    scans: Path, models: FakeModels, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    score(scans, run, models, workers=0)
    write_head(scans / "a.nii.gz", 3)
    write_head(scans / "cut.nii", 5)  # repaired
    summary = score(scans, run, models, workers=0)
    assert (summary.scored, summary.done, summary.failed) == (2, 4, 1)
    other = FakeModels(models.log, weights="b" * 64)
    assert score(scans, run, other, workers=0).scored == 4
    assert {row["models"] for row in table(run / "scores.csv")} == {"fake-t1 1.0 bbbbbbbb"}


def test_unexpected_errors_cost_one_row_and_name_no_patient(tmp_path: Path, models: FakeModels) -> None:
    for name in ("bug.nii", "memory.nii", "good.nii"):
        write_head(tmp_path / "scans" / name)
    run = tmp_path / "run"
    assert score(tmp_path / "scans", run, models, workers=0).done == 1
    failures = {row["case"]: row for row in table(run / "failures.csv")}
    assert failures["bug"]["code"] == "E_INTERNAL"
    assert failures["bug"]["message"].startswith("KeyError in fakes.py, line ")
    assert failures["memory"]["code"] == "E_RESOURCE"
    assert all(CANARY.encode() not in path.read_bytes() for path in run.rglob("*") if path.is_file())


def test_dicom_series_are_scored_under_a_hash_of_their_uid(tmp_path: Path, models: FakeModels) -> None:
    save_all(slices(small_phantom()), tmp_path / "scans" / "ZZCANARY")
    run = tmp_path / "run"
    summary = score(tmp_path / "scans", run, models, workers=0)
    assert summary.exit_code == 0
    (row,) = table(run / "scores.csv")
    assert (row["kind"], row["path"], row["series_uid"]) == ("dicom", "ZZCANARY", "1.2.3.4.5.1")
    assert (run / "cases" / row["case"] / "segmentation.nii.gz").is_file()
    assert "ZZCANARY" not in row["case"]


def test_participants_are_joined_by_case_file_and_folder(
    scans: Path, models: FakeModels, tmp_path: Path
) -> None:
    people = tmp_path / "participants.csv"
    write_csv(
        people,
        [
            {"image": "imagesTr/a.nii.gz", "age": 71.5, "sex": "F", "site": "=cmd()"},
            {"image": "deep", "age": 60, "sex": "M", "site": "x"},
        ],
        ["image", "age", "sex", "site"],
    )
    score(scans, tmp_path / "run", models, workers=0, table=people)
    rows = {row["case"]: row for row in table(tmp_path / "run" / "scores.csv")}
    assert (rows["a"]["age"], rows["a"]["sex"]) == ("71.5", "F")
    assert rows["a"]["site"] == "'=cmd()"
    assert rows["deep_c"]["age"] == "60"
    assert rows["b"]["age"] == ""


def test_hostile_names_stay_inside_the_run_and_are_prefixed_in_tables(
    tmp_path: Path, models: FakeModels
) -> None:
    folder = tmp_path / "scans"
    for number, name in enumerate(
        ["=cmd().nii", "-rf.nii", "line\nbreak.nii", "😀.nii", os.fsdecode(b"\xff.nii")]
    ):
        write_head(folder / name, number)
    run = tmp_path / "run"
    summary = score(folder, run, models, workers=0)
    assert (summary.exit_code, summary.done) == (0, 5)
    paths = [row["path"] for row in table(run / "scores.csv")]
    assert "'=cmd().nii" in paths
    assert "'-rf.nii" in paths
    assert len(list((run / "cases").iterdir())) == 5


def test_workers_load_once_share_the_processors_and_a_killed_one_costs_one_row(
    scans: Path, models: FakeModels, tmp_path: Path
) -> None:
    for number in range(3):
        write_head(scans / f"more{number}.nii", number)
    write_head(scans / "killed.nii")
    run = tmp_path / "run"
    told: list[Progress] = []
    summary = score(scans, run, models, workers=2, progress=told.append)
    assert (summary.exit_code, summary.done, summary.failed) == (2, 6, 3)
    failures = {row["case"]: row for row in table(run / "failures.csv")}
    assert failures["killed"]["code"] == "E_RESOURCE"
    assert "signal 9" in failures["killed"]["message"]
    loads = log_of(models, "load")
    assert len(loads) == 3  # the killed one is replaced when there is still work: it is tried once more
    assert [line[1] for line in log_of(models, "predict")].count("killed.nii") == 2
    assert len({pid for _, pid, _ in loads}) == len(loads)
    assert {line[2] for line in log_of(models, "predict")} <= {pid for _, pid, _ in loads}
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    assert all(int(count) <= threads for *_, count in loads)
    assert told[-1] == Progress("scoring", 9, 9, 3, told[-1].case, told[-1].state)
    assert score(scans, run, models, workers=1).failed_now == 0  # it is in quarantine
    assert score(scans, run, models, workers=1, retry_failed=True).failed_now == 3


def test_models_that_cannot_be_loaded_stop_the_run(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="The weights are gone"):
        score(scans, tmp_path / "run", FakeModels(tmp_path / "log.txt", broken=True), workers=1)


def start_run(scans: Path, run: Path, log: Path, seconds: float) -> subprocess.Popen[bytes]:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from lnn_med.scoring.runner import score\nfrom tests.scoring.fakes import FakeModels\n"
        "if __name__ == '__main__':\n"
        "    folder, run, log, seconds = sys.argv[1:]\n"
        "    models = FakeModels(Path(log), seconds=float(seconds))\n"
        "    sys.exit(score(Path(folder), Path(run), models, workers=1).exit_code)\n"
    )
    script = log.with_name("program.py")
    script.write_text(program)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    arguments = [sys.executable, str(script), str(scans), str(run), str(log), str(seconds)]
    return subprocess.Popen(arguments, env=environment, cwd=root)


def wait_for(condition: object, seconds: float = 240.0) -> None:
    began = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() - began < seconds, "waited too long"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_goes_on_where_it_was(
    scans: Path, tmp_path: Path, models: FakeModels, number: signal.Signals
) -> None:
    run = tmp_path / "run"
    process = start_run(scans, run, models.log, 1.0)
    wait_for(lambda: len(read_ledger(run)) >= 1 and log_of(models, "predict b.nii"))
    with pytest.raises(ConfigError, match="Another process"):
        score(scans, run, models, workers=0)
    assert status(run).running
    process.send_signal(number)
    code = process.wait(timeout=120)
    assert code == (130 if number != signal.SIGKILL else -signal.SIGKILL)
    between = status(run)
    assert not between.running
    assert between.waiting >= 1
    if number != signal.SIGKILL:
        assert len(table(run / "scores.csv")) == between.done
    worker = int(log_of(models, "load")[0][1])
    wait_for(lambda: not Path(f"/proc/{worker}").exists() or _is_zombie(worker))
    summary = score(scans, run, models, workers=0)
    assert (summary.done, summary.failed, summary.waiting) == (3, 2, 0)
    assert scored(models).count("a.nii.gz") == 1  # finished before the stop
    undisturbed = tmp_path / "undisturbed"
    score(scans, undisturbed, FakeModels(tmp_path / "other.txt"), workers=0)
    for path in (undisturbed / "cases").rglob("*"):
        if path.is_file() and path.name != PROVENANCE:  # it tells when the networks ran
            assert (run / path.relative_to(undisturbed)).read_bytes() == path.read_bytes()
    assert (run / "scores.csv").read_bytes() == (undisturbed / "scores.csv").read_bytes()


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_status_counts_and_names_codes(scans: Path, models: FakeModels, tmp_path: Path) -> None:
    run = tmp_path / "run"
    score(scans, run, models, workers=0)
    found = status(run)
    assert (found.total, found.done, found.failed, found.waiting, found.running) == (5, 3, 2, 0, False)
    assert found.codes == {"E_TRUNCATED": 1, "E_FOV": 1}
    assert found.median_seconds is not None
    with pytest.raises(InputError, match="no manifest"):
        status(tmp_path / "nowhere")


def test_a_torn_last_line_of_the_ledger_is_left_alone(tmp_path: Path) -> None:
    began = datetime.now(UTC).isoformat(timespec="milliseconds")
    ledger = Ledger(tmp_path)
    ledger.append(Entry("a", "k", "done", 1.0))
    with (tmp_path / "ledger.jsonl").open("ab") as stream:
        stream.write(b'{"case": "b", "key"')
    again = Ledger(tmp_path)
    again.append(Entry("c", "k", "failed", 2.0, "E_FOV", "message"))
    entries = read_ledger(tmp_path)
    assert [entry.case for entry in entries] == ["a", "c"]
    times = [
        began,
        *(entry.ts_utc or "" for entry in entries),
        datetime.now(UTC).isoformat(timespec="microseconds"),
    ]
    assert times == sorted(times)  # both may fall into one millisecond
    assert again.attempts("c", "k") == 1


def test_a_run_that_cannot_be_written_is_refused(scans: Path, models: FakeModels, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="E_STORAGE"):
        score(scans, tmp_path / "file", models, workers=0)
    with pytest.raises(ConfigError, match="-1 workers"):
        score(scans, tmp_path / "run", models, workers=-1)
