"""Owns which ports drills and tests give to the servers that they start, kill and start again."""

import itertools
import os
import socket

# Below the ports that the kernel gives to outgoing connections. One of those could take the port of a stopped server.
_PORTS = range(20_000, 32_000)
_numbers = itertools.count(97 * os.getpid())


def free_port() -> int:
    """A free TCP port of the loopback; another one at each call."""
    while True:
        port = _PORTS[next(_numbers) % len(_PORTS)]
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
