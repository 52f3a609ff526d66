"""The circuit breaker of the ERP: when it opens, which invoice it is tried with, and what doesn't count."""

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
