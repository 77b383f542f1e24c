"""Workers as pods: what Kubernetes is told, and a run whose `kubectl` starts the pods' commands here."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.scoring.cluster import Cluster, read_cluster
from lnn_med.scoring.kubernetes import KEYS_FOLDER, KubernetesConfig, manifest, pods
from lnn_med.scoring.runner import score
from tests.scoring.fakes import FakeModels, write_head
from tests.scoring.test_runner import _is_zombie, scored, wait_for

pytest.importorskip("distributed")
pytest.importorskip("cryptography")

ROOT = Path(__file__).parents[2]
PATIENCE_S = 900
CONFIG = KubernetesConfig("kubernetes", "registry.example.org/lnn-med:1", "study", "/data", jobs=3)
TEXT = "kind: kubernetes\nimage: lnn-med:1\nclaim: study\nmount: /data\n"

# Starts what the Job says as processes of this machine, with the keys of the Secret, and ends them on delete.
STAND_IN = """#!{python}
import json, os, signal, subprocess, sys
from pathlib import Path
folder = Path(__file__).parent
with (folder / "calls.txt").open("a") as calls:
    calls.write(" ".join(sys.argv[1:]) + chr(10))
if "apply" in sys.argv:
    secret, job = json.load(sys.stdin)["items"]
    for name, text in secret["stringData"].items():
        (folder / name).write_text(text)
    (worker,) = job["spec"]["template"]["spec"]["containers"]
    words = [word.replace({keys!r}, str(folder)) for word in worker["command"][1:] + worker["args"]]
    words += ["--no-nanny", "--memory-limit", "0"]
    env = dict(os.environ, PYTHONPATH={root!r}, **{{one["name"]: one["value"] for one in worker["env"]}})
    log = open(folder / "workers.log", "ab")
    started = [
        subprocess.Popen([sys.executable, *words], env=env, stdout=log, stderr=log, start_new_session=True)
        for _ in range(job["spec"]["parallelism"])
    ]
    (folder / "pids.txt").write_text(" ".join(str(process.pid) for process in started))
else:
    for pid in map(int, (folder / "pids.txt").read_text().split()):
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
"""


def put_on_path(content: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named kubectl, in a folder of its own."""
    folder.mkdir()
    program = folder / "kubectl"
    program.write_text(content)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def security() -> Any:
    from distributed.security import Security

    return Security.temporary()


def test_a_job_and_its_keys_say_what_the_file_says() -> None:
    keys = security()
    secret, job = manifest(CONFIG, "lnn-med-1", "tls://10.1.2.3:4567", keys)["items"]
    assert secret["stringData"]["key.pem"] == keys.tls_worker_key
    assert secret["metadata"] == job["metadata"] == {"name": "lnn-med-1"}
    assert (job["spec"]["parallelism"], job["spec"]["completions"]) == (3, 3)
    pod = job["spec"]["template"]["spec"]
    (worker,) = pod["containers"]
    assert worker["command"][-1] == "tls://10.1.2.3:4567"
    line = " ".join(worker["args"])
    assert f"--tls-ca-file {KEYS_FOLDER}/ca.pem --tls-cert {KEYS_FOLDER}/cert.pem" in line
    assert worker["resources"]["limits"] == {"cpu": "2", "memory": "10G"}
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"][:1]]
    assert claims == ["study"]
    assert worker["volumeMounts"][0] == {"name": "scans", "mountPath": "/data"}
    assert not pod["automountServiceAccountToken"]
    assert keys.tls_worker_key not in json.dumps(job)


WRONG = (
    ("jobs: 0", "jobs is 0"),
    ("memory: 10GB", "10G or 9500Mi"),
    ("mount: data", "begin with a slash"),
    ("image: ''", "image and claim"),
    ("queue: long", "Unknown key `queue`"),
)


@pytest.mark.parametrize(("line", "words"), WRONG)
def test_wrong_files_are_refused(line: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "kubernetes.yaml"
    kept = [each for each in TEXT.splitlines() if each.split(":")[0] != line.split(":")[0]]
    file.write_text("\n".join([*kept, line]))
    with pytest.raises(ConfigError, match=words):
        read_cluster(file)
    file.write_text("\n".join(kept[:2]))
    with pytest.raises(ConfigError, match="Missing key"):
        read_cluster(file)


def test_without_kubectl_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kubernetes.yaml"
    file.write_text(TEXT)
    write_head(tmp_path / "scans" / "a.nii")
    monkeypatch.setenv("PATH", str(tmp_path))
    models = FakeModels(tmp_path / "log.txt")
    with pytest.raises(ConfigError, match="kubectl"):
        score(tmp_path / "scans", tmp_path / "run", models, cluster=Cluster(file=file))
    assert not (tmp_path / "run").exists()


def test_what_kubectl_refuses_is_told_and_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = "#!/bin/sh\necho $* >>$(dirname $0)/calls.txt\necho 'jobs.batch is forbidden' >&2\nexit 1\n"
    folder = put_on_path(refusing, tmp_path / "bin", monkeypatch)
    with (
        pytest.raises(InputError, match="forbidden") as error,
        pods(CONFIG, "tls://10.1.2.3:4567", security()),
    ):
        pass
    assert error.value.code is Code.NETWORK
    verbs = [line.split()[0] for line in (folder / "calls.txt").read_text().splitlines()]
    assert verbs == ["apply", "delete"]


@pytest.mark.slow
def test_pods_score_over_tls_and_are_deleted_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = STAND_IN.format(python=sys.executable, keys=KEYS_FOLDER, root=str(ROOT))
    folder = put_on_path(program, tmp_path / "bin", monkeypatch)
    file = tmp_path / "kubernetes.yaml"
    file.write_text(f"{TEXT}jobs: 2\nnamespace: neuro\naddress: 127.0.0.1\n")
    for number in range(4):
        write_head(tmp_path / "scans" / f"s{number}.nii", number)
    models = FakeModels(tmp_path / "log.txt")
    summary = score(tmp_path / "scans", tmp_path / "run", models, cluster=Cluster(file=file))
    assert (summary.exit_code, summary.done) == (0, 4), (folder / "workers.log").read_text()[-2000:]
    assert scored(models) == [f"s{number}.nii" for number in range(4)]
    apply, delete = (folder / "calls.txt").read_text().splitlines()
    assert apply == "--namespace neuro apply -f -"
    assert delete.startswith("--namespace neuro delete job/lnn-med-")
    for pid in (folder / "pids.txt").read_text().split():
        wait_for(lambda: _is_zombie(int(pid)), PATIENCE_S)  # noqa: B023
