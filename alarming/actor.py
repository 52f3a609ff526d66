"""The alarm actor: takes conditions from all actors and from the log; it needs nothing of what they report on."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from alarming.alarm import Now
from alarming.background import LOOK_EVERY_SECONDS, AlarmWriter
from alarming.catalogue import Code
from alarming.conditions import ConditionActive, ConditionCleared
from alarming.dispatcher import AlarmDispatcher
from alarming.log_rules import LogConditions, LogRule
from alarming.register import Identity, Timing
from alarming.spool import Spool
from alarming.webhook import Delivery, Notice, Webhook, WebhookSettings
from persistence.alarms import AlarmRecord, StateSettings
from persistence.connection.database import Database
from supervision import Actor, Clock, SystemClock, system_randomness

NAME: Final = "alarms"
"""The name of its post in the supervision tree."""

_TICK_SECONDS = 0.25
_FROZEN_SECONDS = 2.0
_LOGGER = logging.getLogger("billingd.alarms.actor")


@dataclass(frozen=True)
class AlarmSettings(Timing, StateSettings):
    rules: tuple[LogRule, ...] = ()
    webhook: WebhookSettings | None = None
    look_every_seconds: float = LOOK_EVERY_SECONDS


@dataclass(frozen=True)
class Configure:
    """The message that puts other settings in force."""

    settings: AlarmSettings


@dataclass(frozen=True)
class Announce:
    """The message that says which notices the webhook has to have now; replaces what was said before."""

    notices: tuple[Notice, ...]


@dataclass(frozen=True)
class _Tick:
    """Time to look."""


@dataclass
class AlarmSnapshot:
    """What others may read at any time from any thread; it outlives the actor's incarnations.

    `cleared` is the register's, for the actor's next incarnation.
    """

    standing: tuple[AlarmRecord, ...] = ()
    transients: Mapping[str, int] = field(default_factory=dict)
    raised: Counter[str] = field(default_factory=Counter)
    cleared: set[Identity] = field(default_factory=set)
    delivery: Delivery | None = None


class AwakeClock:
    """The time as the alarms count it: while the process stands still, frozen or suspended, nothing becomes due.

    It has to be asked more often than every two seconds, as each beat does.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_seconds = clock.monotonic()
        self._frozen_seconds = 0.0

    def __call__(self) -> Now:
        seconds = self._clock.monotonic()
        gap_seconds = seconds - self._last_seconds
        self._last_seconds = seconds
        if gap_seconds > _FROZEN_SECONDS:
            self._frozen_seconds += gap_seconds
        return Now(seconds - self._frozen_seconds, self._clock.wall())


class AlarmActor(Actor):
    """Takes `ConditionActive`, `ConditionCleared`, `Configure` and `Announce`; what stands is in the snapshot.

    `database`: a new one for each incarnation, with short limits (it may block the thread beside, never this
    actor), closed at the end; None: without.
    `now`: the instant that readings' grace goes by; `clock`: everything else.
    `records`: the handler whose conditions it takes; `snapshot`: where it shows what stands.
    `reached`: told each point between two steps of raising an alarm, for tests.
    """

    def __init__(
        self,
        *,
        instance: str,
        spool_path: Path,
        settings: AlarmSettings,
        database: Database | None,
        now: Callable[[], datetime] | None = None,
        clock: Clock | None = None,
        records: LogConditions | None = None,
        snapshot: AlarmSnapshot | None = None,
        reached: Callable[[str], object] = lambda _: None,
    ) -> None:
        super().__init__()
        self._instance = instance
        self._spool_path = spool_path
        self._settings = settings
        self._database = database
        self._clock = clock or SystemClock()
        self._now = now or self._clock.wall
        self._records = records or LogConditions(settings.rules)
        self._snapshot = snapshot or AlarmSnapshot()
        self._reached = reached
        self._webhook: Webhook | None = None
        self._notices: tuple[Notice, ...] = ()
        self._writer: AlarmWriter | None = None

    def on_start(self) -> None:
        spool = Spool(self._spool_path)
        self._dispatcher = AlarmDispatcher(
            self._instance, spool, AwakeClock(self._clock), self._settings, self._reached, self._snapshot.cleared
        )
        self._dispatcher.open()
        if self._database is not None:
            self._writer = AlarmWriter(
                self._database,
                self._instance,
                self._settings,
                self._now,
                self._settings.look_every_seconds,
                self._reached,
            )
            self._writer.start()
        self._configure(self._settings)
        self.every(min(_TICK_SECONDS, self._settings.raise_within_seconds / 10), _Tick())
        self._show()

    def on_receive(self, message: Any) -> Any:
        match message:
            case ConditionActive() | ConditionCleared():
                self._dispatcher.report(message)
            case _Tick():
                self._tick()
            case Configure(settings):
                self._configure(settings)
            case Announce(notices):
                self._notices = notices
                if self._webhook is not None:
                    self._webhook.announce(notices)
            case _:
                _LOGGER.error("a message that nobody here knows: %r", message)
        if self._dispatcher.changed:
            self._show()
        return None

    def on_stop(self) -> None:
        if self._writer is not None:
            self._writer.stop()
        if self._webhook is not None:
            self._webhook.stop()

    def _tick(self) -> None:
        for condition in self._records.take() + (self._webhook.take() if self._webhook else []):
            self._dispatcher.report(condition)
        for result in self._writer.take() if self._writer else ():
            self._dispatcher.take_result(result)
        self._dispatcher.tick()
        self._show()

    def _show(self) -> None:
        dispatcher = self._dispatcher
        standing = dispatcher.register.standing()
        cleared, dispatcher.cleared = dispatcher.cleared, []
        if self._writer is not None:
            known = dispatcher.register.pending_invoices()
            self._writer.offer(dispatcher.unstored(), known, at_once=dispatcher.changed)
        if self._webhook is not None:
            self._webhook.offer(standing, cleared)
        self._snapshot.delivery = self._webhook.delivery if self._webhook is not None else None
        dispatcher.changed = False
        self._snapshot.standing = standing
        self._snapshot.transients = dict(dispatcher.register.transients)
        self._snapshot.raised = dispatcher.raised.copy()

    def _configure(self, settings: AlarmSettings) -> None:
        self._settings = settings
        self._dispatcher.register.timing = settings
        self._records.rules = settings.rules
        if self._writer is not None:
            self._writer.settings = settings
            # Its trouble is no alarm before it has tried again.
            self._writer.retry_seconds = min(settings.look_every_seconds, settings.raise_within_seconds / 2)
        if settings.webhook is not None and self._webhook is not None:
            self._webhook.settings = settings.webhook
        elif settings.webhook is not None:
            self._webhook = Webhook(settings.webhook, self._clock.wall, system_randomness().random)
            self._webhook.announce(self._notices)
            self._webhook.start()
        elif self._webhook is not None:
            self._webhook.stop()
            self._webhook = None
            self._dispatcher.report(ConditionCleared(Code.ALARM_WEBHOOK_UNREACHABLE))
