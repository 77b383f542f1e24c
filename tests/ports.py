"""Ports for the servers that tests start."""

from __future__ import annotations

import random
import socket

# Below the range from which systems give ports to outgoing connections (Linux: from 32,768; IANA: from
# 49,152): a port given by "bind to 0" may be taken by any connection before the server listens.
PORTS = range(20_000, 32_000)
_untried = iter(random.SystemRandom().sample(PORTS, len(PORTS)))


def free_port() -> int:
    """A port of the loopback address that nothing uses and no earlier call was given."""
    for port in _untried:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"No port of {PORTS} is free.")
