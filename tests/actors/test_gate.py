"""The gate to the ERP: when it shuts, whom it is tried with, and what doesn't count."""

from random import Random

import pytest

from actors.gate import Gate, GatePolicy

POLICY = GatePolicy(
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
def gate(time: Time) -> Gate:
    return Gate(POLICY, time, Random(1))


def fail(gate: Gate, *invoice_ids: str, several_open: bool = True) -> list[bool]:
    return [gate.failed(gate.generation, each, several_open=several_open) for each in invoice_ids]


def shut(gate: Gate) -> None:
    assert fail(gate, "a", "b", "c")[-1]


def probe(gate: Gate, time: Time) -> int:
    time.now += POLICY.reset_seconds
    assert gate.wants_probe()
    gate.probe_begins()
    return gate.generation


def test_it_shuts_on_so_many_failures_in_a_row_of_at_least_two_invoices(gate: Gate) -> None:
    assert fail(gate, "a", "b") == [False, False]
    assert gate.lets_through()
    assert fail(gate, "a") == [True]
    assert not gate.lets_through()
    assert gate.state == "open"


def test_a_success_in_between_begins_the_row_anew(gate: Gate) -> None:
    fail(gate, "a", "b")
    gate.succeeded(gate.generation)
    assert fail(gate, "a", "b") == [False, False]


def test_one_invoice_that_always_fails_stops_nobody_else(gate: Gate) -> None:
    assert not any(fail(gate, *["poison"] * 50))
    assert gate.lets_through()
    assert fail(gate, "another")[-1], "with a second one it is the ERP"


def test_one_invoice_that_is_the_only_open_one_does_shut_it(gate: Gate) -> None:
    assert fail(gate, "only", "only", "only", several_open=False)[-1]


def test_while_its_alarm_is_pending_one_probe_falls_within_the_time_it_is_raised_in(gate: Gate, time: Time) -> None:
    shut(gate)
    assert not gate.wants_probe()
    time.now += POLICY.raise_within_seconds * 0.6
    assert gate.wants_probe()


def test_one_probe_is_out_at_a_time_and_a_failed_one_waits_for_the_reset(gate: Gate, time: Time) -> None:
    shut(gate)
    generation = probe(gate, time)
    assert gate.state == "half-open"
    assert not gate.wants_probe()
    assert not gate.failed(generation, "d", several_open=True)
    assert gate.state == "open"
    time.now += POLICY.reset_seconds - 0.1
    assert not gate.wants_probe()
    time.now += 0.1
    assert gate.wants_probe()


def test_it_opens_after_so_many_probes_that_succeed_without_waiting_between_them(gate: Gate, time: Time) -> None:
    shut(gate)
    assert not gate.succeeded(probe(gate, time))
    assert gate.wants_probe()
    gate.probe_begins()
    assert gate.succeeded(gate.generation)
    assert gate.lets_through()
    assert gate.state == "closed"


def test_answers_from_before_it_shut_neither_open_nor_prolong_it(gate: Gate, time: Time) -> None:
    before = gate.generation
    shut(gate)
    time.now += POLICY.raise_within_seconds * 0.6
    assert not gate.succeeded(before)
    assert not gate.failed(before, "late", several_open=True)
    assert not gate.lets_through()
    assert gate.wants_probe()
    assert gate.failed_last == "c"


def test_refused_credentials_shut_it_at_once_and_one_success_opens_it(gate: Gate, time: Time) -> None:
    assert gate.refused_credentials(gate.generation, "a")
    assert not gate.lets_through()
    waits = []
    for _ in range(8):
        began = time.now
        while not gate.wants_probe():
            time.now += 0.25
        waits.append(time.now - began)
        gate.probe_begins()
        assert not gate.refused_credentials(gate.generation, "a"), "it is shut already"
    assert waits[-1] > 4 * waits[0], f"no backoff in {waits}"
    while not gate.wants_probe():
        time.now += 0.25
    gate.probe_begins()
    assert gate.succeeded(gate.generation)
    assert gate.lets_through()


def test_retry_after_of_the_whole_erp_lets_nothing_out_before(gate: Gate, time: Time) -> None:
    gate.pause(30.0)
    gate.pause(10.0)
    assert not gate.lets_through()
    time.now += 29.9
    assert gate.paused
    time.now += 0.1
    assert gate.lets_through()


def test_a_probe_that_came_to_nothing_is_followed_by_another_soon(gate: Gate, time: Time) -> None:
    shut(gate)
    gate.said_nothing(probe(gate, time))
    assert not gate.wants_probe()
    time.now += POLICY.retry_base_seconds
    assert gate.wants_probe()


def test_item_8_a_fault_of_this_machine_is_probed_and_leaves_the_breaker_alone(gate: Gate, time: Time) -> None:
    first = gate.generation
    assert gate.kept_here(first)
    assert not gate.kept_here(first), "the others of the same moment change nothing"
    assert (gate.shut, gate.state, gate.lets_through()) == ("local", "closed", False)
    time.now += 2.0
    assert gate.wants_probe()
    gate.probe_begins()
    assert not gate.wants_probe()
    assert not gate.kept_here(gate.generation)
    assert not gate.wants_probe(), "with backoff"
    time.now += 4.0
    assert gate.wants_probe()
    gate.probe_begins()
    late = gate.generation
    assert gate.left(late)
    assert not gate.left(late)
    assert gate.lets_through()
