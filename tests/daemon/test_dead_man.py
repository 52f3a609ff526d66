"""The dead-man's table of docs/alarms.md: each case made, who hears of it, and after how many seconds."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from alarming.documents import main
from supervision.clock import SystemClock
from testkit.deployment import Deployment
from testkit.postgres import PostgresServer
from testkit.waiting import wait_until
from tests.daemon.networks import Namespace, namespace
from tests.support.alertmanager import Alertmanager, real_alertmanager
from tests.support.dead_man import DeadManSwitch
from tests.support.prometheus import prometheus

HEARTBEAT_SECONDS, WITHIN_SECONDS, RAISE_SECONDS = 0.5, 1.5, 2.0
# A heartbeat that left just before, the switch's patience, and what a busy machine adds.
SWITCH_BOUND_SECONDS = HEARTBEAT_SECONDS + WITHIN_SECONDS + 3.0
ALARM_BOUND_SECONDS = RAISE_SECONDS + 5.0
# An alert outlives four evaluations that don't come; the last notice, the patience, a stop in order, a busy machine.
WATCHDOG_BOUND_SECONDS = 4.0 + 1.0 + 2 * WITHIN_SECONDS + 10.0
PAGE = Path(__file__).parents[2] / "docs" / "alarms.md"


class Chain:
    """A daemon, who hears of its alarms and who hears of its silence."""

    def __init__(self, home: Path, *, database_url: str, machine: Namespace | None = None) -> None:
        here = machine.cables[0].here if machine else "127.0.0.1"
        self.switch = DeadManSwitch(WITHIN_SECONDS, here)
        self.alertmanager = Alertmanager()
        self.deployment = Deployment(home, database_url=database_url)
        self.configure()
        if machine is not None:
            self.deployment.daemon.command_prefix = machine.command
        else:
            self.deployment.erp.start()
        self.deployment.daemon.start()
        self.switch.wait_until_quiet()

    def configure(self, **alarms: Any) -> None:
        of_alarms = {
            "raise_within_seconds": RAISE_SECONDS, "heartbeat_url": self.switch.url,
            "heartbeat_seconds": HEARTBEAT_SECONDS, "webhook_url": self.alertmanager.url, **alarms,
        }  # fmt: skip
        self.deployment.configure({"alarms": of_alarms})

    def pid(self) -> int:
        return self.deployment.daemon.running_pid()

    def alarms(self) -> set[str]:
        return self.alertmanager.active(SystemClock().wall())

    def raise_one(self) -> None:
        """Makes an alarm that concerns nothing but the configuration's file."""
        self.deployment.config_path.write_text("alarms: [\n", "utf-8")
        self.deployment.daemon.signal(signal.SIGHUP)

    def heartbeat(self) -> dict[str, Any]:
        return dict(self.deployment.daemon.status()["heartbeat"])

    def close(self) -> None:
        self.deployment.close()
        self.switch.close()
        self.alertmanager.close()


@pytest.fixture
def chain(tmp_path: Path, server: PostgresServer) -> Iterator[Chain]:
    with closing(Chain(tmp_path / "home", database_url=server.url())) as chain:
        yield chain


def seconds_until(heard: Callable[[], object], begun: float, bound_seconds: float, what: str) -> None:
    wait_until(heard, within_seconds=bound_seconds, what=what)
    print(f"{what} after {time.monotonic() - begun:.1f} s")


def the_switch_speaks_up(chain: Chain, begun: float) -> None:
    seconds_until(lambda: chain.switch.speaks_up, begun, SWITCH_BOUND_SECONDS, "the switch speaks up")


@pytest.mark.parametrize("end", ["daemon stopped", "hung", "killed for memory"])
def test_the_switch_hears_of_a_daemon_that_is_not_there(chain: Chain, end: str) -> None:
    begun = time.monotonic()
    if end == "daemon stopped":
        assert chain.deployment.daemon.stop() == 0
    else:
        os.kill(chain.pid(), signal.SIGSTOP if end == "hung" else signal.SIGKILL)
    the_switch_speaks_up(chain, begun)


@pytest.mark.parametrize("end", ["machine off", "network cut"])
def test_the_switch_hears_of_a_machine_that_is_not_there(tmp_path: Path, end: str) -> None:
    with (
        namespace(cables=1) as machine,
        closing(Chain(tmp_path / "home", database_url="embedded", machine=machine)) as chain,
    ):
        begun = time.monotonic()
        machine.cables[0].pull()
        if end == "machine off":
            os.killpg(chain.pid(), signal.SIGKILL)
        the_switch_speaks_up(chain, begun)
        if end == "network cut":
            wait_until(lambda: "after" in str(chain.heartbeat()["problem"]), what="`status` says so")
            machine.cables[0].plug()
            chain.switch.wait_until_quiet()


def test_both_hear_of_a_database_that_is_away(chain: Chain, server: PostgresServer) -> None:
    begun = time.monotonic()
    server.stop()
    the_switch_speaks_up(chain, begun)
    heard = lambda: "database_unreachable" in chain.alarms()  # noqa: E731
    seconds_until(heard, begun, ALARM_BOUND_SECONDS, "the Alertmanager shows it")
    wait_until(lambda: "held back: no answer from the database" in str(chain.heartbeat()["problem"]))
    assert "heartbeat" in chain.deployment.run("status").stdout
    server.start()
    chain.switch.wait_until_quiet()


def test_alarms_need_no_prometheus(chain: Chain) -> None:
    begun = time.monotonic()
    chain.raise_one()
    heard = lambda: "configuration_rejected" in chain.alarms()  # noqa: E731
    seconds_until(heard, begun, ALARM_BOUND_SECONDS, "the Alertmanager shows an alarm")
    assert not chain.switch.speaks_up, "a rejected file stops no billing"


@pytest.mark.parametrize("case", ["Prometheus away", "Alertmanager away"])
def test_the_switch_of_the_watchdog_hears_of_either(tmp_path: Path, case: str) -> None:
    main(str(tmp_path), "prometheus-rules.yaml")
    often = "group_wait: 0s, group_interval: 1s, repeat_interval: 1s"
    with closing(DeadManSwitch(2 * WITHIN_SECONDS)) as switch, ExitStack() as others:
        receiver = f"{{name: switch, webhook_configs: [{{url: '{switch.url}', send_resolved: false}}]}}"
        config = f"route: {{receiver: switch, {often}}}\nreceivers: [{receiver}]\n"
        alertmanager = others.enter_context(real_alertmanager(tmp_path / "alertmanager", config))
        configuration = {
            "rule_files": [f"{tmp_path}/prometheus-rules.yaml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.removeprefix("http://")]}]}]},
        }
        with prometheus(tmp_path / "prometheus", configuration):
            switch.wait_until_quiet()
            begun = time.monotonic()
            if case == "Alertmanager away":
                others.close()
                seconds_until(lambda: switch.speaks_up, begun, WATCHDOG_BOUND_SECONDS, "the switch speaks up")
        if case == "Prometheus away":
            seconds_until(lambda: switch.speaks_up, begun, WATCHDOG_BOUND_SECONDS, "the switch speaks up")


@pytest.mark.parametrize("case", ["Alertmanager away", "webhook misrouted"])
def test_the_switch_hears_of_alarms_that_do_not_get_out(chain: Chain, case: str) -> None:
    if case == "Alertmanager away":
        chain.alertmanager.close()
    else:
        chain.alertmanager.status = 404
    begun = time.monotonic()
    chain.raise_one()
    bound_seconds = SWITCH_BOUND_SECONDS + ALARM_BOUND_SECONDS
    seconds_until(lambda: chain.switch.speaks_up, begun, bound_seconds, "the switch speaks up")
    assert "alarms do not get out" in chain.heartbeat()["problem"]


def test_status_says_when_the_switch_takes_nothing_and_a_reload_moves_it(chain: Chain) -> None:
    chain.switch.status = 500
    wait_until(lambda: chain.heartbeat()["problem"] == "it answers 500")
    assert "s3cret" not in chain.deployment.do("status"), "who knows the path can send heartbeats"
    with closing(DeadManSwitch(WITHIN_SECONDS)) as other:
        chain.configure(heartbeat_url=other.url)
        chain.deployment.do("reload")
        other.wait_until_quiet()
        assert set(other.requests) == {("GET", "/ping/s3cret")}
    assert chain.heartbeat()["delivered_at"]


def test_the_page_has_each_case() -> None:
    cases = re.findall(r"^\| ([a-zA-Z ]+) \| .*(?:switch|Alertmanager)", PAGE.read_text("utf-8"), re.MULTILINE)
    assert cases == [
        "daemon stopped", "hung", "killed for memory", "machine off", "network cut", "database away",
        "Prometheus away", "Alertmanager away", "webhook misrouted",
    ]  # fmt: skip
