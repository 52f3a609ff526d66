"""`billingd demo`: the sample billed by a real daemon while the fake ERP goes down in the middle."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from alarming.alarm import Record
from alarming.lookup import find
from cli.invocation import CommandFailed
from drills.erp import Erp
from persistence import invoices
from persistence.browsing import Filter, list_invoices
from persistence.connection import reader
from persistence.database import Database
from persistence.embedded import EmbeddedServer
from persistence.errors import PersistenceError

SAMPLE = Path(__file__).parent / "sample"
MONTHS = ("2026-08", "2026-09", "2026-10")
BILLED_AT = "2026-11-15T00:00:00Z"
EXPECTED = 36
ERP_AWAY_SECONDS = 9.0
STEP_SECONDS = 90.0
STATES = ("due", "calculated", "sent", "initiated", "registered", "aborted", "held")


def demo(
    directory: Annotated[
        Path | None, typer.Option("--directory", help="Where it works; else a new folder among the temporary ones.")
    ] = None,
) -> None:
    """Bill the sample data with an embedded database and a fake ERP, which goes down for a while in the middle."""
    folder = directory or Path(tempfile.mkdtemp(prefix="billingd-demo-"))
    shown = Demo(folder.absolute(), Console())
    try:
        shown.run()
    finally:
        shown.erp.kill()


class Demo:
    """Three processes in one folder: the daemon with its embedded database, the fake ERP, and this one, watching."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder = folder
        self.console = console
        self._config = folder / "billingd.yaml"
        self.erp = Erp(folder)
        self._server = EmbeddedServer(folder / "state")
        self._database: Database | None = None
        self._headline = "starting"
        self._counts: dict[str, int] = {}
        self._alarms: list[Record] = []

    def run(self) -> None:
        """Bills the sample and shows it; raises CommandFailed if a step doesn't come about in time."""
        begun = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        with Live(console=self.console, get_renderable=self._picture, refresh_per_second=8):
            self._write_configuration()
            self.erp.start()
            with self._daemon() as daemon:
                self._say("importing master data")
                self._command("import", "master", str(SAMPLE / "master.yaml"))
                self._import(MONTHS[0])
                self._until(lambda: self._counts.get("registered", 0) >= EXPECTED // 3, daemon)
                self._say("the ERP is killed (kill -9)")
                self.erp.kill()
                away = time.monotonic()
                for month in MONTHS[1:]:
                    self._import(month)
                self._say("the ERP is down: billing goes on, an alarm stands, nothing is lost")
                self._until(self._alarm_stands, daemon)
                self._until(lambda: time.monotonic() - away >= ERP_AWAY_SECONDS, daemon)
                self.erp.start()
                self._say("the ERP is back")
                self._until(lambda: self._counts.get("registered", 0) >= EXPECTED, daemon)
                self._until(lambda: all(alarm.cleared_at for alarm in self._alarms), daemon)
                listed = self._read(lambda connection: list_invoices(reader(connection), Filter()))
                self._say("all is billed: stopping the daemon")
                daemon.send_signal(signal.SIGTERM)
                daemon.wait(STEP_SECONDS)
            self._say(f"done in {time.monotonic() - begun:.0f} s")
        self._report(listed or [])

    # What it starts

    @contextmanager
    def _daemon(self) -> Iterator["subprocess.Popen[bytes]"]:
        with (self.folder / "daemon.log").open("ab") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "cli.app", "--config", str(self._config), "run"],
                stderr=log, env=self._environment(),
            )  # fmt: skip
        try:
            self._say("starting the daemon with its embedded database")
            self._until(self._connects, daemon)
            yield daemon
        finally:
            if daemon.poll() is None:
                daemon.terminate()
                daemon.wait(STEP_SECONDS)

    def _write_configuration(self) -> None:
        settings = {
            "state_dir": str(self.folder / "state"),
            "erp": {"base_url": self.erp.base_url, "breaker": {"reset_seconds": 3}},
            "ops": {"listen": f"unix:{self.folder / 'ops.sock'}"},
        }
        self._config.write_text(yaml.safe_dump(settings), "utf-8")

    def _command(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "cli.app", "--config", str(self._config), *arguments],
            env=self._environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise CommandFailed(f"billingd {' '.join(arguments)}: {done.stderr.strip()}")

    def _import(self, month: str) -> None:
        self._say(f"importing the readings of {month}")
        self._command("import", "readings", str(SAMPLE / f"readings-{month}.csv.gz"))

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "BILLINGD_TEST": "1", "BILLINGD_TEST_NOW": BILLED_AT}

    # What it sees

    def _connects(self) -> bool:
        try:
            self._database = Database(self._server.settings())
            with self._database.transaction() as connection:
                invoices.counts(connection)
        except PersistenceError:
            return False
        return True

    def _read(self, query: Callable[[Any], Any]) -> Any:
        assert self._database is not None
        try:
            with self._database.transaction() as connection:
                return query(connection)
        except PersistenceError:
            return None

    def _look(self) -> None:
        if self._database is not None:
            self._counts = self._read(invoices.counts) or self._counts
            self._alarms = self._read(lambda connection: find(reader(connection), cleared_too=True)) or self._alarms

    def _alarm_stands(self) -> bool:
        return any(alarm.code == "erp_unreachable" and not alarm.cleared_at for alarm in self._alarms)

    def _until(self, reached: Callable[[], bool], daemon: "subprocess.Popen[bytes]") -> None:
        until = time.monotonic() + STEP_SECONDS
        while not reached():
            if daemon.poll() is not None:
                raise CommandFailed(f"the daemon ended: see {self.folder / 'daemon.log'}")
            if time.monotonic() > until:
                raise CommandFailed(f"{self._headline!r} took too long: see {self.folder / 'daemon.log'}")
            threading.Event().wait(0.1)
            self._look()

    def _say(self, headline: str) -> None:
        self._headline = headline
        if not self.console.is_terminal:
            self.console.print(f"{headline}   {self._in_words()}".rstrip(), soft_wrap=True)

    def _in_words(self) -> str:
        return ", ".join(f"{self._counts[state]} {state}" for state in STATES if self._counts.get(state))

    # What it shows

    def _picture(self) -> Group:
        grid = Table.grid(padding=(0, 2))
        for state in STATES:
            number = self._counts.get(state, 0)
            grid.add_row(state, str(number), ProgressBar(total=EXPECTED, completed=number, width=40))
        standing = [alarm for alarm in self._alarms if not alarm.cleared_at]
        lines = [Text(f"! {alarm.code}: {alarm.summary}", style="bold red") for alarm in standing]
        return Group(Text(self._headline, style="bold"), grid, *lines) if self.console.is_terminal else Group()

    def _report(self, listed: list[dict[str, Any]]) -> None:
        table = Table("invoice", "state", "bill", Column("EUR with tax", justify="right"), title="Invoices")
        for invoice in listed:
            total = f"{invoice['total_with_tax_eur']:,.2f}"
            table.add_row(invoice["id"], invoice["state"], invoice["bill_id"], total)
        whole = [Column(title, no_wrap=True) for title in ("alarm", "raised", "cleared")]
        alarms = Table(*whole, "what", title="Alarms")
        for alarm in sorted(self._alarms, key=lambda alarm: alarm.raised_at):
            cleared = f"{alarm.cleared_at:%H:%M:%S}" if alarm.cleared_at else "stands"
            summary = textwrap.shorten(alarm.summary, 110, placeholder="…")
            alarms.add_row(alarm.code, f"{alarm.raised_at:%H:%M:%S}", cleared, summary)
        for each in (table, alarms):
            each.title_justify = "left"
            self.console.print(each)
        self.console.print(f"database: {self.folder / 'state'}", soft_wrap=True)
        self.console.print(f"ledger of the fake ERP: {self.erp.ledger_path}", soft_wrap=True)
        self.console.print(f"log: {self.folder / 'daemon.log'}", soft_wrap=True)
