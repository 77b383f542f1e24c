"""The TCP server under our DIMSE receiver: who may connect, how many, and TLS that cannot hold others up."""

from __future__ import annotations

import ipaddress
import logging
import ssl
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

from lnn_med.errors import ConfigError
from lnn_med.pacs.settings import Listen, Tls

logger = logging.getLogger(__name__)

WAITING_CONNECTIONS = 4  # beyond the associations: so many are told politely that there are too many


@cache
def server_class() -> Any:
    """The server below on top of pynetdicom's, which comes with an extra and is imported here."""
    from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

    class ConnectionHandler(_Handling, RequestHandler):
        pass

    class GuardedServer(_Guarding, ThreadedAssociationServer):
        handler = ConnectionHandler

    return GuardedServer


class _Handling:
    """Starts an association for one connection; the TLS handshake is made here, in a thread of its own."""

    server: Any
    request: Any

    def handle(self) -> None:
        """See `RequestHandler.handle`."""
        try:
            if self.server.tls is not None:
                self.request.settimeout(self.server.listen.idle_s)
                self.request = self.server.tls.wrap_socket(self.request, server_side=True)
            super().handle()  # type: ignore[misc]
        except OSError as error:
            logger.warning("Connection ended: no TLS handshake (%s).", type(error).__name__)
            self.server.shutdown_request(self.request)
        finally:
            self.server.handled()


class _Guarding:
    """Refuses foreign addresses and too many connections before a byte is read."""

    daemon_threads = True
    request_queue_size = 32  # connections that the system holds until we look at them

    handler: Any
    active_associations: list[Any]

    def __init__(
        self, *arguments: Any, listen: Listen, tls: ssl.SSLContext | None = None, **options: Any
    ) -> None:
        self.listen, self.tls = listen, tls
        self.networks = [ipaddress.ip_network(text) for text in listen.addresses]
        self._starting, self._count_lock = 0, threading.Lock()
        super().__init__(*arguments, request_handler=self.handler, **options)  # type: ignore[call-arg]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection is taken; False closes it."""
        address = ipaddress.ip_address(client_address[0])
        if not any(address in network for network in self.networks):
            logger.warning("Connection from %s refused: the address is not allowed.", address)
            return False
        with self._count_lock:
            if (
                self._starting + len(self.active_associations)
                >= self.listen.associations + WAITING_CONNECTIONS
            ):
                logger.warning("Connection refused: too many are open.")
                return False
            self._starting += 1
        return True

    def handled(self) -> None:
        """A connection became an association, or ended before."""
        with self._count_lock:
            self._starting -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what kind of error ended a connection; its words may quote what was sent."""
        logger.warning("Connection ended: %s.", getattr(sys.exc_info()[0], "__name__", "error"))


def server_context(tls: Tls) -> ssl.SSLContext:
    """TLS for connections to us; with `ca_file` the peer must show a certificate of it.

    Raises:
        ConfigError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, tls)
    if tls.ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(tls: Tls) -> ssl.SSLContext:
    """TLS for connections from us; the server's name and certificate are always checked.

    Raises:
        ConfigError: a file cannot be used.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, tls)
    return context


def _load(context: ssl.SSLContext, tls: Tls) -> None:
    try:
        if tls.ca_file is not None:
            context.load_verify_locations(tls.ca_file)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        names = [Path(name).name for name in (tls.ca_file, tls.certificate, tls.key) if name]
        raise ConfigError(f"tls: {', '.join(names)} cannot be used ({type(error).__name__}).") from None
