"""The circuit breaker of the ERP: when it opens, which invoice it is tried with, and what doesn't count."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from actors.circuit_breaker import BreakerPolicy, CircuitBreaker

POLICY = BreakerPolicy(
    failure_threshold=3, reset_seconds=15.0, success_threshold=2, retry_base_seconds=1.0, retry_max_seconds=60.0,
    raise_within_seconds=5.0,
)  # fmt: skip


class Time:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def breaker(time: Time) -> CircuitBreaker:
    return CircuitBreaker(POLICY, time, Random(1))


def fail(breaker: CircuitBreaker, *invoice_ids: str, several_open: bool = True) -> list[bool]:
    return [breaker.record_failure(breaker.epoch, each, several_open=several_open) for each in invoice_ids]


def trip(breaker: CircuitBreaker) -> None:
    assert fail(breaker, "a", "b", "c")[-1]


def probe(breaker: CircuitBreaker, time: Time) -> int:
    time.now += POLICY.reset_seconds
    assert breaker.probe_due()
    breaker.begin_probe()
    return breaker.epoch


def test_it_opens_on_so_many_failures_in_a_row_of_at_least_two_invoices(breaker: CircuitBreaker) -> None:
    assert breaker.last_failed is None
    assert fail(breaker, "a", "b") == [False, False]
    assert breaker.allows_requests()
    assert fail(breaker, "a") == [True]
    assert not breaker.allows_requests()
    assert breaker.state == "open"


def test_a_success_in_between_begins_the_row_anew(breaker: CircuitBreaker) -> None:
    fail(breaker, "a", "b")
    breaker.record_success(breaker.epoch)
    assert fail(breaker, "a", "b") == [False, False]


def test_one_invoice_that_always_fails_stops_nobody_else(breaker: CircuitBreaker) -> None:
    assert not any(fail(breaker, *["poison"] * 50))
    assert breaker.allows_requests()
    assert fail(breaker, "another")[-1], "with a second one it is the ERP"


def test_one_invoice_that_is_the_only_open_one_does_open_it(breaker: CircuitBreaker) -> None:
    assert fail(breaker, "only", "only", "only", several_open=False)[-1]


def test_while_its_alarm_is_pending_one_probe_falls_within_the_time_it_is_raised_in(
    breaker: CircuitBreaker, time: Time
) -> None:
    trip(breaker)
    assert not breaker.probe_due()
    time.now += POLICY.raise_within_seconds * 0.6
    assert breaker.probe_due()


def test_one_probe_is_out_at_a_time_and_a_failed_one_waits_for_the_reset(breaker: CircuitBreaker, time: Time) -> None:
    trip(breaker)
    epoch = probe(breaker, time)
    assert breaker.state == "half-open"
    assert not breaker.probe_due()
    assert not breaker.record_failure(epoch, "d", several_open=True)
    assert breaker.state == "open"
    time.now += POLICY.reset_seconds - 0.1
    assert not breaker.probe_due()
    time.now += 0.1
    assert breaker.probe_due()


def test_it_closes_after_so_many_probes_that_succeed_without_waiting_between_them(
    breaker: CircuitBreaker, time: Time
) -> None:
    trip(breaker)
    assert not breaker.record_success(probe(breaker, time))
    assert breaker.probe_due()
    breaker.begin_probe()
    assert breaker.record_success(breaker.epoch)
    assert breaker.allows_requests()
    assert breaker.state == "closed"


def test_answers_from_before_it_opened_neither_close_nor_prolong_it(breaker: CircuitBreaker, time: Time) -> None:
    before = breaker.epoch
    trip(breaker)
    time.now += POLICY.raise_within_seconds * 0.6
    assert not breaker.record_success(before)
    assert not breaker.record_failure(before, "late", several_open=True)
    assert not breaker.allows_requests()
    assert breaker.probe_due()
    assert breaker.last_failed == "c"


def test_refused_credentials_open_it_at_once_and_one_success_closes_it(breaker: CircuitBreaker, time: Time) -> None:
    assert breaker.record_refused_credentials(breaker.epoch, "a")
    assert not breaker.allows_requests()
    waits = []
    for _ in range(8):
        began = time.now
        while not breaker.probe_due():
            time.now += 0.25
        waits.append(time.now - began)
        breaker.begin_probe()
        assert not breaker.record_refused_credentials(breaker.epoch, "a"), "it is open already"
    assert waits[-1] > 4 * waits[0], f"no backoff in {waits}"
    while not breaker.probe_due():
        time.now += 0.25
    breaker.begin_probe()
    assert breaker.record_success(breaker.epoch)
    assert breaker.allows_requests()


def test_retry_after_of_the_whole_erp_lets_nothing_out_before(breaker: CircuitBreaker, time: Time) -> None:
    breaker.pause(30.0)
    breaker.pause(10.0)
    assert not breaker.allows_requests()
    time.now += 29.9
    assert breaker.paused
    time.now += 0.1
    assert breaker.allows_requests()


def test_a_probe_that_came_to_nothing_is_followed_by_another_soon(breaker: CircuitBreaker, time: Time) -> None:
    trip(breaker)
    breaker.record_neutral(probe(breaker, time))
    assert not breaker.probe_due()
    time.now += POLICY.retry_base_seconds
    assert breaker.probe_due()


def test_item_8_a_fault_of_this_machine_is_probed_and_leaves_the_breaker_alone(
    breaker: CircuitBreaker, time: Time
) -> None:
    first = breaker.epoch
    assert breaker.record_local_fault(first)
    assert not breaker.record_local_fault(first), "the others of the same moment change nothing"
    assert (breaker.open_reason, breaker.state, breaker.allows_requests()) == ("local", "closed", False)
    time.now += 2.0
    assert breaker.probe_due()
    breaker.begin_probe()
    assert not breaker.probe_due()
    assert not breaker.record_local_fault(breaker.epoch)
    assert not breaker.probe_due(), "with backoff"
    time.now += 4.0
    assert breaker.probe_due()
    breaker.begin_probe()
    late = breaker.epoch
    assert breaker.record_sent(late)
    assert not breaker.record_sent(late)
    assert breaker.allows_requests()


def test_it_says_when_the_erp_is_tried_next(breaker: CircuitBreaker, time: Time) -> None:
    assert breaker.next_try_seconds() is None
    trip(breaker)
    assert breaker.next_try_seconds() == 2.5, "one retry falls while the alarm is pending"
    time.now += 1
    assert breaker.next_try_seconds() == 1.5
    probe(breaker, time)
    assert breaker.next_try_seconds() is None, "it is being tried"
    fail(breaker, "a")
    assert breaker.next_try_seconds() == POLICY.reset_seconds
    breaker.pause(60)
    assert breaker.next_try_seconds() == 60, "Retry-After holds a probe back, too"
    time.now += 100
    assert breaker.next_try_seconds() == 0, "it is time, and may have been for long"
    breaker.pause(0.5)
    assert breaker.next_try_seconds() == 0.5


class Shortest(Random):
    """Draws the lower end of each range, and keeps the ranges."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float) -> float:
        self.ranges.append((a, b))
        return a


def test_new_thresholds_and_times_count_at_once(breaker: CircuitBreaker, time: Time) -> None:
    breaker.configure(replace(POLICY, failure_threshold=2, success_threshold=1, reset_seconds=7.0))
    assert fail(breaker, "a", "b") == [False, True]
    assert not breaker.record_failure(probe(breaker, time), "a", several_open=True)
    time.now += 6.9
    assert not breaker.probe_due()
    time.now += 0.1
    assert breaker.probe_due()
    breaker.begin_probe()
    assert breaker.record_success(breaker.epoch)


def test_an_answer_from_before_an_outage_counts_after_it_neither(breaker: CircuitBreaker, time: Time) -> None:
    before = breaker.epoch
    breaker.record_refused_credentials(before, "a")
    during = breaker.epoch
    assert breaker.record_success(during)
    fail(breaker, "a", "b")
    for epoch in (before, during):
        assert not breaker.record_failure(epoch, "c", several_open=True)
        assert not breaker.record_refused_credentials(epoch, "c")
        assert breaker.last_failed == "b"
        assert not breaker.record_success(epoch)
    assert fail(breaker, "c") == [True], "the row went on"


def test_an_answer_from_an_earlier_outage_counts_in_a_later_one_neither(breaker: CircuitBreaker) -> None:
    breaker.record_refused_credentials(breaker.epoch, "a")
    earlier = breaker.epoch
    assert breaker.record_success(earlier)
    breaker.record_refused_credentials(breaker.epoch, "a")
    assert not breaker.record_success(earlier)
    assert breaker.open_reason == "credentials"


def test_the_first_probe_comes_half_way_to_the_alarm_but_never_at_once(breaker: CircuitBreaker, time: Time) -> None:
    fail(breaker, "a")
    breaker.record_success(breaker.epoch)
    time.now += 100.0
    trip(breaker)
    time.now += 2.4
    assert not breaker.probe_due()
    time.now += 0.1
    assert breaker.probe_due()


def test_after_failures_that_took_long_the_probe_comes_soon(breaker: CircuitBreaker, time: Time) -> None:
    fail(breaker, "a", "b")
    time.now += 50.0
    fail(breaker, "c")
    assert not breaker.probe_due()
    time.now += 0.11
    assert breaker.probe_due()


def test_who_failed_before_a_success_is_no_second_invoice(breaker: CircuitBreaker) -> None:
    fail(breaker, "a")
    breaker.record_success(breaker.epoch)
    assert not any(fail(breaker, *["poison"] * 5))


def test_an_outcome_of_before_it_opened_does_not_end_the_probe(breaker: CircuitBreaker, time: Time) -> None:
    before = breaker.epoch
    breaker.record_neutral(before)
    trip(breaker)
    probe(breaker, time)
    breaker.record_neutral(before)
    time.now += 100.0
    assert not breaker.probe_due(), "it is still out"


def test_a_neutral_outcome_without_a_probe_brings_none_forward(breaker: CircuitBreaker, time: Time) -> None:
    trip(breaker)
    breaker.record_failure(probe(breaker, time), "a", several_open=True)
    breaker.record_neutral(breaker.epoch)
    time.now += 2 * POLICY.retry_base_seconds
    assert not breaker.probe_due()


def test_a_probe_that_succeeds_late_is_followed_at_once(breaker: CircuitBreaker, time: Time) -> None:
    trip(breaker)
    epoch = probe(breaker, time)
    breaker.record_neutral(epoch)
    assert not breaker.record_success(epoch)
    assert breaker.probe_due()


def test_a_probe_that_was_put_off_prolongs_no_pause_of_later(breaker: CircuitBreaker, time: Time) -> None:
    breaker.record_refused_credentials(breaker.epoch, "a")
    epoch = probe(breaker, time)
    breaker.record_neutral(epoch)
    assert breaker.record_success(epoch)
    breaker.pause(0.5)
    assert breaker.next_try_seconds() == 0.5


@pytest.mark.parametrize("late", ["success", "failure"])
def test_the_late_answer_of_a_probe_that_was_given_up_counts_for_nothing(
    breaker: CircuitBreaker, time: Time, late: str
) -> None:
    trip(breaker)
    given_up = probe(breaker, time)
    breaker.record_neutral(given_up)
    breaker.record_failure(probe(breaker, time), "a", several_open=True)
    if late == "success":
        assert not breaker.record_success(given_up)
    else:
        assert not breaker.record_failure(given_up, "b", several_open=True)
    assert (breaker.state, breaker.allows_requests()) == ("open", False)
    assert breaker._pybreaker.reset_timeout > 5 * 365 * 86400, "nor does a clock that can be set"


def test_a_probe_that_fails_while_credentials_are_refused_waits_with_backoff(time: Time) -> None:
    chance = Shortest()
    breaker = CircuitBreaker(POLICY, time, chance)
    breaker.record_refused_credentials(breaker.epoch, "a")
    assert breaker.last_failed == "a"
    for wait in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        assert not breaker.probe_due()
        time.now += wait - 0.1
        assert not breaker.probe_due()
        time.now += 0.1
        assert breaker.probe_due()
        breaker.begin_probe()
        assert breaker.state == "closed", "pybreaker counts failures only"
        assert not breaker.record_failure(breaker.epoch, "b", several_open=True)
        assert (breaker.open_reason, breaker.last_failed) == ("credentials", "b")
    assert all(high == 2 * low for low, high in chance.ranges)


@pytest.mark.parametrize("stop", [CircuitBreaker.record_local_fault, lambda b, e: b.record_refused_credentials(e, "a")])
def test_each_outage_begins_with_the_shortest_wait(time: Time, stop: Callable[[CircuitBreaker, int], bool]) -> None:
    breaker = CircuitBreaker(POLICY, time, Shortest())
    for _ in range(2):
        assert stop(breaker, breaker.epoch)
        for wait in (1.0, 2.0, 4.0):
            assert not breaker.probe_due()
            time.now += wait
            assert breaker.probe_due()
            breaker.begin_probe()
            assert not stop(breaker, breaker.epoch)
        time.now += 100.0
        breaker.begin_probe()
        assert breaker.record_sent(breaker.epoch) or breaker.record_success(breaker.epoch)


def test_what_opened_it_gives_way_to_refused_credentials(breaker: CircuitBreaker, time: Time) -> None:
    trip(breaker)
    assert breaker.record_refused_credentials(probe(breaker, time), "a")
    time.now += 2.0
    breaker.begin_probe()
    assert breaker.record_success(breaker.epoch)
    assert (breaker.state, breaker.open_reason) == ("closed", None)
    assert fail(breaker, "a", "b", "c") == [False, False, True], "it counts from nothing"


def test_nothing_is_paused_on_a_machine_that_has_just_started(breaker: CircuitBreaker, time: Time) -> None:
    time.now = 0.0
    assert breaker.allows_requests()
    breaker.pause(0.5)
    assert breaker.next_try_seconds() == 0.5
