"""Whether it stays level: pace and memory at 1,000, 10,000 and 100,000 invoices with hourly readings, and a plot."""

import gzip
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from benchmarks.environment import Scale, deployments, one, server, start_erp, table, wait_registered
from billing.periods import Period
from testkit.usage import resident_mb
from tests.support.small_load import HEADER, write_load

ZAGREB = ZoneInfo("Europe/Zagreb")
LAST_MONTH = 10  # of 2026: the deployments stand in November
SIZES = ((1000, 1), (1000, 10), (10_000, 10))
QUICK_SIZES = ((20, 1), (20, 10), (60, 10))
STEADY = """
    SELECT 0.8 * count(*) / extract(epoch FROM percentile_disc(0.9) WITHIN GROUP (ORDER BY at)
        - percentile_disc(0.1) WITHIN GROUP (ORDER BY at))::float8
    FROM invoice_history WHERE to_state = 'registered'
"""

BYTES = """
    SELECT c.relname, (pg_total_relation_size(c.oid)::float8 / (SELECT count(*) FROM invoices)) FROM pg_class c
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND NOT c.relispartition ORDER BY 2 DESC LIMIT 8
"""
"""What an invoice takes in each table, indexes included; readings lie in partitions."""


def growth(folder: Path, scale: Scale) -> dict[str, Any]:
    """One run each; the pace is that of the middle eight tenths."""
    sizes = QUICK_SIZES if scale.quick else SIZES
    found = [_run(folder / f"{users * months}", users, months) for users, months in sizes]
    rows: list[list[object]] = [[each["invoices"], each["pace"], each["most_mb"], each["last_mb"]] for each in found]
    bytes_of: list[list[object]] = [[name, number] for name, number in found[-1]["bytes"].items()]
    paces = table(["invoices", "steady invoices/s", "most resident MB", "resident MB at the end"], rows)
    document = {
        "sizes": found,
        "table": f"{paces}\n\n{table(['table', 'bytes an invoice'], bytes_of)}",
    }
    _plot(folder / "growth.png", found)
    return document


def _run(folder: Path, users: int, months: int) -> dict[str, Any]:
    first = f"2026-{LAST_MONTH - months + 1:02}"
    master, _ = write_load(folder / "load", users=users, first=first, months=months)
    files = _hourly(folder / "load", users, Period.parse(first), months)
    with server(folder / "server") as made, deployments(folder, made.url(), {}) as (deployment,):
        deployment.do("import", "master", str(master))
        for file in files:
            done = deployment.run("import", "readings", str(file), timeout_seconds=3600)
            assert done.returncode == 0, done.stderr
            file.unlink()
        start_erp(deployment, 0.0)
        deployment.daemon.start()
        pid, seen = deployment.daemon.running_pid(), list[float]()
        wait_registered(
            deployment, users * months, within_seconds=3600, meanwhile=lambda: seen.append(resident_mb(pid))
        )
        with deployment.database() as database:
            pace = float(one(database, STEADY))
        sizes = {name: float(size) for name, size in made.rows(BYTES)}
    return {"invoices": users * months, "pace": pace, "most_mb": max(seen), "last_mb": seen[-1], "bytes": sizes}


def _hourly(folder: Path, users: int, period: Period, months: int) -> list[Path]:
    """One file a month from this one on, for the meters that `write_load` made."""
    files: list[Path] = []
    hour = 0
    for _ in range(months):
        start, end = period.start(ZAGREB), period.end(ZAGREB)
        hours = int((end - start).total_seconds()) // 3600
        stamps = [f"{_instant(start, number)}," for number in range(hours + 1)]
        files.append(folder / f"readings-{period}.csv.gz")
        with gzip.open(files[-1], "wt", compresslevel=1, newline="") as file:
            file.write(HEADER)
            for user in range(1, users + 1):
                meter, step = f"meter-{user:05d}", 100 + user
                file.write(
                    "".join(
                        f"{meter},{stamp}{3 * step * at},{2 * step * at},{step * at},0,{at},0\n"
                        for at, stamp in enumerate(stamps, start=hour)
                    )
                )
        period, hour = period.next(), hour + hours
    return files


def _instant(start: datetime, hours: int) -> str:
    return f"{start + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


def _plot(path: Path, found: list[dict[str, Any]]) -> None:
    try:
        import matplotlib  # only `make bench` installs it
    except ModuleNotFoundError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (pace, memory) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    invoices, paces = [each["invoices"] for each in found], [each["pace"] for each in found]
    pace.plot(invoices, paces, marker="o")
    pace.set(title="Pace", xlabel="invoices", ylabel="invoices/s", xscale="log", ylim=(0, 1.1 * max(paces)))
    memory.plot(invoices, [each["most_mb"] for each in found], marker="o")
    memory.axhline(200, linestyle="--", color="grey")
    memory.set(title="The daemon's memory, at its most", xlabel="invoices", ylabel="MB", xscale="log", ylim=(0, None))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
