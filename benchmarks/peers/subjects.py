"""Owns who is compared: each peer as processes of its own virtual environment, and billingd, with the same handles."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.environment import MONTH, deployments
from benchmarks.pipeline import QUIET, SPAN
from testkit.erp import FakeErp
from testkit.ports import free_port
from testkit.postgres import PostgresServer
from testkit.usage import cpu_seconds
from testkit.waiting import wait_until
from tests.support.small_load import write_load

HERE = Path(__file__).parent
ENVIRONMENTS = Path("var/bench/peers").absolute()
PINNED = HERE / "requirements.txt"


@dataclass(frozen=True)
class Peer:
    """A queue, or the bare loop: its module in apps, and what its virtual environment needs besides httpx."""

    name: str
    packages: tuple[str, ...]
    redis: bool = False
    setup: bool = False

    @property
    def module(self) -> str:
        return f"{self.name.partition(' ')[0].lower()}_peer"


SYNC = ("psycopg[binary]", "psycopg-pool")
PEERS = (
    Peer("Loop without a queue", ("pg8000",), setup=True),
    Peer("Dramatiq", ("dramatiq", "redis", *SYNC), redis=True),
    Peer("PgQueuer", ("pgqueuer", "asyncpg"), setup=True),
    Peer("Celery", ("celery", "redis", "packaging", *SYNC), redis=True),
    Peer("Procrastinate", ("procrastinate", "asyncpg"), setup=True),
    Peer("DBOS", ("dbos", *SYNC), setup=True),
)


class Subject(Protocol):
    """What is measured. CPU is that of the worker, without its start."""

    erp: FakeErp

    def start(self) -> None: ...
    def begin(self) -> None: ...
    def billed(self) -> int: ...
    def seconds(self) -> float: ...
    def cpu(self) -> float: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...


def missing(peer: Peer) -> str:
    """Why a peer can't be run here; empty if it can. Its virtual environment is made if need be."""
    if peer.redis and shutil.which("redis-server") is None:
        return "redis-server is not installed"
    home = ENVIRONMENTS / peer.module
    wanted = f"{peer.packages}\n{PINNED.read_text()}"
    stamp = home / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    shutil.rmtree(home, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(home)],
        [str(home / "bin" / "pip"), "install", "-q", "-c", str(PINNED), "httpx", *peer.packages],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"it can't be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
    stamp.write_text(wanted)
    return ""


class Queue:
    """A peer on a database of its own."""

    def __init__(self, peer: Peer, folder: Path, made: PostgresServer, invoices: int, redis_url: str) -> None:
        self.erp = FakeErp(folder)
        self._database = made.of_database("peer")
        self._folder, self._idle, self._worker = folder, 0.0, None
        self._command = [str(ENVIRONMENTS / peer.module / "bin" / "python"), f"{HERE}/apps/{peer.module}.py"]
        self._environment = os.environ | {
            "PEER_DATABASE": made.create_database("peer", "template1"), "PEER_ERP": self.erp.base_url,
            "PEER_INVOICES": str(invoices), "PEER_REDIS": redis_url, "PEER_FOLDER": str(folder),
            "PYTHONPATH": str(HERE / "apps"),
        }  # fmt: skip
        made.execute((HERE / "schema.sql").read_text(), database="peer")
        if peer.setup:
            assert self._run("setup").wait(60) == 0, self._log.read_text()

    @property
    def _log(self) -> Path:
        return self._folder / "peer.log"

    def _run(self, role: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*self._command, role], env=self._environment, cwd=self._folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def start(self) -> None:
        ready = self._folder / "ready"
        ready.unlink(missing_ok=True)
        self._worker = self._run("work")
        wait_until(ready.exists, within_seconds=60, every_seconds=0.005, abort=self._check_runs)

    restart = start

    def _check_runs(self) -> None:
        assert self._worker is not None
        assert self._worker.poll() is None, self._log.read_text()[-2000:]

    def begin(self) -> None:
        assert self._worker is not None
        self._idle = cpu_seconds(self._worker.pid, children=True)
        self._run("enqueue")

    def billed(self) -> int:
        return self._one("SELECT count(*) FROM invoices WHERE bill_id IS NOT NULL")

    def seconds(self) -> float:
        return self._one(
            "SELECT extract(epoch FROM max(billed_at) - (SELECT min(began_at) FROM runs))::float8 FROM invoices"
        )

    def _one(self, sql: str) -> Any:
        return self._database.rows(sql)[0][0]

    def cpu(self) -> float:
        assert self._worker is not None
        return cpu_seconds(self._worker.pid, children=True) - self._idle

    def kill(self) -> None:
        if self._worker is not None:
            with suppress(ProcessLookupError):  # it never ran, or has ended
                os.killpg(self._worker.pid, signal.SIGKILL)
            self._worker.wait()
            self._worker = None

    def close(self) -> None:
        self.kill()
        self.erp.close()
        self._database.close_observer()


class Billingd:
    """The daemon with the readings of so many users imported; its jobs begin when it starts."""

    def __init__(self, deployment: Any, made: PostgresServer, master: Path, readings: Path) -> None:
        self.erp = deployment.erp
        self._deployment, self._daemon, self._server = deployment, deployment.daemon, made
        self._load = {"master": master, "readings": readings}
        self._idle = 0.0

    def start(self) -> None:
        self._daemon.start()
        self._idle = cpu_seconds(self._daemon.running_pid())
        self._daemon.stop()
        for kind, path in self._load.items():
            self._deployment.do("import", kind, str(path))

    def begin(self) -> None:
        self._daemon.start(wait=False)

    restart = begin

    def billed(self) -> int:
        return int(self._server.rows("SELECT count(*) FROM invoices WHERE state = 'registered'")[0][0])

    def seconds(self) -> float:
        return float(self._server.rows(SPAN)[0][0])

    def cpu(self) -> float:
        return cpu_seconds(self._daemon.running_pid()) - self._idle

    def kill(self) -> None:
        self._daemon.kill()


@contextmanager
def subject(peer: Peer | None, folder: Path, made: PostgresServer, invoices: int) -> Iterator[Subject]:
    """The peer, or billingd for None, ready to start."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if peer is None:
            load = write_load(folder / "load", users=invoices, first=MONTH, months=1)
            (deployment,) = stack.enter_context(deployments(folder, made.url(), QUIET))
            yield Billingd(deployment, made, *load)
        else:
            url = stack.enter_context(_redis(folder)) if peer.redis else ""
            yield stack.enter_context(closing(Queue(peer, folder, made, invoices, url)))


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    """A Redis that keeps what it has on file, synced each second."""
    port = free_port()
    options = ["--port", str(port), "--dir", str(folder), "--appendonly", "yes", "--save", "", "--bind", "127.0.0.1"]
    with subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL) as server:
        ping = ["redis-cli", "-p", str(port), "ping"]
        try:
            wait_until(lambda: subprocess.run(ping, capture_output=True, check=False).stdout == b"PONG\n")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
