"""An HTTP server on an address of its own, in a thread of its own: bound early, served later, closed in order."""

import logging
import socket
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from config.values import TcpAddress, UnixAddress
from files.opening import open_regular
from web.connections import Connection, EndpointLoop, ListeningSocket

logger = logging.getLogger(__name__)
_of_server = logging.getLogger("uvicorn.error")

STOP_SECONDS = 3.0


class CannotListen(Exception):  # noqa: N818 - it says what happened
    """The address is taken, or may not be used; the message is for people."""


@dataclass
class HttpServer:
    """Serves in one thread, which holds no lock that billing waits for. Without an address it does nothing.

    `key` names the address in the configuration; `certificate` has the files of a certificate and its key for TLS.
    """

    address: TcpAddress | UnixAddress | None
    key: str
    thread_name: str
    protocol: type[Connection] = Connection
    certificate: tuple[Path, Path] | None = None
    _tls: ssl.SSLContext | None = field(default=None, init=False)
    _socket: socket.socket | None = field(default=None, init=False)
    _server: uvicorn.Server | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def bind(self) -> None:
        """Takes the address before anything else is started. Raises CannotListen if somebody has it."""
        if self.address is None:
            return
        self.read_certificate()
        try:
            self._socket = _listening_socket(self.address, self.protocol.connections_at_most)
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {self.address} (key {self.key}): {(error.strerror or str(error)).lower()}; "
                "choose another address, or off"
            ) from error

    def read_certificate(self) -> None:
        """Reads the certificate for connections that begin from now on. Raises CannotListen, and changes nothing."""
        if self.address is None or self.certificate is None:
            return
        try:
            for each in self.certificate:
                open_regular(each, follow_links=True).close()
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(*self.certificate)
        except ssl.SSLError as error:
            files = " and ".join(map(str, self.certificate))
            raise CannotListen(f"cannot speak TLS on {self.address}: {files} are no certificate and its key") from error
        except OSError as error:
            said = f"{error.filename}: {(error.strerror or str(error)).lower()}"
            raise CannotListen(f"cannot speak TLS on {self.address}: {said}") from error
        tls.sni_callback = self._take_newest
        self._tls = tls

    def _take_newest(self, connection: ssl.SSLObject, _name: str | None, _listening: ssl.SSLContext) -> None:
        """The server knows the certificate of its start; a connection gets the one that was read last."""
        assert self._tls is not None, "it listens with TLS"
        connection.context = self._tls

    def application(self) -> ASGIApp:
        """Its own."""
        raise NotImplementedError

    def serve(self, application: ASGIApp | None = None) -> None:
        """Begins to serve this, else its own application."""
        if self._socket is None:
            return
        config = uvicorn.Config(
            application or self.application(), http=self.protocol, ws="none", lifespan="off",
            loop=f"{EndpointLoop.__module__}:{EndpointLoop.__name__}",
            log_config=None, access_log=False, headers=[("Connection", "close")],
            backlog=self.protocol.connections_at_most, timeout_graceful_shutdown=1,
            ssl_context_factory=(lambda *_: tls) if (tls := self._tls) is not None else None,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._run, args=(self._server, self._socket), name=self.thread_name, daemon=True
        )
        _of_server.addFilter(self._expect_at_stop)
        self._thread.start()

    def _run(self, server: uvicorn.Server, listening: socket.socket) -> None:
        try:
            server.run(sockets=[listening])  # outside the main thread it leaves the signals alone
        except Exception as error:  # a bad client must not end the endpoint
            if server.should_exit:
                logger.warning("the endpoint of %s did not end in order: %s", self.key, error)
                return
            logger.exception("the endpoint of %s has ended: nobody is answered there until a restart", self.key)

    def _expect_at_stop(self, record: logging.LogRecord) -> bool:
        """A request that a stop cuts off is no error, which would raise an alarm: the client makes it again."""
        stops = self._server is not None and self._server.should_exit and record.threadName == self.thread_name
        if stops and record.levelno > logging.WARNING:
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True

    def close(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
            _of_server.removeFilter(self._expect_at_stop)
        if self._socket is not None:
            self._socket.close()
        if isinstance(self.address, UnixAddress):
            try:
                self.address.path.unlink(missing_ok=True)
            except OSError as error:  # the next start replaces it; a stop in order must not end as a failure for that
                logger.warning("%s: the socket can't be removed: %s", self.key, error.strerror or error)


def _listening_socket(address: TcpAddress | UnixAddress, connections_at_most: int) -> socket.socket:
    """A unix socket that a killed predecessor left is replaced; one that somebody answers on is not. Raises OSError."""
    if isinstance(address, UnixAddress):
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = ListeningSocket(family, connections_at_most)
    try:
        if isinstance(address, UnixAddress):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
                if address.path.is_socket() and other.connect_ex(str(address.path)) != 0:
                    address.path.unlink()
            listening.bind(str(address.path))
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((address.host, address.port))
        listening.listen(connections_at_most)
    except OSError:
        listening.close()
        raise
    return listening
