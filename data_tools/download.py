"""Fetching one large file over HTTP: resumable, verified, whole or not at all.

Bytes collect in NAME.part; only a file of the right size and hash gets its final name. A download that was
cut off goes on where it stopped when that is safe: the server confirms by ETag or date that the file is still
the same one, or a published hash will tell at the end.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

from data_tools.catalogue import RemoteFile
from lnn_med.errors import Code, ConfigError, InputError

logger = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]  # (bytes so far, total bytes if known)

HEADERS = {
    "User-Agent": "lnn-data",
    "Accept-Encoding": "identity",
}  # identity: offsets must count stored bytes
RETRYABLE_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})  # passing faults; all others are final


@dataclass(frozen=True)
class Settings:
    """How patient a download is."""

    attempts: int = 5  # per address; a try that brought new bytes does not count
    backoff_s: float = 2.0  # wait after the first failure, doubled after each further one
    timeout_s: float = 60.0  # silence on the line after which a try counts as failed
    chunk_bytes: int = 1 << 20
    reserve_bytes: int = 512 << 20  # disk space that stays free for everyone else
    max_bytes: int = 64 << 30  # no data set of ours is near this; stops a server that never ends


@dataclass(frozen=True)
class Fetched:
    """A file that was downloaded and checked. `checked` says against what: sha256, md5 or not published."""

    path: Path
    url: str
    size_bytes: int
    sha256: str
    md5: str
    checked: str


class _PassingError(Exception):
    """A failure after which another try may succeed."""


class _FinalError(Exception):
    """A failure that this address will repeat."""


def download(
    remote: RemoteFile, into: Path, settings: Settings = Settings(), progress: Progress | None = None
) -> Fetched:
    """Fetch `remote` into the folder `into` under its own name.

    Raises:
        InputError: E_NETWORK (no address answered; the part is kept for the next run), E_HASH (not the
            published file; nothing is kept), E_STORAGE (not enough space).
        ConfigError: an address is not http or https.
    """
    for url in remote.urls:
        if urlparse(url).scheme not in ("http", "https"):
            raise ConfigError(f"{url}: only http and https addresses are fetched.")
    into.mkdir(parents=True, exist_ok=True)
    if (earlier := _fetched_earlier(into / remote.name, remote)) is not None:
        return earlier
    part = into / f"{remote.name}.part"
    reasons = []
    for url in remote.urls:
        try:
            _fetch_patiently(url, part, remote, settings, progress)
        except (_PassingError, _FinalError) as error:
            logger.info("%s: %s", url, error)
            reasons.append(f"{urlparse(url).netloc}: {error}")
            continue
        return _finish(part, into / remote.name, url, remote)
    raise InputError(Code.NETWORK, f"{remote.name} could not be fetched ({'; '.join(reasons)}).")


def _fetch_patiently(
    url: str, part: Path, remote: RemoteFile, settings: Settings, progress: Progress | None
) -> None:
    failures = 0
    while True:
        before = _size(part)
        try:
            return _fetch_once(url, part, remote, settings, progress)
        except _PassingError as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures >= settings.attempts:
                raise
            wait_s = settings.backoff_s * 2 ** max(failures - 1, 0)
            logger.info("%s: %s; trying again in %.0f s", url, error, wait_s)
            time.sleep(wait_s)


def _fetch_once(
    url: str, part: Path, remote: RemoteFile, settings: Settings, progress: Progress | None
) -> None:
    """One request; returns when the part is complete."""
    offset, headers = _resume_headers(url, part, remote)
    if offset and offset == remote.size_bytes:
        return
    request = urllib.request.Request(url, headers={**HEADERS, **headers})
    try:
        with _opener().open(request, timeout=settings.timeout_s) as response:
            if response.status == 206 and _first_byte(response) == offset:
                mode, total = "ab", _total(response, offset)
            else:  # the whole file: the server cannot resume, or the file changed since
                mode, total = "wb", _total(response, 0)
            _check_size(total, remote, settings)
            _check_space(part.parent, (total or 0) - _size(part), settings)
            _remember(url, part, response)
            _copy(response, part, mode, total, settings, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file: start over
            part.unlink(missing_ok=True)
            raise _PassingError("the server's file is shorter than what was fetched before") from error
        kind = _PassingError if error.code in RETRYABLE_STATUS else _FinalError
        raise kind(f"HTTP status {error.code}") from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise _PassingError(str(reason)) from error


def _copy(
    response: IO[bytes],
    part: Path,
    mode: str,
    total: int | None,
    settings: Settings,
    progress: Progress | None,
) -> None:
    try:
        with open(part, mode) as file:
            while chunk := response.read(settings.chunk_bytes):
                file.write(chunk)
                if file.tell() > settings.max_bytes:
                    raise _FinalError(f"more than {settings.max_bytes:,} bytes came")
                if progress:
                    progress(file.tell(), total)
    except OSError as error:
        if isinstance(error, (ConnectionError, TimeoutError)):
            raise
        raise InputError(Code.STORAGE, f"The download cannot be written ({error.strerror}).") from error
    if total is not None and _size(part) < total:
        raise _PassingError(f"the connection ended after {_size(part):,} of {total:,} bytes")


def _resume_headers(url: str, part: Path, remote: RemoteFile) -> tuple[int, dict[str, str]]:
    """Where to go on and the request headers for it; (0, {}) when it is not safe to resume."""
    offset = _size(part)
    if offset == 0:
        return 0, {}
    known = _recall(part)
    headers = {"Range": f"bytes={offset}-"}
    if known.get("url") == url and known.get("validator"):
        return offset, {**headers, "If-Range": known["validator"]}
    if remote.hash_state != "not published":
        return offset, headers
    return 0, {}


def _fetched_earlier(path: Path, remote: RemoteFile) -> Fetched | None:
    """The file of an interrupted run, when it is there and is the published one."""
    if not path.is_file():
        return None
    sha256, md5 = _digests(path)
    if remote.sha256 not in (None, sha256) or remote.md5 not in (None, md5):
        return None
    return Fetched(path, remote.url, _size(path), sha256, md5, remote.hash_state)


def _finish(part: Path, final: Path, url: str, remote: RemoteFile) -> Fetched:
    """Check the complete part and give it its name; a wrong one is removed."""
    sha256, md5 = _digests(part)
    for kind, expected, found in (("sha256", remote.sha256, sha256), ("md5", remote.md5, md5)):
        if expected and expected != found:
            _forget(part)
            message = f"{remote.name} has {kind} {found}; the catalogue says {expected}. Nothing was kept."
            raise InputError(Code.HASH, message)
    size = _size(part)
    os.replace(part, final)
    _forget(part)
    return Fetched(final, url, size, sha256, md5, remote.hash_state)


def _check_size(total: int | None, remote: RemoteFile, settings: Settings) -> None:
    if total is None:
        return
    if remote.size_bytes is not None and total != remote.size_bytes:
        raise _FinalError(f"the server offers {total:,} bytes; the catalogue says {remote.size_bytes:,}")
    if total > settings.max_bytes:
        raise _FinalError(f"the server offers {total:,} bytes; {settings.max_bytes:,} are allowed")


def _check_space(folder: Path, needed: int, settings: Settings) -> None:
    free = shutil.disk_usage(folder).free
    if needed + settings.reserve_bytes > free:
        message = f"{needed:,} bytes and {settings.reserve_bytes:,} in reserve are needed; {free:,} are free."
        raise InputError(Code.STORAGE, message)


def _first_byte(response: Any) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _total(response: Any, offset: int) -> int | None:
    length = response.headers.get("Content-Length")
    return offset + int(length) if length and length.isdigit() else None


def _remember(url: str, part: Path, response: Any) -> None:
    etag = response.headers.get("ETag", "")
    strong = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
    _note(part).write_text(json.dumps({"url": url, "validator": strong}), encoding="utf-8")


def _recall(part: Path) -> dict[str, str]:
    try:
        known = json.loads(_note(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _digests(path: Path) -> tuple[str, str]:
    """sha256 and md5 of a file in one pass; md5 only because some publishers give nothing better."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()


class _HttpRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https down to http."""

    def redirect_request(
        self, request: urllib.request.Request, fp: Any, code: int, message: str, headers: Any, target: str
    ) -> urllib.request.Request | None:
        scheme = urlparse(target).scheme
        if scheme not in ("http", "https") or (request.type == "https" and scheme == "http"):
            raise _FinalError(f"the server redirects to a {scheme or 'relative'} address")
        return super().redirect_request(request, fp, code, message, headers, target)


def _opener() -> urllib.request.OpenerDirector:
    """An opener that knows http and https only: no redirect can lead to a local file."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
        _HttpRedirects,
    ):
        opener.add_handler(handler())
    return opener
