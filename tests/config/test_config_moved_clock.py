"""The wall clock that tests move."""

from datetime import UTC, datetime, timedelta

import pytest

from config.load import ConfigurationRejected
from config.moved_clock import now_from

REAL = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)


class Monotonic:
    """A monotonic clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def moved(text: str, monotonic: Monotonic, allowed: str = "1") -> datetime:
    now = now_from({"BILLINGD_TEST_NOW": text, "BILLINGD_TEST": allowed}, lambda: REAL, monotonic)
    monotonic.seconds += 90
    return now()


def test_without_the_variable_the_real_clock_holds() -> None:
    assert now_from({}, lambda: REAL, Monotonic())() == REAL
    assert now_from({"BILLINGD_TEST_NOW": " ", "BILLINGD_TEST": "1"}, lambda: REAL, Monotonic())() == REAL


@pytest.mark.parametrize(
    ("text", "passed_seconds"),
    [
        ("2026-11-15T00:00:00Z", 90),
        ("2026-11-15T01:00:00+01:00", 90),
        ("2026-11-15T00:00:00Z*60", 5400),
        ("2026-11-15T00:00:00Z * 0.5", 45),
    ],
)
def test_the_moved_clock_runs_on_from_its_instant(text: str, passed_seconds: float) -> None:
    now = moved(text, Monotonic())
    assert now == datetime(2026, 11, 15, tzinfo=UTC) + timedelta(seconds=passed_seconds)
    assert now.utcoffset() == timedelta(0)


@pytest.mark.parametrize("allowed", ["", "0", "yes"])
def test_it_is_refused_where_nobody_said_that_this_is_a_test(allowed: str) -> None:
    with pytest.raises(ConfigurationRejected, match="BILLINGD_TEST_NOW: is for tests"):
        moved("2026-11-15T00:00:00Z", Monotonic(), allowed)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-15T00:00:00",
        "yesterday",
        "*60",
        "2026-11-15T00:00:00Z*",
        "2026-11-15T00:00:00Z*0",
        "2026-11-15T00:00:00Z*-1",
        "2026-11-15T00:00:00Z*1.2.3",
        "2026-11-15T00:00:00Z*9999999",
        "2026-11-15T00:00:00Z*60*60",
    ],
)
def test_a_malformed_instant_or_speed_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationRejected, match="BILLINGD_TEST_NOW"):
        moved(text, Monotonic())
