"""Sockets to a database server: by TCP or by a socket's path, kept alive, behind TLS as `sslmode` says."""

import os
import socket
import ssl
import struct
from pathlib import Path

from network.resolver import AddressInfo, resolve
from network.trust import client_context

_KEEPALIVE_SECONDS = 15
_UNIX_PATH_BYTES = 107
_TLS_REQUEST = struct.pack("!ii", 8, 80877103)

Address = AddressInfo | Path
"""What a socket is opened to: an address that a name has, or a socket's path of any length."""


def addresses_of(host: tuple[str, int] | Path, timeout_seconds: float) -> list[Address]:
    """The addresses to be tried in turn, IPv6 first. Raises OSError, with the name in it if that is not resolved."""
    if isinstance(host, Path):
        return [host]
    try:
        found = resolve(*host, timeout_seconds)
    except TimeoutError:
        raise
    except OSError as error:
        raise OSError(f"the name {host[0]} is not resolved: {error.strerror or error}") from error
    ipv6_first: list[AddressInfo] = sorted(dict.fromkeys(found), key=lambda each: each[0] != socket.AF_INET6)
    return list(ipv6_first)


def open_socket(address: Address, timeout_seconds: float) -> socket.socket:
    """A connected socket whose calls have this timeout. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX if isinstance(address, Path) else address[0], socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_seconds)
        if isinstance(address, Path):
            _connect_unix(sock, address)
        else:
            sock.connect(address[1])
            _keep_alive(sock)
    except OSError:
        sock.close()
        raise
    return sock


def _connect_unix(sock: socket.socket, path: Path) -> None:
    if len(os.fsencode(path)) <= _UNIX_PATH_BYTES:
        sock.connect(str(path))
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)  # a longer path is reached through its folder
    try:
        sock.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _keep_alive(sock: socket.socket) -> None:
    """Lets the kernel find a peer that is gone without a word within about 15 s."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS // 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_SECONDS // 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _KEEPALIVE_SECONDS * 1000)


def with_tls_if_the_server_has_it(raw: socket.socket) -> socket.socket:
    """As the driver does it, without reading the system's certificates for it, which takes a tenth of a second."""
    raw.sendall(_TLS_REQUEST)
    if raw.recv(1) != b"S":
        return raw
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(raw)


def tls(mode: str, root_certificate: str | None) -> ssl.SSLContext | bool | None:
    """The driver's `ssl_context` for a libpq `sslmode`. Raises OSError for an unusable certificate file."""
    if mode == "disable":
        return False
    if mode == "prefer":
        return None  # if the server has it, and unverified
    context = client_context(root_certificate)
    context.check_hostname = mode == "verify-full"
    if mode == "require" and root_certificate is None:
        context.verify_mode = ssl.CERT_NONE
    return context
