"""A whole billingd for tests: daemon, fake ERP and commands as real processes in a folder of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from persistence import invoices
from persistence.database import ConnectionSettings, Database
from persistence.embedded import EmbeddedServer
from testkit.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "cli" / "sample"
BAD = ROOT / "tests" / "data" / "bad"
NOW = "2026-11-15T00:00:00Z"
PATIENCE_SECONDS = 60.0

T = TypeVar("T")


def eventually(find: Callable[[], T], *, within_seconds: float = PATIENCE_SECONDS, every_seconds: float = 0.05) -> T:
    """The first true result, asked for again and again until the deadline."""
    until = time.monotonic() + within_seconds
    while True:
        found = find()
        if found:
            return found
        assert time.monotonic() < until, f"not within {within_seconds} s: {found!r}"
        _pause(every_seconds)


def _pause(seconds: float) -> None:
    import threading

    threading.Event().wait(seconds)


class World:
    """Processes that talk to each other on loopback; everything they write is below `home`."""

    def __init__(
        self, home: Path, *, database_url: str = "embedded", settings: Mapping[str, Any] | None = None
    ) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.state = home / "state"
        self.erp_port = free_port()
        self.ledger_path = home / "ledger.jsonl"
        self.config_path = home / "billingd.yaml"
        self.log_path = home / "daemon.log"
        self._database_url = database_url
        self.daemon: subprocess.Popen[bytes] | None = None
        self._erp: subprocess.Popen[bytes] | None = None
        self.run_daemon_in: tuple[str, ...] = ()
        self.env = {
            **os.environ, "BILLINGD_TEST": "1", "BILLINGD_TEST_NOW": NOW, "PYTHONPATH": str(ROOT),
            "BILLINGD_CONFIG": str(self.config_path),
        }  # fmt: skip
        self.configure(settings or {})

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Writes the configuration file: what a world needs, and these sections over it."""
        document: dict[str, Any] = {
            "state_dir": str(self.state),
            "database": {"url": self._database_url},
            "erp": {"base_url": f"http://127.0.0.1:{self.erp_port}/api/v1"},
            "ops": {"listen": f"unix:{self.home}/ops.sock"},
        }
        for section, values in settings.items():
            if isinstance(values, Mapping):
                document[section] = {**document.get(section, {}), **values}
            else:
                document[section] = values
        self.config_path.write_text(yaml.safe_dump(document))

    # The daemon

    def start_daemon(self, *, up: bool = True) -> None:
        with self.log_path.open("ab") as log:
            self.daemon = subprocess.Popen(
                [*self.run_daemon_in, sys.executable, "-m", "cli.app", "run"],
                env=self.env, cwd=self.home, stderr=log,
            )  # fmt: skip
        if up:
            eventually(self.is_up)

    def is_up(self) -> bool:
        """Whether the daemon of now answers on its ops socket."""
        assert self.daemon is not None
        assert self.daemon.poll() is None, f"the daemon ended: {self.log()[-2000:]}"
        try:
            with httpx.Client(transport=httpx.HTTPTransport(uds=f"{self.home}/ops.sock"), timeout=2) as client:
                return client.get("http://daemon/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    def status(self) -> dict[str, Any]:
        with httpx.Client(transport=httpx.HTTPTransport(uds=f"{self.home}/ops.sock"), timeout=5) as client:
            document: dict[str, Any] = client.get("http://daemon/status").json()
        return document

    def kill_daemon(self) -> None:
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()

    def stop_daemon(self, *, within_seconds: float = PATIENCE_SECONDS) -> int:
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGTERM)
        return self.daemon.wait(within_seconds)

    def log(self) -> str:
        return self.log_path.read_text("utf-8", errors="replace") if self.log_path.exists() else ""

    # The ERP

    def start_erp(self, *arguments: str) -> None:
        with (self.home / "erp.log").open("ab") as log:
            self._erp = subprocess.Popen(
                [
                    sys.executable, "-m", "cli.app", "fake-altibiz", "--port", str(self.erp_port),
                    "--ledger", str(self.ledger_path), *arguments,
                ],
                env=self.env, cwd=self.home, stderr=log,
            )  # fmt: skip
        eventually(self.erp_answers)

    def erp_answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.erp_port}/control/stats", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def stop_erp(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._erp is not None and self._erp.poll() is None:
            self._erp.send_signal(how)
            self._erp.wait(PATIENCE_SECONDS)

    def erp(self, method: str, path: str, body: Any = None) -> Any:
        """Asks the fake ERP's control, as in `erp("GET", "ledger")`."""
        url = f"http://127.0.0.1:{self.erp_port}/control/{path}"
        response = httpx.request(method, url, json=body, timeout=10)
        response.raise_for_status()
        return response.json() if response.content else None

    def ledger(self) -> dict[str, dict[str, Any]]:
        """The ERP's bookings by invoice id; that each stands once is asserted."""
        bookings = self.erp("GET", "ledger")
        bookings = bookings["bookings"] if isinstance(bookings, dict) else bookings
        found = {each["network_user_invoice_id"]: each for each in bookings}
        assert len(found) == len(bookings), "the ERP has a booking twice"
        return found

    # Commands and the database

    def run(self, *arguments: str, timeout_seconds: float = PATIENCE_SECONDS) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cli.app", *arguments],
            env=self.env, cwd=self.home, capture_output=True, text=True, timeout=timeout_seconds, check=False,
        )  # fmt: skip

    def do(self, *arguments: str) -> str:
        """A command that has to succeed; returns its standard output."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.do(*arguments, "--json"))

    def import_sample(self) -> None:
        self.do("import", "master", str(SAMPLE / "master.yaml"))
        self.do("import", "readings", *(str(SAMPLE / f"readings-2026-{month}.csv.gz") for month in ("08", "09", "10")))

    def database(self) -> Database:
        """A connection of the test's own."""
        if self._database_url == "embedded":
            return Database(EmbeddedServer(self.state).settings())
        return Database(ConnectionSettings.from_url(self._database_url))

    def counts(self) -> dict[str, int]:
        with self.database() as database, database.transaction() as connection:
            return invoices.counts(connection)

    def all_registered(self, number: int) -> bool:
        return self.counts() == {"registered": number}

    def standing(self) -> dict[str, dict[str, Any]]:
        """The standing alarms by code, as the daemon knows them."""
        return {alarm["code"]: alarm for alarm in self.status()["alarms"]}

    def close(self) -> None:
        """Ends everything that was started here."""
        for process in (self.daemon, self._erp):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        if self._database_url == "embedded":
            EmbeddedServer(self.state).stop()
