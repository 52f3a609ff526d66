"""The webhook against receivers that are hostile, distrusted or real: Debian's Alertmanager itself."""

import socket
import ssl
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from alarming import exchange as exchange_module
from alarming import webhook as webhook_module
from alarming.webhook import Notice, Webhook, WebhookSettings
from persistence.alarms import AlarmRecord, Severity
from supervision.clock import SystemClock
from testkit.waiting import pause, wait_until
from tests.support.alertmanager import active, real_alertmanager
from tests.support.altibiz_samples import CERTIFICATE, KEY, peer

HOUR = timedelta(hours=1)
YEARS = timedelta(days=4000)


def now() -> datetime:
    return SystemClock().wall().replace(microsecond=0)


def alarm(raised_at: datetime, cleared_at: datetime | None = None, code: str = "erp_credentials") -> AlarmRecord:
    return AlarmRecord(
        id=f"id-{code}", code=code, key="one", severity=Severity.CRITICAL, summary="401 from the ERP", count=1,
        instance="one", raised_at=raised_at, last_at=raised_at, cleared_at=cleared_at, acked_at=None, context={},
    )  # fmt: skip


def posted(url: str, ca_file: Path | None = None, *, notices: tuple[Notice, ...] = (), **alarms: Any) -> Webhook:
    """A webhook that has posted once."""
    webhook = Webhook(WebhookSettings(url, ca_file=ca_file), now, lambda: 0.5)
    webhook.offer(alarms.get("standing", (alarm(now()),)), alarms.get("cleared", ()))
    webhook.announce(notices)
    webhook.work()
    return webhook


def test_a_receiver_that_drips_has_one_deadline_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "_TOTAL_SECONDS", 1.0)

    def drip(connection: socket.socket) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 300:
            connection.sendall(bytes([byte]))
            pause(0.05)

    with peer(drip) as url:
        started = time.monotonic()
        delivery = posted(url).delivery
    assert time.monotonic() - started < 3
    assert delivery.delivered_at is None
    assert (delivery.problem or "").startswith("timed out after 1.")


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_of_the_answer_the_status_line_counts_and_no_body_is_read(encoding: str) -> None:
    sent: list[int] = []

    def flood(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n\r\n".encode())
        while len(sent) < 500:
            connection.sendall(b"\x1f\x8b" + b"\0" * 99_998)
            sent.append(1)

    tracemalloc.start()
    try:
        with peer(flood) as url:
            delivery = posted(url).delivery
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (delivery.delivered_at is not None, delivery.problem) == (True, None)
    assert len(sent) < 500
    assert used < 5_000_000


def test_the_authorities_of_the_ca_file_are_trusted_and_only_they() -> None:
    def serve(connection: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, KEY)
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(65536)
            secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with peer(serve, times=2) as url:
        secure = url.replace("http:", "https:")
        assert posted(secure, CERTIFICATE).delivery.problem is None
        assert "certificate" in (posted(secure).delivery.problem or "")


@pytest.mark.parametrize("ahead", [timedelta(0), HOUR, YEARS, -YEARS])
@pytest.mark.parametrize("cleared", [None, timedelta(0), HOUR, YEARS, -YEARS])
def test_no_alert_starts_after_its_end_or_in_the_future(ahead: timedelta, cleared: timedelta | None) -> None:
    at = now()
    record = alarm(at + ahead, None if cleared is None else at + cleared)
    for made in (webhook_module.alert(record, at, 240.0), Notice("audit_root", "k", "s", at + ahead).alert(at)):
        starts, ends = (datetime.fromisoformat(made[name]) for name in ("startsAt", "endsAt"))
        assert starts <= ends
        assert starts <= at
    if cleared is not None:
        assert datetime.fromisoformat(webhook_module.alert(record, at, 240.0)["endsAt"]) <= at


# The real one


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_alertmanager(tmp_path_factory.mktemp("alertmanager")) as url:
        yield url


def test_the_real_alertmanager_takes_alarms_and_ends_them_whatever_the_clock_was(alertmanager: str) -> None:
    for ahead in (timedelta(0), HOUR, YEARS):
        at = now()
        code = f"after_{ahead.days}_{ahead.seconds}"
        delivery = posted(alertmanager, standing=(alarm(at + ahead, code=code),)).delivery
        assert delivery.problem is None
        wait_until(lambda code=code: code in active(alertmanager), what="it fires")  # type: ignore[misc]
        over = alarm(at + ahead, at, code)
        assert posted(alertmanager, standing=(), cleared=(over,)).delivery.problem is None
        wait_until(lambda code=code: code not in active(alertmanager), what="it is over")  # type: ignore[misc]


def test_what_comes_back_under_another_id_fires_again(alertmanager: str) -> None:
    """Two alarms of one code and key are one alert to it: the end of the first must not end the second."""
    at, code = now() - timedelta(seconds=30), "came_back"
    first, second = alarm(at, at + timedelta(seconds=5), code), replace(alarm(now(), code=code), id="another")
    assert posted(alertmanager, standing=(second,), cleared=(first,)).delivery.problem is None
    wait_until(lambda: code in active(alertmanager), within_seconds=5, what="it fires")


def test_the_real_alertmanager_takes_the_roots_notice(alertmanager: str) -> None:
    root = Notice("audit_root", "2026-11-25", "the audit root of 2026-11-25 over 3 invoices is 00ff", now() + HOUR)
    assert posted(alertmanager, standing=(), notices=(root,)).delivery.problem is None
    wait_until(lambda: "audit_root" in active(alertmanager), what="it is shown")
