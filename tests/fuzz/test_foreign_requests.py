"""Every request to the ops endpoint and the intake, as bytes: an answer or none, never a crash, a hang or a 500."""

import asyncio
import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from config.sections import IntakeSettings, OpsSettings
from intake.inbox import POSTED
from persistence.connection.database import ConnectionSettings, Database
from tests.support.fuzzing import TIMEOUT_SECONDS, fuzz
from tests.support.invoice_rows import add_invoices, add_users
from tests.support.small_load import HEADER
from web.app import OpsEndpoint
from web.connections import Connection
from web.intake_endpoint import IntakeConnection, IntakeEndpoint
from web.routes import ControlRoom

TOKEN = "0123456789abcdef"
BEARER = ("Host: 127.0.0.1:9464", f"Authorization: Bearer {TOKEN}")
ANSWERED_WITHIN_SECONDS = 20.0
BODY_BYTES_AT_MOST = 15_000


class KeptOpen(Database):
    """A connection that is not opened anew for each query."""

    def __exit__(self, *_: object) -> None: ...


class _Transport(asyncio.Transport):
    """The end of a connection where a client would be."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...


class Conversations:
    """One connection after another to an application: the client sends its bytes, and then nothing more."""

    def __init__(self, application: ASGIApp, protocol: type[Connection]) -> None:
        self._application = application
        self._loop = asyncio.new_event_loop()
        self._config = uvicorn.Config(
            self._ended_when_starved, http=protocol, ws="none", lifespan="off", log_config=None, interface="asgi3",
            headers=[("Connection", "close")],
        )  # fmt: skip
        self._config.load()
        self._protocol = protocol

    def answer(self, content: bytes) -> bytes:
        """All that the client is sent."""
        return self._loop.run_until_complete(asyncio.wait_for(self._converse(content), ANSWERED_WITHIN_SECONDS))

    async def _converse(self, content: bytes) -> bytes:
        state, transport = ServerState(), _Transport()
        self._open = self._protocol(config=self._config, server_state=state, app_state={}, _loop=self._loop)
        self._open.connection_made(transport)
        if content:  # a transport gives nothing else; to the parser no bytes are the end
            self._open.data_received(content)
        while state.tasks:
            await asyncio.wait(state.tasks)
            await asyncio.sleep(0)  # a task that is done leaves the set in the loop's next round
        self._open.connection_lost(None)
        return transport.written

    async def _ended_when_starved(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A client that has announced more than it sends hangs up when the rest is waited for."""

        async def received() -> Any:
            cycle = self._open.cycle
            if cycle.more_body and not cycle.body:
                self._open.connection_lost(None)
            return await receive()

        await self._application(scope, received, send)


def request(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", *BEARER, *headers, "", ""]).encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    return request("POST", path, *headers, f"Content-Length: {len(body)}") + body


def checked(conversations: Conversations, *answers: int) -> Callable[[bytes], bytes]:
    """A parser that gives what was answered; each status is one of `answers`."""

    def parse(content: bytes) -> bytes:
        written = conversations.answer(content)
        statuses = [int(status) for status in re.findall(rb"^HTTP/1\.1 (?!100 )(\d{3}) ", written, re.MULTILINE)]
        assert set(statuses) <= set(answers), written[:300]
        return written

    return parse


@pytest.fixture
def kept(database_url: str) -> Iterator[Callable[[str], Database]]:
    with Database(ConnectionSettings.from_url(database_url)) as database, database.transaction() as connection:
        add_users(connection, 3)
        add_invoices(connection, "held", range(1, 3), held_code="erp_refused_invoice", reason="no")
    kept = KeptOpen(ConnectionSettings.from_url(database_url))
    yield lambda _: kept
    kept.close()


@pytest.mark.timeout(TIMEOUT_SECONDS)
def test_no_request_crashes_or_hangs_the_ops_endpoint(kept: Callable[[str], Database]) -> None:
    status = {"verdict": "well", "running": True, "instance": "here", "alarms": [], "invoices": {"held": 2}}
    room = ControlRoom(
        instance="here", token=lambda: TOKEN, settings=OpsSettings, status=lambda: status, connect=kept
    )  # fmt: skip
    endpoint = OpsEndpoint(
        None, alive=lambda: True, ready=lambda: True, status=lambda: status, metrics=lambda _: b"", control_room=room
    )
    form = "Content-Type: application/x-www-form-urlencoded"
    invoice = "/room/invoices/NU-0001.2026-10.1"
    samples = [
        request("GET", "/status"),
        request("GET", "/room/invoices?state=held&period=2026-10&beginning=NU&after=NU-0001.2026-10.1", "Cookie: a=b"),
        request("GET", f"{invoice}?said=goes-on", "X-Forwarded-For: 192.0.2.1"),
        request("GET", "/room/imports?refused=1"),
        post("/room/sign-in", f"token={TOKEN}&name=ana&next_page=/room".encode(), form, "Origin: http://127.0.0.1"),
        post(f"{invoice}/retry", b"reason=again", form, "Sec-Fetch-Site: same-origin"),
    ]
    parse = checked(
        Conversations(endpoint.application(), Connection), 200, 303, 400, 401, 403, 404, 405, 409, 421, 429
    )  # fmt: skip
    fuzz(samples, parse)
    endpoint.close()


@pytest.mark.timeout(TIMEOUT_SECONDS)
def test_no_post_crashes_or_hangs_the_intake_nor_leaves_anything_behind(
    kept: Callable[[str], Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # what a power cut leaves is not the question, and takes time
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    settings = IntakeSettings(inbox=inbox, max_body_bytes=BODY_BYTES_AT_MOST, max_waiting_bytes=1_000_000)
    endpoint = IntakeEndpoint(lambda: settings, lambda: TOKEN, kept)
    answered = checked(
        Conversations(endpoint.application(), IntakeConnection), 200, 202, 400, 401, 404, 405, 413, 415
    )  # fmt: skip

    def parse(content: bytes) -> None:
        accepted = {found.decode() for found in re.findall(rb'"id":"([0-9a-f]+)","state":"queued"', answered(content))}
        taken = [path for path in inbox.iterdir() if path.is_file()]
        assert all(POSTED.fullmatch(path.name) for path in taken)
        assert {path.name.partition("@")[0] for path in taken} == accepted
        assert list((inbox / ".spool").glob("*")) == []
        for path in taken:
            assert path.stat().st_size <= BODY_BYTES_AT_MOST
            path.unlink()

    rows = (HEADER + "meter-1,2026-10-01T00:00:00Z,1,1,0,0,0,0\n" * 3).encode()
    packed = gzip.compress(rows, mtime=0)
    chunked = f"{len(rows):x}\r\n".encode() + rows + b"\r\n0\r\n\r\n"
    samples = [
        post("/v1/readings", rows, "Content-Type: text/csv", "Idempotency-Key: 5f2c"),
        post("/v1/readings", packed, "Content-Type: application/gzip", "Expect: 100-continue"),
        post("/v1/readings", packed, "Content-Encoding: gzip", "X-Forwarded-For: 192.0.2.1"),
        post("/v1/master", b"locations:\n- id: l-1\n", "Content-Type: application/yaml"),
        request("POST", "/v1/readings", "Transfer-Encoding: chunked") + chunked,
        request("GET", "/v1/imports/0123456789abcdef0123456789abcdef"),
        request("GET", "/v1/openapi.json"),
    ]
    fuzz(samples, parse)
    endpoint.close()
