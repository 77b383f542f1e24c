"""Workers on a Dask cluster: TLS or nothing, and a lost worker costs no scan."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.scoring import cluster as clusters
from lnn_med.scoring.cluster import Cluster, ClusterConfig, arguments, read_cluster, security_for
from lnn_med.scoring.kubernetes import CA, CERTIFICATE, KEY
from lnn_med.scoring.ledger import read_ledger
from lnn_med.scoring.limits import Limits
from lnn_med.scoring.runner import Progress, score
from tests.scoring.fakes import FakeModels, write_head
from tests.scoring.test_runner import log_of, table, wait_for

pytest.importorskip("distributed")

ROOT = Path(__file__).parents[2]
SCANS = 6
PATIENCE_S = 900  # four processes start; a busy machine takes minutes for that
WRONG_FILES = (
    ("kind: lsf", "slurm, pbs or kubernetes"),
    ("kind: slurm\nqeue: x", "queue"),
    ("kind: pbs\njobs: 0", "jobs"),
)


def write_keys(folder: Path) -> Path:
    """Keys as a cluster's administrator would make them."""
    from distributed.security import Security

    pytest.importorskip("cryptography")
    made = Security.temporary()
    folder.mkdir()
    for name, text in (
        (CA, made.tls_ca_file),
        (CERTIFICATE, made.tls_client_cert),
        (KEY, made.tls_client_key),
    ):
        (folder / name).write_text(text)
    return folder


def start(program: str, keys: Path, *arguments: object) -> subprocess.Popen[bytes]:
    files = ("--tls-ca-file", keys / CA, "--tls-cert", keys / CERTIFICATE, "--tls-key", keys / KEY)
    command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *arguments, *files, "--no-dashboard"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([str(part) for part in command], env=environment, stderr=subprocess.DEVNULL)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return write_keys(tmp_path / "keys")


@pytest.fixture
def workers(tmp_path: Path, keys: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Address of a scheduler on loopback, and two workers of it."""
    told = tmp_path / "scheduler.json"
    scheduler = start(
        "scheduler", keys, "--host", "127.0.0.1", "--port", 0, "--protocol", "tls", "--scheduler-file", told
    )
    pair = [
        start("worker", keys, "--scheduler-file", told, "--nthreads", 1, "--no-nanny", "--memory-limit", 0)
        for _ in range(2)
    ]
    try:
        wait_for(lambda: told.is_file() and told.read_text().endswith("}"), PATIENCE_S)
        yield json.loads(told.read_text())["address"], pair
    finally:
        for process in (*pair, scheduler):
            process.kill()
            process.wait()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


@pytest.mark.slow
def test_a_worker_killed_in_mid_scan_costs_no_scan(
    tmp_path: Path, keys: Path, workers: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    address, pair = workers
    assert address.startswith("tls://127.0.0.1:")
    for number in range(SCANS):
        write_head(tmp_path / "scans" / f"s{number}.nii", number)
    write_head(tmp_path / "scans" / "killed.nii")  # its process ends itself: the worker stays
    models, killed = FakeModels(tmp_path / "log.txt", seconds=1.0), []

    def kill_one() -> None:
        wait_for(lambda: len({line[2] for line in log_of(models, "predict")}) == 2, PATIENCE_S)  # both work
        slot = int(log_of(models, "predict")[-1][2])
        killed.append(slot)
        os.kill(parent_of(slot), signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    told: list[Progress] = []
    summary = score(
        tmp_path / "scans",
        tmp_path / "run",
        models,
        cluster=Cluster(address, tls=keys),
        limits=Limits(seconds=PATIENCE_S),
        progress=told.append,
    )
    killer.join()
    assert (summary.exit_code, summary.done, summary.failed) == (2, SCANS, 1)
    (failure,) = table(tmp_path / "run" / "failures.csv")
    assert (failure["case"], failure["quarantined"]) == ("killed", "yes")
    assert [worker.poll() for worker in pair].count(-signal.SIGKILL) == 1
    entries = [entry.case for entry in read_ledger(tmp_path / "run") if entry.state == "done"]
    assert sorted(entries) == [f"s{number}" for number in range(SCANS)]  # each once
    assert len(log_of(models, "predict s")) <= SCANS + 2  # what the lost worker had in hand came again
    assert told[-1].done == SCANS + 1


@pytest.mark.slow
def test_foreign_keys_are_no_way_in(
    tmp_path: Path, workers: tuple[str, list[subprocess.Popen[bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 3.0)
    foreign = write_keys(tmp_path / "foreign")
    with pytest.raises(InputError) as error, Cluster(workers[0], tls=foreign).opened():
        pass
    assert error.value.code is Code.NETWORK


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp://10.0.0.7:8786", "tls://"),
        ("10.0.0.7:8786", "tls://"),
        ("tcp://127.0.0.1.example.org:8786", "tls://"),
        ("tls://10.0.0.7:8786", "--tls FOLDER"),
    ],
)
def test_schedulers_elsewhere_need_encryption_and_keys(address: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        security_for(address, None)


def test_keys_are_complete_and_a_scheduler_here_needs_none(keys: Path) -> None:
    assert security_for("tcp://127.0.0.1:8786", None) is None
    assert security_for("tls://10.0.0.7:8786", keys).require_encryption
    (keys / KEY).unlink()
    with pytest.raises(ConfigError, match=r"key\.pem"):
        security_for("tls://10.0.0.7:8786", keys)


@pytest.mark.parametrize(("kind", "word"), [("slurm", "#SBATCH -p long"), ("pbs", "#PBS -q long")])
def test_job_script_says_what_the_file_says(kind: str, word: str, tmp_path: Path) -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    file = tmp_path / "cluster.yaml"
    file.write_text(
        f"kind: {kind}\njobs: 3\nqueue: long\naccount: brain\nmemory: 12GB\n"
        f"shared_folder: {tmp_path}\nprologue: [module load python]\n"
    )
    config = read_cluster(file)
    assert isinstance(config, ClusterConfig)
    with getattr(jobqueue, clusters.CLASSES[kind])(**arguments(config, str(tmp_path))) as made:
        script = made.job_script()
        assert made.scheduler_address.startswith("tls://")
    assert word in script
    assert "module load python\nexport DASK_DISTRIBUTED__WORKER__DAEMON=False" in script
    assert "--nthreads 1" in script
    assert "--tls-ca-file" in script
    assert "brain" in script


def test_the_page_of_a_scheduler_started_here_is_on_this_machine(tmp_path: Path) -> None:
    client = SimpleNamespace(dashboard_link="http://10.0.0.3:8787/status")
    assert Cluster(file=tmp_path / "slurm.yaml").page(client) == "http://127.0.0.1:8787/status"
    assert Cluster("tls://10.0.0.3:8786").page(client) == "http://10.0.0.3:8787/status"
    assert Cluster(file=tmp_path / "slurm.yaml").page(SimpleNamespace(dashboard_link=None)) == ""


def test_no_job_in_time_is_told_and_the_keys_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dask_jobqueue")
    programs, shared, unseen = tmp_path / "bin", tmp_path / "shared", []
    for folder in (programs, shared):
        folder.mkdir()
    for name, words in (("sbatch", "Submitted batch job 1"), ("scancel", "")):
        (programs / name).write_text(f"#!/bin/sh\necho {words}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "unraisablehook", unseen.append)
    file = tmp_path / "slurm.yaml"
    file.write_text(f"kind: slurm\nshared_folder: {shared}\nminutes_to_wait: 0.01\n")
    with pytest.raises(InputError, match="No job started") as error, Cluster(file=file).opened():
        pass
    assert error.value.code is Code.NETWORK
    del error
    gc.collect()
    assert not list(shared.iterdir())
    assert not unseen


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    for text, words in WRONG_FILES:
        file.write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_cluster(file)
    with pytest.raises(ConfigError, match="either"):
        Cluster()
    with pytest.raises(ConfigError, match="--tls"):
        Cluster(file=file, tls=tmp_path)
