"""Which of the ERP's alarms stand after which answers."""

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
REFUSED = Outcome(OutcomeKind.REFUSED, "PUT", 422, "no such code")


class Later(SkippingClock):
    def boottime(self) -> float:
        return super().boottime() + self.skipped_seconds


class Gateway:
    """A gateway without a database, and what its reports come to."""

    def __init__(self) -> None:
        self.clock = Later()
        context = make_context("postgresql://nobody@nowhere/none", self.clock)
        self._harness = ActorHarness(ERP_GATEWAY, lambda: ErpGateway(context))
        self._register, self._begun = AlarmRegister("here"), datetime(2026, 11, 28, tzinfo=UTC)
        self._harness.actor.on_start()
        self._harness.actor.on_receive(CourierReady("courier-1"))

    def answer(self, outcome: Outcome, number: int = 1) -> None:
        """About the invoice of this user."""
        delivery = replace(DELIVERY, invoice_id=f"NU-000{number}.2026-10.1")
        self._harness.actor.on_receive(ExchangeFinished("courier-1", delivery, outcome, 0))

    def ping(self, outcome: Outcome) -> None:
        self._harness.actor.on_receive(_Pulse())
        (sent,) = [message for _, message in self._harness.told if isinstance(message, Ping)]
        self._harness.actor.on_receive(ExchangeFinished("courier-1", None, outcome, sent.breaker_epoch))

    def standing(self) -> set[str]:
        """The codes that stand six seconds later."""
        now = Now(self.clock.skipped_seconds, self._begun + timedelta(seconds=self.clock.skipped_seconds))
        for name, message in self._harness.told:
            if name == ALARMS and isinstance(message, ConditionActive):
                self._register.activate(message, now)
            elif name == ALARMS and isinstance(message, ConditionCleared):
                self._register.clear(message, now)
        self._harness.told.clear()
        self.clock.skipped_seconds += 6
        self._register.tick(Now(self.clock.skipped_seconds, now.at))
        return {record.code for record in self._register.standing()}


@pytest.mark.parametrize("kind", [OutcomeKind.NONSENSE, OutcomeKind.NOT_CONTRACT, OutcomeKind.ERROR])
@pytest.mark.parametrize("failures", [1, 10], ids=["breaker_closed", "breaker_open"])
def test_what_a_ping_has_raised_is_over_with_the_next_proper_answer(kind: OutcomeKind, failures: int) -> None:
    gateway = Gateway()
    for number in range(failures):
        gateway.answer(Outcome(OutcomeKind.UNREACHABLE, "PUT", detail="cut"), number % 2 + 1)
    assert gateway.standing() == {"erp_unreachable"}
    gateway.ping(Outcome(kind, "GET", 200, "a page for people"))
    assert len(gateway.standing()) == 1
    if failures == 1:
        gateway.answer(BOOKED)
    else:
        gateway.clock.skipped_seconds += 120
        gateway.ping(Outcome(OutcomeKind.BOOKED, "GET", 200, "it answers"))
    assert gateway.standing() == set()


@pytest.mark.parametrize(
    ("answers", "stands"),
    [
        ([(1, REFUSED)], True),
        ([(1, REFUSED), (2, BOOKED)], False),
        ([(2, BOOKED), (1, REFUSED)], True),
        ([(1, REFUSED), (2, REFUSED), (3, BOOKED)], False),
        ([(1, REFUSED), (2, replace(BOOKED, method="GET"))], True),  # it was taken before
        ([(1, REFUSED), (1, BOOKED)], False),
    ],
)
def test_all_is_refused_until_an_offer_is_taken(answers: list[tuple[int, Outcome]], stands: bool) -> None:
    gateway = Gateway()
    for number, outcome in answers:
        gateway.answer(outcome, number)
    assert gateway.standing() == ({"erp_refused_invoice"} if stands else set())
