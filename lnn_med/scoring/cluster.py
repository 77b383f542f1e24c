"""Where the workers of a cluster are: at a running Dask scheduler, or in jobs or pods that start here.

Everything between machines goes through TLS, because whoever reaches a Dask scheduler can run code on it.
"""

from __future__ import annotations

import ipaddress
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lnn_med import config as configuration
from lnn_med.errors import Code, ConfigError, InputError, require
from lnn_med.scoring.kubernetes import CA, CERTIFICATE, KEY, KIND, KubernetesConfig, check_kubectl, pods

EXTRA = "cluster"
CONNECT_SECONDS = 60.0
DASHBOARD_HOST = "127.0.0.1"  # its page is not behind TLS
# A worker's slot is a process of its own, which Dask forbids to the daemons that it starts by default.
NO_DAEMON = "export DASK_DISTRIBUTED__WORKER__DAEMON=False"
CLASSES = {"slurm": "SLURMCluster", "pbs": "PBSCluster"}


@dataclass(frozen=True)
class ClusterConfig:
    """Content of slurm.yaml or pbs.yaml. One job is one worker, which scores one scan at a time."""

    kind: str  # slurm or pbs
    jobs: int = 4
    cores: int = 2  # of one job
    memory: str = "10GB"  # of one job: the limit of a scan and 2 GB for what starts it
    walltime: str = "04:00:00"
    queue: str | None = None  # SLURM: partition
    account: str | None = None
    interface: str | None = None  # network that nodes share, such as ib0
    shared_folder: str = "."  # seen by every node, readable by you alone: short-lived keys are put there
    prologue: tuple[
        str, ...
    ] = ()  # shell lines before the worker starts, such as `source .venv/bin/activate`
    directives: tuple[str, ...] = ()  # more of #SBATCH or #PBS, such as `--exclude=node7`
    minutes_to_wait: float = 60.0  # for the first job to start

    def __post_init__(self) -> None:
        if self.kind not in CLASSES:
            raise ConfigError(f"kind is {self.kind!r}; it must be {', '.join(CLASSES)} or {KIND}.")
        if self.jobs < 1 or self.cores < 1:
            raise ConfigError(f"jobs is {self.jobs} and cores is {self.cores}; both must be 1 or more.")


@dataclass(frozen=True)
class Cluster:
    """What was asked for: the address of a scheduler with the folder of its keys, or a configuration file."""

    address: str | None = None
    file: Path | None = None
    tls: Path | None = None  # ca.pem, cert.pem, key.pem; None takes what Dask's own configuration names

    def __post_init__(self) -> None:
        if (self.address is None) == (self.file is None):
            raise ConfigError("Give either the address of a scheduler or the file of a cluster.")
        if self.file is not None and self.tls is not None:
            raise ConfigError("A cluster that is started here makes its own keys; leave out --tls.")

    def check(self) -> None:
        """Refuse what cannot work, before anything is written.

        Raises:
            ConfigError: address, keys or file cannot be used.
            LnnMedError: the extra is not installed.
        """
        require("distributed", EXTRA)
        if self.file is not None:
            if isinstance(read_cluster(self.file), KubernetesConfig):
                check_kubectl()
            else:
                require("dask_jobqueue", EXTRA)
        else:
            security_for(str(self.address), self.tls)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """A connected `distributed.Client`; jobs that were started end with it.

        Raises:
            ConfigError: address, keys or file cannot be used.
            InputError: E_NETWORK when no scheduler answers.
        """
        if self.file is not None:
            config = read_cluster(self.file)
            starting = started_pods(config) if isinstance(config, KubernetesConfig) else started(config)
            with starting as client:
                yield client
            return
        address = str(self.address)
        with _connected(address, security_for(address, self.tls)) as client:
            yield client

    def page(self, client: Any) -> str:
        """Address of the page about the workers; that of a scheduler started here is on this machine."""
        link = client.dashboard_link or ""
        if not link or self.file is None:
            return link
        parts = urlsplit(link)  # Dask names this machine's address, on which the page does not listen
        return parts._replace(netloc=f"{DASHBOARD_HOST}:{parts.port}").geturl()


def read_cluster(path: Path) -> ClusterConfig | KubernetesConfig:
    """Read slurm.yaml, pbs.yaml or kubernetes.yaml.

    Raises:
        ConfigError: the file cannot be used.
    """
    values = configuration.load_yaml(path)
    if values.get("kind") == KIND:
        return configuration.build(KubernetesConfig, values)
    return configuration.build(ClusterConfig, values)


def security_for(address: str, folder: Path | None) -> Any:
    """Keys for a scheduler; None for one on this machine without TLS.

    Raises:
        ConfigError: no keys for an encrypted address, or an address elsewhere that is not encrypted.
    """
    from distributed.security import Security

    scheme = urlsplit(address).scheme
    if scheme == "tcp" and _is_here(address):
        return None
    if scheme != "tls":
        raise ConfigError("The scheduler's address must look like tls://host:port; tcp:// is for 127.0.0.1.")
    if folder is None:
        security: Any = Security(require_encryption=True)
        if not security.tls_ca_file or not security.tls_client_cert:
            raise ConfigError(f"tls:// needs keys: give --tls FOLDER with {CA}, {CERTIFICATE} and {KEY}.")
        return security
    missing = [name for name in (CA, CERTIFICATE, KEY) if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"The folder of keys has no {', '.join(missing)}.")
    ca, certificate, key = (str(folder / name) for name in (CA, CERTIFICATE, KEY))
    return Security(require_encryption=True, tls_ca_file=ca, tls_client_cert=certificate, tls_client_key=key)


@contextmanager
def started(config: ClusterConfig) -> Iterator[Any]:
    """Start the scheduler here and its jobs in the queue, with keys that live as long as they do."""
    import dask_jobqueue as jobqueue

    with tempfile.TemporaryDirectory(prefix=".lnn-med-keys-", dir=config.shared_folder) as keys:
        cluster = getattr(jobqueue, CLASSES[config.kind])(**arguments(config, keys))
        try:
            cluster.scale(jobs=config.jobs)
            with _connected(cluster, None) as client:
                _wait_for_a_worker(client, 60 * config.minutes_to_wait)
                yield client
        finally:
            cluster.close()
            for name in ("ca_file", "cert", "key"):  # it holds them open, in the folder that ends here
                if file := getattr(cluster, f"_job_{name}", None):
                    file.close()


@contextmanager
def started_pods(config: KubernetesConfig) -> Iterator[Any]:
    """Start the scheduler here and its pods in Kubernetes, with keys that live as long as they do."""
    from distributed import LocalCluster
    from distributed.security import Security
    from distributed.utils import get_ip

    security = Security.temporary()
    with LocalCluster(
        n_workers=0,
        host=config.address or get_ip(),
        protocol="tls",
        security=security,
        dashboard_address=f"{DASHBOARD_HOST}:0",
    ) as cluster:
        address = cluster.scheduler_address
        with pods(config, address, security), _connected(cluster, None) as client:
            _wait_for_a_worker(client, 60 * config.minutes_to_wait)
            yield client


def arguments(config: ClusterConfig, keys: str) -> dict[str, Any]:
    """What dask-jobqueue is told."""
    account = {} if config.account is None else {"account": config.account}
    return {
        "cores": config.cores,
        "processes": 1,
        "worker_extra_args": ["--nthreads", "1", "--no-dashboard"],
        "memory": config.memory,
        "walltime": config.walltime,
        "queue": config.queue,
        "interface": config.interface,
        "security": True,
        "protocol": "tls://",
        "shared_temp_directory": keys,
        "scheduler_options": {"dashboard_address": f"{DASHBOARD_HOST}:0"},
        "job_script_prologue": [*config.prologue, NO_DAEMON],
        "job_extra_directives": list(config.directives),
        **account,
    }


@contextmanager
def _connected(target: Any, security: Any) -> Iterator[Any]:
    from distributed import Client

    try:
        client = Client(target, security=security, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise InputError(Code.NETWORK, f"No scheduler answers ({type(error).__name__}).") from error
    try:
        yield client
    finally:
        client.close()


def _wait_for_a_worker(client: Any, seconds: float) -> None:
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError as error:
        raise InputError(Code.NETWORK, f"No job started within {seconds / 60:g} minutes.") from error


def _is_here(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
