"""A small database with an invoice that waits, one that is due and one that is registered, and what works on it."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import yaml
from sqlalchemy import Connection, text

from billing.invoice import Invoice, NotReady, calculate
from persistence.connection.database import ConnectionSettings, Database
from persistence.invoices import claims, corrections, due_invoices, recalculation
from persistence.invoices.calculation_inputs import fetch_inputs
from persistence.invoices.calculations import store_calculations
from persistence.invoices.changes import Change, apply_changes
from persistence.invoices.claims import Claimer
from persistence.invoices.corrections import OrderRefused
from persistence.master_data import import_master
from persistence.readings.importing import ReadingsReport, import_readings, replace_readings
from testkit.postgres import PostgresServer
from tests.billing.billing_samples import ZAGREB
from tests.support.interleaving import Run, pause
from tests.support.moved_meters import HEADER, move
from tests.support.sample import BAD

PERIOD, START, END = "2026-08", "2026-07-31T22:00:00Z", "2026-08-31T22:00:00Z"
# user-004 lacks its last reading, user-008 is due, user-012 is registered.
LACKS, DUE, REGISTERED = (f"user-{user}.{PERIOD}.1" for user in ("004", "008", "012"))
METERS = {LACKS: "abb-B2x-00220651", DUE: "abb-B2x-00252537", REGISTERED: "abb-B2x-00129728"}
TABLES = (
    "readings", "readings_replaced", "invoices", "invoice_history", "invoice_documents", "erp_exchanges",
    "billed_spans", "recalculation_requests",
)  # fmt: skip


def row(meter_id: str, at: str, kwh: int) -> str:
    return f"{meter_id},{at},{kwh}000,{kwh}000,0,0,0,0\n"


@dataclass
class Field:
    """A small database, put back before each run; each session has a connection that bears its name."""

    url: str
    settings: ConnectionSettings
    folder: Path
    sessions: dict[str, Database]
    reports: list[ReadingsReport]

    def file(self, name: str, *rows: str) -> Path:
        path = self.folder / f"{name}.csv"
        path.write_text(HEADER + "".join(rows))
        return path

    def set_up(self) -> None:
        master = yaml.safe_load((BAD / "master.yaml").read_text("utf-8"))
        master["measurement_locations"] = [
            {**each, "catalogue": "white-low"} for each in master["measurement_locations"] if each["id"] != "ml-004-2"
        ]
        path = self.folder / "master.yaml"
        path.write_text(yaml.safe_dump(master, allow_unicode=True), "utf-8")
        everything = self.file(
            "all", *(row(each, START, 1000) for each in METERS.values()),
            *(row(METERS[each], END, 2000) for each in (DUE, REGISTERED)),
        )  # fmt: skip
        ours = self.sessions["observer"]
        ours.run(partial(import_master, path=path))
        ours.run(partial(import_readings, path=everything))
        ours.run(lambda connection: due_invoices.make_due(connection, "test", [PERIOD], reason="test"))
        self._register(ours)
        with ours.transaction() as connection:
            connection.execute(text("TRUNCATE recalculation_requests"))
            connection.execute(text("CREATE SCHEMA saved"))
            for table in (*TABLES, "measurement_locations", "meters"):
                connection.execute(text(f"CREATE TABLE saved.{table} AS SELECT * FROM {table}"))
        self.move_theirs = move(path, self.folder, "ml-008-1", "user-012")
        self.move_ours = move(path, self.folder, "ml-012-1", "user-008")
        self.last = self.file("last", row(METERS[LACKS], END, 2000))
        self.higher = self.file("higher", *(row(METERS[each], END, 2500) for each in (DUE, REGISTERED)))
        self.lower = self.file("lower", *(row(METERS[each], END, 1500) for each in (DUE, REGISTERED)))

    def _register(self, ours: Database) -> None:
        by = Claimer("first#1", 60.0)
        with ours.transaction() as connection:
            number = {each.invoice_id: each.claim for each in claims.claim_due(connection, by, claims.Wanted(9))}
            (made,) = (calculate(basis, 95) for basis in fetch_inputs(connection, [REGISTERED], ZAGREB))
            assert isinstance(made, Invoice)
            store_calculations(connection, by.name, uuid.uuid4(), [(number[REGISTERED], made)])
            (offer,) = claims.claim_deliveries(connection, by, claims.Wanted(9))
            booked = Change(
                invoice_id=REGISTERED, claim=offer.claim, reason="booked", to_state="registered", bill_id="1"
            )
            apply_changes(connection, by.name, uuid.uuid4(), [booked])
            connection.execute(text("UPDATE invoices SET claimed_by = NULL, claimed_for = NULL, claimed_until = NULL"))
            connection.execute(text("UPDATE network_user_catalogues SET meter_fee = meter_fee + 1"))

    def put_back(self) -> None:
        self.reports.clear()
        with self.sessions["observer"].transaction() as connection:
            connection.execute(text("SET LOCAL session_replication_role = 'replica'"))
            for table in TABLES:
                connection.execute(text(f"DELETE FROM {table}"))
                connection.execute(text(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM saved.{table}"))
            for table, column in (("measurement_locations", "network_user"), ("meters", "version")):
                connection.execute(
                    text(f"""UPDATE {table} t SET {column} = s.{column} FROM saved.{table} s WHERE s.id = t.id
                             AND s.{column} <> t.{column}""")
                )

    # What a session does: each pause but those at the locks lies between two transactions, or before a COMMIT.

    def transact(self, name: str, work: Callable[[Connection], object]) -> None:
        tries = itertools.count(1)

        def whole(connection: Connection) -> None:
            assert next(tries) == 1, "a deadlock"
            work(connection)
            pause()

        self.sessions[name].run(whole)

    def calculate_and_store(self, name: str) -> None:
        self.work_once(name, pause)

    def coarsely_calculate_and_store(self, name: str) -> None:
        self.work_once(name)

    def work_once(self, name: str, between: Callable[[], None] = lambda: None) -> bool:
        """Whether there was anything to calculate."""
        by, ours = Claimer(f"{name}#1", 60.0), self.sessions[name]
        with ours.transaction() as connection:
            number = {each.invoice_id: each.claim for each in claims.claim_due(connection, by, claims.Wanted(9))}
        between()
        if not number:
            return False
        with ours.transaction() as connection:
            bases = fetch_inputs(connection, number, ZAGREB)
        between()
        calculated, waiting = [], []
        for basis in bases:
            claim, result = number[str(basis.id)], calculate(basis, 95)
            if isinstance(result, Invoice):
                calculated.append((claim, result))
            else:
                waiting.append(
                    Change(
                        invoice_id=str(basis.id), claim=claim, reason="-", held_code=result.code,
                        held_reason=result.reason, delay_seconds=300.0, meter_versions=basis.meter_versions,
                    )
                )  # fmt: skip
        self.transact(
            name, lambda connection: store_calculations(connection, by.name, uuid.uuid4(), calculated, waiting)
        )
        return True

    def take_up(self, name: str) -> None:
        self.transact(name, recalculation.take_up)

    def import_last(self, name: str) -> None:
        self.transact(name, partial(import_readings, path=self.last))

    def replace_with(self, path: str, name: str) -> None:
        def work(connection: Connection) -> None:
            report = replace_readings(connection, getattr(self, path), "misread", "ana")
            pause()
            reports.append(report)

        reports = list[ReadingsReport]()
        self.transact(name, work)
        self.reports += reports[-1:]

    def move_to(self, path: str, name: str) -> None:
        self.transact(name, partial(import_master, path=getattr(self, path)))

    def correct(self, name: str) -> None:
        ours = self.sessions[name]
        taken = ours.run(
            lambda connection: corrections.take_up(
                connection, "correct", REGISTERED, name, offer_seconds=0, lease_seconds=60
            )
        )
        pause()
        self.transact(name, lambda connection: corrections.correct(connection, taken, name, "x", ZAGREB, Decimal(95)))

    def move_and_correct(self, name: str) -> None:
        self.move_to("move_theirs", name)
        pause()
        self.correct(name)

    # What has to be true afterwards

    def work_off(self) -> None:
        """What daemons do until nothing is left to do; they have the sessions' names, so they find what those lost."""
        worked = True
        while worked:
            self.take_up("observer")
            worked = any(self.work_once(name) for name in ("one", "two", "observer"))

    def judge(self, run: Run) -> None:
        order = f"after {' '.join(run.turns)}"
        for name, failure in run.failures.items():
            assert isinstance(failure, OrderRefused), f"{order}: {name}: {failure!r}"
        self.work_off()
        with self.sessions["observer"].transaction() as connection:
            self.judge_readings(connection, order)
            twice = connection.execute(text(TWICE)).all()
            assert not twice, f"{order}: billed twice: {twice}"
            self.judge_waiting(connection, order)

    def judge_readings(self, connection: Connection, order: str) -> None:
        listed = {each for report in self.reports for each in report.invoices}
        differ = set(connection.execute(text(DIFFER), {"start": START, "end": END}).scalars())
        assert differ <= listed, f"{order}: computed from other readings, and not listed: {differ - listed}"

    def judge_waiting(self, connection: Connection, order: str) -> None:
        due = connection.execute(text("SELECT id, held_code FROM invoices WHERE state = 'due'")).all()
        bases = fetch_inputs(connection, [each.id for each in due], ZAGREB)
        for each, result in zip(due, (calculate(basis, 95) for basis in bases), strict=True):
            assert isinstance(result, NotReady), f"{order}: {each.id} waits for nothing"
            assert each.held_code == result.code, f"{order}: {each.id} waits with {each.held_code}"


# The stored registers of each live invoice beside those that the readings have now.
DIFFER = """
    SELECT DISTINCT i.id FROM invoices i JOIN invoice_documents d ON d.invoice_id = i.id
    CROSS JOIN jsonb_array_elements(d.snapshot->'measurement_locations') AS place
    JOIN readings s ON s.meter_id = place->>'meter_id' AND s.at = CAST(:start AS timestamptz)
    JOIN readings e ON e.meter_id = place->>'meter_id' AND e.at = CAST(:end AS timestamptz)
    WHERE i.state <> 'aborted'
    AND (CAST(place->'registers_at_start'->>'active_import_total_wh' AS bigint) <> s.active_import_total_wh
        OR CAST(place->'registers_at_end'->>'active_import_total_wh' AS bigint) <> e.active_import_total_wh)
"""
# From the documents themselves, not from the table that the database's own guard rests on: each debt's last live one.
TWICE = """
    WITH live AS (
        SELECT DISTINCT i.network_user_id, c->>'meter_id' AS meter_id
        FROM invoices i JOIN invoice_documents d ON d.invoice_id = i.id
        CROSS JOIN jsonb_array_elements(d.calculations) AS c
        WHERE i.state <> 'aborted' AND NOT EXISTS (SELECT FROM invoices l WHERE l.network_user_id = i.network_user_id
            AND l.period = i.period AND l.revision > i.revision AND l.state = 'registered')
    )
    SELECT meter_id FROM live GROUP BY meter_id HAVING count(*) > 1
"""


@contextmanager
def small_field(server: PostgresServer, name: str, folder: Path) -> Iterator[Field]:
    """The field in a database of its own, dropped at the end."""
    url = server.create_database(name)
    settings = ConnectionSettings.from_url(url)
    with ExitStack() as stack:
        sessions = {
            each: stack.enter_context(Database(replace(settings, application_name=each)))
            for each in ("one", "two", "observer")
        }
        field = Field(url, settings, folder, sessions, [])
        field.set_up()
        yield field
    server.drop_database(name)
