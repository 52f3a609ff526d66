"""Owns name resolution under a deadline: a lookup that hangs costs one thread, not its caller."""

import errno
import socket
import threading
from concurrent.futures import Future
from typing import TypeAlias

Address: TypeAlias = "tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]"
AddressInfo = tuple[socket.AddressFamily, Address]

_lock = threading.Lock()
_lookups: dict[tuple[str, int], Future[list[AddressInfo]]] = {}


def lookup(host: str, port: int) -> Future[list[AddressInfo]]:
    """Begin to resolve a name, or join the lookup of it that is under way; the future never times out by itself.

    getaddrinfo can't be interrupted. Whoever waits shares the one thread that a name has at most, so the
    threads that can be stuck are as few as the names. The future ends with an OSError if the name is none.
    """
    if (literal := _as_literal(host, port)) is not None:
        answered: Future[list[AddressInfo]] = Future()
        answered.set_result(literal)
        return answered
    with _lock:
        found = _lookups.get((host, port))
        if found is None:
            found = _lookups[host, port] = Future()
            try:
                threading.Thread(target=_resolve, args=(host, port, found), name=f"resolve {host}", daemon=True).start()
            except RuntimeError as error:  # no more threads to be had
                del _lookups[host, port]
                found.set_exception(OSError(errno.ENOMEM, str(error)))
    return found


def _as_literal(host: str, port: int) -> list[AddressInfo] | None:
    try:
        return _getaddrinfo(host, port, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None


def _resolve(host: str, port: int, found: Future[list[AddressInfo]]) -> None:
    try:
        addresses = _getaddrinfo(host, port, 0)
    except Exception as error:  # noqa: BLE001 - whatever ends the lookup has to reach those who wait for it
        _forget(host, port)
        found.set_exception(error if isinstance(error, OSError) else OSError(str(error)))
    else:
        _forget(host, port)
        found.set_result(addresses)


def _forget(host: str, port: int) -> None:
    with _lock:
        del _lookups[host, port]


def _getaddrinfo(host: str, port: int, flags: int) -> list[AddressInfo]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]
