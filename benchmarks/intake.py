"""What comes in by itself: deliveries while a large file is imported, and two hundred gateways that post."""

import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.environment import MONTH, Scale, deployments, one, server, start_erp, table, wait_registered
from drills.workload import Workload
from testkit.waiting import wait_until
from tests.support.gateways import Gateways, intake_settings
from tests.support.small_load import HEADER, write_load

DELAY_SECONDS = 0.02
REGISTERED_SPAN = """SELECT extract(epoch FROM max(updated_at) - min(updated_at))::float8 FROM invoices
                     WHERE state = 'registered'"""
BUSY = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%importer' AND state = 'active'"


def deliveries_while_importing(folder: Path, scale: Scale) -> dict[str, Any]:
    """Deliveries a second with a file of millions of rows coming in, beside the same without it."""
    users, rows = scale.of(2000, 100), scale.of(8_000_000, 200_000)
    rounds = []
    for number in range(scale.pairs):
        alone = _deliver(folder / f"{number}-alone", users, 0)
        beside = _deliver(folder / f"{number}-beside", users, rows)
        rounds.append({"alone": alone, "beside": beside})
    ratio = statistics.median(each["beside"] / each["alone"] for each in rounds)
    alone, beside = (statistics.median(each[name] for each in rounds) for name in ("alone", "beside"))
    shown: list[list[object]] = [[alone, beside, ratio]]
    return {"rounds": rounds, "table": table(["deliveries/s alone", f"with {rows:,} rows coming in", "ratio"], shown)}


def _deliver(folder: Path, users: int, rows: int) -> float:
    inbox = folder / "inbox"
    inbox.mkdir(parents=True)
    master, readings = write_load(folder / "load", users=users, first=MONTH, months=1)
    settings = {"intake": {"inbox": str(inbox), "settle_seconds": 0.1}, "billing": {"look_every_seconds": 3600}}
    with server(folder / "server") as made, deployments(folder, made.url(), settings) as (deployment,):
        start_erp(deployment, DELAY_SECONDS)
        deployment.do("import", "master", str(master))
        deployment.do("import", "readings", str(readings))
        deployment.do("pause", "--for", "1h", "--reason", "benchmark")
        deployment.daemon.start()
        wait_until(lambda: deployment.counts() == {"calculated": users}, within_seconds=300)
        if rows:
            hidden = inbox / ".large.csv"
            _write_rows(hidden, users, rows)
            hidden.rename(inbox / "large.csv")
            with deployment.database() as database:
                wait_until(lambda: one(database, BUSY) > 0)
        deployment.do("resume")
        wait_registered(deployment, users, within_seconds=600)
        if rows:
            assert (inbox / "large.csv").exists(), "the import was over before the deliveries were: give it more rows"
        with deployment.database() as database:
            return users / float(one(database, REGISTERED_SPAN))


def _write_rows(path: Path, users: int, rows: int) -> None:
    """Quarter hours of months long gone, meter by meter."""
    each = rows // users
    with path.open("w") as file:
        file.write(HEADER)
        instants = [
            f"20{10 + number // 35_000:02d}-{1 + number % 35_000 // 2688:02d}-"
            f"{1 + number % 2688 // 96:02d}T{number % 96 // 4:02d}:{number % 4 * 15:02d}:00Z"
            for number in range(each)
        ]
        for user in range(1, users + 1):
            file.writelines(f"meter-{user:05d},{at},{number},{number},0,0,0,0\n" for number, at in enumerate(instants))


def gateways(folder: Path, scale: Scale) -> dict[str, Any]:
    """Two hundred gateways post a month of quarter hours in pieces of 100 rows, sixteen at once."""
    workload = Workload(users=scale.of(200, 10), months=1)
    home = folder / "home-1"
    settings = {"intake": intake_settings(home)}
    with server(folder / "server") as made, deployments(folder, made.url(), settings) as (deployment,):
        start_erp(deployment, 0)
        master, _ = workload.write(folder, late=True)
        deployment.do("import", "master", str(master))
        posting = Gateways(home, workload, seed=1)
        deployment.daemon.start()
        began = time.monotonic()
        seconds = posting.post_all(16)
        wait_registered(deployment, workload.users, within_seconds=1800)
        whole = time.monotonic() - began
    posts = len(posting.latencies)
    p99 = sorted(posting.latencies)[posts * 99 // 100]
    heads = ["posts", "posts/s", "p99 in ms", "readings/s till all is registered"]
    figures: list[object] = [posts, posts / seconds, 1000 * p99, posting.rows / whole]
    return {"figures": figures, "table": table(heads, [figures])}
