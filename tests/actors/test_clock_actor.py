"""The clock actor's pulse and its schedule while the wall clock is set, forward and back."""

from datetime import UTC, datetime, timedelta, tzinfo
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from apscheduler import job
from apscheduler.schedulers import base
from apscheduler.triggers import interval

from actors.clock import Clock, _Pulse
from actors.context import ActorContext, SettingsHolder
from actors.messages import BILLER, CLOCK
from config.sections import BillingSettings, DatabaseSettings, ErpSettings
from config.settings import Settings
from persistence.connection.database import Database
from supervision.clock import SystemClock
from tests.support.supervision import ActorHarness, FakeClock, wait_until

YEARS_SECONDS = 10 * 365 * 86_400.0


class Wall:
    """APScheduler's wall clock: it runs on, and can be set."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.asked = 0

    def set_by(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """Every `datetime.now` of APScheduler comes from here; it converts to a zone as CPython's own does."""
    wall = Wall()

    class SetDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            wall.asked += 1
            assert tz is not None
            utc = datetime.fromtimestamp(SystemClock().wall().timestamp(), UTC) + wall.ahead
            return tz.fromutc(utc.replace(tzinfo=tz))

    for module in (base, interval):
        monkeypatch.setattr(module, "datetime", SetDatetime)
    return wall


def harness_of(clock: Any, now: Any) -> ActorHarness:
    settings = Settings(
        database=DatabaseSettings(),
        erp=ErpSettings(base_url="http://127.0.0.1:9/api/v1"),
        billing=BillingSettings(schedule="0 2 * * *", look_every_seconds=300),
    )
    parts = ActorContext(
        SettingsHolder(settings), clock, Random(1), now, "test", uuid4(), "0", True, Database
    )  # fmt: skip
    return ActorHarness("clock", lambda: Clock(parts))


@pytest.fixture
def pulses(wall: Wall) -> Any:
    harness = harness_of(SystemClock(), SystemClock().wall)
    harness.actor.on_start()
    yield harness.told
    harness.actor.on_stop()


def pulse_comes(told: list[tuple[str, Any]]) -> bool:
    before = len(told)
    return wait_until(lambda: len(told) > before, 4.0)


@pytest.mark.parametrize("seconds", [-60.0, -3600.0, -YEARS_SECONDS, 90.0, 120 * 86_400.0])
def test_item_9_the_pulse_goes_on_when_the_wall_clock_is_set(
    wall: Wall, pulses: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    caught_up: list[int] = []
    real = job.Job._get_run_times

    def counted(self: Any, now: datetime) -> list[datetime]:
        found: list[datetime] = real(self, now)
        caught_up.append(len(found))
        return found

    monkeypatch.setattr(job.Job, "_get_run_times", counted)
    assert pulse_comes(pulses)
    wall.set_by(seconds)
    assert pulse_comes(pulses), "one pulse may have been under way"
    assert pulse_comes(pulses)
    assert {name for name, _ in pulses} == {CLOCK}
    assert max(caught_up) == 1, "what was missed is not made up for, run by run"


def test_item_9_the_pulse_lets_the_processor_rest(wall: Wall, pulses: list[tuple[str, Any]]) -> None:
    for _ in range(3):
        assert pulse_comes(pulses)
    assert wall.asked < 30


def looks(harness: ActorHarness) -> int:
    return sum(name == BILLER for name, _ in harness.told)


def test_item_9_a_schedule_tick_comes_in_time_after_the_clock_was_wrong_by_years() -> None:
    fake = FakeClock(datetime(2026, 11, 15, 0, 59, tzinfo=UTC) + timedelta(seconds=YEARS_SECONDS))
    harness = harness_of(fake, fake.wall)
    harness.actor.on_start()
    fake.step_wall(-YEARS_SECONDS)  # it is 01:59 in Zagreb, and the schedule's tick is a minute off
    harness.actor.on_receive(_Pulse())
    assert looks(harness) == 0
    fake.advance(61)
    harness.actor.on_receive(_Pulse())
    assert looks(harness) == 1
    harness.actor.on_stop()
