"""Workers as pods: one Job of Kubernetes, put in place and taken away with `kubectl`.

Not with the operator of dask-kubernetes: it speaks to scheduler and workers without TLS
(its issues 818 and 836), and whoever reaches a Dask scheduler can run code on it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lnn_med.errors import Code, ConfigError, InputError

logger = logging.getLogger(__name__)

KIND, KUBECTL = "kubernetes", "kubectl"
CA, CERTIFICATE, KEY = "ca.pem", "cert.pem", "key.pem"
KEYS_FOLDER = "/lnn-med-keys"  # in the pods
DEATH_SECONDS = 120  # after which a pod without its scheduler ends
RESTARTS = 1000  # of all pods: a node that goes down must not end the Job
ANSWER_SECONDS = 120.0  # for one call of kubectl
MESSAGE_LETTERS = 300

_QUANTITY = re.compile(r"[1-9][0-9]*(\.[0-9]+)?(M|G|T|Mi|Gi|Ti)")


@dataclass(frozen=True)
class KubernetesConfig:
    """Content of kubernetes.yaml. One pod is one worker, which scores one scan at a time."""

    kind: str  # kubernetes
    image: str  # holds this very version of the package
    claim: str  # PersistentVolumeClaim, which several pods may write, with FOLDER and RUN
    mount: str  # where it is mounted, in this pod as in those: paths are the same everywhere
    jobs: int = 4
    cores: int = 2  # of one pod
    memory: str = "10G"  # of one pod: the limit of a scan and 2 GB for what starts it
    namespace: str | None = None  # None takes that of kubectl's context
    address: str | None = None  # of this pod, as others reach it; None takes its first one
    minutes_to_wait: float = 60.0  # for the first pod to start

    def __post_init__(self) -> None:
        if self.jobs < 1 or self.cores < 1:
            raise ConfigError(f"jobs is {self.jobs} and cores is {self.cores}; both must be 1 or more.")
        if not _QUANTITY.fullmatch(self.memory):
            raise ConfigError(f"memory is {self.memory!r}; it must look like 10G or 9500Mi.")
        if not PurePosixPath(self.mount).is_absolute():
            raise ConfigError(f"mount is {self.mount!r}; it must begin with a slash.")
        if not self.image or not self.claim:
            raise ConfigError("image and claim must not be empty.")


def check_kubectl() -> None:
    """Refuse a machine without kubectl.

    Raises:
        ConfigError: it is not found.
    """
    if shutil.which(KUBECTL) is None:
        raise ConfigError("kind: kubernetes needs kubectl on the PATH; install it where `score` runs.")


@contextmanager
def pods(config: KubernetesConfig, scheduler: str, security: Any) -> Iterator[None]:
    """Pods that work for a scheduler, and their keys; both are deleted in the end.

    Args:
        config: what they are.
        scheduler: its address, `tls://host:port`.
        security: `distributed.Security` whose keys are texts.

    Raises:
        InputError: E_NETWORK when kubectl is refused or gets no answer.
    """
    name = f"lnn-med-{secrets.token_hex(4)}"
    try:
        _kubectl(config, "apply", "-f", "-", content=json.dumps(manifest(config, name, scheduler, security)))
        yield
    finally:
        try:
            _kubectl(config, "delete", f"job/{name}", f"secret/{name}", "--ignore-not-found", "--wait=false")
        except InputError as error:  # the run itself is over; without a scheduler its pods end
            logger.warning("%s is left behind: %s", name, error.detail)


def manifest(config: KubernetesConfig, name: str, scheduler: str, security: Any) -> dict[str, Any]:
    """The Secret and the Job, as Kubernetes reads them."""
    keys = {
        CA: security.tls_ca_file,
        CERTIFICATE: security.tls_worker_cert,
        KEY: security.tls_worker_key,
    }
    files = [f"{KEYS_FOLDER}/{file}" for file in (CA, CERTIFICATE, KEY)]
    options = zip(("--tls-ca-file", "--tls-cert", "--tls-key"), files, strict=True)
    worker = {
        "name": "worker",
        "image": config.image,
        "command": ["python", "-m", "distributed.cli.dask_worker", scheduler],
        "args": [
            *("--nthreads", "1", "--no-dashboard", "--death-timeout", str(DEATH_SECONDS)),
            *(word for pair in options for word in pair),
        ],
        # A worker has a process of its own for the scans, which Dask forbids to its daemons.
        "env": [{"name": "DASK_DISTRIBUTED__WORKER__DAEMON", "value": "False"}],
        "resources": {"limits": {"cpu": str(config.cores), "memory": config.memory}},
        "volumeMounts": [
            {"name": "scans", "mountPath": config.mount},
            {"name": "keys", "mountPath": KEYS_FOLDER, "readOnly": True},
        ],
    }
    pod = {
        "restartPolicy": "OnFailure",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsUser": os.getuid(), "runAsGroup": os.getgid()},  # files have one owner
        "containers": [worker],
        "volumes": [
            {"name": "scans", "persistentVolumeClaim": {"claimName": config.claim}},
            {"name": "keys", "secret": {"secretName": name}},
        ],
    }
    job = {
        "parallelism": config.jobs,
        "completions": config.jobs,
        "backoffLimit": RESTARTS,
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
    }
    metadata = {"name": name}
    items = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job},
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _kubectl(config: KubernetesConfig, *arguments: str, content: str | None = None) -> None:
    where = [] if config.namespace is None else ["--namespace", config.namespace]
    try:
        done = subprocess.run(
            [KUBECTL, *where, *arguments],
            input=content,
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(Code.NETWORK, f"kubectl gave no answer ({type(error).__name__}).") from error
    if done.returncode != 0:
        raise InputError(Code.NETWORK, f"kubectl {arguments[0]}: {done.stderr.strip()[:MESSAGE_LETTERS]}")
