"""An HTTP session that believes no server: answers have a kind, a size and an end, and lead nowhere else."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeAlias

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.pacs.settings import PacsConfig

PASSWORD_VARIABLE = "LNN_MED_PACS_PASSWORD"
TOKEN_VARIABLE = "LNN_MED_PACS_TOKEN"
JSON_KINDS = ("application/dicom+json", "application/json")
IMAGE_KINDS = ("multipart/related", "application/dicom")
READ_BYTES = 1 << 16


# Of requests, which comes with an extra and is imported where it is used.
Session: TypeAlias = Any
Response: TypeAlias = Any


@cache
def adapter_class() -> Any:
    """The adapter below on top of that of requests."""
    from requests.adapters import HTTPAdapter

    class GuardedAdapter(_Guarding, HTTPAdapter):
        pass

    return GuardedAdapter


class _Guarding:
    """Sends every request of a session with a timeout, and looks at what comes back."""

    def __init__(self, config: PacsConfig) -> None:
        self.settings = config
        super().__init__()

    def send(self, request: Any, *arguments: Any, **options: Any) -> Response:
        """See `HTTPAdapter.send`.

        Raises:
            InputError: E_NETWORK for an answer that is not DICOMweb. E_SIZE comes while it is read.
        """
        options["timeout"] = self.settings.timeout_s
        response = super().send(request, *arguments, **options)  # type: ignore[misc]
        kind = kind_of(response)
        if response.ok and kind not in ("", *JSON_KINDS, *IMAGE_KINDS):
            response.close()
            raise InputError(Code.NETWORK, "The server answers with something that is not DICOMweb.")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()  # we never ask for compression, and it can inflate
            raise InputError(Code.NETWORK, "The server answers with compressed content, unasked.")
        limits = self.settings.limits
        # Images are counted one by one by whoever takes them; everything else must be short.
        most = None if response.ok and kind in IMAGE_KINDS else limits.answer_bytes
        _limit(response, most, limits.transfer_s)
        return response


def kind_of(response: Response) -> str:
    """The media type of an answer without its parameters."""
    return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def open_session(config: PacsConfig) -> Session:
    """A session with our TLS files and credentials, that follows no redirect and no environment variable.

    Raises:
        ConfigError: a user without a password.
    """
    import requests

    session = requests.Session()
    session.trust_env = False  # no proxy, .netrc or CA file that the configuration does not name
    session.max_redirects = 0
    session.headers.update({"Accept": JSON_KINDS[0], "Accept-Encoding": "identity"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter_class()(config))
    if config.tls is not None:
        tls = config.tls
        session.verify = tls.ca_file or True
        session.cert = (tls.certificate, tls.key) if tls.certificate and tls.key else tls.certificate
    if config.user is not None:
        if PASSWORD_VARIABLE not in os.environ:
            raise ConfigError(
                f"`user` is given; its password is read from {PASSWORD_VARIABLE}, which is not set."
            )
        session.auth = (config.user, os.environ[PASSWORD_VARIABLE])
    elif TOKEN_VARIABLE in os.environ:
        session.headers["Authorization"] = f"Bearer {os.environ[TOKEN_VARIABLE]}"
    return session


@contextmanager
def network_errors() -> Iterator[None]:
    """Turn whatever a connection or an answer raises into E_NETWORK; URLs in messages hold UIDs."""
    import requests

    try:
        yield
    except (InputError, ConfigError):
        raise
    except requests.HTTPError as error:
        status = getattr(error.response, "status_code", "unknown")
        raise InputError(Code.NETWORK, f"The archive answers with HTTP status {status}.") from None
    except requests.exceptions.TooManyRedirects:
        raise InputError(
            Code.NETWORK, "The archive sends us to another address, which is not followed."
        ) from None
    except requests.exceptions.SSLError:
        raise InputError(Code.NETWORK, "The TLS certificate of the archive cannot be verified.") from None
    except (requests.RequestException, OSError) as error:
        raise InputError(Code.NETWORK, f"The archive cannot be reached ({type(error).__name__}).") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise InputError(Code.NETWORK, f"The archive's answer is broken ({type(error).__name__}).") from None


def _limit(response: Response, most: int | None, seconds: float) -> None:
    """Have the body end in an error after `most` bytes or after some time."""
    raw, ends = response.raw, time.monotonic() + seconds

    def stream(*arguments: Any, **options: Any) -> Iterator[bytes]:
        count = 0
        # What has come, and no waiting for a piece of a certain size: a server may send a byte a minute.
        while piece := raw.read1(READ_BYTES, decode_content=False):
            count += len(piece)
            if most is not None and count > most:
                raise InputError(Code.SIZE, f"An answer has more than {most:,} bytes.")
            if time.monotonic() > ends:
                raise InputError(Code.NETWORK, f"An answer took more than {seconds:g} s.")
            yield piece

    raw.stream = stream
