"""Owns the fake ERP's answers that no web framework would give: cut, reset, trickled, or never."""

import asyncio
import contextlib
import http.client
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from altibiz.fake.faults import Fault

Transports = dict[tuple[str, int], asyncio.Transport]
"""The open connections by the peer's address, which the scope of a request names."""

RESET_LINGER: Final = struct.pack("ii", 1, 0)
"""SO_LINGER that makes closing a reset."""

Act = Callable[[asyncio.Transport], Awaitable[None]]


def tracking_protocol(transports: Transports) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which also keeps `transports`: ASGI has no way down to the connection."""

    class TrackingProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client is not None:
                transports[self.client] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            if self.client is not None:
                transports.pop(self.client, None)
            super().connection_lost(exc)

    return TrackingProtocol


class RawResponse(Response):
    """An answer given on the connection itself; ASGI hears of it as a client that has gone."""

    def __init__(self, transports: Transports, act: Act) -> None:
        super().__init__()
        self._transports = transports
        self._act = act

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - bypassed
        transport = self._transports.get(tuple(scope["client"]))
        if transport is not None:
            await self._act(transport)
        while (await receive())["type"] != "http.disconnect":
            pass


async def reset(transport: asyncio.Transport) -> None:
    """End the connection with a TCP reset."""
    with contextlib.suppress(OSError):
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_LINGER)
    transport.abort()


async def never(_: asyncio.Transport) -> None:
    """Leave the peer waiting until it goes."""


def cut(answer: Response) -> Act:
    """Send half of the body, then close."""

    async def act(transport: asyncio.Transport) -> None:
        data = _as_bytes(answer)
        transport.write(data[: len(data) - len(answer.body) // 2 - 1])
        transport.close()

    return act


def trickle(answer: Response, pause_seconds: float) -> Act:

    async def act(transport: asyncio.Transport) -> None:
        for byte in _as_bytes(answer):
            if transport.is_closing():
                return
            transport.write(bytes([byte]))
            await asyncio.sleep(pause_seconds)
        transport.close()

    return act


def _as_bytes(answer: Response) -> bytes:
    lines = [f"HTTP/1.1 {answer.status_code} {http.client.responses.get(answer.status_code, '')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode("latin-1") + bytes(answer.body)


def json_answer(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content), status, media_type="application/json")


def problem(status: int, detail: str, retry_after: str | None = None) -> Response:
    """A problem document (RFC 9457), or nothing where HTTP allows no body."""
    headers = {} if retry_after is None else {"retry-after": retry_after}
    if status in (204, 304):
        return Response(status_code=status, headers=headers)
    title = http.client.responses.get(status, "Other")
    content = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
    return Response(content, status, headers, "application/problem+json")


def nonsense(fault: Fault, booking: dict[str, Any]) -> Response:
    """A 200 that says nothing about an invoice."""
    text = json.dumps(booking)
    match fault.kind:
        case "not_json":
            return Response("booked, thank you", media_type="application/json")
        case "other_shape":
            return json_answer({"result": [booking["state"]], "ok": True})
        case "html":
            return Response("<!doctype html><title>Sign in</title>", media_type="text/html")
        case "truncated":
            return Response(text[: len(text) // 2], media_type="application/json")
        case "huge":
            return Response(b" " * fault.size_bytes + text.encode(), media_type="application/json")
        case _:  # wrong_charset
            content = json.dumps({**booking, "note": "šđčćž"}, ensure_ascii=False).encode("utf-16")
            return Response(content, media_type="application/json; charset=utf-8")
