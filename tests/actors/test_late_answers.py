"""What the biller and the gateway make of an answer that comes after they have asked again."""

from collections import deque
from decimal import Decimal

import pytest

from actors.biller import Biller
from actors.context import ActorContext
from actors.erp_gateway import ErpGateway
from actors.messages import (
    BILLER,
    DB_WRITER,
    ERP_GATEWAY,
    ClaimDeliveries,
    ClaimedDeliveries,
    ClaimedDue,
    CourierReady,
    Overdue,
    Poll,
    SendRequest,
)
from actors.writer import DbWriter
from persistence.connection.database import Database
from persistence.invoices.claims import Delivery
from persistence.invoices.queries import counts
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from tests.support.actor_context import make_context
from tests.support.sample import BAD
from tests.support.supervision import ActorHarness

STEPS_AT_MOST = 60


@pytest.fixture
def parts(database: Database, database_url: str) -> ActorContext:
    """Of a daemon in September, with three users to be billed for August."""
    with database.transaction() as connection:
        import_master(connection, BAD / "master.yaml")
    with database.transaction() as connection:
        import_readings(connection, BAD / "readings-2026-08.csv.gz")
    return make_context(database_url)


def test_a_late_answer_starts_no_second_round_in_which_each_takes_the_batch_from_the_other(
    parts: ActorContext, database: Database
) -> None:
    harnesses = {
        BILLER: ActorHarness(BILLER, lambda: Biller(parts)),
        DB_WRITER: ActorHarness(DB_WRITER, lambda: DbWriter(parts)),
    }
    for harness in harnesses.values():
        harness.actor.on_start()
    for asks_again in (Poll(), Overdue()):
        harnesses[BILLER].actor.on_receive(asks_again)
    waiting: deque[tuple[str, object]] = deque()
    batches = steps = 0
    while (told := [each for harness in harnesses.values() for each in harness.told]) or waiting:
        for harness in harnesses.values():
            harness.told.clear()
        waiting += [(name, message) for name, message in told if name in harnesses]
        if not waiting:
            break
        name, message = waiting.popleft()
        batches += isinstance(message, ClaimedDue) and bool(message.batch)
        harnesses[name].actor.on_receive(message)
        steps += 1
        assert steps < STEPS_AT_MOST, "they talk without end"
    for harness in harnesses.values():
        harness.actor.on_stop()
    with database.transaction() as connection:
        assert counts(connection) == {"calculated": 3}
    assert batches == 2


def test_the_gateway_hands_out_only_what_its_last_ask_has_claimed(parts: ActorContext) -> None:
    harness = ActorHarness(ERP_GATEWAY, lambda: ErpGateway(parts))
    harness.actor.on_start()
    for message in (CourierReady("courier-1"), Overdue()):
        harness.actor.on_receive(message)
    early, late = (message.asked_at_seconds for _, message in harness.told if isinstance(message, ClaimDeliveries))
    claimed = [Delivery("user-004.2026-08.1", 1, "offer", "sent", Decimal(1), b"{}", 0, 0, 0)]

    def handed_out() -> int:
        return sum(isinstance(message, SendRequest) for _, message in harness.told)

    harness.actor.on_receive(ClaimedDeliveries(claimed, early, several_open=True))
    assert handed_out() == 0
    harness.actor.on_receive(ClaimedDeliveries(claimed, late, several_open=True))
    assert handed_out() == 1
