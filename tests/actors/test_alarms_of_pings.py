"""Which alarms stand after the ERP was tried without an invoice: none that its next proper answer does not clear."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from actors.erp_gateway import ErpGateway, _Pulse
from actors.messages import ALARMS, ERP_GATEWAY, CourierReady, ExchangeFinished, Ping
from alarming.alarm import Now
from alarming.conditions import ConditionActive, ConditionCleared
from alarming.register import AlarmRegister
from billing.erp_answers import Booking, Outcome, OutcomeKind
from persistence.invoices.claims import Delivery
from tests.support.actor_context import SkippingClock, make_context
from tests.support.supervision import ActorHarness

DELIVERY = Delivery("NU-0001.2026-10.1", 1, "offer", "sent", Decimal(1), b"{}", 0, 0, 0)
BOOKED = Outcome(
    OutcomeKind.BOOKED, "PUT", 200, "registered",
    booking=Booking(DELIVERY.invoice_id, "registered", "ALT-1", None, Decimal(1)),
)  # fmt: skip


class Later(SkippingClock):
    def boottime(self) -> float:
        return super().boottime() + self.skipped_seconds


@pytest.mark.parametrize("kind", [OutcomeKind.NONSENSE, OutcomeKind.NOT_CONTRACT, OutcomeKind.ERROR])
@pytest.mark.parametrize("failures", [1, 10], ids=["breaker_closed", "breaker_open"])
def test_what_a_ping_has_raised_is_over_with_the_next_proper_answer(kind: OutcomeKind, failures: int) -> None:
    clock = Later()
    harness = ActorHarness(ERP_GATEWAY, lambda: ErpGateway(make_context("postgresql://nobody@nowhere/none", clock)))
    gateway, register, begun = harness.actor, AlarmRegister("here"), datetime(2026, 11, 28, tzinfo=UTC)
    gateway.on_start()

    def standing() -> set[str]:
        now = Now(clock.skipped_seconds, begun + timedelta(seconds=clock.skipped_seconds))
        for name, message in harness.told:
            if name == ALARMS and isinstance(message, ConditionActive):
                register.activate(message, now)
            elif name == ALARMS and isinstance(message, ConditionCleared):
                register.clear(message, now)
        harness.told.clear()
        clock.skipped_seconds += 6
        register.tick(Now(clock.skipped_seconds, now.at))
        return {record.code for record in register.standing()}

    def ping(outcome: Outcome) -> None:
        gateway.on_receive(_Pulse())
        (sent,) = [message for _, message in harness.told if isinstance(message, Ping)]
        gateway.on_receive(ExchangeFinished("courier-1", None, outcome, sent.breaker_epoch))

    gateway.on_receive(CourierReady("courier-1"))
    cut = Outcome(OutcomeKind.UNREACHABLE, "PUT", detail="cut")
    for number in range(failures):
        delivery = replace(DELIVERY, invoice_id=f"NU-000{number % 2 + 1}.2026-10.1")
        gateway.on_receive(ExchangeFinished("courier-1", delivery, cut, 0))
    assert standing() == {"erp_unreachable"}
    ping(Outcome(kind, "GET", 200, "a page for people"))
    assert len(standing()) == 1
    if failures == 1:
        gateway.on_receive(ExchangeFinished("courier-1", DELIVERY, BOOKED, 0))
    else:
        clock.skipped_seconds += 120
        ping(Outcome(OutcomeKind.BOOKED, "GET", 200, "it answers"))
    assert standing() == set()
