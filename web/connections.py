"""Limits on clients of an endpoint: one request a connection, a deadline for it, and few at once."""

import asyncio
import logging
import socket
import time
from asyncio.constants import ACCEPT_RETRY_DELAY
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from network.deadline import EXHAUSTED

CONNECTIONS_AT_MOST = 64
"""Open at the same time. With one more, the oldest connection is aborted."""
SECONDS_AT_MOST = 10.0
"""From accepting a connection to the last byte of its answer. uvicorn itself has no such limit."""

REQUESTS_A_SECOND = 50.0
"""The most that are answered, so that fast clients take no time from billing."""

# A client's error must neither fill the log nor raise an alarm.
_client_logger = logging.getLogger("web.app.clients")
_client_logger.disabled = True


class RateLimiter:
    """Spaces requests evenly; the first after a pause does not wait."""

    def __init__(self) -> None:
        self._free_seconds = float("-inf")

    def wait_seconds(self, now_seconds: float) -> float:
        """For how long this request has to wait; at most what all connections together would take."""
        wait = min(max(0.0, self._free_seconds - now_seconds), CONNECTIONS_AT_MOST / REQUESTS_A_SECOND)
        self._free_seconds = now_seconds + wait + 1 / REQUESTS_A_SECOND
        return wait


class ListeningSocket(socket.socket):
    """Counts connections from accepting on; with more than may be open, the oldest is shut down.

    A client that never shakes hands for TLS has no `Connection` yet that could be aborted, and keeps a descriptor.
    """

    def __init__(self, family: socket.AddressFamily, connections_at_most: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._connections_at_most = connections_at_most
        self._accepted: list[socket.socket] = []
        self._failed_seconds = float("-inf")

    def accept(self) -> tuple[socket.socket, Any]:
        """As any socket; without descriptors it fails once a pause of asyncio's, which would log each of many tries."""
        if time.monotonic() - self._failed_seconds < ACCEPT_RETRY_DELAY / 2:
            raise BlockingIOError
        try:
            connection, peer = super().accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                self._failed_seconds = time.monotonic()
            raise
        self._accepted = [each for each in self._accepted if each.fileno() >= 0] + [connection]
        if len(self._accepted) > self._connections_at_most:
            with suppress(OSError):  # its client was quicker
                self._accepted.pop(0).shutdown(socket.SHUT_RDWR)
        return connection, peer


class EndpointLoop(asyncio.SelectorEventLoop):
    """The event loop of an endpoint: TLS's handshake, too, has a deadline, which uvicorn can't set."""

    async def create_server(self, *arguments: Any, ssl: Any = None, **named: Any) -> asyncio.Server:
        seconds = None if ssl is None else SECONDS_AT_MOST
        return await super().create_server(*arguments, ssl=ssl, ssl_handshake_timeout=seconds, **named)


class Connection(H11Protocol):
    """One connection of an endpoint; the client may be slow or broken, or one of a thousand."""

    connections_at_most = CONNECTIONS_AT_MOST

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = _client_logger
        self.opened_at_seconds = time.monotonic()
        self._deadline: asyncio.TimerHandle | None = None
        app = self.app

        async def with_connection(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "billingd.connection": self}, receive, send)

        self.app = with_connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection; aborts the oldest if there are too many."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(SECONDS_AT_MOST, self.abort)
        if len(self.connections) > self.connections_at_most:
            open_ones = (each for each in self.connections if isinstance(each, Connection))
            min(open_ones, key=lambda each: each.opened_at_seconds).abort()

    def extend_deadline(self, seconds: float) -> None:
        """Lets an answer that is a stream take `seconds` more than any other."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds + SECONDS_AT_MOST, self.abort)

    def data_received(self, data: bytes) -> None:
        """Reads on; a client that breaks the protocol is disconnected."""
        try:
            super().data_received(data)
        except Exception:  # noqa: BLE001 - whatever a client sends ends its connection, and nothing else
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def abort(self) -> None:
        """Ends the connection at once, whatever is still to be sent."""
        self.connections.discard(self)
        self.transport.abort()
