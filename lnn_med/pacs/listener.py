"""Our DIMSE receiver (storage SCP): takes MR images from known peers and nothing else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.pacs.archive import silence
from lnn_med.pacs.guard import Association, Event, Guard, Pool, guard_of, message_complete
from lnn_med.pacs.inbox import MR_CLASSES, SYNTAXES, Arrived, Claim
from lnn_med.pacs.server import server_class, server_context
from lnn_med.pacs.settings import Limits, Listen
from lnn_med.pacs.uids import WRONG_UID, check_uid

logger = logging.getLogger(__name__)

VERIFICATION = "1.2.840.10008.1.1"
# Answers to a C-STORE (PS3.4 table B.2-1; 0111 from PS3.7 annex C).
SUCCESS, DUPLICATE, NO_ROOM, WRONG_CLASS, NOT_UNDERSTOOD = 0x0000, 0x0111, 0xA700, 0xA900, 0xC000

Keep = Callable[[bytes, Claim], Arrived]


class Listener:
    """Listens while started; every image goes to `keep`, which raises InputError for what it refuses."""

    def __init__(self, listen: Listen, our_ae_title: str, limits: Limits, keep: Keep) -> None:
        self.listen, self.limits, self.keep = listen, limits, keep
        self._pool = Pool(limits.memory_bytes)
        self._ae = _application_entity(listen, our_ae_title)
        self._server: Any = None
        self._sending: dict[Association, str] = {}  # the study that each association sent to last
        silence()

    @contextmanager
    def running(self) -> Iterator[int]:
        """Listen inside the block; the port."""
        try:
            yield self.start()
        finally:
            self.stop()

    def start(self) -> int:
        """Begin to listen; the port, which the system chooses when 0 was asked for.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        from pynetdicom import evt

        tls = server_context(self.listen.tls) if self.listen.tls else None
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_DIMSE_RECV, message_complete),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, lambda event: SUCCESS),
            (evt.EVT_REJECTED, _rejected),
        ]
        try:
            server: Any = self._ae.make_server(
                (self.listen.address, self.listen.port),
                evt_handlers=handlers,
                server_class=server_class(),
                listen=self.listen,
                tls=tls,
            )
        except OSError as error:
            place = f"{self.listen.address}:{self.listen.port}"
            raise ConfigError(f"listen: {place} cannot be listened on ({error.strerror}).") from None
        self._server = server
        self._ae._servers.append(server)  # as AE.start_server does; shutdown() removes it
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        return int(server.server_address[1])

    def stop(self) -> None:
        """Close the port and every connection, also those that wait for a peer."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.shutdown()
        for association in server.active_associations:
            socket: Any = association.dul.socket
            with suppress(OSError, AttributeError):
                socket.socket.shutdown(2)  # wakes a thread that reads; its own clean-up closes it
            association.join(timeout=2)

    @property
    def associations(self) -> int:
        """How many associations are open now."""
        return 0 if self._server is None else len(self._server.active_associations)

    def open_studies(self) -> set[str]:
        """Folders of the studies that a sender, still connected, sent to last: more of them may come."""
        self._sending = {one: study for one, study in list(self._sending.items()) if one.is_alive()}
        return set(self._sending.values())

    def _opened(self, event: Event) -> None:
        Guard.attach(event, self._pool, self.listen.pdu_bytes, self.limits.instance_bytes, self.listen.idle_s)

    def _store(self, event: Event) -> int:
        def keep(content: bytes, claim: Claim) -> Arrived:
            arrived = self.keep(content, claim)
            self._sending[event.assoc] = arrived.path.parent.parent.name
            return arrived

        return store(event, keep, Claim())


def store(event: Event, keep: Keep, claim: Claim) -> int:
    """Handle one C-STORE: the image goes to `keep`, the answer is the status.

    `claim` says which study and series are expected; class and instance are those of the request.
    """
    try:
        request: Any = event.request
        sop_class = check_uid(request.AffectedSOPClassUID, "AffectedSOPClassUID")
        instance = check_uid(request.AffectedSOPInstanceUID, "AffectedSOPInstanceUID")
        if sop_class != event.context.abstract_syntax:
            raise InputError(Code.FORMAT, "The class is not that of the presentation context.")
        keep(event.encoded_dataset(), Claim(sop_class, instance, claim.study, claim.series))
    except InputError as error:
        logger.warning("Image refused: %s", error)
        return status_of(error.code)
    except Exception as error:  # a peer must not be able to end the receiver
        logger.error("Image refused: %s.", type(error).__name__)
        return NOT_UNDERSTOOD
    finally:
        guard = guard_of(event)
        if guard is not None:
            guard.store_done()
    return SUCCESS


def status_of(code: Code) -> int:
    """The C-STORE status that tells a sender why."""
    if code is Code.STORAGE:
        return NO_ROOM
    if code in (WRONG_UID, Code.FORMAT):
        return WRONG_CLASS
    return DUPLICATE if code is Code.UID_CONFLICT else NOT_UNDERSTOOD


def _application_entity(listen: Listen, our_ae_title: str) -> Any:
    from pynetdicom import AE
    from pynetdicom.presentation import build_context

    ae = AE(ae_title=our_ae_title)
    ae.supported_contexts = [build_context(name, list(SYNTAXES)) for name in MR_CLASSES]
    ae.add_supported_context(VERIFICATION)
    ae.require_called_aet = True
    ae.require_calling_aet = list(listen.calling_ae_titles)
    ae.maximum_associations = listen.associations
    ae.maximum_pdu_size = listen.pdu_bytes
    ae.acse_timeout = ae.network_timeout = ae.dimse_timeout = listen.idle_s
    return ae


def _rejected(event: Event) -> None:
    logger.warning("Association refused: unknown AE title, or too many associations.")
