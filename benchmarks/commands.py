"""How long an operator waits for the commands that are typed most, on a database with 100,000 invoices.

`python benchmarks/commands.py [--invoices 100000]`, from the root of the checkout. The invoices are made by SQL in a
throwaway server, with lines, history and exchanges, and a daemon runs on it. Each command is started five times; what
counts is its median less that of `python -c pass`. A table on standard error, one JSON document on standard output.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import Connection

from persistence.connection.database import Database
from testkit.deployment import Deployment
from testkit.postgres import PostgresServer
from testkit.waiting import wait_until

RUNS = 5
MONTHS = 10
LAST = f"2025-{MONTHS:02d}"
# All but the last month is booked; of that a few are held, wait for readings or for the ERP's verdict.
_MAKE = """
INSERT INTO locations VALUES ('place', 'Place', 'supply', '{{}}');
INSERT INTO network_users SELECT 'user-' || n, 'User ' || n, 'place', 'P-' || n, '2025-01', NULL, '{{}}'
    FROM generate_series(1, {users}) n;
CREATE TEMPORARY TABLE wanted AS
    SELECT u.id || '.' || p.period || '.1' AS id, u.id AS user_id, p.period, row_number() OVER () AS number,
        CASE WHEN p.period < '{last}' OR n % 100 > 3 THEN 'registered'
            WHEN n % 100 = 1 THEN 'held' WHEN n % 100 = 2 THEN 'due' ELSE 'initiated' END AS state
    FROM (SELECT id, substr(id, 6)::int AS n FROM network_users) u,
        (SELECT '2025-' || to_char(m, 'FM00') AS period FROM generate_series(1, {months}) m) p;
INSERT INTO invoices (id, network_user_id, period, state, bill_id, held_code, held_reason, held_from, invoice_date,
        total_eur, tax_rate_percent, tax_eur, total_with_tax_eur, attempts, history_length)
    SELECT id, user_id, period, state, CASE WHEN state = 'registered' THEN 'B-' || number END,
        CASE state WHEN 'held' THEN 'erp_refused_invoice' WHEN 'due' THEN 'readings_incomplete' END,
        CASE state WHEN 'held' THEN '422: unknown sub-project' WHEN 'due' THEN 'meter m has no reading' END,
        CASE WHEN state = 'held' THEN 'sent' END, '2025-11-01', 100 + number % 900, 13, 13, 113 + number % 900, 1, 4
    FROM wanted;
INSERT INTO invoice_documents (invoice_id, lines, calculations, snapshot, body)
    SELECT id, (SELECT jsonb_agg(jsonb_build_object('ordinal', l || '.', 'name', 'Line ' || l, 'unit', 'Mjesec',
            'quantity', '1', 'price_eur', '10.00')) FROM generate_series(1, 10) l), '[]', '{{}}', '{{}}'
    FROM wanted WHERE state <> 'due';
INSERT INTO invoice_history (invoice_id, seq, from_state, to_state, actor, reason, write_id)
    SELECT id, h.seq, h.a, h.b, 'benchmark', 'made for it', gen_random_uuid() FROM wanted, (VALUES
        (1, NULL, 'due'), (2, 'due', 'calculated'), (3, 'calculated', 'sent'), (4, 'sent', 'registered')) h(seq, a, b)
    WHERE h.b <> 'registered' OR state = 'registered';
INSERT INTO erp_exchanges (invoice_id, seq, method, outcome, status, detail)
    SELECT id, 1, 'PUT', 'booked', 201, 'registered' FROM wanted WHERE state <> 'due';
INSERT INTO alarms (id, code, key, severity, summary, raised_at, last_at, cleared_at, instance)
    SELECT 'a' || n, 'erp_unreachable', 'benchmark-' || n, 'major', 'no answer', now(), now(),
        CASE WHEN n > 5 THEN now() END, 'benchmark' FROM generate_series(1, 1000) n;
"""


def fill(connection: Connection, invoices: int) -> None:
    """Makes that many invoices, as some months would have left them."""
    script = _MAKE.format(users=invoices // MONTHS, months=MONTHS, last=LAST)
    for statement in script.split(";\n"):
        connection.exec_driver_sql(statement)


def medians(command: Sequence[str], environ: Mapping[str, str]) -> tuple[float, float]:
    """Seconds from the start of the process to its end, and of its CPU time: medians of RUNS starts."""
    taken, used = [], []
    for _ in range(RUNS):
        begun, cpu = time.perf_counter(), _cpu_seconds()
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        taken.append(time.perf_counter() - begun)
        used.append(_cpu_seconds() - cpu)
        assert done.returncode in (0, 1), f"{command}: {done.stderr}"
    return statistics.median(taken), statistics.median(used)


def _cpu_seconds() -> float:
    """Of all processes that were waited for so far."""
    of_children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return of_children.ru_utime + of_children.ru_stime


def measure(deployment: Deployment) -> dict[str, tuple[float, float]]:
    """The commands by what is typed, with their medians."""
    one = f"user-101.{LAST}.1"
    typed = (
        "status", "invoices list", f"invoices list --period {LAST}", "invoices list --state held",
        f"invoices show {one}", "alarms list", "alarms list --all",
    )  # fmt: skip
    python = sys.executable
    # With its modules compiled, as an installation has them, whatever this shell says of it.
    environ = {
        **deployment.environment,
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(deployment.home / "compiled"),
    }
    measured = {"python -c pass": medians([python, "-c", "pass"], environ)}
    for command in typed:
        measured[command] = medians([python, "-m", "cli", *command.split()], environ)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, default=100_000)
    invoices: int = parser.parse_args().invoices
    with tempfile.TemporaryDirectory() as folder:
        server = PostgresServer.make(Path(folder) / "server")
        deployment = Deployment(Path(folder) / "home", database_url=server.url())
        try:
            begun = time.perf_counter()
            with Database(server.settings().without_limits()) as database:
                with database.transaction() as connection:
                    fill(connection, invoices)
                database.run_alone("VACUUM ANALYZE")
            sys.stderr.write(f"{invoices} invoices made in {time.perf_counter() - begun:.0f} s\n")
            deployment.daemon.start()
            wait_until(lambda: sum(deployment.daemon.status()["invoices"].values()) == invoices)
            measured = measure(deployment)
        finally:
            deployment.close()
            server.destroy()
    bare = measured["python -c pass"]
    sys.stderr.write(f"{'beyond python -c pass':<32} seconds  of CPU\n")
    for name, (seconds, cpu) in measured.items():
        sys.stderr.write(f"{name:<32} {seconds - bare[0]:7.2f} {cpu - bare[1]:7.2f}\n")
    print(json.dumps({"invoices": invoices, "seconds_and_cpu_seconds": measured}))


if __name__ == "__main__":
    main()
