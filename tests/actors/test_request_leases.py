"""A request that may not leave any more doesn't, wherever on the way to its first byte the machine was suspended."""

import socket
from collections.abc import Callable
from random import Random
from typing import Literal
from uuid import uuid4

import pytest

from actors.context import ActorContext, SettingsHolder
from actors.courier import Courier
from actors.messages import ExchangeFinished, SendRequest
from altibiz.client import AltibizClient
from billing.erp_answers import Outcome, OutcomeKind
from config.sections import ErpSettings
from config.settings import Settings
from persistence.connection.database import Database
from persistence.invoices.claims import Delivery
from tests.support.altibiz_samples import (
    INVOICE,
    TOTAL,
    Clock,
    booking,
    client_of,
    http_answer,
    offer_body,
    peer,
    read_request,
)
from tests.support.supervision import ActorHarness, FakeClock

SUSPENDED_SECONDS = 3600.0


class Boottime:
    """CLOCK_BOOTTIME; the machine can be suspended between two readings of it, which CLOCK_MONOTONIC doesn't show."""

    def __init__(self) -> None:
        self.at_seconds = 1000.0
        self.readings = 0
        self.suspends_after: int | None = None

    def __call__(self) -> float:
        if self.readings == self.suspends_after:
            self.at_seconds += SUSPENDED_SECONDS
        self.readings += 1
        return self.at_seconds


def offer(client: AltibizClient, leave_by_seconds: float) -> Outcome:
    return client.offer(INVOICE, offer_body(), TOTAL, leave_by_seconds=leave_by_seconds)


def readings_of_an_offer(connect: bool) -> int:
    """How often one offer reads the clock when nothing goes wrong."""
    boottime = Boottime()
    with peer(answer_once if connect else answer_twice) as url:
        client = client_of(url, boottime=boottime)
        if not connect:
            assert offer(client, 2000.0).kind is OutcomeKind.BOOKED
        before = boottime.readings
        assert offer(client, 2000.0).kind is OutcomeKind.BOOKED
        client.close()
    return boottime.readings - before


def answer_once(connection: socket.socket) -> None:
    if read_request(connection):
        connection.sendall(http_answer(booking()))


def answer_twice(connection: socket.socket) -> None:
    answer_once(connection)
    answer_once(connection)


def keep(received: list[bytes], answers: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        answers(connection)
        received.append(read_request(connection))

    return serve


@pytest.mark.parametrize("connect", [True, False], ids=["on a new connection", "on a kept connection"])
def test_item_14_suspend_no_byte_leaves_after_the_lease_wherever_the_suspend_strikes(connect: bool) -> None:
    """Suspended before each of the clock's readings in turn: nothing, or an offer that is never whole, comes over."""
    outcomes = []
    for reading in range(1, readings_of_an_offer(connect)):
        received: list[bytes] = []
        boottime = Boottime()
        with peer(keep(received, (lambda _: None) if connect else answer_once)) as url:
            client = client_of(url, boottime=boottime)
            if not connect:
                assert offer(client, 2000.0).kind is OutcomeKind.BOOKED
            boottime.suspends_after = boottime.readings + reading
            found = offer(client, boottime.at_seconds + 20.0)
            client.close()
        outcomes.append((found.kind, found.request_left, found.detail, received))
    not_sent = [each for each in outcomes if each[0] is OutcomeKind.NOT_SENT]
    assert not_sent, outcomes
    assert not any(left or any(received) for _, left, _, received in not_sent), outcomes
    assert {detail for _, _, detail, _ in not_sent} == {"too little of its lease is left"}
    later = outcomes[len(not_sent) :]
    assert all(kind is OutcomeKind.UNREACHABLE for kind, *_ in later), (
        "the total timeout is over: nobody knows what came of it"
    )


class SuspendedAfterTheFirstLook(FakeClock):
    """The machine is suspended once somebody has seen that enough of the lease is left."""

    def boottime(self) -> float:
        seen = super().boottime()
        self._boottime = 5000.0 + SUSPENDED_SECONDS
        return seen


@pytest.mark.parametrize("action", ["offer", "ask"])
def test_item_14_suspend_a_courier_sends_nothing_after_its_lease(action: Literal["offer", "ask"]) -> None:
    received: list[bytes] = []
    with peer(lambda connection: received.append(read_request(connection))) as url:
        settings = Settings(erp=ErpSettings(base_url=url))
        parts = ActorContext(
            SettingsHolder(settings),
            SuspendedAfterTheFirstLook(),
            Random(1),
            Clock(),
            "test",
            uuid4(),
            "0",
            True,
            Database,
        )
        harness = ActorHarness("courier-1", lambda: Courier(parts))
        delivery = Delivery(INVOICE, 1, action, "sent", TOTAL, offer_body(), 0, 0, 0)
        harness.actor.on_receive(SendRequest(delivery, 5010.0, 0))
        harness.actor.on_stop()
    (answered,) = (message for _, message in harness.told if isinstance(message, ExchangeFinished))
    assert not any(received)
    assert answered.outcome.kind is OutcomeKind.NOT_SENT


def test_item_14_suspend_a_request_that_is_late_from_the_start_connects_to_nothing() -> None:
    boottime = Boottime()
    found = offer(client_of("http://127.0.0.1:9/api/v1", boottime=boottime), boottime.at_seconds - 1)
    assert (found.kind, found.request_left) == (OutcomeKind.NOT_SENT, False)


def test_item_14_suspend_the_total_timeout_counts_a_suspend() -> None:
    """What asks after an offer later relies on that none is under way beyond its lease."""
    boottime = Boottime()

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        boottime.at_seconds += SUSPENDED_SECONDS
        connection.sendall(http_answer(booking())[:20])

    with peer(serve) as url:
        found = offer(client_of(url, boottime=boottime), 2000.0)
    assert found.kind is OutcomeKind.UNREACHABLE
    assert found.request_left
    assert "total timeout" in found.detail


def test_item_14_suspend_a_question_has_a_lease_too() -> None:
    boottime = Boottime()
    client = client_of("http://127.0.0.1:9/api/v1", boottime=boottime)
    assert client.ask(INVOICE, TOTAL, leave_by_seconds=999.0).kind is OutcomeKind.NOT_SENT
