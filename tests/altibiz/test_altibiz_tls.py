"""The client under TLS: whom it trusts, and that the deadline covers the handshake."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

import pytest

from altibiz.fake.server import FakeAltibiz
from billing.erp_answers import OutcomeKind
from tests.support.altibiz_samples import CERTIFICATE, INVOICE, KEY, TOTAL, client_of, invoice_id, offer_body, peer


@pytest.fixture
def erp() -> Iterator[FakeAltibiz]:
    with FakeAltibiz(certificate_file=CERTIFICATE, key_file=KEY) as serving:
        yield serving


def test_a_certificate_signed_by_the_ca_file_is_accepted(erp: FakeAltibiz) -> None:
    client = client_of(erp.base_url, ca_file=CERTIFICATE)
    for number in range(3):
        of = invoice_id(number)
        assert client.offer(of, offer_body(of), TOTAL).kind is OutcomeKind.BOOKED
    client.close()


def test_a_name_with_a_dot_at_its_end_is_the_name_in_the_certificate(erp: FakeAltibiz) -> None:
    client = client_of(erp.base_url.replace("127.0.0.1", "localhost."), ca_file=CERTIFICATE)
    assert client.offer(INVOICE, offer_body(), TOTAL).kind is OutcomeKind.BOOKED
    client.close()


def test_a_certificate_nobody_vouches_for_is_not(erp: FakeAltibiz) -> None:
    found = client_of(erp.base_url).offer(INVOICE, offer_body(), TOTAL)
    assert found.kind is OutcomeKind.UNREACHABLE
    assert "certificate" in found.detail.lower()
    assert not found.request_left
    assert erp.fake.requests == 0


def test_a_certificate_of_another_host_is_not() -> None:
    def serve(connection: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, KEY)
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)

    with peer(serve) as url:
        port = url.split(":")[2].split("/")[0]
        found = client_of(f"https://127.1:{port}/api/v1", ca_file=CERTIFICATE).ask(INVOICE, TOTAL)
    assert found.kind is OutcomeKind.UNREACHABLE
    assert not found.request_left


def test_a_peer_that_speaks_no_tls_is_unreachable() -> None:
    with peer(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as url:
        found = client_of(url.replace("http:", "HTTPS:")).ask(INVOICE, TOTAL)
    assert found.kind is OutcomeKind.UNREACHABLE
    assert found.detail.startswith("TLS")


def test_a_handshake_that_never_ends_is_given_up_in_time() -> None:
    def serve(connection: socket.socket) -> None:
        with suppress(OSError):
            while connection.recv(65536):
                pass

    with peer(serve) as url:
        found = client_of(url.replace("http:", "https:")).ask(INVOICE, TOTAL)
    assert found.kind is OutcomeKind.UNREACHABLE
    assert 0.9 <= found.duration_seconds < 2.0
