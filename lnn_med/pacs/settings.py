"""How to reach an archive and what is accepted from it: one YAML file, or a short address."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from lnn_med.config import build, load_yaml
from lnn_med.errors import ConfigError

LOOPBACK = ("127.0.0.0/8", "::1/128")
MAX_AE_LETTERS = 16  # PS3.5 section 6.2, AE
MIN_PDU_BYTES, MAX_PDU_BYTES = 4096, 1 << 20

_AE = re.compile(r"[ -\[\]-~]{1,16}")  # printable ASCII without the backslash
_SHORT = re.compile(r"dicom://(?P<title>[^@/]+)@(?P<host>[^@/:\[\]]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})/?")


@dataclass(frozen=True)
class Tls:
    """Files in PEM format. `ca_file` alone checks the server; certificate and key prove who we are."""

    ca_file: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        for name in ("ca_file", "certificate", "key"):
            path = getattr(self, name)
            if path is not None and not Path(path).is_file():
                raise ConfigError(f"tls.{name} is {path!r}, which is no file.")
        if self.key is not None and self.certificate is None:
            raise ConfigError("tls.key is given without tls.certificate.")


@dataclass(frozen=True)
class Limits:
    """What is refused for its size alone, whatever a header or a server announces."""

    matches: int = 1000  # answers to one query
    answer_bytes: int = 16 << 20  # one answer that holds no images
    instances: int = 20_000  # images of one study; a 4D series has some thousands
    instance_bytes: int = 512 << 20  # one image; an enhanced head of 256 frames of 256² has 32 MiB
    memory_bytes: int = 1 << 30  # all images that are being received at one moment
    disk_bytes: int = 50 << 30  # everything that was received and is still kept
    free_bytes: int = 2 << 30  # that stay free on the file system
    transfer_s: float = 1800.0  # one answer or one series

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ConfigError(f"limits.{name} is {value}; it must be above 0.")


@dataclass(frozen=True)
class Listen:
    """Our own receiver (storage SCP). Without `addresses` only this machine may connect."""

    calling_ae_titles: tuple[str, ...]
    port: int = 11112
    address: str = "127.0.0.1"
    addresses: tuple[str, ...] = LOOPBACK  # addresses or networks (10.1.2.0/24) that may connect
    associations: int = 4  # at one time
    pdu_bytes: int = 131_072  # longest P-DATA that is taken
    idle_s: float = 30.0  # silence after which an association is ended; also the time for one PDU
    tls: Tls | None = None  # certificate and key of ours; with ca_file, senders need one too

    def __post_init__(self) -> None:
        if not self.calling_ae_titles:
            raise ConfigError("listen.calling_ae_titles is empty; name the AE titles that may send.")
        for title in self.calling_ae_titles:
            check_ae_title("listen.calling_ae_titles", title)
        for network in self.addresses:
            _check_network(network)
        if not MIN_PDU_BYTES <= self.pdu_bytes <= MAX_PDU_BYTES:
            allowed = f"{MIN_PDU_BYTES:,} to {MAX_PDU_BYTES:,}"
            raise ConfigError(f"listen.pdu_bytes is {self.pdu_bytes:,}; {allowed} are possible.")
        if not 0 <= self.port <= 65535 or self.associations < 1 or self.idle_s <= 0:
            raise ConfigError(
                "listen: port 0 to 65535, associations of at least 1, idle_s above 0 are needed."
            )
        if self.tls is not None and self.tls.certificate is None:
            raise ConfigError("listen.tls needs a certificate; senders check it.")


@dataclass(frozen=True)
class Worklist:
    """A modality worklist over DIMSE: polling then fetches the scheduled studies, and no others."""

    host: str
    port: int = 104
    ae_title: str = "ANY-SCP"
    station_ae_title: str | None = None  # steps of this station only
    tls: Tls | None = None

    def __post_init__(self) -> None:
        check_ae_title("worklist.ae_title", self.ae_title)
        if self.station_ae_title is not None:
            check_ae_title("worklist.station_ae_title", self.station_ae_title)
        if not 0 < self.port <= 65535:
            raise ConfigError(f"worklist.port is {self.port}; 1 to 65535 is possible.")


@dataclass(frozen=True)
class Watching:
    """When a study is complete, how often to look, and how long received files stay."""

    quiet_s: float = 60.0  # without a new image; longer than the pauses of the sender
    poll_s: float = 60.0
    days: int = 1  # studies of today and the days before that are polled
    attempts: int = 3  # for reasons that lie in the machine or the moment
    keep_hours: float = 24.0  # received images of a finished study

    def __post_init__(self) -> None:
        if min(self.quiet_s, self.poll_s, self.keep_hours) < 0 or self.days < 0 or self.attempts < 1:
            raise ConfigError("watch: times and days are 0 or more, attempts 1 or more.")


@dataclass(frozen=True)
class PacsConfig:
    """One archive: `url` for DICOMweb, or `host`, `port` and `ae_title` for DIMSE."""

    url: str | None = None
    host: str | None = None
    port: int = 104
    ae_title: str = "ANY-SCP"
    our_ae_title: str = "LNNMED"
    retrieve: Literal["get", "move"] = "get"  # DIMSE only; "move" needs `listen`
    tls: Tls | None = None
    user: str | None = None  # DICOMweb only; its password is in LNN_MED_PACS_PASSWORD
    allow_http: bool = False  # DICOMweb without TLS to another machine
    timeout_s: float = 30.0  # for a connection and for each answer
    limits: Limits = field(default_factory=Limits)
    listen: Listen | None = None
    watch: Watching = field(default_factory=Watching)
    worklist: Worklist | None = None

    def __post_init__(self) -> None:
        if (self.url is None) == (self.host is None):
            raise ConfigError("An archive has either `url` (DICOMweb) or `host` (DIMSE).")
        check_ae_title("ae_title", self.ae_title)
        check_ae_title("our_ae_title", self.our_ae_title)
        if self.url is not None:
            _check_url(self.url, self.allow_http)
        if not 0 < self.port <= 65535 or self.timeout_s <= 0:
            raise ConfigError("port must be 1 to 65535 and timeout_s above 0.")
        if self.host is not None and self.retrieve == "move" and self.listen is None:
            raise ConfigError("retrieve: move needs `listen`, where the archive sends the images.")


def read_settings(where: str) -> PacsConfig:
    """The archive named by `https://host/dicom-web`, `dicom://AE_TITLE@host:port` or a YAML file.

    Raises:
        ConfigError: the address or a value cannot be used.
    """
    if where.startswith(("http://", "https://")):
        return PacsConfig(url=where)
    if where.startswith("dicom://"):
        parts = _SHORT.fullmatch(where)
        if parts is None:
            raise ConfigError("The address must look like dicom://AE_TITLE@host:port.")
        return PacsConfig(host=parts["host"].strip("[]"), port=int(parts["port"]), ae_title=parts["title"])
    return build(PacsConfig, load_yaml(Path(where)))


def check_ae_title(name: str, title: str) -> None:
    """Refuse what is no application entity title (PS3.5 section 6.2).

    Raises:
        ConfigError: empty, too long, or with other letters.
    """
    if not _AE.fullmatch(title) or not title.strip():
        raise ConfigError(f"{name} is {title!r}; 1 to {MAX_AE_LETTERS} printable ASCII letters are needed.")


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ConfigError(f"listen.addresses holds {text!r}; 10.1.2.3 or 10.1.2.0/24 is needed.") from None


def _check_url(url: str, allow_http: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError("url must look like https://host:port/dicom-web.")
    if parts.username or parts.password:
        raise ConfigError("url holds a user or password; URLs are logged. Use `user` and the environment.")
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
        raise ConfigError(
            "url is http:// to another machine, unencrypted. Use https, or set allow_http: true."
        )
