"""The roles of `billingd db grants`: the daemon's does all its work and no more, the reader's only looks."""

import itertools
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import text

from altibiz.fake.server import FakeAltibiz
from cli.verify import verify_invoices
from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import DatabaseFailed
from persistence.connection.server_facts import moved_collation_keys, server_facts
from persistence.invoices import audit, recalculation
from persistence.schema.migrate import check_schema, upgrade
from persistence.schema.rights import grants, lacking_rights
from testkit.postgres import APP_PASSWORD, APP_USER, OTHER_PROGRAMS, READER, PostgresServer
from tests.cli.command_line import Commands
from tests.support.billed_months import book, calculate_august

_numbers = itertools.count(1)
GRANTS = grants("owner", APP_USER, READER)
RIGHTS = [
    (table, right)
    for table, rights in re.findall(r"^ +\('(\w+)', '([A-Z, ]+)'\)", GRANTS, re.MULTILINE)
    for right in ("SELECT", *rights.split(", "))
]


def as_role(url: str, role: str) -> Database:
    return Database(ConnectionSettings.from_url(re.sub(r"//[^@]*@", f"//{role}:{APP_PASSWORD}@", url)))


@pytest.fixture
def name(shared_server: PostgresServer) -> Iterator[str]:
    """The name of a fresh migrated database."""
    name = f"roles_{next(_numbers)}"
    shared_server.create_database(name)
    yield name
    shared_server.drop_database(name)


def test_from_an_empty_database_to_a_daily_root_nobody_is_superuser(
    shared_server: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = shared_server.create_database("from_nothing", template="template1")
    try:
        shared_server.execute(GRANTS, database="from_nothing")
        with as_role(url, "owner") as owner:
            assert upgrade(owner)
        shared_server.execute(GRANTS, GRANTS, database="from_nothing")
        with as_role(url, APP_USER) as daemon, FakeAltibiz() as erp:
            calculate_august(daemon)
            assert daemon.run(recalculation.take_up) == 0
            book(daemon, erp)
            with daemon.transaction() as connection:
                position = audit.settled_position(connection)
                assert audit.make_root(connection, date(2026, 11, 15), position) is not None
        with as_role(url, READER) as reader:
            verified = verify_invoices(reader, None)
            assert (verified.verified, verified.findings) == (3, [])
            with pytest.raises(DatabaseFailed, match="permission denied"), reader.transaction() as connection:
                connection.execute(text("UPDATE invoices SET attempts = 9"))
        looking = re.sub(r"//[^@]*@", f"//{READER}:{APP_PASSWORD}@", url)
        billingd = Commands.on(looking, tmp_path, capsys)
        for command in ("invoices list", "invoices show user-004.2026-08.1", "alarms list", "verify"):
            assert billingd(*command.split()).status == 0, command
        assert billingd("status").status == 3
    finally:
        shared_server.drop_database("from_nothing")


def tables_of(server: PostgresServer, name: str) -> set[str]:
    ours = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    with server.session(name) as connection:
        return set(connection.execute(text(f"{ours} AND NOT relispartition")).scalars())


def test_every_table_says_what_the_daemon_may(shared_server: PostgresServer, name: str) -> None:
    assert tables_of(shared_server, name) - {table for table, _ in RIGHTS} == {"alembic_version"}


def test_each_right_that_is_missing_is_found_by_trying_it(shared_server: PostgresServer, name: str) -> None:
    there = tables_of(shared_server, name)
    with as_role(shared_server.url(name), APP_USER) as daemon:
        assert daemon.run(lacking_rights) == []
        for table, right in [(table, right) for table, right in RIGHTS if table in there]:
            shared_server.execute(f"REVOKE {right} ON {table} FROM {APP_USER}", database=name)
            assert f"{right} on {table}" in daemon.run(lacking_rights)
            shared_server.execute(f"GRANT {right} ON {table} TO {APP_USER}", database=name)
        shared_server.execute(f"REVOKE EXECUTE ON FUNCTION readings_month FROM {APP_USER}", database=name)
        assert daemon.run(lacking_rights) == ["EXECUTE on readings_month"]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE public.mine ()",
        "CREATE FUNCTION public.now() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DELETE FROM invoices",
        "TRUNCATE invoice_history",
        "DELETE FROM readings",
        "UPDATE invoice_documents SET body = ''",
        "UPDATE audit_roots SET root = ''",
        "ALTER TABLE invoices DISABLE TRIGGER ALL",
        "DROP TABLE alarms",
        "SET session_replication_role TO replica",
        "UPDATE alembic_version SET version_num = '0001'",
    ],
)
def test_what_the_daemon_never_needs_it_may_not(statement: str, shared_server: PostgresServer, name: str) -> None:
    with (
        as_role(shared_server.url(name), APP_USER) as daemon,
        pytest.raises(DatabaseFailed, match=r"permission denied|must be owner"),
        daemon.transaction() as connection,
    ):
        connection.execute(text(statement))


def test_the_function_with_the_owners_rights_makes_months_only(shared_server: PostgresServer, name: str) -> None:
    with as_role(shared_server.url(name), APP_USER) as daemon:

        def month(day: str, filled: str) -> None:
            with daemon.transaction() as connection:
                # What the caller has in reach must not be taken for what is meant.
                connection.execute(text("CREATE TEMPORARY TABLE readings (meter_id text)"))
                connection.execute(text(f"SELECT readings_month({day}, {filled})"))
                connection.execute(text("DROP TABLE pg_temp.readings"))

        for day, filled in (("'2026-08-02'", "false"), ("NULL", "false"), ("'2026-08-01'", "true")):
            with pytest.raises(DatabaseFailed):
                month(day, filled)
        month("'2026-08-01'", "false")
        month("'2026-08-01'", "true")
        with pytest.raises(DatabaseFailed, match="already exists"):
            month("'2026-08-01'", "false")
        shared_server.execute("ALTER TABLE readings DETACH PARTITION readings_2026_08", database=name)
        with pytest.raises(DatabaseFailed, match="multiple primary keys"):
            month("'2026-08-01'", "true")  # what is archived stays archived


def test_text_keys_have_an_order_that_no_upgrade_of_the_system_changes(shared_server: PostgresServer) -> None:
    locale = "LOCALE_PROVIDER libc LOCALE 'C.UTF-8'"
    shared_server.execute(f"CREATE DATABASE other_order TEMPLATE template0 {locale}", database="postgres")
    try:
        with Database(shared_server.settings("other_order")) as database:
            assert upgrade(database)
            with database.reading() as reader:
                check_schema(reader)
            with database.transaction() as connection:
                left = connection.execute(
                    text("""SELECT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
                        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
                        WHERE c.relnamespace = 'public'::regnamespace AND a.attcollation <> 0
                            AND a.attcollation <> 'pg_catalog."C"'::regcollation""")
                ).all()
                triggers = connection.execute(
                    text("SELECT count(*) FROM pg_trigger WHERE tgname = 'spans_freed'")
                ).scalar_one()
            assert left == [("alembic_version", "version_num")]
            assert triggers == 1
            with FakeAltibiz() as erp:
                calculate_august(database)
                book(database, erp)
    finally:
        shared_server.drop_database("other_order")


@pytest.mark.skipif(OTHER_PROGRAMS is not None, reason="only PostgreSQL's own order has a version on every machine")
def test_a_collation_that_an_upgrade_of_the_system_changed_is_noticed(shared_server: PostgresServer, name: str) -> None:
    with Database(shared_server.settings(name)) as database, database.transaction() as connection:
        major = server_facts(connection).major
        assert moved_collation_keys(connection, major) is None
        connection.execute(text(f"UPDATE pg_database SET datcollversion = 'then' WHERE datname = '{name}'"))
        found = moved_collation_keys(connection, major) or []
        assert {"meters.id", "readings.meter_id", "invoices.state"} < set(found)
        for table, column in (each.split(".") for each in found if each != "invoices.state"):  # a trigger names that
            connection.execute(text(f'ALTER TABLE {table} ALTER {column} TYPE text COLLATE "C"'))
        assert moved_collation_keys(connection, major) == ["invoices.state"]
        assert moved_collation_keys(connection, 14) is None
