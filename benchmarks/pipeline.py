"""The whole pipeline side by side with the floor: due to booked; and what each bit of safety costs the floor."""

import statistics
import time
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks.environment import MONTH, Scale, deployments, one, server, start_erp, table, wait_registered
from benchmarks.floor import SAFETY, Floor
from persistence.connection.database import Database
from testkit.deployment import Deployment
from testkit.usage import cpu_seconds
from tests.support.small_load import write_load

DELAYS_MS = (20, 0)
QUIET = {"billing": {"look_every_seconds": 3600}}
SPAN = "SELECT extract(epoch FROM max(updated_at) - min(created_at))::float8 FROM invoices"


def measure(folder: Path, users: int, delay_seconds: float, floors: list[list[str]]) -> dict[str, Any]:
    """Invoices a second of billingd and of these floors, one after the other on one fresh database."""
    master, readings = write_load(folder / "load", users=users, first=MONTH, months=1)
    with server(folder / "server") as made, deployments(folder, made.url(), QUIET) as (deployment,):
        start_erp(deployment, delay_seconds)
        deployment.do("import", "master", str(master))
        deployment.do("import", "readings", str(readings))
        deployment.daemon.start()
        wait_registered(deployment, users, within_seconds=600)
        cpu = cpu_seconds(deployment.daemon.running_pid())
        deployment.daemon.stop()
        with deployment.database() as database:
            found = {"billingd": users / one(database, SPAN), "billingd_cpu_ms": 1000 * cpu / users}
            for safety in floors:
                found[" + ".join(["floor", *safety])] = users / _floor(database, deployment, delay_seconds, safety)
    return found


def _floor(database: Database, deployment: Deployment, delay_seconds: float, safety: list[str]) -> float:
    start_erp(deployment, delay_seconds)
    with database.transaction() as connection:
        ids = [str(each) for each in connection.execute(text("SELECT id FROM invoices ORDER BY id")).scalars()]
    began = time.perf_counter()
    Floor(database, deployment.erp.base_url, safety).run(ids)
    seconds = time.perf_counter() - began
    assert one(database, "SELECT count(*) FROM floor_invoices WHERE bill_id IS NOT NULL") == len(ids)
    return seconds


def whole_pipeline(folder: Path, scale: Scale) -> dict[str, Any]:
    """billingd against the bare floor."""
    return _compared(folder, scale, [[]], scale.of(2000, 200))


def cost_of_safety(folder: Path, scale: Scale) -> dict[str, Any]:
    """The floor with one bit of safety after the other, and billingd."""
    floors = [list(SAFETY[:count]) for count in range(len(SAFETY) + 1)]
    return _compared(folder, scale, floors, scale.of(2000, 200))


def _compared(folder: Path, scale: Scale, floors: list[list[str]], users: int) -> dict[str, Any]:
    rounds: dict[str, list[dict[str, Any]]] = {}
    for delay_ms in DELAYS_MS:
        rounds[f"{delay_ms} ms"] = [
            measure(folder / f"{delay_ms}-{number}", users, delay_ms / 1000, floors) for number in range(scale.pairs)
        ]
    rows: list[list[object]] = []
    for delay, found in rounds.items():
        for name in found[0]:
            if name != "billingd_cpu_ms":
                pace = statistics.median(each[name] for each in found)
                ratio = statistics.median(each[name] / each["floor"] for each in found)
                rows.append([delay, name, pace, ratio])
    return {
        "users": users,
        "rounds": rounds,
        "table": table(["the ERP takes", "who", "invoices/s", "of the floor"], rows),
    }
