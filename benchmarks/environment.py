"""Where the benchmarks run: a PostgreSQL server as it comes (fsync on), deployments on it, and what processes use."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from persistence.connection.database import Database
from testkit.deployment import Deployment
from testkit.postgres import PostgresServer
from testkit.waiting import wait_until

MONTH = "2026-10"


@dataclass(frozen=True)
class Scale:
    """How much is measured: what the targets speak of, or just enough to see that it runs."""

    quick: bool
    pairs: int

    def of(self, whole: int, quick: int) -> int:
        return quick if self.quick else whole


@contextmanager
def server(folder: Path) -> Iterator[PostgresServer]:
    """A migrated server with PostgreSQL's own ideas of safety, unlike the one of the tests."""
    made = PostgresServer.make(folder, options={})
    try:
        yield made
    finally:
        made.destroy()


@contextmanager
def deployments(folder: Path, url: str, *settings: Mapping[str, Any]) -> Iterator[list[Deployment]]:
    """As many deployments on one database; the ERP is the first one's."""
    with ExitStack() as stack:
        made: list[Deployment] = []
        for number, each in enumerate(settings, start=1):
            chosen, erp = {"instance": f"bench-{number}", **each}, made[0].erp if made else None
            made.append(Deployment(folder / f"home-{number}", database_url=url, settings=chosen, erp=erp))
            stack.enter_context(closing(made[-1]))
        yield made


def start_erp(deployment: Deployment, delay_seconds: float) -> None:
    """An ERP with empty books, which takes its time to answer."""
    deployment.erp.stop()
    deployment.erp.ledger_path.unlink(missing_ok=True)
    deployment.erp.start()
    if delay_seconds:
        deployment.erp.add_fault(kind="delay", seconds=delay_seconds)


def wait_registered(
    deployment: Deployment, number: int, *, within_seconds: float, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Until so many invoices are booked; looks seldom, on one connection: both cores are in use."""
    booked = "SELECT count(*) FROM invoices WHERE state = 'registered'"
    with deployment.database() as database:
        wait_until(
            lambda: one(database, booked) >= number, within_seconds=within_seconds, every_seconds=0.5, abort=meanwhile
        )


def one(database: Database, sql: str, **values: object) -> Any:
    """The one value that a query gives."""
    with database.transaction() as connection:
        return connection.execute(text(sql), values).scalar_one()


def table(heads: list[str], rows: list[list[object]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *([shown(each) for each in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
