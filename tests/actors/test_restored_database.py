"""An older backup put in place under a running daemon: it registers anew, and nothing it had in hand is written."""

import uuid
from collections.abc import Iterator
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from actors.erp_gateway import ErpGateway
from actors.messages import (
    ALARMS,
    BILLER,
    DB_WRITER,
    ERP_GATEWAY,
    ClaimedDeliveries,
    CourierReady,
    Poll,
    SendRequest,
    WriteOutcome,
)
from actors.writer import DbWriter
from alarming.catalogue import Code
from alarming.conditions import ConditionActive
from billing.invoice import Invoice, calculate
from persistence import instances
from persistence.connection.database import Database
from persistence.invoices import claims
from persistence.invoices.calculation_inputs import fetch_inputs
from persistence.invoices.calculations import store_calculations
from persistence.invoices.claims import Delivery
from tests.support.actor_context import make_context
from tests.support.billed_months import AUGUST, calculate_august, claim_offers
from tests.support.calculated_rows import BY
from tests.support.supervision import ActorHarness

TABLES = ("instances", "invoices", "invoice_documents", "invoice_history", "billed_spans")


class Backup:
    """A copy of the tables that a daemon writes, to be put back under it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction() as connection:
            for table in TABLES:
                connection.execute(text(f"CREATE TABLE backup_{table} AS SELECT * FROM {table}"))

    def restore(self) -> None:
        """In one transaction, as a restore of single tables does it: no session is ended."""
        with self._database.transaction() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            for table in TABLES:
                identity = " OVERRIDING SYSTEM VALUE" if table == "invoice_history" else ""
                connection.execute(text(f"DELETE FROM {table}"))
                connection.execute(text(f"INSERT INTO {table}{identity} SELECT * FROM backup_{table}"))


@pytest.fixture
def predecessor(database: Database) -> uuid.UUID:
    """A daemon of the same name that runs, by the backup."""
    before = uuid.uuid4()
    with database.transaction() as connection:
        instances.register(connection, "here", before, "old")
    return before


@pytest.fixture
def backup(database: Database, predecessor: uuid.UUID) -> Backup:
    """Of a time before the daemon started; its predecessor had one invoice in hand."""
    calculate_august(database)
    with database.transaction() as connection:
        by = claims.Claimer(f"here#{predecessor}", 3600.0)
        claims.claim_deliveries(connection, by, claims.Wanted(1))
    return Backup(database)


@pytest.fixture
def writer(database_url: str, backup: Backup) -> Iterator[ActorHarness]:
    harness = ActorHarness(DB_WRITER, lambda: DbWriter(make_context(database_url)))
    harness.actor.on_start()
    harness.told.clear()
    yield harness
    harness.actor.on_stop()


def instance(database: Database) -> tuple[str, bool]:
    with database.transaction() as connection:
        row = connection.execute(text("SELECT incarnation, ended_at IS NULL FROM instances WHERE name = 'here'")).one()
    return str(row[0]), row[1]


def test_item_13_a_daemon_that_the_restored_database_does_not_know_registers_anew_at_its_next_look(
    writer: ActorHarness, backup: Backup, database: Database, predecessor: uuid.UUID
) -> None:
    ours = instance(database)[0]
    backup.restore()
    assert instance(database)[0] == str(predecessor)
    writer.actor.on_receive(Poll())
    assert instance(database) == (ours, True)
    assert (BILLER, Poll(newly_due=True)) in writer.told
    assert (ERP_GATEWAY, Poll(restored=True)) in writer.told
    signs = [sign for name, sign in writer.told if name == ALARMS and isinstance(sign, ConditionActive)]
    assert Code.DAEMON_WAS_DOWN not in {sign.code for sign in signs}, "it was not down"
    with database.transaction() as connection:
        rows = connection.execute(text("SELECT claimed_by, unclean_ends FROM invoices WHERE state = 'sent'")).all()
    assert [tuple(row) for row in rows] == [(None, 0)], "what its predecessor had in hand is free, and nobody's fault"
    writer.told.clear()
    writer.actor.on_receive(Poll())
    assert (ERP_GATEWAY, Poll(restored=True)) not in writer.told


def test_item_13_one_whose_backup_has_no_instance_registers_anew_too(writer: ActorHarness, database: Database) -> None:
    ours = instance(database)
    with database.transaction() as connection:
        connection.execute(text("DELETE FROM instances"))
    writer.actor.on_receive(Poll())
    assert instance(database) == ours


def test_item_13_a_calculation_from_before_the_restore_is_refused_though_the_row_is_claimed_as_often(
    database: Database,
) -> None:
    """The restored row counts its claims from where the backup had them, so the number itself must not come again."""
    calculate_august(database)
    with database.transaction() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("DELETE FROM invoice_documents"))
        connection.execute(text("UPDATE invoices SET state = 'due', total_eur = NULL, tax_eur = NULL, claim = 0"))
    backup = Backup(database)
    stale = claim_due(database)
    with database.transaction() as connection:
        bases = fetch_inputs(connection, list(stale), ZoneInfo("Europe/Zagreb"))
        made = [(stale[str(each.id)], each) for each in (calculate(b, 95) for b in bases) if isinstance(each, Invoice)]
    assert len(made) == 3
    backup.restore()
    again = claim_due(database)
    assert again.keys() == stale.keys()
    with database.transaction() as connection:
        assert store_calculations(connection, BY.name, uuid.uuid4(), made).done == frozenset()


def claim_due(database: Database) -> dict[str, int]:
    with database.transaction() as connection:
        return {each.invoice_id: each.claim for each in claims.claim_due(connection, BY, claims.Wanted(9))}


def test_item_13_what_is_on_its_way_is_not_claimed_beside_it(database: Database) -> None:
    """A restored row is free again while the request about it is still under way."""
    calculate_august(database)
    backup = Backup(database)
    (first, *_) = claim_offers(database)
    backup.restore()
    with database.transaction() as connection:
        claimed = claims.claim_deliveries(connection, BY, claims.Wanted(9, [first.invoice_id]))
    assert sorted(each.invoice_id for each in claimed) == sorted({*AUGUST} - {first.invoice_id})


def test_item_13_the_gateway_forgets_what_it_had_queued(database_url: str) -> None:
    harness = ActorHarness(ERP_GATEWAY, lambda: ErpGateway(make_context(database_url)))
    harness.actor.on_start()
    harness.actor.on_receive(CourierReady("courier-1"))
    at = harness.actor._asked_at_seconds  # type: ignore[attr-defined]
    claimed = [Delivery(each, 1, "offer", "sent", Decimal(1), b"{}", 0, 0, 0) for each in AUGUST]
    harness.actor.on_receive(ClaimedDeliveries(claimed, at, several_open=True))
    harness.actor.on_receive(Poll(restored=True))
    harness.actor.on_receive(CourierReady("courier-1"))
    assert [m.delivery.invoice_id for _, m in harness.told if isinstance(m, SendRequest)] == [AUGUST[0]]
    assert not [m for _, m in harness.told if isinstance(m, WriteOutcome)], "there is nothing to be given back"
