"""The endpoint for monitoring: health, readiness, metrics and status, over TCP or a unix socket."""

import json
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from config.values import TcpAddress, UnixAddress
from daemon.invocation import CommandFailed, plain
from daemon.metrics import render
from daemon.standing import Standings

logger = logging.getLogger(__name__)

CONNECTIONS_AT_MOST = 64
KEEP_ALIVE_SECONDS = 5


class OpsEndpoint:
    """Serves what Standings knows; it holds nothing that billing waits for."""

    def __init__(self, address: TcpAddress | UnixAddress | None, standings: Standings) -> None:
        self._address = address
        self._standings = standings
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def bind(self) -> None:
        """Takes the address before anything else is started. Raises CommandFailed if somebody has it."""
        if self._address is None:
            return
        try:
            self._socket = _unix(self._address.path) if isinstance(self._address, UnixAddress) else _tcp(self._address)
        except OSError as error:
            raise CommandFailed(
                f"cannot listen on {self._address} (key ops.listen): {(error.strerror or str(error)).lower()}; "
                "choose another address, or off"
            ) from error

    def serve(self) -> None:
        """Begins to answer, in a thread of its own."""
        if self._socket is None:
            return
        config = uvicorn.Config(
            self._application(), log_config=None, access_log=False, lifespan="off", ws="none", http="h11",
            limit_concurrency=CONNECTIONS_AT_MOST, timeout_keep_alive=KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        # Outside the main thread it leaves the signals alone.
        run, sockets = self._server.run, [self._socket]
        self._thread = threading.Thread(target=lambda: run(sockets=sockets), name="ops", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answers no more."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(3.0)
        if self._socket is not None:
            self._socket.close()
        if isinstance(self._address, UnixAddress):
            self._address.path.unlink(missing_ok=True)

    def _application(self) -> Starlette:
        standings = self._standings

        async def healthz(_: Request) -> Response:
            return _verdict(standings.running(), "running", "not running")

        async def readyz(_: Request) -> Response:
            ready = standings.database_is_there() and standings.erp_is_there()
            return _verdict(ready, "ready", standings.sentence())

        async def status(_: Request) -> Response:
            document = await run_in_threadpool(standings.document)
            return Response(json.dumps(document, default=plain), media_type="application/json")

        async def metrics(_: Request) -> Response:
            return PlainTextResponse(await run_in_threadpool(lambda: render(standings.document())))

        pages: dict[str, Callable[[Request], Any]] = {
            "/healthz": healthz, "/readyz": readyz, "/status": status, "/metrics": metrics
        }  # fmt: skip
        return Starlette(routes=[Route(path, page) for path, page in pages.items()])


def _verdict(good: bool, yes: str, no: str) -> Response:
    return PlainTextResponse((yes if good else no) + "\n", status_code=200 if good else 503)


def _tcp(address: TcpAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address.host, address.port))
        listening.listen(CONNECTIONS_AT_MOST)
    except OSError:
        listening.close()
        raise
    return listening


def _unix(path: Path) -> socket.socket:
    """A socket that a killed predecessor left is replaced; one that somebody answers on is not."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
                if other.connect_ex(str(path)) != 0:
                    path.unlink()
        listening.bind(str(path))
        listening.listen(CONNECTIONS_AT_MOST)
    except OSError:
        listening.close()
        raise
    return listening
