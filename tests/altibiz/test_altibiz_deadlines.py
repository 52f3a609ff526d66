"""The client's deadlines on real sockets: no peer, name or thread makes a call last longer."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from altibiz.client import AltibizClient
from billing.erp_answers import Outcome, OutcomeKind
from network import resolver
from testkit.waiting import becomes_true
from tests.support.altibiz_samples import (
    INVOICE,
    TOTAL,
    booking,
    client_of,
    http_answer,
    offer_body,
    offer_to,
    peer,
    read_request,
    wait_for_end,
)

pytestmark = pytest.mark.slow

TOTAL_TIMEOUT_SECONDS = 2.0
SOME_MORE_SECONDS = 1.0


def test_silence_ends_with_the_read_timeout() -> None:
    found = offer_to(wait_for_end)
    assert found.kind is OutcomeKind.UNREACHABLE
    assert found.request_left
    assert 0.9 <= found.duration_seconds < 1.0 + SOME_MORE_SECONDS


def test_the_total_timeout_cuts_a_longer_read_timeout_short() -> None:
    found = offer_to(wait_for_end, read_timeout_seconds=20.0, total_timeout_seconds=0.5)
    assert found.kind is OutcomeKind.UNREACHABLE
    assert 0.4 <= found.duration_seconds < 0.5 + SOME_MORE_SECONDS


def test_a_total_that_is_over_at_once_sends_nothing() -> None:
    found = client_of("http://127.0.0.1:9/api/v1", total_timeout_seconds=0.0).ask(INVOICE, TOTAL)
    assert (found.kind, found.request_left) == (OutcomeKind.UNREACHABLE, False)
    assert "total timeout" in found.detail


def test_one_byte_at_a_time_ends_with_the_total_timeout() -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        stop = threading.Event()
        try:
            for byte in http_answer(booking()):
                connection.send(bytes([byte]))
                stop.wait(0.05)
        except OSError:
            pass

    found = offer_to(serve)
    assert found.kind is OutcomeKind.UNREACHABLE
    assert "total timeout" in found.detail or "timed out" in found.detail
    assert 1.9 <= found.duration_seconds < TOTAL_TIMEOUT_SECONDS + SOME_MORE_SECONDS


def test_a_peer_that_takes_the_request_a_byte_at_a_time_is_given_up() -> None:
    done = threading.Event()

    def serve(connection: socket.socket) -> None:
        while not done.wait(0.02):
            connection.recv(1)

    with peer(serve) as url:
        body = b" " * 20_000_000  # more than any socket buffer takes
        found = client_of(url).offer(INVOICE, body, TOTAL)
        done.set()
    assert found.kind is OutcomeKind.UNREACHABLE
    assert found.request_left
    assert found.duration_seconds < TOTAL_TIMEOUT_SECONDS + SOME_MORE_SECONDS


def test_a_name_that_is_none_is_unreachable() -> None:
    found = client_of("http://altibiz.invalid/api/v1").offer(INVOICE, offer_body(), TOTAL)
    assert found.kind is OutcomeKind.UNREACHABLE
    assert not found.request_left
    assert found.duration_seconds < TOTAL_TIMEOUT_SECONDS + SOME_MORE_SECONDS


def test_a_lookup_that_hangs_is_given_up_and_costs_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    lookups = 0

    def hang(host: str, port: int, flags: int) -> list[resolver.AddressInfo]:
        nonlocal lookups
        if flags:
            raise socket.gaierror
        lookups += 1
        release.wait(20)
        raise socket.gaierror("released")

    monkeypatch.setattr(resolver, "_getaddrinfo", hang)
    with ThreadPoolExecutor(4) as pool:
        clients = [client_of("http://slow.invalid/api/v1") for _ in range(4)]
        outcomes = list(pool.map(lambda client: client.ask(INVOICE, TOTAL), clients))
    release.set()
    assert {found.kind for found in outcomes} == {OutcomeKind.UNREACHABLE}
    assert max(found.duration_seconds for found in outcomes) < TOTAL_TIMEOUT_SECONDS + SOME_MORE_SECONDS
    assert lookups == 1


def abort_soon(client: AltibizClient, ready: threading.Event) -> Outcome:
    """The outcome of a question that is aborted once `ready` is set."""

    def abort() -> None:
        assert ready.wait(10)
        client.abort()

    thread = threading.Thread(target=abort)
    thread.start()
    found = client.ask(INVOICE, TOTAL)
    thread.join(10)
    return found


def test_an_abort_from_another_thread_ends_a_wait_for_the_answer() -> None:
    ready = threading.Event()

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        ready.set()
        wait_for_end(connection)

    with peer(serve) as url:
        client = client_of(url, read_timeout_seconds=30.0, total_timeout_seconds=30.0)
        found = abort_soon(client, ready)
        assert found.kind is OutcomeKind.UNREACHABLE
        assert found.detail == "aborted"
        assert found.duration_seconds < 5
        client.abort()
        assert client.ask(INVOICE, TOTAL).kind is OutcomeKind.NOT_SENT


def test_an_abort_ends_a_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    release, looking = threading.Event(), threading.Event()

    def hang(host: str, port: int, flags: int) -> list[resolver.AddressInfo]:
        if flags:
            raise socket.gaierror
        looking.set()
        release.wait(20)
        raise socket.gaierror("released")

    monkeypatch.setattr(resolver, "_getaddrinfo", hang)
    client = client_of("http://slower.invalid/api/v1", connect_timeout_seconds=30.0, total_timeout_seconds=30.0)
    found = abort_soon(client, looking)
    release.set()
    assert found.detail == "aborted"
    assert not found.request_left
    assert found.duration_seconds < 5


def test_an_abort_ends_a_connection_attempt() -> None:
    """A listener whose queue is full leaves the next one waiting."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        url = f"http://127.0.0.1:{port}/api/v1"
        timed_out = client_of(url, connect_timeout_seconds=0.3).ask(INVOICE, TOTAL)
        assert timed_out.kind is OutcomeKind.UNREACHABLE
        assert 0.25 <= timed_out.duration_seconds < SOME_MORE_SECONDS + 0.3
        client = client_of(url, connect_timeout_seconds=30.0, total_timeout_seconds=30.0)
        connecting = threading.Event()
        threading.Thread(target=wait_until_held, args=(client, connecting)).start()
        found = abort_soon(client, connecting)
        for filler in fillers:
            filler.close()
    assert found.detail == "aborted"
    assert not found.request_left
    assert found.duration_seconds < 5


def wait_until_held(client: AltibizClient, held: threading.Event) -> None:
    becomes_true(lambda: client._network._socket is not None, within_seconds=10)
    held.set()
