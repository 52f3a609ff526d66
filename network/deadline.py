"""Owns the one socket of a client: every operation on it ends by the request's deadline or by an abort."""

import contextlib
import errno
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Final

import httpcore

from network.resolver import AddressInfo, resolve

TOO_LATE: Final = "too little of its lease is left"
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Errors of connecting that are this machine's and say nothing about the peer."""


class DeadlineNetworkBackend(httpcore.NetworkBackend):
    """What a client, its socket and the thread that aborts it share; one request is under way at a time.

    httpx has no timeout over all. Here every wait (name, connect, TLS, send, each receive) is cut to what is
    left of the request's total, so a peer that sends a byte now and then gains nothing by it. The total goes by
    `boottime` (CLOCK_BOOTTIME, seconds), since others rely on that no request outlives its lease: what was under way
    when the machine was suspended is over when it wakes.
    """

    def __init__(
        self, connect_timeout_seconds: float, read_timeout_seconds: float, boottime: Callable[[], float]
    ) -> None:
        self.connect_timeout_seconds = connect_timeout_seconds
        self.read_timeout_seconds = read_timeout_seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._boottime = boottime
        self._deadline = 0.0
        self._leave_by_seconds = float("inf")
        self._abort: Future[None] = Future()
        self.unverified = False
        self.bytes_sent = self.bytes_received = 0
        self.peer_closed = self.connects_anew = self.exhausted = False

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

    def remaining(self, limit_seconds: float) -> float:
        """Seconds that one wait may take; raises TimeoutError at the request's deadline."""
        left = self._deadline - self._boottime()
        if left <= 0:
            raise TimeoutError("total timeout")
        return min(left, limit_seconds)

    def abort(self) -> None:
        """From any thread: wake whatever waits on the socket, and let nothing wait on it again."""
        with self._lock:
            if not self._abort.done():
                self._abort.set_result(None)
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # Not SSLSocket.shutdown, which takes the TLS object away under a blocked reader.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline is the request's
        local_address: str | None = None,  # noqa: ARG002 - never given
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - never given
    ) -> httpcore.NetworkStream:
        with _translated(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                self.connects_anew = True
                addresses = resolve(host, port, self.remaining(self.connect_timeout_seconds), self._abort)
                return DeadlineStream(self, self._connect_any(addresses))
            except OSError as error:
                self.exhausted = error.errno in EXHAUSTED
                raise

    def _connect_any(self, addresses: list[AddressInfo]) -> socket.socket:
        failure = OSError("the name has no address")
        for family, address in addresses:
            if self.aborted:
                raise ConnectionAbortedError("aborted")
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                self.hold(connection)
                connection.settimeout(self.remaining(self.connect_timeout_seconds))
                connection.connect(address)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                self.drop(connection)
                failure = error
            else:
                return connection
        raise failure

    def hold(self, connection: socket.socket) -> None:
        """Make it the socket that `abort` shuts down; raises ConnectionAbortedError after an abort."""
        with self._lock:
            self._socket = connection
            if self.aborted:
                raise ConnectionAbortedError("aborted")

    def drop(self, connection: socket.socket) -> None:
        """Close a socket; under the lock, so that no abort hits a file descriptor that is someone else's by now."""
        with self._lock:
            connection.close()
            self._socket = None


class DeadlineStream(httpcore.NetworkStream):
    """A connected socket as httpcore wants it; what is written leaves with the next read, in one piece."""

    def __init__(self, backend: DeadlineNetworkBackend, connection: socket.socket) -> None:
        self._backend = backend
        self._connection = connection
        self._unsent = bytearray()

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - the deadline is the request's
        self._unsent += buffer

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the deadline is the request's
        with _translated(httpcore.ReadTimeout, httpcore.ReadError):
            # A server may answer before it has read everything: what it said is worth reading.
            with contextlib.suppress(ConnectionError):
                self._send()
            return self._receive(max_bytes)

    def close(self) -> None:
        self._backend.drop(self._connection)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the deadline is the request's
    ) -> httpcore.NetworkStream:
        backend, secured = self._backend, self._connection
        with _translated(httpcore.ConnectTimeout, httpcore.ConnectError, "TLS: "):
            try:
                connection = ssl_context.wrap_socket(
                    secured, server_hostname=server_hostname, do_handshake_on_connect=False
                )
                secured = connection
                backend.hold(connection)
                connection.settimeout(backend.remaining(backend.connect_timeout_seconds))
                connection.do_handshake()
            except (OSError, ValueError) as error:
                backend.drop(secured)
                backend.unverified |= isinstance(error, ssl.SSLCertVerificationError)
                if isinstance(error, OSError):
                    raise
                raise OSError(str(error)) from error  # a host name that can't be one in a certificate
        return DeadlineStream(backend, connection)

    def get_extra_info(self, info: str) -> Any:
        if info == "socket":
            return self._connection
        if info == "is_readable":  # an idle connection with something to read was closed by the peer
            poll = select.poll()
            poll.register(self._connection, select.POLLIN)
            return bool(poll.poll(0))
        return None

    def _send(self) -> None:
        """Send all that is unsent, dropping it as the kernel takes it; raises OSError.

        A suspend between the check and the kernel's taking the bytes, or before the kernel sends what it took, is
        seen by nobody in user space: the ERP, which books an id once, and the claim's number are what is left then.
        """
        backend = self._backend
        while self._unsent:
            if backend.too_late:
                raise TimeoutError(TOO_LATE)
            self._connection.settimeout(backend.remaining(backend.read_timeout_seconds))
            count = self._connection.send(self._unsent)
            backend.bytes_sent += count
            del self._unsent[:count]

    def _receive(self, bytes_max: int) -> bytes:
        """What comes next, b"" at the end; raises OSError."""
        backend = self._backend
        self._connection.settimeout(backend.remaining(backend.read_timeout_seconds))
        try:
            data = self._connection.recv(bytes_max)
        except TimeoutError:
            raise
        except OSError:
            backend.peer_closed = True
            raise
        backend.bytes_received += len(data)
        backend.peer_closed = not data
        return data


@contextlib.contextmanager
def _translated(timeout: type[Exception], failure: type[Exception], where: str = "") -> Iterator[None]:
    """Raises httpcore's errors for those of the socket."""
    try:
        yield
    except OSError as error:
        translated = timeout if isinstance(error, TimeoutError) else failure
        raise translated(where + (str(error) or type(error).__name__)) from error
