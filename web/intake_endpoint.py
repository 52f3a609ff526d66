"""The endpoint that gateways post to: each body is on disk in the inbox before it is answered, whatever is away."""

import asyncio
import errno
import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import yaml
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from config.sections import IntakeSettings
from files.content_id import CONTENT_ID
from intake.posting import KeyTaken, Postbox, Upload
from persistence.connection.database import Database
from persistence.imports import find
from web.background_queries import BackgroundQueries, DatabaseUnavailable
from web.connections import Connection
from web.formatting import plain
from web.server import HttpServer

logger = logging.getLogger(__name__)

Kind = Literal["readings", "master"]
PACKED = {"", "application/gzip", "application/x-gzip", "application/octet-stream"}
MEDIA_TYPES: dict[Kind, set[str]] = {
    "readings": {"text/csv", *PACKED},
    "master": {"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", *PACKED},
}
BLOCK_BYTES = 1 << 18
KEY_CHARACTERS = 200
RETRY_SECONDS = "30"
NO_IMPORT = "there is no import with this id"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class IntakeConnection(Connection):
    """One of as many gateways as there may be; whoever has shown the token has a deadline a block."""

    connections_at_most = 1024


class Refused(Exception):  # noqa: N818 - an answer
    """What is answered instead of 202."""

    def __init__(self, status: int, why: str, **headers: str) -> None:
        super().__init__(why)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.response = JSONResponse({"error": why}, status, named)


class IntakeEndpoint(HttpServer):
    """Works without the database; only what became of an import is asked of it."""

    def __init__(
        self,
        settings: Callable[[], IntakeSettings],
        token: Callable[[], str | None],
        connect: Callable[[str], Database],
    ) -> None:
        """`settings` and `token` are those in force at each request; its address is that of now."""
        intake = settings()
        pair = intake.certificate_file, intake.key_file
        certificate = (pair[0], pair[1]) if pair[0] is not None and pair[1] is not None else None
        super().__init__(intake.address, "intake.listen", "intake", IntakeConnection, certificate)
        self._settings = settings
        self._token = token
        self._postbox = Postbox(intake.inbox or Path())
        self._queries = BackgroundQueries(connect)

    def application(self) -> Starlette:
        routes = [
            Route("/v1/readings", self._answered(partial(self._post, "readings")), methods=["POST"]),
            Route("/v1/master", self._answered(partial(self._post, "master")), methods=["POST"]),
            Route("/v1/imports/{id}", self._answered(self._show)),
            Route("/v1/openapi.json", _openapi),
        ]
        return Starlette(routes=routes)

    def _answered(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Asks for the token, and turns what goes wrong into a clear answer."""

        async def answered(request: Request) -> Response:
            try:
                self._authenticate(request)
                return await answer(request)
            except Refused as refused:
                return refused.response
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it, and nothing was taken
            except OSError as error:
                logger.warning("a post was not taken: %s", error)
                status = 507 if error.errno in NO_ROOM else 503
                why = f"the inbox can't be written: {(error.strerror or str(error)).lower()}"
                return Refused(status, why, Retry_After=RETRY_SECONDS).response

        return answered

    def _authenticate(self, request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        token = self._token()
        right = token is not None and hmac.compare_digest(given.strip().encode(), token.encode())
        if scheme.lower() != "bearer" or not right:
            raise Refused(401, "show the token of intake.token_file: Authorization: Bearer", WWW_Authenticate="Bearer")

    async def _post(self, kind: Kind, request: Request) -> Response:
        settings = self._settings()
        key = _checked_headers(kind, request)
        length = request.headers.get("content-length", "")
        announced = int(length) if length.isdecimal() else 0
        if announced > settings.max_body_bytes:
            raise Refused(413, f"the body has more than {settings.max_body_bytes} bytes")
        if await asyncio.to_thread(self._postbox.waiting_bytes) + announced > settings.max_waiting_bytes:
            raise Refused(429, "too much waits in the inbox: post it again later", Retry_After=RETRY_SECONDS)
        upload = await asyncio.to_thread(Upload, self._postbox)
        try:
            await self._receive(request, upload, settings.max_body_bytes)
            peer = request.client.host if request.client else "local"
            import_id = await asyncio.to_thread(self._postbox.accept, upload, kind, key, peer)
        except KeyTaken:
            raise Refused(422, "other content waits with the same Idempotency-Key") from None
        finally:
            await asyncio.to_thread(upload.close)
        where = {"Location": f"/v1/imports/{import_id}"}
        return JSONResponse({"id": import_id, "state": "queued"}, 202, where)

    async def _receive(self, request: Request, upload: Upload, bytes_at_most: int) -> None:
        connection: Connection = request.scope["billingd.connection"]
        block = bytearray()
        async for chunk in request.stream():
            connection.extend_deadline(0)
            block += chunk
            if upload.size_bytes + len(block) > bytes_at_most:
                raise Refused(413, f"the body has more than {bytes_at_most} bytes")
            if len(block) >= BLOCK_BYTES:
                await asyncio.to_thread(upload.write, bytes(block))
                block.clear()
        if block:
            await asyncio.to_thread(upload.write, bytes(block))

    async def _show(self, request: Request) -> Response:
        import_id = request.path_params["id"]
        if not CONTENT_ID.fullmatch(import_id):
            raise Refused(404, NO_IMPORT)
        if await asyncio.to_thread(self._postbox.is_waiting, import_id):
            return JSONResponse({"id": import_id, "state": "queued"})
        try:
            found = await self._queries.run(lambda connection: find(connection, import_id, limit=1))
        except DatabaseUnavailable as error:
            raise Refused(503, str(error), Retry_After=RETRY_SECONDS) from error
        if not found:
            raise Refused(404, NO_IMPORT)
        return Response(json.dumps(found[0], default=plain), media_type="application/json")


def _checked_headers(kind: Kind, request: Request) -> str | None:
    """The Idempotency-Key, None without one. Raises Refused for what can't be taken."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if media_type not in MEDIA_TYPES[kind] or encoding not in ("identity", "gzip"):
        known = ", ".join(sorted(MEDIA_TYPES[kind] - {""}))
        raise Refused(415, f"post {kind} as {known}, plain or with Content-Encoding: gzip")
    key = request.headers.get("idempotency-key")
    if key is not None and not (key.isprintable() and 0 < len(key) <= KEY_CHARACTERS):
        raise Refused(400, f"an Idempotency-Key has 1 to {KEY_CHARACTERS} printable characters")
    return key


async def _openapi(_: Request) -> Response:
    document: Any = yaml.safe_load(Path(__file__).with_name("intake-openapi.yaml").read_text("utf-8"))
    return JSONResponse(document)
