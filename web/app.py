"""The ops endpoint: health, readiness, metrics, status and the control room, over TCP or a unix socket."""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from config.values import TcpAddress, UnixAddress
from web.connections import CONNECTIONS_AT_MOST, Connection, RateLimiter
from web.formatting import plain
from web.routes import ControlRoom

logger = logging.getLogger(__name__)

PAGE_SECONDS = 0.25
"""A page is served again for so long, so that many requests cost little more than one."""
STOP_SECONDS = 3.0


class CannotListen(Exception):  # noqa: N818 - it says what happened
    """The address of the endpoint is taken, or may not be used; the message is for people."""


@dataclass
class OpsEndpoint:
    """Serves its pages in one thread, which holds no lock that billing waits for.

    `metrics` makes the text for Prometheus out of the status document. None of the functions may block.
    """

    address: TcpAddress | UnixAddress | None
    alive: Callable[[], bool]
    ready: Callable[[], bool]
    status: Callable[[], dict[str, Any]]
    metrics: Callable[[dict[str, Any]], bytes]
    control_room: ControlRoom
    _socket: socket.socket | None = field(default=None, init=False)
    _server: uvicorn.Server | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def bind(self) -> None:
        """Takes the address before anything else is started. Raises CannotListen if somebody has it."""
        if self.address is None:
            return
        try:
            self._socket = _listening_socket(self.address)
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {self.address} (key ops.listen): {(error.strerror or str(error)).lower()}; "
                "choose another address, or off"
            ) from error

    def serve(self) -> None:
        if self._socket is None:
            return
        config = uvicorn.Config(
            _rate_limited(self._application()), http=Connection, ws="none", loop="asyncio", lifespan="off",
            log_config=None, access_log=False, headers=[("Connection", "close")], backlog=CONNECTIONS_AT_MOST,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, args=(self._server, self._socket), name="ops", daemon=True)
        self._thread.start()

    def _run(self, server: uvicorn.Server, listening: socket.socket) -> None:
        try:
            server.run(sockets=[listening])  # outside the main thread it leaves the signals alone
        except Exception:  # a bad client must not end the endpoint
            logger.exception("the ops endpoint has ended: monitoring sees nothing until a restart")

    def close(self) -> None:
        self.control_room.close()
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
        if self._socket is not None:
            self._socket.close()
        if isinstance(self.address, UnixAddress):
            self.address.path.unlink(missing_ok=True)

    def _application(self) -> Starlette:
        status = self.status
        pages: dict[str, Callable[[], Response]] = {
            "/healthz": lambda: _health_response(self.alive(), "running", "stuck"),
            "/readyz": lambda: _health_response(self.ready(), "ready", status()["verdict"]),
            "/status": lambda: Response(json.dumps(status(), default=plain), media_type="application/json"),
            "/metrics": lambda: Response(self.metrics(status()), media_type=CONTENT_TYPE_PLAIN_0_0_4),
        }
        return Starlette(
            routes=[*(Route(path, _cached_page(make)) for path, make in pages.items()), *self.control_room.routes()]
        )


def _rate_limited(app: ASGIApp) -> ASGIApp:
    limiter = RateLimiter()

    async def rate_limited(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(limiter.wait_seconds(time.monotonic()))
        await app(scope, receive, send)

    return rate_limited


def _cached_page(make: Callable[[], Response]) -> Callable[[Request], Any]:
    """A page that is made at most every PAGE_SECONDS. No page blocks, so the endpoint's own thread makes it."""
    last: tuple[float, Response] | None = None

    async def page(_: Request) -> Response:
        nonlocal last
        now = time.monotonic()
        if last is None or now - last[0] > PAGE_SECONDS:
            try:
                last = (now, make())
            except Exception:  # a bad client must not end the endpoint
                logger.exception("a page of the ops endpoint could not be made")
                return PlainTextResponse("this page could not be made; the log says why\n", status_code=500)
        return last[1]

    return page


def _health_response(good: bool, yes: str, no: str) -> Response:
    return PlainTextResponse((yes if good else no) + "\n", status_code=200 if good else 503)


def _listening_socket(address: TcpAddress | UnixAddress) -> socket.socket:
    """A unix socket that a killed predecessor left is replaced; one that somebody answers on is not. Raises OSError."""
    if isinstance(address, UnixAddress):
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if isinstance(address, UnixAddress):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
                if address.path.is_socket() and other.connect_ex(str(address.path)) != 0:
                    address.path.unlink()
            listening.bind(str(address.path))
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((address.host, address.port))
        listening.listen(CONNECTIONS_AT_MOST)
    except OSError:
        listening.close()
        raise
    return listening
