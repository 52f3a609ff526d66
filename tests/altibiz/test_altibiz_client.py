"""The client on real sockets: whatever a peer does, a call ends in time with an outcome."""

import itertools
import json
import logging
import socket
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from altibiz.client import PAGE_BOOKINGS, AltibizClient
from altibiz.fake.answers import RESET_LINGER
from altibiz.outcomes import Page
from billing.erp_answers import Outcome, OutcomeKind
from network.deadline import DeadlineNetworkBackend, DeadlineStream
from tests.support.altibiz_samples import (
    INVOICE,
    TOTAL,
    Clock,
    booking,
    client_of,
    http_answer,
    invoice_id,
    offer_body,
    offer_to,
    peer,
    read_request,
    wait_for_end,
)

TOTAL_TIMEOUT_SECONDS = 2.0
SOME_MORE_SECONDS = 1.0


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_LINGER)
    connection.close()


def reset_in_the_request(connection: socket.socket) -> None:
    connection.recv(1)
    reset(connection)


def reset_after_the_request(connection: socket.socket) -> None:
    read_request(connection)
    reset(connection)


def answer_with(data: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(data)

    return serve


def test_an_offer_leaves_whole_and_its_answer_is_read() -> None:
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(http_answer(booking(), "201 Created"))

    found = offer_to(serve, token="s3cret")
    assert found.kind is OutcomeKind.BOOKED
    assert found.request_left
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert body == offer_body()
    assert head.startswith(f"PUT /api/v1/network-user-invoices/{INVOICE} HTTP/1.1\r\n".encode())
    assert b"authorization: bearer s3cret" in head.lower()


def test_a_refused_connection_is_unreachable_and_nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = 0
    hold = DeadlineNetworkBackend.hold

    def counted(self: DeadlineNetworkBackend, connection: socket.socket) -> None:
        nonlocal attempts
        attempts += 1
        hold(self, connection)

    monkeypatch.setattr(DeadlineNetworkBackend, "hold", counted)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found = client_of(f"http://127.0.0.1:{port}/api/v1").offer(INVOICE, offer_body(), TOTAL)
    assert found.kind is OutcomeKind.UNREACHABLE
    assert not found.request_left
    assert "refused" in found.detail
    assert attempts == 1


@pytest.mark.parametrize(
    "serve",
    [
        reset_in_the_request,
        reset_after_the_request,
        answer_with(b""),
        answer_with(http_answer(booking())[:30]),
        answer_with(http_answer(booking(), length=5000)),
    ],
    ids=["reset in", "reset after", "closed after", "cut in the head", "cut in the body"],
)
def test_a_connection_that_ends_is_unreachable(serve: Callable[[socket.socket], None]) -> None:
    found = offer_to(serve)
    assert found.kind is OutcomeKind.UNREACHABLE
    assert found.duration_seconds < SOME_MORE_SECONDS


def test_a_connection_that_is_reset_before_the_request_is_unreachable() -> None:
    """Without a bound of its own: a reset that crosses the handshake may be lost, and shows as silence."""
    assert offer_to(reset).kind is OutcomeKind.UNREACHABLE


def test_a_status_that_says_all_needs_no_whole_body() -> None:
    cut = http_answer(b"{", "503 Service Unavailable", length=500, extra="retry-after: 9\r\n")
    found = offer_to(answer_with(cut))
    assert found.kind is OutcomeKind.ERROR
    assert found.retry_after_seconds == 9
    assert offer_to(answer_with(http_answer(b" " * 2_000_000, "422 No"))).kind is OutcomeKind.REFUSED


def test_what_is_not_http_is_nonsense() -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"220 mail.example ESMTP\r\n\r\n")
        wait_for_end(connection)

    assert offer_to(serve).kind is OutcomeKind.NONSENSE


def test_a_huge_body_is_nonsense_and_not_read_to_its_end() -> None:
    sent = 0

    def serve(connection: socket.socket) -> None:
        nonlocal sent
        read_request(connection)
        size = 50_000_000
        connection.sendall(http_answer(b"", length=size))
        try:
            while sent < size:
                sent += connection.send(b" " * 100_000)
        except OSError:
            pass

    found = offer_to(serve)
    assert found.kind is OutcomeKind.NONSENSE
    assert sent < 30_000_000


def test_a_body_said_to_be_compressed_is_not_taken() -> None:
    said_to_be = http_answer(booking(), extra="content-encoding: gzip\r\n")
    found = offer_to(answer_with(said_to_be))
    assert found.kind is OutcomeKind.NONSENSE


@pytest.mark.parametrize("place", ["http://elsewhere.example/", "http://[not-a-url", ""])
def test_a_redirect_is_not_followed(place: str) -> None:
    found = offer_to(answer_with(http_answer(b"", "302 Found", extra=f"location: {place}\r\n")))
    assert found.kind is OutcomeKind.NOT_CONTRACT
    assert found.status == 302
    assert "/network-user-invoices/" in found.detail


def test_a_cookie_is_not_sent_back() -> None:
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        for _ in range(2):
            seen.append(read_request(connection))
            connection.sendall(http_answer(booking(), extra="set-cookie: session=1; Path=/\r\n"))

    with peer(serve) as url:
        client = client_of(url)
        assert client.ask(INVOICE, TOTAL).kind is OutcomeKind.BOOKED
        assert client.ask(INVOICE, TOTAL).kind is OutcomeKind.BOOKED
    assert b"cookie" not in seen[1].lower()


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert offer_to(answer_with(http_answer(booking()))).kind is OutcomeKind.BOOKED


def test_a_kept_connection_is_used_again_and_a_dead_one_replaced() -> None:
    """The peer closes after each second answer: no request may be lost on the connection it closed."""
    connections = 0

    def serve(connection: socket.socket) -> None:
        nonlocal connections
        connections += 1
        for _ in range(2):
            of = read_request(connection).split()[1].rpartition(b"/")[2].decode()
            connection.sendall(http_answer(booking(of)))

    with peer(serve, times=3) as url:
        client = client_of(url)
        for number in range(6):
            assert client.ask(invoice_id(number), TOTAL).kind is OutcomeKind.BOOKED
            if number % 2:
                wait_until_readable(client)
        client.close()
    assert connections == 3


def wait_until_readable(client: AltibizClient) -> None:
    """Until the peer's end of a kept connection has come in."""
    kept = client._network._socket
    if kept is not None:  # else it was seen and dropped already
        kept.settimeout(5)
        assert kept.recv(1, socket.MSG_PEEK) == b""


def test_a_request_is_sent_twice_only_if_none_of_it_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept connection is broken after httpcore looked and before the first byte: safe to send anew."""
    monkeypatch.setattr(DeadlineStream, "get_extra_info", lambda *_: None)  # as if it looked a moment too early
    requests = 0

    def serve(connection: socket.socket) -> None:
        nonlocal requests
        read_request(connection)
        requests += 1
        connection.sendall(http_answer(booking()))
        if requests == 1:
            reset(connection)

    with peer(serve, times=2) as url:
        client = client_of(url)
        assert client.ask(INVOICE, TOTAL).kind is OutcomeKind.BOOKED
        kept = client._network._socket
        assert kept is not None
        kept.settimeout(5)
        try:
            kept.recv(1, socket.MSG_PEEK)
            kept.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the reset is in
        assert client.ask(INVOICE, TOTAL).kind is OutcomeKind.BOOKED
    assert requests == 2


def test_a_request_that_may_have_arrived_is_not_sent_again() -> None:
    requests = 0

    def serve(connection: socket.socket) -> None:
        nonlocal requests
        for _ in range(2):
            read_request(connection)
            requests += 1
            if requests == 1:
                connection.sendall(http_answer(booking()))

    with peer(serve, times=2) as url:
        client = client_of(url)
        assert client.offer(INVOICE, offer_body(), TOTAL).kind is OutcomeKind.BOOKED
        found = client.offer(INVOICE, offer_body(), TOTAL)
        assert found.kind is OutcomeKind.UNREACHABLE
        assert found.request_left
        assert requests == 2
        client.ask(INVOICE, TOTAL)  # lets the peer end


def test_a_page_that_cannot_be_had_is_an_outcome() -> None:
    with peer(answer_with(http_answer(b'{"bookings": [], "next": null}'))) as url:
        page = client_of(url).page()
    assert page == Page((), None)
    with peer(reset) as url:
        found = client_of(url).page()
    assert isinstance(found, Outcome)
    assert found.kind is OutcomeKind.UNREACHABLE


@pytest.mark.parametrize(
    "url",
    ["", "erp.example", "ftp://erp.example", "http://", "http://user:pw@erp.example", "http://e?a=1"],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="the ERP's address"):
        AltibizClient(url, now=Clock())


@pytest.mark.parametrize("token", ["", "s3cret b", "s3cret\nb", "s3cretž", "s3cret\0"])
def test_a_token_that_is_none_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ValueError, match="token") as caught:
        AltibizClient("http://127.0.0.1:1", now=Clock(), token=token)
    assert "s3cret" not in str(caught.value)


def test_an_answer_too_many_spoils_one_question_and_not_those_that_follow() -> None:
    def serve(connection: socket.socket) -> None:
        for _ in range(2):
            if of := read_request(connection).split()[1:2]:
                name = of[0].rpartition(b"/")[2].decode()
                connection.sendall(http_answer(booking(name)) + http_answer(booking("NU-9999.2026-10.1")))

    with peer(serve, times=4) as url:
        client = client_of(url)
        kinds = [client.ask(invoice_id(number), TOTAL).kind for number in range(6)]
        client.close()
    assert kinds[0] is OutcomeKind.BOOKED
    assert set(kinds) <= {OutcomeKind.BOOKED, OutcomeKind.INCORRECT}
    assert (OutcomeKind.INCORRECT, OutcomeKind.INCORRECT) not in itertools.pairwise(kinds)


def test_no_request_is_logged_by_the_libraries(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert offer_to(answer_with(http_answer(booking())), token="s3cret").kind is OutcomeKind.BOOKED
    assert caplog.records == []


def test_the_token_is_in_no_representation_and_no_outcome() -> None:
    client = client_of("http://127.0.0.1:1/api/v1", token="s3cret")
    found = client.offer(INVOICE, offer_body(), Decimal(1))
    assert "s3cret" not in repr(client) + repr(found) + repr(vars(client)["_connection"])
    client.close()


def test_a_ca_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ca_file"):
        AltibizClient("https://127.0.0.1:1", now=Clock(), ca_file=tmp_path / "none.pem")


def test_the_longest_page_that_the_contract_allows_is_taken() -> None:
    bookings = [
        {
            "network_user_invoice_id": f"{number:064}.2026-10.1", "state": "aborted", "bill_id": None,
            "abort_reason": "\U0001f4a1" * 500, "total_with_tax_eur": "-12345678901234.123456",
        }
        for number in range(PAGE_BOOKINGS)
    ]  # fmt: skip
    body = json.dumps({"bookings": bookings, "next": bookings[-1]["network_user_invoice_id"]}).encode()
    with peer(answer_with(http_answer(body))) as url:
        page = client_of(url).page()
    assert isinstance(page, Page)
    assert len(page.bookings) == PAGE_BOOKINGS


def test_json_that_begins_with_a_byte_order_mark_is_taken() -> None:
    """RFC 8259, section 8.1: a parser may ignore it."""
    body = b"\xef\xbb\xbf" + json.dumps({"bookings": [], "next": None}).encode()
    with peer(answer_with(http_answer(body))) as url:
        assert client_of(url).page() == Page((), None)
