"""What the gateway does while a fault of this machine lets no request leave."""

from decimal import Decimal

from actors.erp_gateway import ErpGateway, _Pulse
from actors.messages import (
    ALARMS,
    DB_WRITER,
    ERP_GATEWAY,
    ClaimDeliveries,
    ClaimedDeliveries,
    CourierReady,
    ExchangeFinished,
    Ping,
    SendRequest,
    WriteOutcome,
)
from alarming.catalogue import Code
from alarming.conditions import ConditionActive, ConditionCleared
from billing.erp_answers import Outcome, OutcomeKind, not_sent
from persistence.invoices.claims import Delivery
from tests.support.actor_context import SkippingClock, make_context
from tests.support.supervision import ActorHarness

IDS = ("NU-0001.2026-10.1", "NU-0002.2026-10.1")


def test_item_8_it_gives_all_back_and_tries_without_an_invoice_until_something_leaves() -> None:
    clock = SkippingClock()
    harness = ActorHarness(ERP_GATEWAY, lambda: ErpGateway(make_context("postgresql://nobody@nowhere/none", clock)))
    gateway = harness.actor
    gateway.on_start()
    gateway.on_receive(CourierReady("courier-1"))
    asked = [message.asked_at_seconds for _, message in harness.told if isinstance(message, ClaimDeliveries)]
    claimed = [Delivery(each, 1, "offer", "sent", Decimal(1), b"{}", 0, 0, 0) for each in IDS]
    gateway.on_receive(ClaimedDeliveries(claimed, asked[-1], several_open=True))
    (sent,) = [message for _, message in harness.told if isinstance(message, SendRequest)]
    harness.told.clear()
    gateway.on_receive(
        ExchangeFinished("courier-1", sent.delivery, not_sent("PUT", "no file", "trust"), sent.breaker_epoch)
    )
    written = [message for name, message in harness.told if name == DB_WRITER and isinstance(message, WriteOutcome)]
    assert [each.delivery.invoice_id for each in written] == list(IDS)
    assert {each.outcome.kind for each in written} == {OutcomeKind.NOT_SENT}
    assert codes(harness, ConditionActive) == {Code.ERP_TRUST_UNUSABLE}
    harness.told.clear()
    clock.skipped_seconds += 60
    gateway.on_receive(_Pulse())
    assert [type(message) for name, message in harness.told if name != ALARMS] == [Ping]
    (ping,) = [message for _, message in harness.told if isinstance(message, Ping)]
    harness.told.clear()
    answer = Outcome(OutcomeKind.UNREACHABLE, "GET", detail="refused")
    gateway.on_receive(ExchangeFinished("courier-1", None, answer, ping.breaker_epoch))
    assert Code.ERP_TRUST_UNUSABLE in codes(harness, ConditionCleared), "it left, whatever came of it"
    assert any(isinstance(message, ClaimDeliveries) for _, message in harness.told)


def codes(harness: ActorHarness, kind: type[ConditionActive] | type[ConditionCleared]) -> set[Code | str]:
    return {message.code for name, message in harness.told if name == ALARMS and isinstance(message, kind)}


class Later(SkippingClock):
    def boottime(self) -> float:
        return super().boottime() + self.skipped_seconds


def test_an_erp_that_has_failed_is_tried_while_the_database_gives_no_invoice() -> None:
    clock = Later()
    harness = ActorHarness(ERP_GATEWAY, lambda: ErpGateway(make_context("postgresql://nobody@nowhere/none", clock)))
    gateway = harness.actor
    gateway.on_start()
    for name in ("courier-1", "courier-2"):
        gateway.on_receive(CourierReady(name))
    cut = Outcome(OutcomeKind.UNREACHABLE, "PUT", detail="cut")
    gateway.on_receive(
        ExchangeFinished("courier-1", Delivery(IDS[0], 1, "offer", "sent", Decimal(1), b"{}", 0, 0, 0), cut, 0)
    )
    assert not any(isinstance(message, Ping) for _, message in harness.told), "the database may answer yet"
    clock.skipped_seconds += 1
    gateway.on_receive(_Pulse())
    gateway.on_receive(_Pulse())
    (ping,) = [message for _, message in harness.told if isinstance(message, Ping)]
    harness.told.clear()
    works = Outcome(OutcomeKind.BOOKED, "GET", 200, "it answers")
    gateway.on_receive(ExchangeFinished("courier-1", None, works, ping.breaker_epoch))
    assert Code.ERP_UNREACHABLE in codes(harness, ConditionCleared)
    clock.skipped_seconds += 1
    gateway.on_receive(_Pulse())
    assert not any(isinstance(message, Ping) for _, message in harness.told), "it works: there is nothing to find out"
