"""Owns which ports a drill or a test gives to the servers that it starts, kills and starts again."""

import itertools
import os
import socket

# Below those that the kernel gives to outgoing connections: one of them could have the port of a server that is down.
_PORTS = range(20_000, 32_000)
_numbers = itertools.count(97 * os.getpid())


def free_port() -> int:
    """A TCP port of the loopback that nobody has at this moment; another at each call."""
    while True:
        port = _PORTS[next(_numbers) % len(_PORTS)]
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
