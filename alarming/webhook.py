"""The sink that tells an Alertmanager (API v2) which alarms stand and which are over, in a thread of its own.

As Prometheus does it: all alerts that stand are sent again and again with an end in the near future, so that they
end by themselves if we are gone; one that is over is sent with its real end, for a while.
"""

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from alarming.background import BackgroundThread
from alarming.catalogue import CATALOGUE, Code
from alarming.conditions import Condition, ConditionActive, ConditionCleared
from alarming.exchange import ExchangeFailed, exchange
from billing.instants import format_instant
from persistence.alarms import AlarmRecord

PATH: Final = "/api/v2/alerts"
REPEAT_SECONDS: Final = 60.0
"""How often standing alerts are sent again."""

_ENDS_AFTER_REPEATS = 4  # an alert outlives so many repeats that don't arrive
_RESOLVED_FOR_REPEATS = 15
_RESOLVED_AT_MOST = 1000
_ANNOUNCED_FOR = timedelta(days=1)
_TEST_LIVES = timedelta(minutes=1)
_BACKOFF_SECONDS = (1.0, 60.0)


@dataclass(frozen=True)
class WebhookSettings:
    """`alarms.webhook_url`, the token and authorities of the files beside it, and how often alerts are repeated."""

    url: str
    token: str | None = None
    ca_file: Path | None = None
    repeat_seconds: float = REPEAT_SECONDS

    @property
    def address(self) -> str:
        """Where alerts are posted; the URL may be Alertmanager's own or already that of its API."""
        base = self.url.rstrip("/")
        return base if base.endswith(PATH) else base + PATH


@dataclass(frozen=True)
class Delivery:
    """How it went last, for `status`: when alerts were taken, and what is wrong since; None: neither yet, nothing."""

    address: str
    delivered_at: datetime | None = None
    problem: str | None = None


def _span(starts_at: datetime, ends_at: datetime, now: datetime) -> dict[str, str]:
    """From when to when an alert holds; what a clock that was ahead has dated in the future began now at the latest.

    Alertmanager refuses an alert that ends before it starts, with all that is posted beside it.
    """
    starts_at = min(starts_at, now)
    return {"startsAt": format_instant(starts_at), "endsAt": format_instant(max(starts_at, ends_at))}


def alert(record: AlarmRecord, now: datetime, ends_after_seconds: float) -> dict[str, Any]:
    """One alarm as Alertmanager's `postableAlert`; the labels are its identity, and stay the same while it stands."""
    labels = {"alertname": record.code, "severity": record.severity.value, "key": record.key, "job": "billingd"}
    if record.key == record.instance:
        labels["instance"] = record.instance
    annotations = {"summary": record.summary, "count": str(record.count), "alarm_id": record.id}
    if entry := CATALOGUE.get(record.code):
        text = entry.english
        annotations |= {"description": f"{text.title}. {text.meaning} {text.effect}", "action": text.action}
    ends_at = min(record.cleared_at, now) if record.cleared_at else now + timedelta(seconds=ends_after_seconds)
    if record.code == Code.ALARM_TEST:
        # An Alertmanager tells people after its group_wait (30 s), and only of what stands then.
        ends_at = min(record.raised_at, now) + _TEST_LIVES
    return {"labels": labels, "annotations": annotations, **_span(record.raised_at, ends_at, now)}


@dataclass(frozen=True)
class Notice:
    """What is worth knowing and no trouble: sent as an alert of severity `info` for a day from `at` on."""

    name: str
    key: str
    summary: str
    at: datetime

    @property
    def ends_at(self) -> datetime:
        return self.at + _ANNOUNCED_FOR

    def alert(self, now: datetime) -> dict[str, Any]:
        """As Alertmanager's `postableAlert`; the same notice again is the same alert."""
        return {
            "labels": {"alertname": self.name, "severity": "info", "key": self.key, "job": "billingd"},
            "annotations": {"summary": self.summary},
            **_span(self.at, self.ends_at, now),
        }


class Webhook(BackgroundThread[Condition]):
    """Give it the alarms with `offer`; `take` has what it reports of itself. Neither waits.

    `now` is the wall clock; `chance` gives a float in [0, 1), for the jitter of its retries.
    """

    def __init__(self, settings: WebhookSettings, now: Callable[[], datetime], chance: Callable[[], float]) -> None:
        super().__init__("webhook")
        self.settings = settings
        self.delivery = Delivery(settings.address)
        self._now = now
        self._chance = chance
        self._lock = threading.Lock()
        self._standing: tuple[AlarmRecord, ...] = ()
        self._resolved: dict[tuple[str, str], AlarmRecord] = {}  # by code and key: to Alertmanager they are one alert
        self._notices: tuple[Notice, ...] = ()
        self._failures = 0

    def offer(self, standing: Iterable[AlarmRecord], cleared: Iterable[AlarmRecord]) -> None:
        """What stands now, all of it, and what was cleared since the last call."""
        with self._lock:
            before = {record.id for record in self._standing}
            self._standing = tuple(standing)
            news = {record.id for record in self._standing} != before
            for record in cleared:
                self._resolved.pop((record.code, record.key), None)
                self._resolved[record.code, record.key] = record
                news = True
            for record in self._standing:
                self._resolved.pop((record.code, record.key), None)
            while len(self._resolved) > _RESOLVED_AT_MOST:
                del self._resolved[next(iter(self._resolved))]
        if news and not self._failures:  # a failing receiver is left its pause
            self.wake()

    def announce(self, notices: Iterable[Notice]) -> None:
        """What has to be known now, all of it; it is said again until it ends."""
        with self._lock:
            known, self._notices = self._notices, tuple(notices)
        if set(self._notices) - set(known) and not self._failures:
            self.wake()

    def work(self) -> float:
        settings, now = self.settings, self._now()
        alerts = self._alerts(now, settings)
        if not alerts:
            return settings.repeat_seconds
        content = json.dumps(alerts).encode()
        try:  # of the answer it reads the head and nothing more
            exchange("POST", settings.address, content=content, token=settings.token, ca_file=settings.ca_file)
        except ExchangeFailed as error:
            self._failures += 1
            self.delivery = Delivery(settings.address, self.delivery.delivered_at, str(error))
            self.results.append(
                ConditionActive(Code.ALARM_WEBHOOK_UNREACHABLE, f"{settings.address} takes no alarms: {error}")
            )
            least, most = _BACKOFF_SECONDS
            return least / 2 + self._chance() * min(most, least * float(1 << min(self._failures, 10)))
        self._failures = 0
        self.delivery = Delivery(settings.address, now)
        self.results.append(ConditionCleared(Code.ALARM_WEBHOOK_UNREACHABLE))
        return settings.repeat_seconds

    def _alerts(self, now: datetime, settings: WebhookSettings) -> list[dict[str, Any]]:
        resolved_seconds = settings.repeat_seconds * _RESOLVED_FOR_REPEATS
        with self._lock:
            for record in list(self._resolved.values()):
                age_seconds = (now - (record.cleared_at or now)).total_seconds()
                if age_seconds > resolved_seconds and not self._failures:  # its end has to arrive once
                    del self._resolved[record.code, record.key]
            records = [*self._standing, *self._resolved.values()]
            notices = [notice.alert(now) for notice in self._notices if notice.ends_at > now]
        return notices + [alert(record, now, settings.repeat_seconds * _ENDS_AFTER_REPEATS) for record in records]
