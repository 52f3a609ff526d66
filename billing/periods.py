"""Calendar months that are billed: their instants, and when a cron schedule makes them due."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")
QUARTER_HOUR = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A calendar month; its instants `[start, end)` follow from a time zone."""

    year: int
    month: int

    def __post_init__(self) -> None:
        if not (1 <= self.year < 9999 and 1 <= self.month <= 12):
            raise ValueError(f"there is no month {self.month} of the year {self.year}")

    @classmethod
    def parse(cls, text: str) -> "Period":
        """Reads `YYYY-MM`; raises ValueError for anything else."""
        match = _MONTH.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a month written as YYYY-MM")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def containing(cls, instant: datetime, time_zone: ZoneInfo) -> "Period":
        """The month that an aware instant falls into."""
        local = instant.astimezone(time_zone)
        return cls(local.year, local.month)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    def next(self) -> "Period":
        """The month after."""
        return Period(self.year + self.month // 12, self.month % 12 + 1)

    def previous(self) -> "Period":
        """The month before."""
        return Period(self.year - (self.month == 1), (self.month - 2) % 12 + 1)

    def start(self, time_zone: ZoneInfo) -> datetime:
        """Its first instant, in UTC."""
        return datetime(self.year, self.month, 1, tzinfo=time_zone).astimezone(UTC)

    def end(self, time_zone: ZoneInfo) -> datetime:
        """The first instant after it, in UTC."""
        return self.next().start(time_zone)

    def invoice_date(self, time_zone: ZoneInfo) -> date:
        """The local date of its end instant."""
        return self.end(time_zone).astimezone(time_zone).date()

    def closed(self, now: datetime, time_zone: ZoneInfo) -> bool:
        """Whether its end is not in the future."""
        return self.end(time_zone) <= now

    def due_at(self, schedule: "Schedule", time_zone: ZoneInfo) -> datetime:
        """The first tick of the schedule at or after its end, in UTC."""
        return schedule.first_tick_from(self.end(time_zone), time_zone)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron expression of five fields; Sunday is 0 or 7.

    Raises ValueError when it can't be read, or never ticks.
    """

    expression: str

    def __post_init__(self) -> None:
        if len(self.expression.split()) != 5:
            raise ValueError(f"the schedule {self.expression!r} has not five fields")
        try:
            self.first_tick_from(datetime(2026, 1, 1, tzinfo=UTC), ZoneInfo("UTC"))
        except CronSimError as error:
            raise ValueError(f"the schedule {self.expression!r} can't be read: {error}") from error

    def first_tick_from(self, instant: datetime, time_zone: ZoneInfo) -> datetime:
        """The first tick at or after an aware instant, in UTC."""
        # The library steps through local wall time from after the instant it is given; the margin covers
        # an hour that the clock repeats, and instants are compared in UTC, where none is there twice.
        local = (instant - timedelta(hours=3)).astimezone(time_zone)
        for tick in CronSim(self.expression, local):
            if tick.astimezone(UTC) >= instant:
                return tick.astimezone(UTC)
        raise ValueError(f"the schedule {self.expression!r} never ticks")


def periods_from(first: Period) -> Iterator[Period]:
    """The months from one on, without end."""
    while True:
        yield first
        first = first.next()


def due_periods(first: Period, now: datetime, schedule: Schedule, time_zone: ZoneInfo) -> list[Period]:
    """Every period from `first` on that is due at an aware `now`, oldest first.

    It rests on nothing but its arguments, so a downtime of any length leaves no period out.
    """
    return list(takewhile(lambda period: period.due_at(schedule, time_zone) <= now, periods_from(first)))
