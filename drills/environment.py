"""One drill's environment: a throwaway database behind a proxy, an ERP process and a daemon process."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import httpx
import yaml

from config.keys import merged
from drills.workload import Workload
from persistence.connection.errors import PersistenceError
from persistence.connection.statements import notify
from persistence.invoices.held_invoices import held_ids, retry_held
from persistence.readings.importing import import_readings
from testkit.deployment import NOW, Deployment
from testkit.erp import CERTIFICATES, FakeErp
from testkit.postgres import VOLATILE, PostgresServer
from testkit.proxy import Proxy
from testkit.standby import StandbyPair
from testkit.waiting import becomes_true, wait_until

FAST: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("fast.yaml").read_text("utf-8"))
RAISE_WITHIN_SECONDS = 2.0
INTAKE_TOKEN = "of-the-drill's-gateways"
POSTGRES = {**VOLATILE, "shared_buffers": "16MB", "max_connections": "24", "deadlock_timeout": "100ms"}
# The machine may be busy with other drills: the waiting is generous, what is measured is not.
REACH_SECONDS = 60.0
FINISH_SECONDS = 60.0
CLEAR_SECONDS = 45.0


@dataclass(frozen=True)
class Setting:
    """What a variant changes of the usual environment."""

    tls: bool = False
    named_host: bool = False
    standby: Literal["none", "asynchronous", "synchronous"] = "none"
    found_by: Literal["address", "hosts", "haproxy", "name"] = "address"
    """How the daemon finds the database's primary."""
    fast: bool = True
    """Short limits, so that a drill is soon over; else the defaults of the configuration."""
    now: str = NOW
    daemon: Mapping[str, Any] = field(default_factory=dict)


class Environment:
    """All processes of one drill, below a folder of its own."""

    def __init__(self, home: Path, template: Path, workload: Workload, setting: Setting | None = None) -> None:
        setting = setting or Setting()
        home.mkdir(parents=True)
        # Sockets have short names: the folder of the logs may be anywhere.
        self._short = tempfile.TemporaryDirectory(prefix="drill-", ignore_cleanup_errors=True)
        self.home, self.workload = home, workload
        self.late = False
        self._pair: StandbyPair | None = None
        self.verdicts_wait: list[int] = []
        """The faults by which the ERP keeps its verdicts back."""
        self.now = setting.now
        self.postgres = PostgresServer.copy(
            template, Path(self._short.name) / "a",
            {**POSTGRES, "synchronous_standby_names": "*" if setting.standby == "synchronous" else ""},
        )  # fmt: skip
        self.proxy = Proxy(self.postgres.port)
        self.names = home / "names"
        self.say_name("erp.drill", "127.0.0.1")
        database_url = self.postgres.app_url(self.proxy.port)
        if setting.standby != "none":
            self._pair = StandbyPair(self.postgres, template, Path(self._short.name) / "b", POSTGRES, self.proxy.port)
            database_url = self._find_primary(setting.found_by)
        host = "erp.drill" if setting.named_host else "localhost" if setting.tls else "127.0.0.1"
        self.erp = FakeErp(home, tls=setting.tls, host=host)
        self.erp.start()
        settings = {"instance": "drill", "log": {"format": "json"}, "intake": self._intake()}
        if setting.tls:
            settings["erp"] = {"ca_file": str(CERTIFICATES / "trusted.pem")}
        self.daemon = Deployment(
            home, database_url=database_url, erp=self.erp, now=self.now, restarts=True,
            settings=merged(merged(FAST if setting.fast else {}, settings), setting.daemon),
            environment=_resolver(self.names) if setting.named_host or setting.found_by == "name" else {},
        ).daemon  # fmt: skip
        self.failpoints = self.daemon.failpoints

    def _intake(self) -> dict[str, Any]:
        """An inbox, and a socket to which files for it are posted."""
        self.inbox = self.home / "inbox"
        self.inbox.mkdir()
        token = self.home / "intake-token"
        token.write_text(INTAKE_TOKEN)
        self.intake_socket = f"{self._short.name}/intake.sock"
        listen = f"unix:{self.intake_socket}"
        return {"inbox": str(self.inbox), "settle_seconds": 0.1, "listen": listen, "token_file": str(token)}

    def _find_primary(self, found_by: str) -> str:
        """The URL by which the daemon finds the primary of the pair."""
        url = self.postgres.app_url(self.proxy.port)
        if found_by == "hosts":
            return url.replace("/billingd", f",{self.pair.HOST}:{self.proxy.port}/billingd")
        if found_by == "haproxy":
            return self.postgres.app_url(self.pair.start_haproxy(self.home))
        self.say_name("db.drill", "127.0.0.1")
        return url.replace("@127.0.0.1", "@db.drill")

    @property
    def pair(self) -> StandbyPair:
        """The primary and its standby, in a setting that has one."""
        assert self._pair is not None, "this variant's setting has a standby"
        return self._pair

    # State

    @property
    def debts(self) -> list[str]:
        """The ids of all that is owed by now."""
        now = datetime.fromisoformat(self.now.replace("Z", "+00:00"))
        return sorted(self.workload.debts(now, late=self.late))

    def states(self) -> dict[str, str]:
        """The state of each invoice; empty while the database is away."""
        return {row.id: row.state for row in self.postgres.rows_if_there("SELECT id, state FROM invoices")}

    def all_in(self, state: str, ids: Iterable[str] | None = None) -> bool:
        """Whether all these, or all that are owed, have an invoice in this state."""
        states = self.states()
        return all(states.get(each) == state for each in (self.debts if ids is None else ids))

    def count(self, state: str) -> int:
        """How many invoices are in this state."""
        return list(self.states().values()).count(state)

    def wait_all_in(self, state: str, seconds: float = REACH_SECONDS) -> None:
        wait_until(lambda: self.all_in(state), within_seconds=seconds, what=f"all invoices are {state}")

    def standing_alarms(self) -> set[tuple[str, str]]:
        """Code and key of what was raised and has not been cleared, in the log or in the database."""
        rows = self.postgres.rows_if_there("SELECT code, key FROM alarms WHERE cleared_at IS NULL")
        return self.daemon.alarms.standing() | {(row.code, row.key) for row in rows}

    def wait_alarms_cleared(self) -> None:
        """Waits until none stands, or for as long as it may take."""
        becomes_true(lambda: not self.standing_alarms(), CLEAR_SECONDS)

    # What an operator does

    def promote(self) -> None:
        """Makes the standby the primary, and tells who has to find it."""
        pair = self.pair
        pair.standby.promote()
        pair.primary, self.postgres = pair.standby, pair.standby
        self.say_name("db.drill", pair.HOST)

    def say_name(self, name: str = "", address: str = "") -> None:
        """Names have this address from now on; without one they have none."""
        self.names.write_text(f"{name} {address}\n" if name else "", "utf-8")

    def set_clock(self, now: str) -> None:
        """The test clock of the next daemon begins then."""
        self.now = self.daemon.environment["BILLINGD_TEST_NOW"] = now

    def import_late_user(self) -> None:
        """Imports one more network user with readings, as an operator would: new work."""
        self.late = True
        self.workload.load(self.postgres, self.home, late=True)

    def deliver_late_user(self) -> None:
        """The same by itself: the master data is dropped into the inbox, the readings are posted."""
        self.late = True
        now = datetime.fromisoformat(self.now)
        self.drop_master()
        readings = self.workload.write_late_readings(self.home / "readings.csv", until=now)
        wait_until(lambda: list(self.inbox.glob("done/*/master.yaml")), what="the master data is taken")
        with self.postgres.session() as connection:
            # Nobody can have sent them by now.
            import_readings(connection, self.workload.write_late_readings(self.home / "future.csv", after=now))
        answer = self.post_readings(readings)
        assert answer.status_code == 202, answer.text

    def drop_master(self) -> None:
        """Puts the late user's master data into the inbox."""
        master, _ = self.workload.write(self.home, late=True)
        shutil.copyfile(master, self.inbox / ".master.yaml")
        (self.inbox / ".master.yaml").rename(self.inbox / "master.yaml")

    def post_readings(self, path: Path, timeout_seconds: float = 5.0) -> httpx.Response:
        """As a gateway does. Raises httpx.HTTPError."""
        headers = {"Authorization": f"Bearer {INTAKE_TOKEN}"}
        transport = httpx.HTTPTransport(uds=self.intake_socket, verify=False)
        with httpx.Client(transport=transport, headers=headers, timeout=timeout_seconds) as gateway:
            return gateway.post("http://intake/v1/readings", content=path.read_bytes())

    def inbox_problems(self) -> list[str]:
        """What was not taken, though all faults are over."""
        left = [path for path in self.inbox.iterdir() if path.is_file() and not path.name.startswith(".")]
        refused = self.inbox.glob("refused/*.reason")
        return [f"{path.name} still waits in the inbox" for path in left] + [path.read_text() for path in refused]

    def retry_held(self) -> list[str]:
        """Retries the held invoices, as an operator does once the cause is gone; returns their ids."""
        try:
            with self.postgres.session() as connection:
                held = held_ids(connection)
                for invoice_id in held:
                    retry_held(connection, "drill", invoice_id, "the drill's fault is over")
                if held:
                    notify(connection, "retry")
        except PersistenceError:
            return []
        return held

    def close(self) -> None:
        self.daemon.close()
        self.erp.close()
        if self._pair is not None:
            self._pair.close()
        self.proxy.close()
        self.postgres.close()
        log = self.postgres.log_path
        if log.exists():
            (self.home / "postgres.log").write_bytes(log.read_bytes())
        self._short.cleanup()


def _resolver(names: Path) -> dict[str, str]:
    """Lets the daemon's process find the names of a drill as a file says: Python's own start hook."""
    folder = names.with_name("hook")
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"""
import socket
_real = socket.getaddrinfo
def getaddrinfo(host, *more, **named):
    if str(host).endswith(".drill"):
        with open({str(names)!r}) as file:
            said = dict(line.split() for line in file)
        if host not in said or named.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        host = said[host]
    return _real(host, *more, **named)
socket.getaddrinfo = getaddrinfo
""",
        "utf-8",
    )

    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))}
