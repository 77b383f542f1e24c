"""Limits on what one DIMSE connection may make us read: length of a PDU, size of a message, time, memory.

pynetdicom reads as many bytes as a PDU announces, up to 4 GiB, and waits for them without end; the negotiated
maximum length binds only a peer that keeps to it. PDUs: PS3.8 section 9.3.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, TypeAlias

# Of pynetdicom, which comes with an extra and is imported where it is used.
Association: TypeAlias = Any
Event: TypeAlias = Any

logger = logging.getLogger(__name__)

HEADER_BYTES = 6
P_DATA = 0x04
CONTROL_BYTES = 131_072  # of a PDU without data; 128 contexts with 12 syntaxes each take 40 KB
READ_BYTES = 65_536


class Pool:
    """The memory that all connections of one receiver share."""

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self._guards: list[Guard] = []
        self._lock = threading.Lock()

    def add(self, guard: Guard) -> None:
        """Count what this connection holds, as long as it lives."""
        with self._lock:
            self._guards.append(guard)

    def has_room(self, count: int) -> bool:
        """Whether `count` more bytes may be held; connections that have ended no longer count."""
        with self._lock:
            self._guards = [guard for guard in self._guards if not guard.ended]
            return sum(guard.held_bytes for guard in self._guards) + count <= self.memory_bytes


class Guard:
    """Stands between a connection and the reader of its PDUs; what is too much ends the connection."""

    def __init__(
        self, association: Association, pool: Pool, pdu_bytes: int, message_bytes: int, idle_s: float
    ) -> None:
        self.association, self.pool = association, pool
        self.pdu_bytes, self.message_bytes, self.idle_s = pdu_bytes, message_bytes, idle_s
        self.message, self.waiting = 0, deque[int]()  # bytes of the growing message, and of whole ones
        self._body_of: int | None = None  # type of the PDU whose header was read
        pool.add(self)

    @classmethod
    def attach(cls, event: Event, pool: Pool, pdu_bytes: int, message_bytes: int, idle_s: float) -> None:
        """Guard the connection that was just opened (handler of EVT_CONN_OPEN)."""
        socket: Any = event.assoc.dul.socket
        guard = cls(event.assoc, pool, pdu_bytes, message_bytes, idle_s)
        socket.guard, socket.recv = guard, guard.recv
        socket.socket.settimeout(idle_s)  # also for sending to a peer that does not read

    @property
    def ended(self) -> bool:
        """Whether the thread of the association has run and is over."""
        return self.association.ident is not None and not self.association.is_alive()

    @property
    def held_bytes(self) -> int:
        """Bytes in memory that came over this connection and are not yet dealt with."""
        return self.message + sum(self.waiting)

    def recv(self, count: int) -> bytearray:
        """Read exactly `count` bytes, fewer when the peer closes.

        Raises:
            OSError: a limit or the time is exceeded; pynetdicom then ends the connection.
        """
        kind, self._body_of = self._body_of, None
        if kind is None:
            header = self._read(count)
            self._body_of = header[0] if len(header) == HEADER_BYTES else None
            return header
        allowed = self.pdu_bytes + HEADER_BYTES if kind == P_DATA else CONTROL_BYTES
        if count > allowed:
            self._refuse(f"a PDU announces {count:,} bytes, {allowed:,} are taken")
        if kind == P_DATA:
            self._count(count)
        return self._read(count)

    def message_complete(self, is_store: bool) -> None:
        """A whole message lies in the queue (EVT_DIMSE_RECV); only images are worth counting on."""
        if is_store:
            self.waiting.append(self.message)
        self.message = 0

    def store_done(self) -> None:
        """The oldest image was dealt with."""
        if self.waiting:
            self.waiting.popleft()

    def _count(self, count: int) -> None:
        if self.message + count > self.message_bytes:
            self._refuse(f"a message grows beyond {self.message_bytes:,} bytes")
        if not self.pool.has_room(count):
            self._refuse(f"all connections together hold {self.pool.memory_bytes:,} bytes")
        self.message += count

    def _read(self, count: int) -> bytearray:
        socket = self.association.dul.socket.socket
        ends, data = time.monotonic() + self.idle_s, bytearray()
        try:
            while len(data) < count:
                left = ends - time.monotonic()
                if left <= 0:
                    self._refuse(f"a PDU did not come whole within {self.idle_s:g} s")
                socket.settimeout(left)
                piece = socket.recv(min(count - len(data), READ_BYTES))
                if not piece:
                    break
                data += piece
        finally:
            socket.settimeout(self.idle_s)
        return data

    def _refuse(self, reason: str) -> None:
        logger.warning("Connection ended: %s.", reason)
        raise OSError(reason)


def guard_of(event: Event) -> Guard | None:
    """The guard of the connection an event belongs to."""
    return getattr(event.assoc.dul.socket, "guard", None)


def message_complete(event: Event) -> None:
    """Handler of EVT_DIMSE_RECV: a message is whole."""
    guard = guard_of(event)
    if guard is not None:
        guard.message_complete(type(event.message).__name__ == "C_STORE_RQ")
