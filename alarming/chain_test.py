"""The test of the alarms' chain: raises a marked alarm, looks for it at each place that alarms go to, and clears it."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from alarming.actor import AlarmSnapshot
from alarming.catalogue import Code
from alarming.conditions import Condition, ConditionActive, ConditionCleared
from alarming.exchange import ExchangeFailed, exchange
from alarming.webhook import WebhookSettings, alert
from persistence.alarms import AlarmRecord, Severity, find
from persistence.connection.database import Database
from persistence.connection.errors import PersistenceError
from supervision import Clock

TIMEOUT_SECONDS: Final = 15.0
SUMMARY: Final = "this is a test of the alarms; nothing is wrong"
_LOOK_SECONDS, _DATABASE_SECONDS = 0.1, 5.0
_ALERTS_BYTES_AT_MOST = 10_000_000

Probe = Callable[[], str | None]
"""Why the alarm has not arrived at a place; None once it has."""


@dataclass(frozen=True)
class Arrival:
    """After how many seconds the alarm was at a place; `problem` is why it is not there; with neither: not tried."""

    place: str
    seconds: float | None = None
    problem: str | None = None


def run(
    tell: Callable[[Condition], object],
    snapshot: AlarmSnapshot,
    spool_path: Path,
    database: Callable[[], Database],
    webhook: WebhookSettings | None,
    clock: Clock,
) -> list[Arrival]:
    """Through the alarms of this process; what failed is an alarm, too. Takes half a minute at most."""
    known, begun = {record.id for record in snapshot.standing}, clock.monotonic()
    tell(ConditionActive(Code.ALARM_TEST, SUMMARY))

    def raised() -> AlarmRecord | None:
        return next((one for one in snapshot.standing if one.code == Code.ALARM_TEST and one.id not in known), None)

    arrivals = _wait(clock, {"alarms": lambda: None if raised() else "the daemon's alarms raise nothing"}, begun)
    if record := raised():
        probes: dict[str, Probe] = {
            "spool": lambda: _in_spool(spool_path, record.id, "id"),
            "log": lambda: _in_spool(spool_path, record.id, "said"),
            "table": lambda: _in_table(database, record.id),
        }
        if webhook is not None:
            probes |= {
                "webhook": lambda: _delivered(snapshot, record.raised_at),
                "Alertmanager": lambda: _in_alertmanager(webhook, record.id),
            }
        arrivals = _wait(clock, probes, begun)
    tell(ConditionCleared(Code.ALARM_TEST))
    if failed := [f"{one.place}: {one.problem}" for one in arrivals if one.problem]:
        tell(ConditionActive(Code.ALARM_TEST_FAILED, f"a test alarm did not arrive at {'; '.join(failed)}"))
    else:
        tell(ConditionCleared(Code.ALARM_TEST_FAILED))
    return arrivals


def run_without_daemon(instance: str, webhook: WebhookSettings, clock: Clock) -> list[Arrival]:
    """From this process, past the daemon's alarms: whether the webhook takes an alarm and the Alertmanager has it."""
    now, begun = clock.wall(), clock.monotonic()
    record = AlarmRecord(
        f"test-{now:%Y%m%dT%H%M%S}", Code.ALARM_TEST, instance, Severity.WARNING, SUMMARY, 1, now, now, instance
    )
    content = json.dumps([alert(record, now, 0.0)]).encode()
    try:
        exchange("POST", webhook.address, content=content, token=webhook.token, ca_file=webhook.ca_file)
    except ExchangeFailed as error:
        return [Arrival("webhook", None, str(error)), Arrival("Alertmanager", None, "the webhook has not taken it")]
    taken = Arrival("webhook", clock.monotonic() - begun)
    return [taken, *_wait(clock, {"Alertmanager": lambda: _in_alertmanager(webhook, record.id)}, begun)]


def _wait(clock: Clock, probes: Mapping[str, Probe], begun: float) -> list[Arrival]:
    """Asks until it has arrived everywhere, or the time is over."""
    found: dict[str, Arrival] = {}
    while True:
        for place, probe in probes.items():
            if place not in found or found[place].problem:
                problem = probe()
                found[place] = Arrival(place, None if problem else clock.monotonic() - begun, problem)
        if all(one.problem is None for one in found.values()) or clock.monotonic() - begun > TIMEOUT_SECONDS:
            return list(found.values())
        clock.wait(threading.Event(), _LOOK_SECONDS)


def _in_spool(path: Path, alarm_id: str, mark: str) -> str | None:
    """Whether the file has the alarm, with `mark` set in its last line."""
    try:
        lines = [json.loads(line) for line in path.read_bytes().split(b"\n") if alarm_id.encode() in line]
    except (OSError, ValueError) as error:
        return f"{path}: {getattr(error, 'strerror', None) or error}"
    return None if lines and lines[-1].get(mark) else "it is not there"


def _in_table(database: Callable[[], Database], alarm_id: str) -> str | None:
    try:
        with database() as opened, opened.reading(_DATABASE_SECONDS) as reader:
            return None if any(one.id == alarm_id for one in find(reader)) else "it is not there"
    except PersistenceError as error:
        return str(error)


def _delivered(snapshot: AlarmSnapshot, raised_at: datetime) -> str | None:
    delivery = snapshot.delivery
    if delivery is None or delivery.problem:
        return delivery.problem if delivery else "there is no webhook"
    return None if delivery.delivered_at and delivery.delivered_at >= raised_at else "it was not posted"


def _in_alertmanager(webhook: WebhookSettings, alarm_id: str) -> str | None:
    """Asks the API that the webhook posts to for what it has: another server would not know."""
    url = f'{webhook.address}?filter=alertname="{Code.ALARM_TEST}"'
    try:
        content = exchange("GET", url, token=webhook.token, ca_file=webhook.ca_file, read_bytes=_ALERTS_BYTES_AT_MOST)
        alerts: list[dict[str, Any]] = json.loads(content)
        there = any(one["annotations"].get("alarm_id") == alarm_id for one in alerts)
    except ExchangeFailed as error:
        return str(error)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "what answers there is no Alertmanager"
    return None if there else "it does not have it"
