"""The ops endpoint: health, readiness, metrics, status and the control room, over TCP or a unix socket."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from web.connections import RateLimiter
from web.formatting import plain
from web.routes import ControlRoom
from web.server import HttpServer

logger = logging.getLogger(__name__)

PAGE_SECONDS = 0.25
"""A page is served again for so long, so that many requests cost little more than one."""


@dataclass(kw_only=True)
class OpsEndpoint(HttpServer):
    """Serves its pages in one thread, which holds no lock that billing waits for.

    `metrics` makes the text for Prometheus out of the status document. None of the functions may block.
    """

    key: str = "ops.listen"
    thread_name: str = "ops"
    alive: Callable[[], bool]
    ready: Callable[[], bool]
    status: Callable[[], dict[str, Any]]
    metrics: Callable[[dict[str, Any]], bytes]
    control_room: ControlRoom

    def serve(self, application: ASGIApp | None = None) -> None:
        super().serve(application or _rate_limited(self.application()))

    def close(self) -> None:
        self.control_room.close()
        super().close()

    def application(self) -> Starlette:
        status = self.status
        pages: dict[str, Callable[[], Response]] = {
            "/healthz": lambda: _health_response(self.alive(), "running", "stuck"),
            "/readyz": lambda: _health_response(self.ready(), "ready", status()["verdict"]),
            "/status": lambda: Response(json.dumps(status(), default=plain), media_type="application/json"),
            "/metrics": lambda: Response(self.metrics(status()), media_type=CONTENT_TYPE_PLAIN_0_0_4),
        }
        guarded = {"/status", "/metrics"}
        routes = [
            Route(path, self._guarded(_cached_page(make)) if path in guarded else _cached_page(make))
            for path, make in pages.items()
        ]
        return Starlette(routes=[*routes, *self.control_room.routes()])

    def _guarded(self, page: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def guarded(request: Request) -> Response:
            answer: Response = self.control_room.refuse_reader(request) or await page(request)
            return answer

        return guarded


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
