"""How the daemon starts, waits, drains and ends: what is not there at its start, what is wrong, SIGTERM."""

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.deployment import Deployment
from testkit.postgres import PostgresServer
from testkit.waiting import wait_until
from tests.support.small_load import write_load

# A deadline that docs/spec promises may be asserted at three times its length.
ALARM_WITHIN_SECONDS = 3 * 5.0


@pytest.fixture
def deployment(tmp_path: Path, server: PostgresServer) -> Iterator[Deployment]:
    settings = {
        "erp": {"total_timeout_seconds": 4, "read_timeout_seconds": 3, "breaker": {"reset_seconds": 2}},
        "work": {"lease_seconds": 20},
    }
    deployment = Deployment(tmp_path / "home", database_url=server.url(), settings=settings)
    yield deployment
    deployment.close()


@pytest.fixture
def loaded(deployment: Deployment, tmp_path: Path) -> Deployment:
    """Ten users × two months are imported; nothing runs yet."""
    master, readings = write_load(tmp_path / "load", users=10, first="2026-09", months=2)
    deployment.do("import", "master", str(master))
    deployment.do("import", "readings", str(readings))
    return deployment


def alarm_stands(deployment: Deployment, code: str) -> bool:
    return code in deployment.daemon.standing()


def test_a_database_that_is_not_there_at_the_start_is_waited_for_with_one_alarm(
    loaded: Deployment, server: PostgresServer
) -> None:
    loaded.erp.start()
    server.stop()
    loaded.daemon.start()
    wait_until(lambda: alarm_stands(loaded, "database_unreachable"), within_seconds=ALARM_WITHIN_SECONDS)
    assert set(loaded.daemon.standing()) == {"database_unreachable"}
    assert loaded.run("status").returncode == 1
    server.start()
    wait_until(lambda: loaded.all_registered(20))
    wait_until(lambda: not loaded.daemon.standing())
    raised = [line for line in loaded.daemon.log().splitlines() if "database_unreachable raised" in line]
    assert len(raised) == 1
    assert all(node["restarts"] == 0 for node in nodes(loaded.daemon.status()["tree"])), "an outage uses up no restart"


def nodes(node: dict[str, object]) -> Iterator[dict[str, object]]:
    yield node
    children = node["children"]
    assert isinstance(children, list)
    for child in children:
        yield from nodes(child)


def test_an_erp_that_is_not_there_at_the_start_is_waited_for_with_one_alarm(loaded: Deployment) -> None:
    loaded.daemon.start()
    wait_until(lambda: alarm_stands(loaded, "erp_unreachable"), within_seconds=ALARM_WITHIN_SECONDS)
    assert set(loaded.daemon.standing()) == {"erp_unreachable"}
    assert loaded.counts().keys() <= {"calculated", "sent"}
    loaded.erp.start()
    wait_until(lambda: loaded.all_registered(20))
    wait_until(lambda: not loaded.daemon.standing())
    assert {booking["offers"] for booking in loaded.erp.ledger().values()} == {1}


def test_a_server_without_the_schema_is_an_alarm_that_says_what_to_do(
    deployment: Deployment, server: PostgresServer
) -> None:
    empty = server.create_database("empty", template="template1")
    deployment.configure({"database": {"url": empty}})
    deployment.daemon.start()
    wait_until(lambda: alarm_stands(deployment, "database_error"), within_seconds=ALARM_WITHIN_SECONDS)
    assert "billingd db upgrade" in deployment.daemon.standing()["database_error"]["summary"]
    deployment.do("db", "upgrade")
    wait_until(lambda: not deployment.daemon.standing())


def test_sigterm_lets_the_request_under_way_end_and_stores_its_answer(loaded: Deployment) -> None:
    loaded.erp.start()
    loaded.erp.add_fault(kind="delay", seconds=1.5, when="after")
    loaded.daemon.start()
    wait_until(lambda: loaded.erp.stats()["in_flight"] > 0)
    began = time.monotonic()
    assert loaded.daemon.stop() == 0
    assert time.monotonic() - began < 3 * 4.0
    counts = loaded.counts()
    assert counts.get("registered", 0) == len(loaded.erp.ledger()) > 0
    assert counts.get("sent", 0) == 0 or set(counts) <= {"registered", "sent", "calculated"}
    loaded.erp.clear_faults()
    loaded.daemon.start()
    wait_until(lambda: loaded.all_registered(20))
    assert {booking["offers"] for booking in loaded.erp.ledger().values()} == {1}


def test_sigterm_with_the_database_away_ends_with_0_and_loses_nothing(
    loaded: Deployment, server: PostgresServer
) -> None:
    loaded.erp.start()
    loaded.erp.add_fault(kind="delay", seconds=1.0, when="after")
    loaded.daemon.start()
    wait_until(lambda: loaded.erp.stats()["in_flight"] > 0)
    server.stop(signal.SIGQUIT)
    wait_until(lambda: loaded.erp.ledger())
    began = time.monotonic()
    assert loaded.daemon.stop() == 0
    assert time.monotonic() - began < 3 * 4.0
    server.start()
    loaded.erp.clear_faults()
    loaded.daemon.start()
    wait_until(lambda: loaded.all_registered(20))
    loaded.erp.ledger()


def ends_with_one_line(deployment: Deployment, *words: str) -> None:
    done = deployment.run("run")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 1, done.stderr
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_a_configuration_without_an_erp_ends_the_start(deployment: Deployment) -> None:
    deployment.configure({"erp": {"base_url": None}})
    ends_with_one_line(deployment, "erp.base_url")


def test_a_wrong_configuration_ends_the_start_with_key_and_line(deployment: Deployment) -> None:
    deployment.config_path.write_text("erp:\n  base_url: http://127.0.0.1:1/api\n  max_in_flihgt: 3\n")
    ends_with_one_line(deployment, "erp.max_in_flihgt", "3", "max_in_flight")


def test_a_state_directory_in_use_ends_the_start(deployment: Deployment) -> None:
    deployment.daemon.start()
    deployment.configure({"ops": {"listen": "off"}})
    ends_with_one_line(deployment, str(deployment.state), str(deployment.daemon.running_pid()))


def test_a_port_in_use_ends_the_start(deployment: Deployment) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        deployment.configure({"ops": {"listen": f"127.0.0.1:{port}"}})
        ends_with_one_line(deployment, f"127.0.0.1:{port}", "ops.listen")


def test_a_token_file_that_can_not_be_read_ends_the_start(deployment: Deployment) -> None:
    missing = deployment.home / "no-such-token"
    deployment.configure({"erp": {"token_file": str(missing)}})
    ends_with_one_line(deployment, str(missing), "erp.token_file")


def test_a_state_directory_that_is_a_file_ends_the_start(deployment: Deployment) -> None:
    deployment.state.write_text("in the way")
    ends_with_one_line(deployment, "state_dir", str(deployment.state))


def test_a_password_that_the_database_refuses_ends_a_command_and_is_an_alarm_to_run(
    deployment: Deployment, server: PostgresServer
) -> None:
    user, _, rest = server.url().removeprefix("postgresql://").partition("@")
    wrong = f"postgresql://{user.split(':')[0]}:wrong@{rest}"
    deployment.configure({"database": {"url": wrong}})
    listed = deployment.run("invoices", "list")
    assert listed.returncode == 1
    assert len(listed.stderr.strip().splitlines()) == 1
    assert "password" in listed.stderr
    assert "wrong" not in listed.stderr
    deployment.daemon.start()
    wait_until(lambda: alarm_stands(deployment, "database_unreachable"), within_seconds=ALARM_WITHIN_SECONDS)
    assert "wrong" not in deployment.daemon.log()


def test_a_second_daemon_under_the_same_name_waits_with_an_alarm(loaded: Deployment, tmp_path: Path) -> None:
    loaded.configure({"instance": "the-one"})
    loaded.daemon.start()
    other = Deployment(tmp_path / "other", database_url=loaded.database_url, settings={"instance": "the-one"})
    try:
        other.daemon.start()
        wait_until(lambda: alarm_stands(other, "instance_name_taken"), within_seconds=ALARM_WITHIN_SECONDS)
        assert loaded.daemon.stop() == 0
        wait_until(lambda: not alarm_stands(other, "instance_name_taken"))
    finally:
        other.close()
