"""Owns the sample offers, clocks and peers that the tests of altibiz share."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from altibiz.client import AltibizClient
from altibiz.contract import ORDINALS
from billing.erp_answers import Outcome

TOTAL = Decimal("11.30")
INVOICE = "NU-0007.2026-10.1"
CERTIFICATE = Path(__file__).parents[1] / "data" / "tls" / "certificate.pem"
KEY = Path(__file__).parents[1] / "data" / "tls" / "key.pem"


class Clock:
    """A time that moves only when told."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 15, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def invoice_id(number: int) -> str:
    return f"NU-{number:04d}.2026-10.1"


def offered(of: str = INVOICE, **changed: Any) -> dict[str, Any]:
    """A whole offer as parsed JSON, with what is to differ."""
    items = [
        {"ordinal": ordinal, "name": "Angažirana snaga", "unit": "Mjesec", "quantity": "1", "price_eur": "1.00"}
        for ordinal in ORDINALS
    ]
    whole: dict[str, Any] = {
        "network_user_invoice_id": of,
        "sub_project_code": "P-1",
        "invoice_date": "2026-11-01",
        "items": items,
        "total_eur": "10.00",
        "tax_rate_percent": "13",
        "tax_eur": "1.30",
        "total_with_tax_eur": "11.30",
    }
    return {**whole, **changed}


def offer_body(of: str = INVOICE, **changed: Any) -> bytes:
    return json.dumps(offered(of, **changed), ensure_ascii=False).encode()


def client_of(url: str, **options: Any) -> AltibizClient:
    """A client with short timeouts."""
    given: dict[str, Any] = {
        "connect_timeout_seconds": 1.0,
        "read_timeout_seconds": 1.0,
        "total_timeout_seconds": 2.0,
        "now": Clock(),
        **options,
    }
    return AltibizClient(url, **given)


@contextmanager
def peer(serve: Callable[[socket.socket], None], times: int = 1) -> Iterator[str]:
    """A raw server that hands its first connections to `serve` one by one; gives the base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def run() -> None:
            for _ in range(times):
                with suppress(OSError):
                    connection, _address = listener.accept()
                    with connection:
                        connection.settimeout(20)
                        serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1"
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes an accept that nobody needs any more
        thread.join(20)
        assert not thread.is_alive()


def read_request(connection: socket.socket) -> bytes:
    """One whole request."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def booking(of: str = INVOICE, **changed: Any) -> bytes:
    """A registered booking as an answer's body."""
    right = {
        "network_user_invoice_id": of,
        "state": "registered",
        "bill_id": "ALT-000001",
        "abort_reason": None,
        "total_with_tax_eur": "11.30",
    }
    return json.dumps({**right, **changed}).encode()


def http_answer(body: bytes, status: str = "200 OK", length: int | None = None, extra: str = "") -> bytes:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n{extra}\r\n"
    return head.encode() + body


def offer_to(serve: Callable[[socket.socket], None], **options: object) -> Outcome:
    with peer(serve) as url:
        client = client_of(url, **options)
        try:
            return client.offer(INVOICE, offer_body(), TOTAL)
        finally:
            client.close()


def wait_for_end(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass
