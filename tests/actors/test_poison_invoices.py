"""One poison invoice ends no actor: work on it raises, it is isolated where it is in hand, and counts as a crash."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from actors.courier import Courier
from actors.erp_gateway import ErpGateway
from actors.messages import (
    ALARMS,
    ERP_GATEWAY,
    ClaimDeliveries,
    ClaimedDeliveries,
    CountCrash,
    CourierReady,
    ExchangeFinished,
    MakeDue,
    SendRequest,
    WriteCalculations,
    WriteOutcome,
)
from alarming.conditions import ConditionActive
from altibiz.client import AltibizClient
from billing.erp_answers import Outcome, OutcomeKind
from billing.invoice import calculate
from persistence.connection.database import Database
from persistence.invoices.claims import Delivery
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from tests.support.biller_alone import BillerAlone
from tests.support.small_load import write_load
from tests.support.supervision import ActorHarness
from tests.support.writer_alone import WriterAlone, calculated, context_on, rows

USERS = 100
POISON = "user-00067.2026-08.1"


@pytest.fixture
def many(database: Database, tmp_path: Path) -> Database:
    """A hundred users to be billed for August."""
    master, readings = write_load(tmp_path, users=USERS, first="2026-08", months=1)
    with database.transaction() as connection:
        import_master(connection, master)
    with database.transaction() as connection:
        import_readings(connection, readings)
    return database


@pytest.fixture
def actors(many: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[BillerAlone]:
    """A biller that raises for one invoice, and a db_writer."""

    def poisoned(basis: Any, *settings: Any) -> Any:
        if str(basis.id) == POISON:
            raise ZeroDivisionError("poison")
        return calculate(basis, *settings)

    monkeypatch.setattr("actors.biller.calculate", poisoned)
    actors = BillerAlone(context_on(database_url))
    yield actors
    actors.close()


def test_item_7_the_biller_isolates_the_poison_invoice_and_it_is_held(many: Database, actors: BillerAlone) -> None:
    actors.until(lambda: rows(many, "state").get(POISON) == "held", seconds=60)
    states = rows(many, "state")
    assert sum(state == "calculated" for state in states.values()) == USERS - 1
    assert rows(many, "held_code")[POISON] == "poison_invoice"
    assert rows(many, "crash_count")[POISON] == 3
    assert "poison" in rows(many, "held_reason")[POISON]
    assert actors.troubled("actor_crashed"), "ops hear of the exception itself"


def test_item_7_the_db_writer_isolates_the_poison_invoice_of_a_group(many: Database, database_url: str) -> None:
    writer = WriterAlone(context_on(database_url))
    try:
        writer.tell(MakeDue(), replace(writer.claim_due(), limit=USERS))
        made = calculated(many, rows(many, "claim"))
        spoilt = [
            (claim, replace(invoice, snapshot={"poison": object()}) if str(invoice.id) == POISON else invoice)
            for claim, invoice in made
        ]
        writer.tell(WriteCalculations(spoilt))
        writer.until(lambda: sum(state == "calculated" for state in rows(many, "state").values()) == USERS - 1)
        writer.until(lambda: rows(many, "crash_count")[POISON] == 1)
        assert set(rows(many, "crash_count").values()) == {0, 1}
        assert any("poison" in each or "JSON" in each for each in writer.troubled("actor_crashed").values())
    finally:
        writer.close()


def test_item_7_what_the_others_pass_in_the_same_group_is_witness(many: Database, database_url: str) -> None:
    """They are stored before the poison invoice is found, and after the first failure."""
    writer = WriterAlone(context_on(database_url))
    try:
        for attempt in range(1, 4):
            writer.tell(MakeDue())
            writer.until(lambda: POISON in writer.claimed(), lambda: replace(writer.claim_due(), limit=USERS))
            writer.forget_claimed()
            made = calculated(many, rows(many, "claim"))
            spoilt = [
                (claim, replace(invoice, snapshot={"poison": object()}) if str(invoice.id) == POISON else invoice)
                for claim, invoice in made
            ]
            writer.tell(WriteCalculations(spoilt))
            wanted = "due" if attempt < 3 else "held"
            writer.until(partial(counted, many, attempt))
            assert rows(many, "state")[POISON] == wanted
    finally:
        writer.close()


def counted(database: Database, times: int) -> bool:
    return bool(rows(database, "crash_count")[POISON] == times)


def delivery(invoice_id: str = "user-004.2026-08.1", action: Any = "offer") -> Delivery:
    return Delivery(invoice_id, 1, action, "sent", Decimal("1.00"), b"{}", 0, 0, 0)


def test_item_7_a_courier_goes_on_after_a_request_that_raised(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"erp": {"base_url": "http://127.0.0.1:9/api/v1"}}
    context = context_on(database_url, settings)
    harness = ActorHarness("courier-1", lambda: Courier(context))
    harness.actor.on_start()

    def offer(_client: AltibizClient, _invoice_id: str, _body: bytes, _total: Decimal) -> Outcome:
        raise ZeroDivisionError("poison")

    monkeypatch.setattr(AltibizClient, "offer", offer)
    harness.actor.on_receive(SendRequest(delivery(), context.clock.boottime() + 60, 1))
    told = [(name, message) for name, message in harness.told if name != ALARMS]
    assert [type(message) for _, message in told] == [CourierReady, CountCrash, CourierReady]
    (_, counted) = told[1]
    assert counted.invoice_ids == ("user-004.2026-08.1",)
    assert not any(isinstance(message, ExchangeFinished) for _, message in told), "whether the ERP has it is unknown"
    assert any(isinstance(sign, ConditionActive) and sign.code == "actor_crashed" for _, sign in harness.told)
    monkeypatch.undo()
    harness.actor.on_receive(SendRequest(delivery(), context.clock.boottime() + 60, 1))
    name, last = harness.told[-1]
    assert name == ERP_GATEWAY
    assert last.outcome.kind is OutcomeKind.UNREACHABLE
    harness.actor.on_stop()


def test_item_7_an_answer_that_raises_costs_its_own_invoice_only(many: Database, database_url: str) -> None:
    """The gateway hands the answers on and is free for the next; the db_writer isolates the one that raises."""
    settings = {"erp": {"base_url": "http://127.0.0.1:9/api/v1"}}
    harness = ActorHarness(ERP_GATEWAY, lambda: ErpGateway(context_on(database_url, settings)))
    harness.actor.on_start()
    harness.actor.on_receive(CourierReady("courier-1"))
    writer = WriterAlone(context_on(database_url))
    try:
        writer.tell(MakeDue(), replace(writer.claim_due(), limit=USERS))
        writer.tell(WriteCalculations(calculated(many, rows(many, "claim"))))
        writer.tell(writer.claim_deliveries())
        (claimed,) = [each for each in writer.told(ERP_GATEWAY) if isinstance(each, ClaimedDeliveries)]
        first, second = claimed.deliveries[:2]
        at = next(message.asked_at_seconds for _, message in harness.told if isinstance(message, ClaimDeliveries))
        harness.actor.on_receive(ClaimedDeliveries([first, second], at, several_open=True))
        broken = Outcome(OutcomeKind.BOOKED, "PUT", 201, "it says nothing")
        harness.actor.on_receive(ExchangeFinished("courier-1", first, broken, 0))
        handed = [message.invoice_ids for _, message in harness.told if isinstance(message, SendRequest)]
        assert handed == [(first.invoice_id,), (second.invoice_id,)], "the courier is free for the next"
        written = [message for _, message in harness.told if isinstance(message, WriteOutcome)]
        absent = Outcome(OutcomeKind.ABSENT, "GET", 404, "404")
        writer.queue(WriteOutcome(second, absent))
        writer.tell(*written)
        writer.until(lambda: rows(many, "crash_count")[first.invoice_id] == 1)
        assert rows(many, "last_outcome")[second.invoice_id] == "absent", "the other of the group is stored"
        assert rows(many, "state")[first.invoice_id] == "sent"
        assert any("BOOKED carries a booking" in each for each in writer.troubled("actor_crashed").values())
    finally:
        writer.close()
