"""The way to the schema: fresh, again, at once, unknown; and what the schema itself refuses."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text

from persistence.connection.database import Database
from persistence.connection.errors import RowRefused, SchemaMismatch
from persistence.schema import migrate
from testkit.postgres import PostgresServer
from tests.support.superuser import as_superuser, superuser


@pytest.fixture
def empty(database: Database) -> Iterator[Database]:
    """A database without our schema."""
    as_superuser(database, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    with superuser(database) as fresh:
        yield fresh


def check(database: Database) -> None:
    with database.reading() as reader:
        migrate.check_schema(reader)


def test_an_upgrade_makes_the_schema_once(empty: Database) -> None:
    with pytest.raises(SchemaMismatch, match=r"/test_\d+ has no schema: run `billingd db upgrade`"):
        check(empty)
    assert migrate.upgrade(empty)
    check(empty)
    assert not migrate.upgrade(empty)


def test_two_upgrades_at_once_do_not_collide(empty: Database) -> None:
    did: list[bool] = []
    threads = [threading.Thread(target=lambda: did.append(migrate.upgrade(empty))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(did) == [False, False, False, True]


def test_a_schema_newer_than_the_program_is_left_alone(database: Database) -> None:
    as_superuser(database, "UPDATE alembic_version SET version_num = 'from the future'")
    with pytest.raises(SchemaMismatch, match="newer than this program"):
        check(database)
    with pytest.raises(SchemaMismatch, match="newer than this program"):
        migrate.upgrade(database)


def test_tables_in_another_schema_are_not_made_a_second_time(empty: Database) -> None:
    migrate.upgrade(empty)
    with empty.transaction() as connection:
        connection.execute(text("ALTER SCHEMA public RENAME TO billing"))
        connection.execute(text("CREATE SCHEMA public"))
    with pytest.raises(SchemaMismatch, match="tables in the schema billing, not in public"):
        migrate.upgrade(empty)


def test_every_migration_is_reached_in_one_line() -> None:
    folder = Path(migrate.__file__).parent / "migrations" / "versions"
    assert migrate.expected_revision() == max(path.stem.split("_")[0] for path in folder.glob("*.py"))


@pytest.fixture
def invoices(database: Database) -> Database:
    """A database with one network user, ready for invoices."""
    with database.transaction() as connection:
        for statement in (
            "INSERT INTO locations VALUES ('L', 'L', 'R', '{}')",
            "INSERT INTO network_users VALUES ('NU', 'NU', 'L', 'S', '2026-01', NULL, '{}')",
        ):
            connection.execute(text(statement))
    return database


AMOUNTS = {
    "total_eur": "100",
    "tax_rate_percent": "13",
    "tax_eur": "13",
    "total_with_tax_eur": "113",
    "invoice_date": "'2026-11-01'",
}
GOOD = {"id": "'NU.2026-10.1'", "network_user_id": "'NU'", "period": "'2026-10'"}


def insert(database: Database, **columns: str) -> None:
    row = GOOD | columns
    with database.transaction() as connection:
        connection.execute(text(f"INSERT INTO invoices ({', '.join(row)}) VALUES ({', '.join(row.values())})"))


def update(database: Database, **columns: str) -> None:
    changes = ", ".join(f"{name} = {value}" for name, value in columns.items())
    with database.transaction() as connection:
        connection.execute(text(f"UPDATE invoices SET {changes}"))


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"state": "'calculated'", **AMOUNTS},
        {"state": "'registered'", "bill_id": "'B'", **AMOUNTS},
        {"state": "'aborted'", "abort_reason": "'waived'", "ended_by": "'operator'"},
        {"state": "'held'", "held_from": "'due'", "held_code": "'poison_invoice'", "held_reason": "'x'"},
        {"held_code": "'readings_incomplete'", "held_reason": "'no reading at the end'"},
    ],
)
def test_states_that_may_be_are_taken(invoices: Database, columns: dict[str, str]) -> None:
    insert(invoices, **columns)


@pytest.mark.parametrize(
    "columns",
    [
        {"id": "'NU.2026-10.2'"},
        {"period": "'2026-13'", "id": "'NU.2026-13.1'"},
        {"revision": "0", "id": "'NU.2026-10.0'"},
        {"network_user_id": "'NX'", "id": "'NX.2026-10.1'"},
        {"state": "'lost'"},
        {"state": "'calculated'"},
        {"state": "'calculated'", **AMOUNTS, "total_with_tax_eur": "114"},
        {"state": "'calculated'", **AMOUNTS, "invoice_date": "NULL"},
        {"state": "'registered'", **AMOUNTS},
        {"state": "'registered'", "bill_id": "'B'"},
        {"state": "'initiated'", "bill_id": "'B'", **AMOUNTS},
        {"state": "'aborted'"},
        {"state": "'aborted'", "abort_reason": "'waived'"},
        {"state": "'aborted'", "abort_reason": "'waived'", "ended_by": "'somebody'"},
        {"ended_by": "'erp'"},
        {"abort_reason": "'x'"},
        {"state": "'held'", "held_code": "'x'", "held_reason": "'x'"},
        {"state": "'held'", "held_from": "'due'", "held_code": "'x'"},
        {"state": "'held'", "held_from": "'sent'", "held_code": "'x'", "held_reason": "'x'"},
        {"held_from": "'due'"},
        {"state": "'sent'", "held_code": "'x'", **AMOUNTS},
        {"claimed_by": "'me'"},
        {"claimed_by": "'me'", "claimed_until": "now()", "claimed_for": "'fun'"},
    ],
)
def test_states_that_must_not_be_are_refused(invoices: Database, columns: dict[str, str]) -> None:
    with pytest.raises(RowRefused):
        insert(invoices, **columns)


STATES = ("due", "calculated", "sent", "initiated", "registered", "aborted", "held")
ARROWS = {
    "due": {"calculated", "aborted", "held"},
    "calculated": {"sent", "initiated", "registered", "aborted", "held"},
    "sent": {"initiated", "registered", "aborted", "held"},
    "initiated": {"sent", "registered", "aborted", "held"},
    "registered": set[str](),
    "aborted": set[str](),
    "held": {"calculated", "initiated", "registered", "aborted"},  # held from calculated
}
NOT_NEEDED = {"bill_id": "NULL", "abort_reason": "NULL", "ended_by": "NULL", "held_from": "NULL", "held_code": "NULL"}
NEEDS = {
    "registered": {"bill_id": "'B'"},
    "aborted": {"abort_reason": "'x'", "ended_by": "'erp'"},
    "held": {"held_from": "'calculated'", "held_code": "'x'", "held_reason": "'x'"},
}


@pytest.mark.parametrize("from_state", STATES)
def test_only_the_arrows_of_the_states_can_be_gone(invoices: Database, from_state: str) -> None:
    amounts = {} if from_state == "due" else AMOUNTS
    gone: set[str] = set()
    for number, to_state in enumerate(state for state in STATES if state != from_state):
        period = f"2026-{number + 1:02}"
        identity = {"id": f"'NU.{period}.1'", "period": f"'{period}'"}
        bill = {"bill_id": f"'B{number}'"} if from_state == "registered" else {}
        insert(invoices, **identity, state=f"'{from_state}'", **amounts, **NEEDS.get(from_state, {}) | bill)
        changes = NOT_NEEDED | NEEDS.get(to_state, {}) | {"state": f"'{to_state}'"} | AMOUNTS
        try:
            with invoices.transaction() as connection:
                assignments = ", ".join(f"{name} = {value}" for name, value in changes.items())
                connection.execute(
                    text(f"UPDATE invoices SET {assignments} WHERE period = :period"), {"period": period}
                )
        except RowRefused:
            continue
        gone.add(to_state)
    assert gone == ARROWS[from_state]


def test_amounts_never_change_once_they_stand(invoices: Database) -> None:
    insert(invoices, state="'calculated'", **AMOUNTS)
    with pytest.raises(RowRefused, match="amounts"):
        update(invoices, total_eur="200", total_with_tax_eur="213")


def test_one_revision_is_open_at_a_time(invoices: Database) -> None:
    insert(invoices)
    second = {"id": "'NU.2026-10.2'", "revision": "2"}
    with pytest.raises(RowRefused) as refused:
        insert(invoices, **second)
    assert refused.value.constraint == "invoices_one_open_revision"
    update(invoices, state="'aborted'", abort_reason="'waived'", ended_by="'operator'")
    insert(invoices, **second)


def test_a_bill_id_belongs_to_one_invoice(invoices: Database) -> None:
    insert(invoices, state="'registered'", bill_id="'B'", **AMOUNTS)
    with pytest.raises(RowRefused) as refused:
        insert(invoices, id="'NU.2026-11.1'", period="'2026-11'", state="'registered'", bill_id="'B'", **AMOUNTS)
    assert refused.value.constraint == "invoices_bill_id_key"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoice_documents SET body = ''",
        "DELETE FROM invoice_documents",
        "UPDATE invoice_history SET reason = 'another'",
        "DELETE FROM invoice_history",
        "DELETE FROM invoices",
    ],
)
def test_documents_and_history_are_written_once(invoices: Database, statement: str) -> None:
    insert(invoices)
    with invoices.transaction() as connection:
        connection.execute(text("INSERT INTO invoice_documents VALUES ('NU.2026-10.1', '[]', '[]', '{}', 'body')"))
        connection.execute(
            text(
                "INSERT INTO invoice_history (invoice_id, seq, to_state, actor, reason, write_id)"
                " VALUES ('NU.2026-10.1', 1, 'due', 'test', 'x', gen_random_uuid())"
            )
        )
    with pytest.raises(RowRefused):
        as_superuser(invoices, statement)


def test_the_shared_template_is_at_the_expected_revision(shared_server: PostgresServer) -> None:
    with Database(shared_server.settings()) as database:
        check(database)


def test_the_files_of_the_migrations_name_the_revisions_that_alembic_finds() -> None:
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    found = [script.revision for script in ScriptDirectory.from_config(configuration).walk_revisions()]
    assert list(migrate.revisions()) == found[::-1]
