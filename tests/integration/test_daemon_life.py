"""How the daemon starts, waits, drains and ends: what is not there at its start, what is wrong, SIGTERM."""

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.postgres_server import PostgresServer
from testkit.world import World, eventually
from tests.small_load import write_load

# A deadline that the spec promises may be asserted at three times its length.
ALARM_WITHIN_SECONDS = 3 * 5.0


@pytest.fixture
def world(tmp_path: Path, server: PostgresServer) -> Iterator[World]:
    settings = {
        "erp": {"total_timeout_seconds": 4, "read_timeout_seconds": 3, "breaker": {"reset_seconds": 2}},
        "work": {"lease_seconds": 20},
    }
    world = World(tmp_path / "world", database_url=server.url(), settings=settings)
    yield world
    world.close()


@pytest.fixture
def loaded(world: World, tmp_path: Path) -> World:
    """Ten users × two months are imported; nothing runs yet."""
    master, readings = write_load(tmp_path / "load", users=10, first="2026-09", months=2)
    world.do("import", "master", str(master))
    world.do("import", "readings", str(readings))
    return world


def alarm_stands(world: World, code: str) -> bool:
    return code in world.standing()


def test_a_database_that_is_not_there_at_the_start_is_waited_for_with_one_alarm(
    loaded: World, server: PostgresServer
) -> None:
    loaded.start_erp()
    server.stop()
    loaded.start_daemon()
    eventually(lambda: alarm_stands(loaded, "database_unreachable"), within_seconds=ALARM_WITHIN_SECONDS)
    assert set(loaded.standing()) == {"database_unreachable"}
    assert loaded.run("status").returncode == 1
    server.start()
    eventually(lambda: loaded.all_registered(20))
    eventually(lambda: not loaded.standing())
    raised = [line for line in loaded.log().splitlines() if "database_unreachable raised" in line]
    assert len(raised) == 1
    assert all(node["restarts"] == 0 for node in nodes(loaded.status()["tree"])), "an outage uses up no restart"


def nodes(node: dict[str, object]) -> Iterator[dict[str, object]]:
    yield node
    children = node["children"]
    assert isinstance(children, list)
    for child in children:
        yield from nodes(child)


def test_an_erp_that_is_not_there_at_the_start_is_waited_for_with_one_alarm(loaded: World) -> None:
    loaded.start_daemon()
    eventually(lambda: alarm_stands(loaded, "erp_unreachable"), within_seconds=ALARM_WITHIN_SECONDS)
    assert set(loaded.standing()) == {"erp_unreachable"}
    assert loaded.counts().keys() <= {"calculated", "sent"}
    loaded.start_erp()
    eventually(lambda: loaded.all_registered(20))
    eventually(lambda: not loaded.standing())
    assert {booking["offers"] for booking in loaded.ledger().values()} == {1}


def test_a_server_without_the_schema_is_an_alarm_that_says_what_to_do(world: World, server: PostgresServer) -> None:
    empty = server.create_database("empty", template="template1")
    world.configure({"database": {"url": empty}})
    world.start_daemon()
    eventually(lambda: alarm_stands(world, "database_error"), within_seconds=ALARM_WITHIN_SECONDS)
    assert "billingd db upgrade" in world.standing()["database_error"]["summary"]
    world.do("db", "upgrade")
    eventually(lambda: not world.standing())


def test_sigterm_lets_the_request_under_way_end_and_stores_its_answer(loaded: World) -> None:
    loaded.start_erp()
    loaded.erp("POST", "faults", {"kind": "delay", "seconds": 1.5, "when": "after"})
    loaded.start_daemon()
    eventually(lambda: loaded.erp("GET", "stats")["in_flight"] > 0)
    began = time.monotonic()
    assert loaded.stop_daemon() == 0
    assert time.monotonic() - began < 3 * 4.0
    counts = loaded.counts()
    assert counts.get("registered", 0) == len(loaded.ledger()) > 0
    assert counts.get("sent", 0) == 0 or set(counts) <= {"registered", "sent", "calculated"}
    loaded.erp("DELETE", "faults")
    loaded.start_daemon()
    eventually(lambda: loaded.all_registered(20))
    assert {booking["offers"] for booking in loaded.ledger().values()} == {1}


def test_sigterm_with_the_database_away_ends_with_0_and_loses_nothing(loaded: World, server: PostgresServer) -> None:
    loaded.start_erp()
    loaded.erp("POST", "faults", {"kind": "delay", "seconds": 1.0, "when": "after"})
    loaded.start_daemon()
    eventually(lambda: loaded.erp("GET", "stats")["in_flight"] > 0)
    server.stop(signal.SIGQUIT)
    eventually(lambda: loaded.ledger())
    began = time.monotonic()
    assert loaded.stop_daemon() == 0
    assert time.monotonic() - began < 3 * 4.0
    server.start()
    loaded.erp("DELETE", "faults")
    loaded.start_daemon()
    eventually(lambda: loaded.all_registered(20))
    loaded.ledger()


def ends_with_one_line(world: World, *words: str) -> None:
    done = world.run("run")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 1, done.stderr
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_a_configuration_without_an_erp_ends_the_start(world: World) -> None:
    world.configure({"erp": {"base_url": None}})
    ends_with_one_line(world, "erp.base_url")


def test_a_wrong_configuration_ends_the_start_with_key_and_line(world: World) -> None:
    world.config_path.write_text("erp:\n  base_url: http://127.0.0.1:1/api\n  max_in_flihgt: 3\n")
    ends_with_one_line(world, "erp.max_in_flihgt", "3", "max_in_flight")


def test_a_state_directory_in_use_ends_the_start(world: World) -> None:
    world.start_daemon()
    world.configure({"ops": {"listen": "off"}})
    ends_with_one_line(world, str(world.state), str(world.daemon.pid if world.daemon else ""))


def test_a_port_in_use_ends_the_start(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        world.configure({"ops": {"listen": f"127.0.0.1:{port}"}})
        ends_with_one_line(world, f"127.0.0.1:{port}", "ops.listen")


def test_a_token_file_that_can_not_be_read_ends_the_start(world: World) -> None:
    missing = world.home / "no-such-token"
    world.configure({"erp": {"token_file": str(missing)}})
    ends_with_one_line(world, str(missing), "erp.token_file")


def test_a_state_directory_that_is_a_file_ends_the_start(world: World) -> None:
    world.state.write_text("in the way")
    ends_with_one_line(world, "state_dir", str(world.state))


def test_a_password_that_the_database_refuses_ends_a_command_and_is_an_alarm_to_run(
    world: World, server: PostgresServer
) -> None:
    user, _, rest = server.url().removeprefix("postgresql://").partition("@")
    wrong = f"postgresql://{user.split(':')[0]}:wrong@{rest}"
    world.configure({"database": {"url": wrong}})
    listed = world.run("invoices", "list")
    assert listed.returncode == 1
    assert len(listed.stderr.strip().splitlines()) == 1
    assert "password" in listed.stderr
    assert "wrong" not in listed.stderr
    world.start_daemon()
    eventually(lambda: alarm_stands(world, "database_unreachable"), within_seconds=ALARM_WITHIN_SECONDS)
    assert "wrong" not in world.log()


def test_a_second_daemon_under_the_same_name_waits_with_an_alarm(loaded: World, tmp_path: Path) -> None:
    loaded.configure({"instance": "the-one"})
    loaded.start_daemon()
    other = World(tmp_path / "other", database_url=loaded._database_url, settings={"instance": "the-one"})
    try:
        other.start_daemon()
        eventually(lambda: alarm_stands(other, "instance_name_taken"), within_seconds=ALARM_WITHIN_SECONDS)
        assert loaded.stop_daemon() == 0
        eventually(lambda: not alarm_stands(other, "instance_name_taken"))
    finally:
        other.close()
