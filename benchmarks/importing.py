"""From a file of quarter-hour readings to calculated invoices, side by side with a plain COPY of the same rows."""

import gzip
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text

from benchmarks.environment import MONTH, Scale, one, server, table
from billing.identity import InvoiceId
from billing.invoice import Invoice, calculate
from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.engine import copy_in
from persistence.invoices import claims, due_invoices
from persistence.invoices.calculation_inputs import INPUTS, fetch_inputs, input_values
from persistence.invoices.calculations import store_calculations
from persistence.invoices.claims import Claimer
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from persistence.readings.partitions import Month, make_month

ZAGREB = ZoneInfo("Europe/Zagreb")
BATCH = 500
BY = Claimer("bench#1", 3600.0)
OTHER_MONTHS = [Month(2025, number) for number in range(10, 13)] + [Month(2026, number) for number in range(1, 9)]
REGISTERS = (
    "active_import_total_wh, active_import_t1_wh, active_import_t2_wh, active_export_total_wh, "
    "reactive_import_total_varh, reactive_export_total_varh"
)


def import_and_calculate(folder: Path, scale: Scale) -> dict[str, Any]:
    """All kinds of catalogues, one month; each pair on a fresh database of one server."""
    users = scale.of(10_000, 40)
    load = folder / "load"
    maker = Path(__file__).parent / "load" / "make_load.py"
    subprocess.run(
        [sys.executable, maker, "--users", str(users), "--from", MONTH, "--months", "1", "--out", load], check=True
    )
    readings = load / f"readings-{MONTH}.csv.gz"
    rounds = []
    with server(folder / "server") as made:
        for number in range(scale.pairs):
            url = made.create_database(f"pair_{number}")
            with Database(ConnectionSettings.from_url(url).without_limits()) as database:
                rounds.append(_pair(database, load / "master.yaml", readings))
                last = number == scale.pairs - 1
                plan = _with_a_year(database) if last else ""
            made.drop_database(f"pair_{number}")
    return {"users": users, "rounds": rounds, "plan": plan, "table": _table(rounds)}


def _pair(database: Database, master: Path, readings: Path) -> dict[str, float]:
    found = {"copy": _timed(lambda: _plain_copy(database, readings))}
    database.run_alone("DROP TABLE plain_readings")
    with database.transaction() as connection:
        import_master(connection, master)
    found["import"] = _timed(lambda: _import(database, readings))
    with database.transaction() as connection:
        due_invoices.make_due(connection, BY.name, [MONTH], reason="bench")
    found["calculation"] = _timed(lambda: _calculate(database))
    found["rows"] = one(database, "SELECT count(*) FROM readings")
    found["invoices"] = one(database, "SELECT count(*) FROM invoices WHERE state = 'calculated'")
    assert found["invoices"] == one(database, "SELECT count(*) FROM invoices")
    return found


def _timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _plain_copy(database: Database, readings: Path) -> None:
    with database.transaction() as connection, gzip.open(readings) as file:
        connection.execute(text("CREATE TABLE plain_readings (LIKE readings, PRIMARY KEY (meter_id, at))"))
        file.readline()
        copy_in(connection, "COPY plain_readings FROM STDIN WITH (FORMAT csv)", file)


def _import(database: Database, readings: Path) -> None:
    with database.transaction() as connection:
        import_readings(connection, readings)


def _calculate(database: Database) -> None:
    """What the biller and the db_writer do with all that is due, in one thread."""
    while True:
        with database.transaction() as connection:
            claimed = claims.claim_due(connection, BY, claims.Wanted(BATCH))
            if not claimed:
                return
            claim_of = {each.invoice_id: each.claim for each in claimed}
            made = [calculate(basis, 95) for basis in fetch_inputs(connection, list(claim_of), ZAGREB)]
            pairs = [(claim_of[str(each.id)], each) for each in made if isinstance(each, Invoice)]
            assert len(store_calculations(connection, BY.name, uuid.uuid4(), pairs).done) == len(claimed)


def _with_a_year(database: Database) -> str:
    """The plan of one batch, as it ran with eleven other months of hourly readings in the table."""
    with database.transaction() as connection:
        for month in OTHER_MONTHS:
            make_month(
                connection,
                month,
                f"""SELECT meter_id, {month.begin} + (at - timestamptz '2026-10-01 00:00Z') AS at, {REGISTERS}
                    FROM readings WHERE extract(minute FROM at) = 0
                    AND at >= timestamptz '2026-10-01 00:00Z' AND at < timestamptz '2026-10-29 00:00Z'""",
            )
        ids = list(
            connection.execute(text("SELECT id FROM invoices ORDER BY id LIMIT :some"), {"some": BATCH}).scalars()
        )
        plan = connection.execute(
            text(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {INPUTS}"),
            input_values([InvoiceId.parse(each) for each in ids], ZAGREB),
        ).scalars()
        return "\n".join(line[:200] for line in plan)


def _table(rounds: list[dict[str, float]]) -> str:
    work = {"plain COPY": ["copy"], "import": ["import"], "calculation": ["calculation"],
            "import and calculation": ["import", "calculation"]}  # fmt: skip
    rows: list[list[object]] = []
    for name, steps in work.items():
        seconds = [sum(each[step] for step in steps) for each in rounds]
        pace = statistics.median(each["rows"] / took for each, took in zip(rounds, seconds, strict=True))
        ratio = statistics.median(each["copy"] / took for each, took in zip(rounds, seconds, strict=True))
        rows.append([name, pace, ratio])
    return table(["what", "readings/s", "of plain COPY"], rows)
