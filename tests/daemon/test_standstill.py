"""What the heartbeat is held back for: work is ready, nothing moves, and no reason for it is known."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from sqlalchemy import Connection, text

from actors.messages import ERP_GATEWAY, ErpStatus
from alarming.actor import AlarmSnapshot
from alarming.webhook import Delivery
from daemon.status import StatusCollector
from persistence.alarms import AlarmRecord, Severity
from persistence.connection.database import Database
from supervision import Actor, ChildSpec, SupervisorSpec, System
from testkit.waiting import wait_until
from tests.support.actor_context import SkippingClock, make_context
from tests.support.invoice_rows import add_invoices, add_users

AT = datetime(2026, 11, 25, tzinfo=UTC)
SERIOUS = AlarmRecord("1", "poison_invoice", "2026-10", Severity.MAJOR, "1 invoice held", 1, AT, AT, "here")
READY, LATER = "work is ready, and nothing has moved", None

Prepare = Callable[[Connection], object]


def execute(statement: str) -> Prepare:
    return lambda connection: connection.execute(text(statement))


def waiting(state: str, age_seconds: float = 3600, **more: Any) -> Prepare:
    return lambda connection: add_invoices(connection, state, range(1, 2), age_seconds=age_seconds, **more)


def moved(age: str) -> Prepare:
    return execute(
        "INSERT INTO invoice_history (invoice_id, seq, at, from_state, to_state, actor, reason, write_id) "
        f"SELECT id, 1, now() - interval '{age}', 'due', 'calculated', 'here#1', '', gen_random_uuid() FROM invoices"
    )


CASES: dict[str, tuple[list[Prepare], str | None, str | None]] = {
    "nothing to do": ([], None, LATER),
    "due and nobody calculates": ([waiting("due")], None, READY),
    "calculated and nobody sends": ([waiting("calculated")], None, READY),
    "nobody asks": ([waiting("initiated")], None, READY),
    "it has only just become ready": ([waiting("due", 30)], None, LATER),
    "another moved": ([waiting("due"), moved("10 seconds")], None, LATER),
    "another moved long ago": ([waiting("due"), moved("1 hour")], None, READY),
    "it waits for readings": ([waiting("due", held_code="readings_incomplete", reason="none")], None, LATER),
    "it is held": ([waiting("held", held_code="poison_invoice", reason="3 crashes")], None, LATER),
    "it is final": ([waiting("registered")], None, LATER),
    "its turn comes": ([waiting("sent"), execute("UPDATE invoices SET next_attempt_at = now() + '1 h'")], None, LATER),
    "it is in hand": ([waiting("due"), execute(
        "UPDATE invoices SET claimed_by = 'a#1', claimed_for = 'calculation', claimed_until = now() + '1 min'"
    )], None, LATER),
    "it waits for approval": ([waiting("calculated"), execute("UPDATE invoices SET remarked = true")], None, LATER),
    "delivery is paused": ([waiting("calculated"), execute(
        "INSERT INTO delivery_pauses (since, until, by, reason) VALUES (now(), now() + '1 h', 'ana', 'maintenance')"
    )], None, LATER),
    "the ERP is away": ([waiting("calculated")], "breaker", LATER),
    "the ERP is away, and nobody calculates": ([waiting("due")], "breaker", READY),
}  # fmt: skip


class Looked:
    """The daemon's look at a database, beside a gateway that says how the ERP is."""

    def __init__(self, database_url: str, open_reason: str | None = None) -> None:
        class Gateway(Actor):
            def on_receive(self, message: Any) -> ErpStatus:
                return ErpStatus("closed", open_reason, 0, 0, None, None, None)

        self.clock, self.snapshot = SkippingClock(), AlarmSnapshot()
        self.system = System(SupervisorSpec("root", children=(ChildSpec(ERP_GATEWAY, Gateway),)))
        self.system.start()
        self.status = StatusCollector(
            make_context(database_url, self.clock), self.system, cast("Any", None), self.snapshot
        )
        wait_until(self.status.alive)
        self.status._refresh()

    def standstill(self) -> str | None:
        return self.status.standstill()


@pytest.mark.parametrize("case", CASES)
def test_ready_work_that_stands_still_holds_the_heartbeat_back(
    case: str, database: Database, database_url: str
) -> None:
    prepare, open_reason, expected = CASES[case]
    with database.transaction() as connection:
        add_users(connection, 1)
        for each in prepare:
            each(connection)
    looked = Looked(database_url, open_reason)
    try:
        assert looked.standstill() == expected
        looked.snapshot.standing = (SERIOUS,)
        assert looked.standstill() is None, "an alarm says so already"
    finally:
        looked.system.stop()


def test_what_else_holds_it_back(database_url: str) -> None:
    looked = Looked(database_url)
    try:
        assert looked.standstill() is None
        looked.snapshot.delivery = Delivery("http://alertmanager", None, "it answers 404")
        assert looked.standstill() == "alarms do not get out: it answers 404"
        looked.snapshot.delivery = Delivery("http://alertmanager", AT)
        looked.clock.skipped_seconds = 60
        assert looked.standstill() == "nothing was found out for 60 s"
    finally:
        looked.system.stop()
    assert looked.standstill() == "the daemon's parts do not go on"
