"""Machines of their own as network namespaces on one bridge, and PostgreSQL on two of them under Patroni and etcd."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from testkit.waiting import wait_until

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
PASSWORD = "drill"
START_SECONDS = 120.0


class Machine:
    """One namespace with an address; what is started in it is prefixed with `command`."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self.command = ("ip", "netns", "exec", name)

    def start(self, *command: str, log: Path, user: str | None = None) -> None:
        """Starts a program there, perhaps as another user."""
        as_user = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups") if user else ()
        with log.open("ab") as out:
            subprocess.Popen(
                [*self.command, *as_user, *command], stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                start_new_session=True, cwd="/",
            )  # fmt: skip

    def pull_the_plug(self) -> None:
        """Kills all that runs there, at once."""
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True)
        pids = [int(pid) for pid in listed.stdout.split()]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue


@contextmanager
def machines(*names: str) -> Iterator[tuple[str, list[Machine]]]:
    """So many of them, which reach each other and this one; gives this one's address, too."""
    missing = [each for each in ("ip", "setpriv", "etcd", "patroni") if shutil.which(each) is None]
    if os.geteuid() != 0 or missing or not PROGRAMS.exists():
        pytest.skip("Patroni, etcd, Debian's PostgreSQL and root are not all to be had")
    bridge, network = f"bd{os.getpid()}", f"198.18.{os.getpid() % 256}"  # of the block that is kept for tests
    with ExitStack() as stack:
        _run("ip", "link", "add", bridge, "type", "bridge")
        stack.callback(_run, "ip", "link", "delete", bridge)
        _run("ip", "address", "add", f"{network}.1/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        made = []
        for number, name in enumerate(names, 11):
            machine = Machine(f"{bridge}-{name}", f"{network}.{number}")
            _run("ip", "netns", "add", machine.name)
            stack.callback(_run, "ip", "netns", "delete", machine.name)
            stack.callback(machine.pull_the_plug)
            link = f"{bridge}{number}"
            _run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", machine.name)
            _run("ip", "link", "set", link, "master", bridge, "up")
            _run("ip", "-n", machine.name, "address", "add", f"{machine.address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _run("ip", "-n", machine.name, "link", "set", device, "up")
            made.append(machine)
        yield f"{network}.1", made


class PatroniCluster:
    """Two servers under Patroni, with etcd on a third machine; replication is asynchronous."""

    def __init__(self, home: Path, etcd: Machine, servers: list[Machine]) -> None:
        self.servers = servers
        self._home, self._etcd = home, etcd
        url = f"http://{etcd.address}:2379"
        data = str(home / "etcd")
        etcd.start(
            "etcd",
            "--data-dir",
            data,
            "--listen-client-urls",
            url,
            "--advertise-client-urls",
            url,
            log=home / "etcd.log",
        )
        wait_until(lambda: _status(f"{url}/health") == 200, what="etcd answers")
        for machine in servers:
            self.start(machine)
            wait_until(lambda: self.leader() is not None, within_seconds=START_SECONDS, what="there is a primary")
        self.wait_until_both_run()

    def url(self, user: str, database: str) -> str:
        """How to reach whichever is the primary."""
        hosts = ",".join(f"{machine.address}:5432" for machine in self.servers)
        return f"postgresql://{user}:{PASSWORD}@{hosts}/{database}?sslmode=disable"

    def start(self, machine: Machine) -> None:
        """Starts Patroni there: it makes the server, or brings back what was the primary as a standby."""
        path = self._home / f"{machine.address}.yaml"
        path.write_text(yaml.safe_dump(self._configuration(machine)), "utf-8")
        machine.start("patroni", str(path), log=self._home / f"{machine.address}.log", user="postgres")

    def leader(self) -> Machine | None:
        """The primary of now."""
        return next((each for each in self.servers if _status(f"http://{each.address}:8008/primary") == 200), None)

    def wait_until_both_run(self) -> None:
        """Waits for a primary and a standby that follows it."""
        replicas = [f"http://{each.address}:8008/replica?lag=1MB" for each in self.servers]
        wait_until(
            lambda: self.leader() and any(_status(url) == 200 for url in replicas), within_seconds=START_SECONDS,
            what="there is a primary with a standby",
        )  # fmt: skip

    def _configuration(self, machine: Machine) -> dict[str, Any]:
        login = {"password": PASSWORD}
        network = machine.address.rpartition(".")[0] + ".0/24"
        return {
            "scope": "billing",
            "name": machine.name,
            "restapi": {"listen": f"{machine.address}:8008", "connect_address": f"{machine.address}:8008"},
            "etcd3": {"host": f"{self._etcd.address}:2379"},
            "bootstrap": {
                "dcs": {
                    "ttl": 8, "loop_wait": 1, "retry_timeout": 3, "master_start_timeout": 0,
                    "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 60}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"{machine.address}:5432",
                "connect_address": f"{machine.address}:5432",
                "data_dir": str(self._home / machine.address),
                "bin_dir": str(PROGRAMS),
                "pgpass": str(self._home / f"{machine.address}.pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres", **login}, "replication": {"username": "replicator", **login},
                },
                "parameters": {"unix_socket_directories": "", "password_encryption": "scram-sha-256"},
                "pg_hba": [
                    f"host all all {network} scram-sha-256",
                    f"host replication replicator {network} scram-sha-256",
                ],
            },
        }  # fmt: skip


@contextmanager
def folder_of_postgres() -> Iterator[Path]:
    """A short one that belongs to Debian's account for PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="patroni-", ignore_cleanup_errors=True) as name:
        shutil.chown(name, "postgres", "postgres")
        yield Path(name)


def _status(url: str) -> int:
    """What a GET is answered with; 0 for no answer."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code
    except httpx.HTTPError:
        return 0


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=30, capture_output=True)
