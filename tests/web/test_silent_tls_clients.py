"""An endpoint whose clients never shake hands for TLS, and one that has no descriptor left for a client."""

import errno
import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from config.values import TcpAddress
from testkit.erp import CERTIFICATES
from testkit.ports import free_port
from testkit.waiting import pause, wait_until
from web import connections
from web.connections import Connection
from web.server import HttpServer

CERTIFICATE = (CERTIFICATES / "trusted.pem", CERTIFICATES / "trusted-key.pem")
SILENT = 40


class Few(Connection):
    connections_at_most = 8


async def greet(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    server = HttpServer(TcpAddress("127.0.0.1", port), "intake.listen", "intake", Few, CERTIFICATE)
    server.bind()
    server.serve(greet)
    yield port
    server.close()


def ask(port: int) -> bytes:
    trust = ssl.create_default_context(cafile=CERTIFICATE[0])
    with (
        socket.create_connection(("localhost", port), 5) as plain,
        trust.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answer = b""
        while part := client.recv(4096):
            answer += part
        return answer


def open_ones(clients: list[socket.socket]) -> int:
    """How many the endpoint has not ended."""
    return len(clients) - len(select.select(clients, [], [], 0)[0])


def test_no_more_are_kept_than_the_endpoint_takes_and_others_are_answered(port: int) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 5)) for _ in range(SILENT)]
        wait_until(lambda: open_ones(clients) <= Few.connections_at_most, within_seconds=5)
        assert open_ones(clients) >= Few.connections_at_most - 1
        assert b"hello" in ask(port)


def test_one_that_never_shakes_hands_is_ended_like_one_that_never_asks(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(connections, "SECONDS_AT_MOST", 0.5)
    port = request.getfixturevalue("port")
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        wait_until(lambda: open_ones([client]) == 0, within_seconds=5)
        assert b"hello" in ask(port)


def test_without_descriptors_it_is_said_once_a_second_and_clients_wait(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = socket.socket.accept

    def exhausted(_: socket.socket) -> Any:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(socket.socket, "accept", exhausted)
    with socket.create_connection(("127.0.0.1", port), 5):
        wait_until(lambda: caplog.records)
        pause(1.5)
        monkeypatch.setattr(socket.socket, "accept", real)
        assert b"hello" in ask(port)
    assert len(caplog.records) < 10
