"""Owns name resolution under a deadline: a lookup that hangs costs one thread, not its caller."""

import errno
import socket
import threading
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeAlias

Address: TypeAlias = "tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]"
AddressInfo = tuple[socket.AddressFamily, Address]

_lock = threading.Lock()
_lookups: dict[tuple[str, int], Future[list[AddressInfo]]] = {}


def resolve(host: str, port: int, timeout_seconds: float, abort: "Future[None] | None" = None) -> list[AddressInfo]:
    """The addresses of a name; raises OSError, TimeoutError among them. A done `abort` ends the wait.

    getaddrinfo can't be interrupted. All who wait for a name share the one thread that it has at most, so no more
    threads can be stuck than there are names.
    """
    try:
        return _getaddrinfo(host, port, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        found = _lookup(host, port)
    either: list[Future[Any]] = [found] if abort is None else [found, abort]
    wait(either, timeout_seconds, FIRST_COMPLETED)
    if abort is not None and abort.done():
        raise ConnectionAbortedError("aborted")
    if not found.done():
        raise TimeoutError(f"the name {host} was not resolved within {timeout_seconds:.3g} s")
    return found.result()


def _lookup(host: str, port: int) -> Future[list[AddressInfo]]:
    """Begins to resolve a name, or joins the lookup of it that is under way."""
    with _lock:
        found = _lookups.get((host, port))
        if found is None:
            found = _lookups[host, port] = Future()
            try:
                threading.Thread(target=_run, args=(host, port, found), name=f"resolve {host}", daemon=True).start()
            except RuntimeError as error:  # no more threads to be had
                del _lookups[host, port]
                found.set_exception(OSError(errno.ENOMEM, str(error)))
    return found


def _run(host: str, port: int, found: Future[list[AddressInfo]]) -> None:
    addresses: list[AddressInfo] = []
    failure: Exception | None = None
    try:
        addresses = _getaddrinfo(host, port, 0)
    except Exception as error:  # noqa: BLE001 - whatever ends the lookup has to reach those who wait for it
        failure = error if isinstance(error, OSError) else OSError(str(error))
    with _lock:
        del _lookups[host, port]
    if failure is None:
        found.set_result(addresses)
    else:
        found.set_exception(failure)


def _getaddrinfo(host: str, port: int, flags: int) -> list[AddressInfo]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]
