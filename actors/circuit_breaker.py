"""The circuit breaker of the ERP: whether requests may leave, after failures, refused credentials and Retry-After.

It opens after failures in a row ("breaker"), after refused credentials, and while a fault of this machine's own lets no
request leave ("local"). pybreaker counts and keeps the states. What it can't do is done here:

- Its `call` holds a lock while the guarded function runs, so through it all requests would go one after another.
  Requests run free; pybreaker is told each outcome afterwards, by a call that does nothing else.
- Its clock is the wall clock. When to probe is decided here by the monotonic clock, and it is told to half-open.
- It lets an outcome of an older state count. Each request carries the epoch of the breaker that let it out, and an
  answer from before the last change of state neither opens, closes nor prolongs anything.
- It would open for one invoice that always gets 500. Failures of one invoice alone don't open it while there are
  others (docs/spec/failures.md, "The breaker").
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

import pybreaker

from billing.quarantine import backoff_seconds

OpenReason = Literal["breaker", "credentials", "local"]
# Longer than any process lives: pybreaker never half-opens by its own (wall) clock.
NEVER_BY_ITSELF_SECONDS = 10 * 365 * 86400


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When the breaker opens and how it is tried again; all durations in seconds."""

    failure_threshold: int
    reset_seconds: float
    success_threshold: int
    retry_base_seconds: float
    retry_max_seconds: float
    raise_within_seconds: float


class _FailedError(Exception):
    """Tells the breaker of a failure."""


class CircuitBreaker:
    """Closed, or open and tried by one probe at a time; each change of the two begins another epoch."""

    def __init__(self, policy: BreakerPolicy, monotonic: Callable[[], float], randomness: Random) -> None:
        self._policy = policy
        self._monotonic = monotonic
        self._randomness = randomness
        self._pybreaker = pybreaker.CircuitBreaker(
            fail_max=policy.failure_threshold,
            reset_timeout=NEVER_BY_ITSELF_SECONDS,
            success_threshold=policy.success_threshold,
        )
        self.epoch = 0
        self.open_reason: OpenReason | None = None
        self.last_failed: str | None = None
        self._probe_at = 0.0
        self._probe_out = False
        self._paused_until = 0.0
        self._first_failure_at: float | None = None
        self._failed_in_a_row: set[str | None] = set()
        self._refused_probes = 0

    def configure(self, policy: BreakerPolicy) -> None:
        """Puts new thresholds and times in force; the state stays."""
        self._policy = policy
        self._pybreaker.fail_max = policy.failure_threshold
        self._pybreaker.success_threshold = policy.success_threshold

    @property
    def state(self) -> str:
        return str(self._pybreaker.current_state)

    @property
    def paused(self) -> bool:
        """Whether a Retry-After of the whole ERP is still running."""
        return self._monotonic() < self._paused_until

    def allows_requests(self) -> bool:
        return self.open_reason is None and not self.paused

    def probe_due(self) -> bool:
        """Whether one request should be tried now, because the breaker is open and its time has come."""
        waits = self.open_reason is None or self._probe_out or self.paused
        return not waits and self._monotonic() >= self._probe_at

    def next_try_seconds(self) -> float | None:
        """In how many seconds the ERP is tried next; None while requests may leave, or one is under way to try it."""
        if self.allows_requests() or self._probe_out:
            return None
        at = max(self._paused_until, self._probe_at if self.open_reason else 0.0)
        return max(0.0, at - self._monotonic())

    def begin_probe(self) -> None:
        """A probe is on its way: no other until it is answered or lost."""
        self._probe_out = True
        if self.open_reason == "breaker" and self.state != pybreaker.STATE_HALF_OPEN:
            self._pybreaker.half_open()

    def pause(self, seconds: float) -> None:
        """Retry-After of the whole ERP: nothing leaves before."""
        self._paused_until = max(self._paused_until, self._monotonic() + seconds)

    def record_success(self, epoch: int) -> bool:
        """The ERP answered as its contract says; returns whether this closed the breaker again."""
        if epoch != self.epoch:
            return False
        self._first_failure_at = None
        self._failed_in_a_row.clear()
        self._probe_out = False
        if self.open_reason == "credentials":
            return self._close()
        if self.open_reason is not None or self._pybreaker.fail_counter:
            self._tell_breaker(failed=False)
        if self.open_reason == "breaker":
            self._probe_at = self._monotonic()
            if self.state == pybreaker.STATE_CLOSED:
                return self._close()
        return False

    def record_failure(self, epoch: int, invoice_id: str | None, *, several_open: bool) -> bool:
        """The ERP failed as a whole, not this invoice; returns whether this opened the breaker."""
        if epoch != self.epoch:
            return False
        now = self._monotonic()
        self.last_failed = invoice_id
        self._probe_out = False
        if self._first_failure_at is None:
            self._first_failure_at = now
        if self.open_reason == "credentials":
            self._probe_at = now + self._backoff()
            return False
        self._failed_in_a_row.add(invoice_id)
        last = self._pybreaker.fail_counter + 1 >= self._policy.failure_threshold
        if self.open_reason is None and last and len(self._failed_in_a_row) < 2 and several_open:
            return False
        self._tell_breaker(failed=True)
        if self.state != pybreaker.STATE_OPEN:
            return False
        if self.open_reason == "breaker":
            self._probe_at = now + self._policy.reset_seconds
            return False
        self._open("breaker")
        # While the alarm is pending, one retry falls before it stands (docs/spec/failures.md, "When an alarm stands").
        early = self._first_failure_at + 0.5 * self._policy.raise_within_seconds
        self._probe_at = min(now + self._policy.reset_seconds, max(early, now + 0.1))
        return True

    def record_refused_credentials(self, epoch: int, invoice_id: str | None) -> bool:
        """401 or 403: nothing more is sent but probes, with backoff; returns whether this opened the breaker."""
        if epoch == self.epoch:
            self.last_failed = invoice_id
        return self._stop("credentials", epoch)

    def record_local_fault(self, epoch: int) -> bool:
        """A fault of this machine's own let the request not leave: as for refused credentials."""
        return self._stop("local", epoch)

    def record_sent(self, epoch: int) -> bool:
        """A request has left this machine; returns whether this closed the breaker that a local fault had opened."""
        return self.open_reason == "local" and epoch == self.epoch and self._close()

    def record_neutral(self, epoch: int) -> None:
        """An outcome that says nothing about the ERP as a whole: a probe that came to nothing is soon made again."""
        if epoch == self.epoch and self._probe_out:
            self._probe_out = False
            self._probe_at = self._monotonic() + self._policy.retry_base_seconds

    def _backoff(self) -> float:
        self._refused_probes += 1
        limit = backoff_seconds(self._refused_probes, self._policy.retry_base_seconds, self._policy.retry_max_seconds)
        return self._randomness.uniform(limit / 2, limit)

    def _stop(self, why: OpenReason, epoch: int) -> bool:
        if epoch != self.epoch:
            return False
        self._probe_out = False
        opens = self.open_reason != why
        if opens:
            self._open(why)
            self._refused_probes = 0
        self._probe_at = self._monotonic() + self._backoff()
        return opens

    def _open(self, why: OpenReason) -> None:
        self.open_reason = why
        self.epoch += 1

    def _close(self) -> bool:
        self.open_reason = None
        self.epoch += 1
        self._pybreaker.close()
        return True

    def _tell_breaker(self, *, failed: bool) -> None:
        def outcome() -> None:
            if failed:
                raise _FailedError

        # While it is open and no probe is out, only a probe that was given up can answer: pybreaker refuses that.
        with contextlib.suppress(_FailedError, pybreaker.CircuitBreakerError):
            self._pybreaker.call(outcome)
