"""Every order of the steps of a few sessions on one database, each order tried once.

A session is a function in a thread of its own; it stops at each `pause()` until it is its turn. Whoever waits for a
lock of another is left to wait while the others have their turns. An order is the list of turns; each run follows one
to its end and then goes on with the first session that can, and each choice that it passes by becomes an order to try.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import text

from persistence.connection.database import Database

DEADLINE_SECONDS = 30.0
_HERE = threading.local()


@dataclass
class _Stepper:
    name: str
    work: Callable[[], None]
    lock: threading.Condition
    state: str = "running"
    failure: BaseException | None = None

    def pause(self) -> None:
        with self.lock:
            self.state = "paused"
            self.lock.notify_all()
            self.lock.wait_for(lambda: self.state == "running", DEADLINE_SECONDS)

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        _HERE.stepper = self
        self.pause()
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001 - whoever asked for the run judges it
            self.failure = error
        with self.lock:
            self.state = "ended"
            self.lock.notify_all()


def pause() -> None:
    """Ends a step; in a thread that is no session it does nothing."""
    stepper = getattr(_HERE, "stepper", None)
    if stepper is not None:
        stepper.pause()


@dataclass
class Run:
    """One order: the turns that were taken, and what each could have been; what a session raised, by its name."""

    turns: list[str] = field(default_factory=list)
    options: list[list[str]] = field(default_factory=list)
    failures: dict[str, BaseException] = field(default_factory=dict)


def every_order(
    observer: Database, sessions: Callable[[], Mapping[str, Callable[[], None]]], judge: Callable[[Run], None]
) -> int:
    """Runs fresh `sessions` in each order of their steps and has each run judged; returns the number of orders.

    A session's name is the `application_name` of its connection, by which the observer sees that it waits.
    """
    tried, orders = 0, [list[str]()]
    while orders:
        order = orders.pop()
        run = _run(observer, sessions(), order)
        judge(run)
        tried += 1
        for place in range(len(order), len(run.turns)):
            taken = run.turns[:place]
            orders += [[*taken, other] for other in run.options[place] if other != run.turns[place]]
    return tried


def _run(observer: Database, sessions: Mapping[str, Callable[[], None]], order: list[str]) -> Run:
    lock, run = threading.Condition(), Run()
    steppers = {name: _Stepper(name, work, lock) for name, work in sessions.items()}
    for stepper in steppers.values():
        stepper.start()
    while True:
        _settle(observer, list(steppers.values()), lock, run.turns)
        able = [name for name, stepper in steppers.items() if stepper.state == "paused"]
        if not able:
            break
        place = len(run.turns)
        chosen = order[place] if place < len(order) else able[0]
        assert chosen in able, f"{chosen} can't have the turn after {run.turns}: the sessions do not repeat themselves"
        run.turns.append(chosen)
        run.options.append(able)
        with lock:
            steppers[chosen].state = "running"
            lock.notify_all()
    run.failures = {name: each.failure for name, each in steppers.items() if each.failure is not None}
    return run


def _settle(observer: Database, steppers: list[_Stepper], lock: threading.Condition, turns: list[str]) -> None:
    """Returns once each session is paused, has ended, or waits for a lock while another can go on."""
    until = time.monotonic() + DEADLINE_SECONDS
    while True:
        with lock:
            if lock.wait_for(lambda: all(each.state != "running" for each in steppers), 0.005):
                return
            running = {each.name for each in steppers if each.state == "running"}
            able = any(each.state == "paused" for each in steppers)
        assert time.monotonic() < until, f"a standstill of {sorted(running)} after {turns}"
        if able and running <= _waiting(observer):
            return


def _waiting(observer: Database) -> set[str]:
    with observer.transaction() as connection:
        return set(
            connection.execute(
                text("""SELECT application_name FROM pg_stat_activity
                        WHERE wait_event_type = 'Lock' AND datname = current_database()""")
            ).scalars()
        )
