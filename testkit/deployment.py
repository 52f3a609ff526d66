"""A whole billingd in a folder of its own: its configuration file, its commands, its daemon and a fake ERP."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from config.keys import merged
from persistence.connection.database import ConnectionSettings, Database
from persistence.embedded.server import EmbeddedServer
from persistence.invoices import queries
from testkit.daemon_process import DaemonProcess, environment_of
from testkit.erp import FakeErp
from testkit.waiting import WAIT_SECONDS

NOW = "2026-11-15T00:00:00Z"


class Deployment:
    """Processes that talk to each other on the loopback; everything they write is below `home`.

    `now` is where the test clock begins. `erp` is another deployment's, if they share it.
    """

    def __init__(
        self,
        home: Path,
        *,
        database_url: str = "embedded",
        settings: Mapping[str, Any] | None = None,
        erp: FakeErp | None = None,
        now: str = NOW,
        environment: Mapping[str, str] | None = None,
        restarts: bool = False,
    ) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.state = home / "state"
        self.config_path = home / "billingd.yaml"
        self.database_url = database_url
        self.environment = environment_of(self.config_path, now, environment or {})
        self.erp = erp or FakeErp(home)
        self._owns_erp = erp is None
        self.daemon = DaemonProcess(home, self.environment, restarts=restarts)
        self.configure(settings or {})

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Writes the configuration file: what a deployment needs, and these settings over it."""
        needed = {
            "state_dir": str(self.state),
            "database": {"url": self.database_url},
            "erp": {"base_url": self.erp.base_url},
            "ops": {"listen": f"unix:{self.home}/ops.sock"},
        }
        self.config_path.write_text(yaml.safe_dump(merged(needed, settings)), "utf-8")

    def run(self, *arguments: str, timeout_seconds: float = WAIT_SECONDS) -> subprocess.CompletedProcess[str]:
        """A command under this configuration, as a process."""
        return subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            env=self.environment, cwd=self.home, capture_output=True, text=True, timeout=timeout_seconds, check=False,
        )  # fmt: skip

    def do(self, *arguments: str) -> str:
        """A command that has to succeed; returns its standard output."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"billingd {' '.join(arguments)}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """The document that a command prints."""
        return json.loads(self.do(*arguments, "--json"))

    def database(self) -> Database:
        """A connection of the caller's own. Raises DatabaseUnreachable before the embedded server was made."""
        if self.database_url == "embedded":
            return Database(EmbeddedServer(self.state).settings())
        return Database(ConnectionSettings.from_url(self.database_url))

    def counts(self) -> dict[str, int]:
        """How many invoices are in each state that has some. Raises PersistenceError."""
        with self.database() as database, database.transaction() as connection:
            return queries.counts(connection)

    def all_registered(self, number: int) -> bool:
        """Whether there are so many invoices, all of them registered."""
        return self.counts() == {"registered": number}

    def close(self) -> None:
        """Ends everything that was started here."""
        self.daemon.close()
        if self._owns_erp:
            self.erp.close()
        if self.database_url == "embedded":
            EmbeddedServer(self.state).stop()
