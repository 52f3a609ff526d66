"""The reference month: a dozen invoices, an abort with its correction, a hold, two imports, a reload, an end."""

import contextlib
import json
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import yaml

from altibiz.fake.server import FakeAltibiz
from config.keys import merged
from drills.calls.cases import SLOW, Case, Plan
from drills.calls.doors import SLOW_SECONDS
from drills.calls.forks import ForkedDaemon
from drills.calls.proxies import HttpWire, SqlWire
from drills.environment import FAST, INTAKE_TOKEN, Environment
from drills.judge import judge
from drills.workload import ZONE, Workload
from persistence.invoices import corrections
from testkit.daemon_log import AlarmLog, supervision_events
from testkit.daemon_process import environment_of
from testkit.erp import FakeErp
from testkit.postgres import APP_PASSWORD, APP_USER, PostgresServer
from testkit.waiting import NotReached, becomes_true, wait_until

NOW = "2027-01-15T00:00:00Z"
REFUSED, HELD, INITIATED = "NU-0001.2026-10.1", "NU-0002.2026-11.1", "NU-0003.2026-10.1"
STEP_SECONDS = 30.0
CLEAR_SECONDS = 20.0
STOP_SECONDS = 10.0
STOPS = 3
LOOK_SECONDS = 0.03
SETTLED_SECONDS = 0.6
HELD_SECONDS = 5.0
"""After a kill it may take until other invoices are sent: no invoice is blamed without a witness."""
SETTINGS = merged(FAST, yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8")))
ERP_SECONDS: float = SETTINGS["erp"]["total_timeout_seconds"]
STATEMENT_SECONDS: float = SETTINGS["database"]["statement_timeout_seconds"]


def workload() -> Workload:
    """Whom the month bills."""
    return Workload(users=5, months=3, refused=frozenset({REFUSED}))


class ThreadErp(FakeErp):
    """The fake ERP in a thread of ours."""

    def start(self, **_: object) -> None:
        self._fake = FakeAltibiz(port=self.port, ledger_path=self.ledger_path)
        self._fake.__enter__()

    def kill(self) -> None:
        self._fake.stop()


class DaemonOfMonth:
    """The daemon, started again whenever it ends without having been asked."""

    def __init__(self, home: Path, environment: dict[str, str], case: Case | None) -> None:
        self.alarms = AlarmLog(home / "daemon.log")
        self.ends: list[int] = []
        """The exit statuses of all ends that nobody asked for."""
        self.ready = False
        """Whether the one that runs has said so."""
        self._home, self._environment, self._case = home, environment, case
        self._running: ForkedDaemon | None = None

    def keep_running(self) -> None:
        """Starts it, if it doesn't run."""
        if self._running is not None:
            if (status := self._running.exit_status) is None:
                return
            self.ends.append(status)
        self.ready = False
        case, self._case = self._case, None
        self._running = ForkedDaemon(self._home, self._environment, case)

    def signal(self, number: signal.Signals) -> None:
        if self._running is not None:
            self._running.signal(number)

    def stop(self) -> bool:
        """Ends it; whether it ended in order. Raises NotReached."""
        running = self._running
        assert running is not None, "it was started"
        running.signal(signal.SIGTERM)
        wait_until(
            lambda: running.exit_status is not None,
            within_seconds=STOP_SECONDS, what="the daemon ends in order", every_seconds=LOOK_SECONDS,
        )  # fmt: skip
        if running.exit_status == 0:
            self._running = None
        return self._running is None

    def close(self) -> None:
        self.signal(signal.SIGKILL)


class Month(Environment):
    """One run of the month, below a folder of its own, on a database of its own."""

    def __init__(self, home: Path, server: PostgresServer, name: str, case: Case | None) -> None:
        home.mkdir(parents=True)
        self.home, self.workload, self.now, self.late = home, workload(), NOW, False
        self._name, self._server = name, server
        server.create_database(name, options="STRATEGY file_copy")
        self.postgres = server.of_database(name)
        self.erp = ThreadErp(home)
        self.erp.start()
        self.plan = Plan(case)
        # Such a request reaches the ERP after billingd has asked and been told that there is no booking.
        self._delays_requests = case is not None and case.fault == SLOW and case.site.startswith("http:")
        self._crashes_nobody = case is None or case.site.startswith(("sql", "http"))
        self._sql = SqlWire(server.port, self.plan, self._kill, 2 * (STATEMENT_SECONDS + 0.3))
        self._http = HttpWire(self.erp.port, self.plan, self._kill, 2 * ERP_SECONDS)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._unsettled_at = time.monotonic()
        self._notify.bind(f"{home}/notify")
        self.inbox, self.intake_socket = home / "inbox", f"{home}/in.sock"
        self.inbox.mkdir()
        (home / "token").write_text(INTAKE_TOKEN)
        self._configure({})
        environment = environment_of(home / "billingd.yaml", NOW, {"NOTIFY_SOCKET": f"{home}/notify"})
        self.month_daemon = DaemonOfMonth(home, environment, case)
        self.daemon: Any = self.month_daemon  # as far as the judge looks at it

    def _configure(self, more: dict[str, Any]) -> None:
        user = f"{APP_USER}:{APP_PASSWORD}"
        own = {
            "state_dir": f"{self.home}/state",
            "database": {"url": f"postgresql://{user}@127.0.0.1:{self._sql.port}/{self._name}?sslmode=disable"},
            "erp": {"base_url": f"http://127.0.0.1:{self._http.port}/api/v1"},
            "ops": {"listen": "off"},
            "intake": {"inbox": str(self.inbox), "settle_seconds": 0.1, "listen": f"unix:{self.intake_socket}",
                       "token_file": f"{self.home}/token"},
        }  # fmt: skip
        (self.home / "billingd.yaml").write_text(json.dumps(merged(merged(SETTINGS, own), more)), "utf-8")

    def run(self) -> list[str]:
        """Runs the month to its end in order; returns all that is wrong."""
        try:
            self._work()
            self._end()
        except NotReached as error:
            return [f"{error}: {self.states()}"]
        return judge(self, offers_again=self._delays_requests) + self._bad_ends() + self._bad_log()

    def calls(self) -> Counter[str]:
        """How often each site was met."""
        lines = (self.home / "calls").read_text().splitlines() if (self.home / "calls").exists() else []
        return self.plan.calls + Counter(line for line in lines if line != "!")

    def reached(self) -> int:
        """How many of the case's faults were injected."""
        calls = self.home / "calls"
        return self.plan.reached + (calls.read_text().splitlines().count("!") if calls.exists() else 0)

    def close(self) -> None:
        self.month_daemon.close()
        self._sql.close()
        self._http.close()
        self.erp.close()
        self._notify.close()
        self.postgres.close_observer()
        self._server.drop_database(self._name)

    # What happens in it

    def _work(self) -> None:
        faults = [
            self.erp.add_fault(kind="status", status=422, method="PUT", invoice_id=HELD),
            self.erp.add_fault(kind="abort", invoice_id=REFUSED),
            self.erp.add_fault(kind="initiated", invoice_id=INITIATED, seconds=0.3),
        ]
        self._wait(lambda: True)
        self.late = True
        self.drop_master()
        self._wait(lambda: self.all_in("aborted", [REFUSED]))
        becomes_true(self._is_held, HELD_SECONDS)
        self._wait(self._correct)
        self.erp.clear_faults(faults[:1])
        self._wait(lambda: bool(list(self.inbox.glob("done/*/master.yaml"))))
        self._configure({"log": {"level": "debug"}, "erp": {"max_in_flight": 3}})
        self.month_daemon.signal(signal.SIGHUP)
        self._wait(self._post)
        self._wait(self._finished)

    def _end(self) -> None:
        """Stops the daemon once it has settled. One that fails to stop in order is started again and stopped.

        So is one whose database failed in the stop, which is told until the next start.
        """
        in_order = False
        for _ in range(STOPS):
            becomes_true(self._has_settled, CLEAR_SECONDS)
            in_order = self.month_daemon.stop()
            if in_order and not any(code.startswith("database_") for code, _ in self.standing_alarms()):
                return
        if not in_order:
            raise NotReached(f"the daemon did not end in order, before it ended with {self.month_daemon.ends}")

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Until it is so; what ends meanwhile is started again."""
        wait_until(
            condition, within_seconds=STEP_SECONDS, what="a step of the month", every_seconds=LOOK_SECONDS,
            abort=self._keep_running,
        )  # fmt: skip

    def _keep_running(self) -> None:
        self.month_daemon.keep_running()
        with contextlib.suppress(BlockingIOError):
            while True:
                self.month_daemon.ready |= b"READY=1" in self._notify.recv(65536, socket.MSG_DONTWAIT)

    def _kill(self) -> None:
        self.month_daemon.signal(signal.SIGKILL)

    def _correct(self) -> bool:
        """As `billingd invoices correct`, of an invoice that the ERP needn't be asked about."""
        try:
            with self.postgres.session() as connection:
                lease = {"offer_seconds": 0.0, "lease_seconds": 60.0}
                taken = corrections.take_up(connection, "correct", REFUSED, "drill", **lease)
                corrections.correct(connection, taken, "drill", "the ERP refused it", ZONE, Decimal(95))
        except corrections.OrderRefused:
            return bool(self.postgres.rows("SELECT 1 FROM invoices WHERE id = :id", id=f"{REFUSED[:-1]}2"))
        return True

    def _post(self) -> bool:
        """A gateway posts the late user's readings until they are taken."""
        now = datetime.fromisoformat(NOW)
        path = self.workload.write_late_readings(self.home / "readings.csv", until=now)
        try:
            return self.post_readings(path, 2 * ERP_SECONDS).status_code == 202
        except httpx.HTTPError:
            self._unsettled_at = time.monotonic() + SLOW_SECONDS  # the daemon may be slow, and take it yet
            return False

    def _is_held(self) -> bool:
        self._keep_running()
        return self.all_in("held", [HELD])

    def _finished(self) -> bool:
        if "held" in self.states().values():
            self.retry_held()
        return self.all_in("registered") and not self.inbox_problems()

    def _has_settled(self) -> bool:
        """The daemon is up, and for longer than an alarm needs to be raised none has stood and no file waited."""
        self._keep_running()
        now = time.monotonic()
        if not self.month_daemon.ready or self.standing_alarms() or self.inbox_problems():
            self._unsettled_at = max(self._unsettled_at, now)
        return now - self._unsettled_at > SETTLED_SECONDS

    def _bad_ends(self) -> list[str]:
        """Ends that no fault explains: a kill is one, a start without a thread or a file may be another."""
        bad = [status for status in self.month_daemon.ends if status != -signal.SIGKILL]
        return [f"the daemon ended by itself with {bad}"] if len(bad) > self.reached() else []

    def _bad_log(self) -> list[str]:
        """A log that an operator can't go by."""
        exits = supervision_events(self.home / "daemon.log", "Exited")
        crashed = any(each["supervision_reason"].startswith(("Crashed", "FailedToStart")) for each in exits)
        wrong = ["an actor crashed: an expected fault crashes nobody"] if crashed and self._crashes_nobody else []
        if not self.month_daemon.alarms.all() and self.postgres.rows("SELECT 1 FROM alarms LIMIT 1"):
            wrong.append("no alarm is in the log, and the database has one")
        return wrong
