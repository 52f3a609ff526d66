"""docs/monitoring.md as a person follows it: its files written, its commands run, and who is told listened to."""

import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from config.keys import merged
from testkit.waiting import wait_until
from tests.cli.operations import Step, is_shown, plain, steps
from tests.support.dead_man import DeadManSwitch
from tests.support.sample import ROOT

PAGE = ROOT / "docs" / "monitoring.md"
INSTALLED = Path("/opt/billingd/share/billingd")
HEARTBEAT_SECONDS = 60.0
# A heartbeat and the patience for two, or a rule's two minutes, and a busy machine.
WITHIN_SECONDS = 240.0
# What is asked again until the page is right; all else is done once.
QUESTIONS = ("promtool query", "amtool alert")
HURRY = {
    "15s": "1s", f"{INSTALLED}/prometheus-rules.yaml": "/srv/rules.yaml",
    "group_wait: 10s": "group_wait: 3s\n  group_interval: 3s",
    "alarms:\n": "alarms:\n  heartbeat_seconds: 1\n",
}  # fmt: skip
_VARIABLE = [
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"), "AT"),
    (re.compile(r"@\[[\d.]+\]"), "@[AT]"),
    (re.compile(r" \d+\.\d\d(?=  arrived)"), " N"),
    (re.compile(r"\d+ rules found"), "N rules found"),
    (re.compile(r"  +"), "  "),
]


def same(text: str) -> str:
    """The text without what differs from one time to the next."""
    for pattern, stands in _VARIABLE:
        text = pattern.sub(stands, text)
    return text


class Reader:
    """Whoever follows the page, with what stands in for the services of others; `hurry` shortens its waits."""

    def __init__(self, *, hurry: bool) -> None:
        self.begun = time.monotonic()
        self.done: list[tuple[float, str]] = []
        self.ping = DeadManSwitch(2 * (1.0 if hurry else HEARTBEAT_SECONDS))
        self.watchdog, self.chat = DeadManSwitch(WITHIN_SECONDS), DeadManSwitch(WITHIN_SECONDS)
        self.replaced = {
            f"https://{name}": receiver.url.removesuffix("/ping/s3cret")
            for name, receiver in (
                ("switch.example/ping", self.ping), ("switch.example/watchdog", self.watchdog),
                ("chat.example", self.chat),
            )
        }  # fmt: skip
        if hurry:
            self.replaced |= HURRY
            rules = (INSTALLED / "prometheus-rules.yaml").read_text("utf-8")
            Path("/srv/rules.yaml").write_text(rules.replace("for: 2m", "for: 2s"), "utf-8")
            Path("/etc/default/prometheus").write_text("ARGS=--rules.alert.resend-delay=1s\n", "utf-8")

    def follow(self, page: str) -> None:
        happenings: dict[str, Callable[[], object]] = {
            "the switch hears the daemon and the watchdog": lambda: not self.ping.speaks_up and self.watchdog.requests,
            "the switch hears the daemon no more": lambda: self.ping.speaks_up,
            "the switch hears the daemon again": lambda: not self.ping.speaks_up,
        }
        for name in ("alarm_test", "delivery_paused", "billingd_silent"):
            happenings[f"people get {name}"] = functools.partial(lambda name: name in self.told(), name)
        for match in re.finditer(r"<!-- ([^>]+) -->|```yaml\n# (into )?(\S+)\n(.*?)```|```console\n.*?```", page, re.S):
            happens, into, path, text = match.groups()
            if path:
                self.write(Path(path), self.replace(text), into=bool(into))
                continue
            for step in steps(match[0]):
                if happens:
                    wait_until(happenings[happens], within_seconds=WITHIN_SECONDS, what=happens)
                else:
                    self.type(step)
                self.done.append((time.monotonic() - self.begun, step.happens or step.command))

    def replace(self, text: str) -> str:
        for found, stands in self.replaced.items():
            text = text.replace(found, stands)
        return text

    def write(self, path: Path, text: str, *, into: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        document = merged(yaml.safe_load(path.read_text("utf-8")), yaml.safe_load(text)) if into else None
        path.write_text(yaml.safe_dump(document) if document else text, "utf-8")

    def type(self, step: Step) -> None:
        """A question until it is answered as shown, any other command once."""
        said = ""

        def right() -> bool:
            nonlocal said
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            ran = subprocess.run(
                ["bash", "-c", self.replace(step.command)],
                cwd="/root", env=environment, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            said = f"{ran.stdout}{ran.stderr}"
            return ran.returncode == 0 and is_shown(same(step.output), same(said))

        asks = step.command.startswith(QUESTIONS)
        try:
            wait_until(right, within_seconds=WITHIN_SECONDS if asks else 0, every_seconds=0.5)
        finally:
            print(f"{time.monotonic() - self.begun:5.1f} s  $ {step.command}\n{plain(same(said))}", flush=True)

    def told(self) -> set[str]:
        """What people got."""
        return {alert["labels"]["alertname"] for body in self.chat.bodies for alert in json.loads(body)["alerts"]}


def main(out: str, hurry: str) -> None:
    reader = Reader(hurry=hurry == "hurry")
    try:
        reader.follow(PAGE.read_text("utf-8"))
    finally:
        print("people got", sorted(reader.told()), flush=True)
    provider = yaml.safe_load(Path("/etc/grafana/provisioning/dashboards/billingd.yaml").read_text("utf-8"))
    dashboards = [each.name for each in Path(provider["providers"][0]["options"]["path"]).glob("*.json")]
    found = {"steps": reader.done, "told": sorted(reader.told()), "dashboards": dashboards}
    Path(out).write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
