"""The actor that says when to look for what is due; what is due follows from the database, never from here."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from actors.context import ActorContext
from actors.failpoints import failpoint
from actors.messages import BILLER, CLOCK, Poll
from billing.periods import Schedule
from supervision import Actor
from supervision.errors import SupervisionError

logger = logging.getLogger(__name__)

PULSE_SECONDS = 1.0
# How often it is looked whether there are pulses; after two looks without one the scheduler's thread is given up.
WATCH_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Pulse:
    """Has a tick of the schedule passed?"""


@dataclass(frozen=True, slots=True)
class _Watch:
    """Has there been a pulse?"""


class _MonotonicTime(tzinfo):
    """A time zone in which `datetime.now` is the monotonic clock, counted from an arbitrary instant.

    APScheduler reads no clock but `datetime.now(scheduler.timezone)`. By the wall clock, a step back would stop the
    pulse for as long as the step, and a step forward would cost one run for each second of it.
    """

    _START = datetime(2000, 1, 1)  # noqa: DTZ001 - of no meaning: only differences count

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic

    def fromutc(self, _wall: datetime) -> datetime:
        return self._START.replace(tzinfo=self) + timedelta(seconds=self._monotonic())

    def utcoffset(self, _at: datetime | None) -> timedelta:
        return timedelta()

    def dst(self, _at: datetime | None) -> timedelta:
        return timedelta()

    def tzname(self, _at: datetime | None) -> str:
        return "monotonic"


class _MonotonicInterval(BaseTrigger):  # type: ignore[misc] # APScheduler has no types
    """Runs one interval after the last run, and never makes up for missed ones.

    APScheduler's own IntervalTrigger converts into its zone. Here each conversion gives the present instant, so the
    scheduler would wait for nothing, in a busy loop. This one only adds to instants that are in the zone.
    """

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        return now + timedelta(seconds=PULSE_SECONDS)


class Clock(Actor):
    """Looks at the billing clock every second and nudges the biller when a tick has passed, and every so often.

    APScheduler gives the pulse by the monotonic clock. Its thread does nothing but tell this actor by name. When the
    schedule ticks is computed with the billing rules' own arithmetic, from the billing clock: a clock that is set, a
    suspended machine or a frozen process make a tick late and never lost.
    """

    def __init__(self, context: ActorContext) -> None:
        super().__init__()
        self._context = context
        self._scheduler: Any = None
        self._next_tick: datetime | None = None
        self._seen_now = context.now()
        self._looked_at = 0.0
        self._watches_since_pulse = 0

    def on_start(self) -> None:
        self._scheduler = BackgroundScheduler(timezone=_MonotonicTime(self._context.clock.monotonic), daemon=True)
        self._scheduler.add_job(self._pulse, _MonotonicInterval(), misfire_grace_time=None, max_instances=1)
        self._scheduler.start()
        self.every(WATCH_SECONDS, _Watch())
        self._looked_at = self._context.clock.monotonic()
        self._seen_now = self._context.now()
        self._next_tick = self._tick_after(self._seen_now)

    def on_receive(self, message: object) -> None:
        failpoint("clock.receive", message)
        now = self._context.now()
        if isinstance(message, Poll):  # the schedule may be another one
            self._next_tick = self._tick_after(now)
            self.tell(BILLER, Poll(newly_due=True))
            return
        if isinstance(message, _Watch):
            self._watches_since_pulse += 1
            if self._watches_since_pulse > 2:
                raise RuntimeError("APScheduler gives no pulse any more: its thread has ended, or stands still")
            return
        if not isinstance(message, _Pulse):
            logger.warning("clock was told what it does not know: %r", message)
            return
        self._watches_since_pulse = 0
        if now < self._seen_now:  # set back: a tick computed from the wrong time may be years away
            self._next_tick = self._tick_after(now)
        self._seen_now = now
        ticked = self._next_tick is not None and now >= self._next_tick
        waited = self._context.clock.monotonic() - self._looked_at
        if ticked or waited >= self._context.settings.billing.look_every_seconds:
            self._looked_at = self._context.clock.monotonic()
            self._next_tick = self._tick_after(now)
            logger.debug("it is time to look for what is due")
            self.tell(BILLER, Poll(newly_due=True))

    def on_stop(self) -> None:
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)

    def _tick_after(self, now: datetime) -> datetime:
        tick = Schedule(self._context.settings.billing.schedule).first_tick_from(now, self._context.settings.zone)
        # Asked again within the minute it began in, the schedule would name the same tick.
        return tick if tick > now else self._tick_after(datetime.fromtimestamp(now.timestamp() + 60, now.tzinfo))

    def _pulse(self) -> None:
        try:
            self.tell(CLOCK, _Pulse())
        except SupervisionError:
            return  # stopping, or between two incarnations: the next pulse comes in a second
