"""`billingd demo`: the sample billed by a real daemon while the fake ERP goes down in the middle."""

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from billing.states import State
from cli.invocation import CommandFailed
from persistence.alarms import AlarmRecord, find
from persistence.connection.errors import PersistenceError
from persistence.invoices import queries
from testkit.deployment import Deployment
from testkit.waiting import NotReached, wait_until

SAMPLE = Path(__file__).parent / "sample"
MONTHS = ("2026-08", "2026-09", "2026-10")
BILLED_AT = "2026-11-15T00:00:00Z"
EXPECTED = 36
ERP_AWAY_SECONDS = 9.0
STEP_SECONDS = 90.0


def demo(
    directory: Annotated[
        Path | None, typer.Option("--directory", help="Where it works; else a new folder among the temporary ones.")
    ] = None,
) -> None:
    """Bill the sample data with an embedded database and a fake ERP, which goes down for a while in the middle."""
    folder = directory or Path(tempfile.mkdtemp(prefix="billingd-demo-"))
    settings = {"erp": {"breaker": {"reset_seconds": 3}}}
    try:
        deployment = Deployment(folder.absolute(), settings=settings, now=BILLED_AT)
    except OSError as error:
        raise CommandFailed(f"cannot work in {folder}: {(error.strerror or str(error)).lower()}") from error
    with closing(deployment):
        Demo(deployment, Console()).run()


class Demo:
    """Three processes in one folder: the daemon with its embedded database, the fake ERP, and this one, watching."""

    def __init__(self, deployment: Deployment, console: Console) -> None:
        self.deployment = deployment
        self.console = console
        self._headline = "starting"
        self._counts: dict[str, int] = {}
        self._standing: list[AlarmRecord] = []

    def run(self) -> None:
        """Bills the sample and shows it; raises CommandFailed if a step doesn't come about in time."""
        begun = time.monotonic()
        erp, daemon = self.deployment.erp, self.deployment.daemon
        with Live(console=self.console, get_renderable=self._picture, refresh_per_second=8):
            erp.start()
            self._say("starting the daemon with its embedded database")
            daemon.start(wait=False)
            self._until(lambda: self._read(queries.counts) is not None)
            self._say("importing master data")
            self._command("import", "master", str(SAMPLE / "master.yaml"))
            self._import(MONTHS[0])
            self._until(lambda: self._counts.get(State.REGISTERED, 0) >= EXPECTED // 3)
            self._say("the ERP is killed (kill -9)")
            erp.kill()
            away = time.monotonic()
            for month in MONTHS[1:]:
                self._import(month)
            self._say("the ERP is down: billing goes on, an alarm stands, nothing is lost")
            self._until(lambda: any(alarm.code == "erp_unreachable" for alarm in self._standing))
            self._until(lambda: time.monotonic() - away >= ERP_AWAY_SECONDS)
            erp.start()
            self._say("the ERP is back")
            self._until(lambda: self._counts.get(State.REGISTERED, 0) >= EXPECTED)
            self._until(lambda: not self._standing)
            lists = [self._command("invoices", "list"), self._command("alarms", "list", "--all")]
            self._say("all is billed: stopping the daemon")
            daemon.stop()
            self._say(f"done in {time.monotonic() - begun:.0f} s")
        files = (
            f"database: {self.deployment.state}",
            f"ledger of the fake ERP: {erp.ledger_path}",
            f"log: {daemon.log_path}",
        )
        for text in (*lists, *files):
            self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    # What it does

    def _command(self, *arguments: str) -> str:
        done = self.deployment.run(*arguments)
        if done.returncode:
            raise CommandFailed(f"billingd {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _import(self, month: str) -> None:
        self._say(f"importing the readings of {month}")
        self._command("import", "readings", str(SAMPLE / f"readings-{month}.csv.gz"))

    # What it sees

    def _read(self, query: Callable[[Any], Any]) -> Any:
        """What the query finds; None while the database is away."""
        try:
            with self.deployment.database() as database, database.transaction() as connection:
                return query(connection)
        except PersistenceError:
            return None

    def _until(self, reached: Callable[[], bool]) -> None:
        log = self.deployment.daemon.log_path

        def look() -> None:
            if self.deployment.daemon.pid is None:
                raise CommandFailed(f"the daemon ended: see {log}")
            self._counts = self._read(queries.counts) or self._counts
            standing = self._read(find)
            self._standing = self._standing if standing is None else standing

        try:
            wait_until(reached, within_seconds=STEP_SECONDS, every_seconds=0.1, abort=look)
        except NotReached as error:
            raise CommandFailed(f"{self._headline!r} took too long: see {log}") from error

    def _say(self, headline: str) -> None:
        self._headline = headline
        if not self.console.is_terminal:
            counts = ", ".join(f"{self._counts[state]} {state}" for state in State if self._counts.get(state))
            self.console.print(f"{headline}   {counts}".rstrip(), soft_wrap=True)

    # What it shows

    def _picture(self) -> Group:
        grid = Table.grid(padding=(0, 2))
        for state in State:
            number = self._counts.get(state, 0)
            grid.add_row(state, str(number), ProgressBar(total=EXPECTED, completed=number, width=40))
        lines = [Text(f"! {alarm.code}: {alarm.summary}", style="bold red") for alarm in self._standing]
        return Group(Text(self._headline, style="bold"), grid, *lines) if self.console.is_terminal else Group()
