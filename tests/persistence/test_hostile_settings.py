"""Whatever settings a role carries, one at a time: the sample is billed to the cent, and `verify` finds nothing."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from sqlalchemy import text

from altibiz.fake.server import FakeAltibiz
from cli.verify import verify_invoices
from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import DatabaseUnreachable
from persistence.invoices.queries import counts
from testkit.postgres import PostgresServer
from tests.support.billed_months import AUGUST, book, calculate_august
from tests.support.sample import SAMPLE

SHADOWS = """
    CREATE SCHEMA shadows; GRANT USAGE ON SCHEMA shadows TO PUBLIC;
    CREATE TABLE shadows.invoices (id text); CREATE TABLE shadows.readings (id text);
    CREATE TABLE shadows.meters (id int);
    CREATE FUNCTION shadows.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz '1999-01-01' $$;
    CREATE FUNCTION shadows.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz '1999-01-01' $$;
    CREATE FUNCTION shadows.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$;
    CREATE FUNCTION shadows.never(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT false $$;
    CREATE OPERATOR shadows.= (LEFTARG = text, RIGHTARG = text, FUNCTION = shadows.never);
    CREATE OPERATOR shadows.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = shadows.never)
"""
# What may change how values look, how SQL is read, what a transaction is, or how long things take.
HOSTILE = {
    "DateStyle": "'German'",
    "IntervalStyle": "'sql_standard'",
    "TimeZone": "'Pacific/Apia'",
    "bytea_output": "'escape'",
    "client_encoding": "'LATIN1'",
    "extra_float_digits": "-15",
    "lc_numeric": "'C.UTF-8'",
    "lc_monetary": "'C.UTF-8'",
    "lc_time": "'C.UTF-8'",
    "xmlbinary": "'hex'",
    "search_path": "shadows, pg_catalog, public",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "check_function_bodies": "off",
    "client_min_messages": "'debug5'",
    "default_tablespace": "'no such'",
    "temp_tablespaces": "'no such'",
    "default_transaction_isolation": "'serializable'",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "exit_on_error": "on",
    "session_replication_role": "'replica'",
    "synchronous_commit": "off",
    "statement_timeout": "'20ms'",
    "lock_timeout": "'1ms'",
    "transaction_timeout": "'20ms'",
    "idle_in_transaction_session_timeout": "'1ms'",
    "idle_session_timeout": "'200ms'",
    "jit": "on",
    "jit_above_cost": "0",
    "plan_cache_mode": "force_generic_plan",
    "work_mem": "'64kB'",
    "enable_indexscan": "off",
    "enable_nestloop": "off",
    "enable_hashjoin": "off",
    "enable_partition_pruning": "off",
    "constraint_exclusion": "on",
    "random_page_cost": "10000",
    "debug_parallel_query": "on",
    "default_toast_compression": "'pglz'",
    "default_statistics_target": "1",
}


if os.environ.get("BILLINGD_TEST_ROLE"):
    del HOSTILE["session_replication_role"]  # only a superuser can put it right; others are refused, in one line


@pytest.fixture
def erp() -> Iterator[FakeAltibiz]:
    with FakeAltibiz() as erp:
        yield erp


def make_hostile(server: PostgresServer, database_url: str, *names: str) -> None:
    """Lets the role carry these settings in this database, where things stand that could be taken for others."""
    whose = ConnectionSettings.from_url(database_url)
    server.execute(*SHADOWS.split(";"), database=whose.database)
    with server.session(whose.database) as connection:
        there = set(connection.execute(text("SELECT lower(name) FROM pg_settings")).scalars())
    if not there.issuperset(map(str.lower, names)) and len(names) == 1:
        pytest.skip("this PostgreSQL has no such setting")
    for name in (each for each in names if each.lower() in there):
        server.execute(
            f"ALTER ROLE {whose.user} IN DATABASE {whose.database} SET {name} TO {HOSTILE[name]}", database="postgres"
        )


def bill(database_url: str, erp: FakeAltibiz) -> None:
    """Bills August on connections that are opened now, and compares each line."""
    expected = {
        each["id"]: each for each in json.loads((SAMPLE / "expected-invoices.json").read_text("utf-8"))["2026-08"]
    }
    with Database(ConnectionSettings.from_url(database_url)) as database:
        calculate_august(database)
        book(database, erp)
    with Database(ConnectionSettings.from_url(database_url)) as database:
        with database.transaction() as connection:
            assert counts(connection) == {"registered": 3}
            rows = connection.execute(text("SELECT invoice_id, lines FROM invoice_documents")).all()
        for invoice_id, lines in rows:
            assert {each["ordinal"]: Decimal(each["price_eur"]) for each in lines} == {
                ordinal: Decimal(price) for ordinal, price in expected[invoice_id]["lines"].items()
            }
        assert {invoice_id for invoice_id, _ in rows} == set(AUGUST)
        verified = verify_invoices(database, None)
        assert (verified.verified, verified.findings, verified.not_verifiable) == (3, [], [])


@pytest.mark.parametrize("name", HOSTILE)
def test_a_setting_of_the_role_changes_nothing(
    name: str, database_url: str, shared_server: PostgresServer, erp: FakeAltibiz
) -> None:
    make_hostile(shared_server, database_url, name)
    bill(database_url, erp)


def test_all_of_them_at_once_change_nothing(database_url: str, shared_server: PostgresServer, erp: FakeAltibiz) -> None:
    make_hostile(shared_server, database_url, *(name for name in HOSTILE if not name.endswith("_timeout")))
    bill(database_url, erp)


@pytest.mark.parametrize(
    ("name", "value"), [("default_transaction_read_only", "on"), ("session_replication_role", "replica")]
)
def test_what_the_database_is_set_to_keeps_writers_off(
    name: str, value: str, database_url: str, shared_server: PostgresServer
) -> None:
    database = ConnectionSettings.from_url(database_url).database
    shared_server.execute(f"ALTER DATABASE {database} SET {name} TO {value}", database="postgres")
    with (
        Database(ConnectionSettings.from_url(database_url)) as opened,
        pytest.raises(DatabaseUnreachable, match=f"takes no writes: its {name}"),
        opened.transaction(),
    ):
        pass
    settings = replace(ConnectionSettings.from_url(database_url), any_server=True)
    with Database(settings) as opened, opened.reading():
        pass
