"""The pace of the ops endpoint: seldom askers wait for nothing, greedy ones for their turn, nobody for ever."""

import pytest

from web.connections import CONNECTIONS_AT_MOST, REQUESTS_A_SECOND, RateLimiter


def test_who_asks_seldom_waits_for_nothing() -> None:
    pace = RateLimiter()
    assert [pace.wait_seconds(now) for now in (0.0, 1.0, 1.0 + 1 / REQUESTS_A_SECOND)] == [0.0, 0.0, 0.0]


def test_those_who_ask_at_once_are_let_through_one_after_another() -> None:
    pace = RateLimiter()
    waits = [pace.wait_seconds(5.0) for _ in range(4)]
    assert waits == pytest.approx([number / REQUESTS_A_SECOND for number in range(4)])


def test_a_flood_that_is_over_leaves_no_queue_behind() -> None:
    pace = RateLimiter()
    longest = max(pace.wait_seconds(5.0) for _ in range(10_000))
    assert longest == pytest.approx(CONNECTIONS_AT_MOST / REQUESTS_A_SECOND)
    assert pace.wait_seconds(5.0 + longest + 1 / REQUESTS_A_SECOND) == 0.0
