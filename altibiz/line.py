"""Owns the one socket of a client: every operation on it ends by the request's deadline or by an abort."""

import contextlib
import errno
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Final

import httpcore

from altibiz.resolver import AddressInfo, lookup

TOO_LATE: Final = "too little of its lease is left"
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Errors of connecting that are this machine's and say nothing about the peer."""


class Line:
    """What a client, its socket and whoever aborts it share; one request is on it at a time.

    httpx has no timeout over all. Here every wait (name, connect, TLS, send, each receive) is cut to what is
    left of the request's total, so a peer that sends a byte now and then gains nothing by it. The total goes by
    `boottime` (CLOCK_BOOTTIME, seconds), since others rely on that no request outlives its lease: what was under way
    when the machine was suspended is over when it wakes.
    """

    def __init__(
        self, connect_timeout_seconds: float, read_timeout_seconds: float, boottime: Callable[[], float]
    ) -> None:
        self._connect_timeout_seconds = connect_timeout_seconds
        self._read_timeout_seconds = read_timeout_seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._boottime = boottime
        self._deadline = 0.0
        self._leave_by_seconds = float("inf")
        self._abort: Future[None] = Future()
        self.bytes_sent = 0
        self.bytes_received = 0
        self.peer_closed = False
        self.connects_anew = False
        self.exhausted = False

    @property
    def aborted(self) -> bool:
        return self._abort.done()

    @property
    def too_late(self) -> bool:
        """Whether the request may not leave any more, and nothing of it has left."""
        return not self.bytes_sent and self._boottime() > self._leave_by_seconds

    def begin(self, total_timeout_seconds: float, leave_by_seconds: float) -> None:
        """Start the deadline of one request, whose first byte leaves by `leave_by_seconds`; forget the last one."""
        self._deadline = self._boottime() + total_timeout_seconds
        self._leave_by_seconds = leave_by_seconds
        self.begin_again()

    def begin_again(self) -> None:
        """Forget an attempt's traces, and keep its deadline."""
        self.bytes_sent = self.bytes_received = 0
        self.peer_closed = self.connects_anew = self.exhausted = False

    def abort(self) -> None:
        """From any thread: wake whatever waits on the line, and let nothing wait on it again."""
        with self._lock:
            if not self._abort.done():
                self._abort.set_result(None)
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # Not SSLSocket.shutdown, which takes the TLS object away under a blocked reader.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def resolve(self, host: str, port: int) -> list[AddressInfo]:
        """The addresses of a name; raises OSError, TimeoutError among them."""
        self.connects_anew = True
        found = lookup(host, port)
        either: list[Future[Any]] = [found, self._abort]
        wait(either, self._remaining(self._connect_timeout_seconds), FIRST_COMPLETED)
        self._check_aborted()
        if not found.done():
            raise TimeoutError("name not resolved in time")
        return found.result()

    def connect(self, family: socket.AddressFamily, address: Any) -> socket.socket:
        """A connected socket; raises OSError, TimeoutError among them."""
        self._check_aborted()
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._hold(connection)
            connection.settimeout(self._remaining(self._connect_timeout_seconds))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self.drop(connection)
            raise
        return connection

    def secure(self, plain: socket.socket, context: ssl.SSLContext, server_name: str | None) -> ssl.SSLSocket:
        """The socket under TLS; raises OSError (ssl.SSLError, TimeoutError), and the socket is closed then."""
        secured: socket.socket = plain
        try:
            connection = context.wrap_socket(plain, server_hostname=server_name, do_handshake_on_connect=False)
            secured = connection
            self._hold(connection)
            connection.settimeout(self._remaining(self._connect_timeout_seconds))
            connection.do_handshake()
        except OSError:
            self.drop(secured)
            raise
        except ValueError as error:  # a host name that can't be one in a certificate
            self.drop(secured)
            raise OSError(str(error)) from error
        return connection

    def send(self, connection: socket.socket, data: bytearray) -> None:
        """Send all of `data`, emptying it as the kernel takes it; raises OSError.

        A suspend between the check and the kernel's taking the bytes, or before the kernel sends what it took, is
        seen by nobody in user space: the ERP, which books an id once, and the claim's number are what is left then.
        """
        while data:
            if self.too_late:
                raise TimeoutError(TOO_LATE)
            connection.settimeout(self._remaining(self._read_timeout_seconds))
            count = connection.send(data)
            self.bytes_sent += count
            del data[:count]

    def receive(self, connection: socket.socket, bytes_max: int) -> bytes:
        """What comes next, b"" at the end; raises OSError."""
        connection.settimeout(self._remaining(self._read_timeout_seconds))
        try:
            data = connection.recv(bytes_max)
        except TimeoutError:
            raise
        except OSError:
            self.peer_closed = True
            raise
        self.bytes_received += len(data)
        self.peer_closed = not data
        return data

    def drop(self, connection: socket.socket) -> None:
        """Close a socket; under the lock, so that no abort hits a file descriptor that is someone else's by now."""
        with self._lock:
            connection.close()
            self._socket = None

    def _hold(self, connection: socket.socket) -> None:
        with self._lock:
            self._socket = connection
            self._check_aborted()

    def _check_aborted(self) -> None:
        if self.aborted:
            raise ConnectionAbortedError("aborted")

    def _remaining(self, limit_seconds: float) -> float:
        left = self._deadline - self._boottime()
        if left <= 0:
            raise TimeoutError("total timeout")
        return min(left, limit_seconds)


class Stream(httpcore.NetworkStream):
    """A line's socket as httpcore wants it; what is written leaves with the next read, in one piece."""

    def __init__(self, line: Line, connection: socket.socket) -> None:
        self._line = line
        self._connection = connection
        self._unsent = bytearray()

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - the line knows
        self._unsent += buffer

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the line knows
        try:
            # A server may answer before it has read everything: what it said is worth reading.
            with contextlib.suppress(ConnectionError):
                self._line.send(self._connection, self._unsent)
            return self._line.receive(self._connection, max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(_said(error)) from error
        except OSError as error:
            raise httpcore.ReadError(_said(error)) from error

    def close(self) -> None:
        self._line.drop(self._connection)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the line knows
    ) -> httpcore.NetworkStream:
        try:
            return Stream(self._line, self._line.secure(self._connection, ssl_context, server_hostname))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"TLS: {_said(error)}") from error
        except OSError as error:
            raise httpcore.ConnectError(f"TLS: {_said(error)}") from error

    def get_extra_info(self, info: str) -> Any:
        if info == "socket":
            return self._connection
        if info == "is_readable":  # an idle connection with something to read was closed by the peer
            poll = select.poll()
            poll.register(self._connection, select.POLLIN)
            return bool(poll.poll(0))
        return None


class Backend(httpcore.NetworkBackend):
    """Connects a line for httpcore."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the line knows
        local_address: str | None = None,  # noqa: ARG002 - never given
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - never given
    ) -> httpcore.NetworkStream:
        try:
            return Stream(self._line, self._connect_any(self._line.resolve(host, port)))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(_said(error)) from error
        except OSError as error:
            self._line.exhausted = error.errno in EXHAUSTED
            raise httpcore.ConnectError(_said(error)) from error

    def _connect_any(self, addresses: list[AddressInfo]) -> socket.socket:
        failure = OSError("the name has no address")
        for family, address in addresses:
            try:
                return self._line.connect(family, address)
            except OSError as error:
                failure = error
        raise failure


def _said(error: OSError) -> str:
    return str(error) or type(error).__name__
