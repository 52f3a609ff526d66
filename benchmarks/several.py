"""What happens after a kill -9 with thousands of invoices open, and what a second daemon brings."""

import statistics
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.environment import Scale, deployments, one, server, start_erp, table, wait_registered
from testkit.deployment import Deployment
from testkit.waiting import wait_until
from tests.support.small_load import write_load

LANES = 16
FIRST = "2026-01"


def backlog(folder: Path, scale: Scale) -> dict[str, Any]:
    """Killed in the middle of the delivery of ten months, with nine tenths or more of 10,000 invoices open."""
    return _backlog(folder, scale.of(1000, 30), scale.pairs)


def large_backlog(folder: Path, scale: Scale) -> dict[str, Any]:
    """The same, once, with nearly all of 100,000 invoices open."""
    return _backlog(folder, scale.of(10_000, 60), 1)


def _backlog(folder: Path, users: int, times: int) -> dict[str, Any]:
    master, readings = write_load(folder / "load", users=users, first=FIRST, months=10)
    rounds = [_killed(folder / str(number), master, readings, users * 10) for number in range(times)]
    rows: list[list[object]] = [
        [name, *(f(each[name] for each in rounds) for f in (min, statistics.median, max))] for name in rounds[0]
    ]
    return {"invoices": users * 10, "rounds": rounds, "table": table(["what", "least", "median", "most"], rows)}


def _killed(folder: Path, master: Path, readings: Path, number: int) -> dict[str, float]:
    with server(folder / "server") as made, deployments(folder, made.url(), {}) as (deployment,):
        deployment.do("import", "master", str(master))
        deployment.do("import", "readings", str(readings))
        deployment.daemon.start()
        wait_until(
            lambda: deployment.counts().get("due", 0) == 0 < sum(deployment.counts().values()), within_seconds=1800
        )
        start_erp(deployment, 0.02)
        wait_until(lambda: deployment.counts().get("registered", 0) >= min(100, number // 10), within_seconds=120)
        deployment.daemon.kill()
        counts = deployment.counts()
        with deployment.database() as database:
            began = one(database, "SELECT clock_timestamp()")
            deployment.daemon.start(wait=False)
            wait_registered(deployment, number, within_seconds=1800)
            booked = (
                "SELECT extract(epoch FROM {}(at) - :began)::float8 FROM invoice_history WHERE to_state = 'registered'"
            )
            first = one(database, f"{booked.format('min')} AND at > :began", began=began)
            last = one(database, booked.format("max"), began=began)
        stats = deployment.erp.stats()
    offers = Counter(stats["offers"].values())
    assert sum(offers.values()) == number
    assert all(times == 1 or stats["asks"].get(each) for each, times in stats["offers"].items()), "offered blindly"
    assert max(offers) <= 2
    assert offers[2] <= LANES
    return {
        "open when it starts": sum(counts.values()) - counts.get("registered", 0),
        "seconds to the first booking": first,
        "seconds to the last booking": last,
        "offered again": offers[2],
    }


def two_daemons(folder: Path, scale: Scale) -> dict[str, Any]:
    """One against two, each with 16 requests in flight, at an ERP that answers after 200 ms."""
    number = scale.of(2400, 60)
    master, readings = write_load(folder / "load", users=number, first="2026-10", months=1)
    rounds = [
        {f"{count} at work": _pace(folder / f"{pair}-{count}", master, readings, number, count) for count in (1, 2)}
        for pair in range(scale.pairs)
    ]
    rows: list[list[object]] = [
        [name, statistics.median(each[name] for each in rounds),
         statistics.median(each[name] / each["1 at work"] for each in rounds)]
        for name in rounds[0]
    ]  # fmt: skip
    return {"invoices": number, "rounds": rounds, "table": table(["daemons", "invoices/s", "of one"], rows)}


def _pace(folder: Path, master: Path, readings: Path, number: int, daemons: int) -> float:
    """Invoices a second from the first offer to the last booking."""
    with server(folder / "server") as made, deployments(folder, made.url(), *[{}] * daemons) as all_of_them:
        deployment: Deployment = all_of_them[0]
        start_erp(deployment, 0.2)
        deployment.do("import", "master", str(master))
        for each in all_of_them:
            each.daemon.start()
        deployment.do("import", "readings", str(readings))
        wait_registered(deployment, number, within_seconds=600)
        with deployment.database() as database:
            seconds = one(
                database,
                """SELECT extract(epoch FROM max(at) FILTER (WHERE to_state = 'registered')
                   - min(at) FILTER (WHERE to_state = 'sent'))::float8 FROM invoice_history""",
            )
    return number / float(seconds)
