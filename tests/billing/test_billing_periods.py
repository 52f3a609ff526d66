"""Periods and schedules: what a month is in a time zone, and when it becomes due."""

import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.instants import format_instant
from billing.periods import QUARTER_HOUR, Period, Schedule, due_periods
from tests.billing.billing_samples import ZAGREB

FIRST_OF_MONTH = Schedule("5 1 1 * *")
periods = st.builds(Period, st.integers(1980, 2100), st.integers(1, 12))
zones = st.sampled_from([ZoneInfo(n) for n in ("Europe/Zagreb", "UTC", "America/Santiago", "Asia/Kathmandu")])
schedules = st.sampled_from(
    [Schedule(e) for e in ("5 1 1 * *", "*/7 * * * *", "30 2 * * *", "0 0 * * 0", "59 23 28-31 * *", "0 12 15 1,7 *")]
)


def test_october_2026_has_745_hours_because_summer_time_ends_in_it() -> None:
    october = Period.parse("2026-10")
    assert october.start(ZAGREB) == datetime(2026, 9, 30, 22, tzinfo=UTC)
    assert october.end(ZAGREB) == datetime(2026, 10, 31, 23, tzinfo=UTC)
    assert october.end(ZAGREB) - october.start(ZAGREB) == timedelta(hours=745)
    assert october.invoice_date(ZAGREB) == date(2026, 11, 1)


@pytest.mark.parametrize(
    "text", ["2026-13", "2026-00", "2026-1", "26-01", "2026-10 ", " 2026-10", "2026/10", "", "0000-01"]
)
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="month"):
        Period.parse(text)


@pytest.mark.parametrize(("year", "month"), [(0, 1), (9999, 1), (2026, 0), (2026, 13)])
def test_a_month_has_a_year_whose_end_can_be_told(year: int, month: int) -> None:
    with pytest.raises(ValueError, match="no month"):
        Period(year, month)
    assert Period(1, 1) < Period(9998, 12)


@pytest.mark.parametrize("zone", ["Europe/Zagreb", "America/Santiago"])
def test_instants_are_utc_whatever_the_machines_zone(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    october = Period(2026, 10)
    assert october.start(ZAGREB).tzinfo is october.due_at(FIRST_OF_MONTH, ZAGREB).tzinfo is UTC
    assert format_instant(october.start(ZAGREB)) == "2026-09-30T22:00:00Z"
    monkeypatch.undo()
    time.tzset()


@given(periods)
def test_next_and_previous_undo_each_other_and_keep_the_order(period: Period) -> None:
    assert period.next().previous() == period == period.previous().next()
    assert period.previous() < period < period.next()
    assert str(period) < str(period.next())
    assert Period.parse(str(period)) == period


@given(periods, zones)
def test_periods_meet_without_gap_or_overlap_in_any_zone(period: Period, zone: ZoneInfo) -> None:
    assert period.end(zone) == period.next().start(zone)
    assert timedelta(days=27, hours=22) < period.end(zone) - period.start(zone) < timedelta(days=31, hours=2)
    assert (period.end(zone) - period.start(zone)) % QUARTER_HOUR == timedelta(0)
    assert Period.containing(period.start(zone), zone) == period
    assert Period.containing(period.end(zone) - timedelta(microseconds=1), zone) == period


@given(periods, zones)
def test_a_period_is_closed_from_its_end_instant_on(period: Period, zone: ZoneInfo) -> None:
    end = period.end(zone)
    assert period.closed(end, zone)
    assert not period.closed(end - timedelta(microseconds=1), zone)


@given(periods, zones, schedules)
def test_a_period_is_due_at_a_tick_that_is_the_first_since_its_end(
    period: Period, zone: ZoneInfo, schedule: Schedule
) -> None:
    due_at = period.due_at(schedule, zone)
    assert due_at >= period.end(zone)
    assert schedule.first_tick_from(due_at, zone) == due_at
    assert schedule.first_tick_from(period.end(zone), zone) == due_at
    assert schedule.first_tick_from(due_at + timedelta(seconds=1), zone) > due_at


def test_the_default_schedule_makes_october_due_at_five_past_one_local_time() -> None:
    assert Period.parse("2026-10").due_at(FIRST_OF_MONTH, ZAGREB) == datetime(2026, 11, 1, 0, 5, tzinfo=UTC)


def test_a_tick_at_the_very_end_of_the_period_counts() -> None:
    assert Period.parse("2026-10").due_at(Schedule("0 0 1 * *"), ZAGREB) == Period.parse("2026-10").end(ZAGREB)


@pytest.mark.parametrize("sunday", ["0", "7", "sun"])
def test_sunday_is_0_or_7(sunday: str) -> None:
    # 1 November 2026 is a Sunday
    assert Period.parse("2026-10").due_at(Schedule(f"0 6 * * {sunday}"), ZAGREB) == datetime(2026, 11, 1, 5, tzinfo=UTC)


def test_a_tick_in_the_hour_that_the_clock_repeats_comes_once() -> None:
    schedule = Schedule("30 2 * * *")
    first = schedule.first_tick_from(datetime(2026, 10, 24, 22, tzinfo=UTC), ZAGREB)
    assert first == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert schedule.first_tick_from(first + timedelta(seconds=1), ZAGREB) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_a_tick_in_the_hour_that_the_clock_skips_is_made_up_for() -> None:
    tick = Schedule("30 2 * * *").first_tick_from(datetime(2026, 3, 28, 23, tzinfo=UTC), ZAGREB)
    assert tick == datetime(2026, 3, 29, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "expression",
    ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "60 * * * *", "* * * *", "* * * * * *", "", "a b c d e"],
)
def test_a_schedule_that_never_ticks_or_cannot_be_read_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="schedule"):
        Schedule(expression)


def test_a_schedule_that_ticks_on_leap_days_only_is_taken() -> None:
    tick = Schedule("0 0 29 2 *").first_tick_from(datetime(2026, 1, 1, tzinfo=UTC), ZAGREB)
    assert tick == datetime(2028, 2, 28, 23, tzinfo=UTC)


@given(periods, st.integers(-3, 40), zones, schedules)
def test_downtime_of_any_length_leaves_no_period_out(
    first: Period, months: int, zone: ZoneInfo, schedule: Schedule
) -> None:
    last = first
    for _ in range(abs(months)):
        last = last.next() if months > 0 else last.previous()
    due = due_periods(first, last.due_at(schedule, zone), schedule, zone)
    assert all(period.due_at(schedule, zone) <= last.due_at(schedule, zone) for period in due)
    assert [after.previous() for after in due[1:]] == due[:-1]
    if months >= 0:
        assert due[0] == first
        assert last in due
    else:
        assert first not in due or first.due_at(schedule, zone) == last.due_at(schedule, zone)


def test_nothing_is_due_just_before_the_tick() -> None:
    october = Period.parse("2026-10")
    tick = october.due_at(FIRST_OF_MONTH, ZAGREB)
    assert due_periods(october, tick - timedelta(microseconds=1), FIRST_OF_MONTH, ZAGREB) == []
    assert due_periods(october, tick, FIRST_OF_MONTH, ZAGREB) == [october]
