"""Every order of the steps of a few sessions on one database, each order tried once.

A session is a function in a thread of its own; it stops at each `pause()` until it is its turn. Whoever waits for a
lock of another is left to wait while the others have their turns. An order is the list of turns; each run follows one
to its end and then goes on with the session that had the last turn, or else with the one that became able last: so
what a message sets off is followed to its end. Each choice that it passes by becomes an order to try, those with the
fewest choices first; one in the middle of a transaction counts double. A bound on preemptions (turns that are taken
from a session that could go on) keeps their number in hand. One that rests, as a request does, can be preempted freely.
"""

import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy import text

from persistence.connection.database import Database

DEADLINE_SECONDS = 30.0
_HERE = threading.local()


class Over(BaseException):
    """Nobody will ever do what this session waits for."""


@dataclass
class _Stepper:
    name: str
    work: Callable[[], None]
    lock: threading.Condition
    state: str = "running"
    failure: BaseException | None = None
    ready: Callable[[], bool] = lambda: True
    gives_way: bool = False
    rests: bool = False
    minor: bool = False
    able_since: int | None = None

    @property
    def able(self) -> bool:
        return self.state == "paused" and self.ready()

    def pause(
        self, ready: Callable[[], bool], *, gives_way: bool = False, rests: bool = False, minor: bool = False
    ) -> None:
        with self.lock:
            self.ready, self.gives_way, self.rests, self.minor = ready, gives_way, rests, minor
            self.state = "paused"
            self.lock.notify_all()
            self.lock.wait_for(lambda: self.state != "paused", DEADLINE_SECONDS)
            if self.state == "over":
                raise Over

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        _HERE.stepper = self
        try:
            self.pause(lambda: True)
            self.work()
        except Over:
            pass
        except BaseException as error:  # noqa: BLE001 - whoever asked for the run judges it
            self.failure = error
        with self.lock:
            self.state = "ended"
            self.lock.notify_all()


def pause(ready: Callable[[], bool] = lambda: True, *, minor: bool = False) -> None:
    """Ends a step until it is `ready`; in a thread that is no session it does nothing. Raises Over in the end.

    `minor`: what it has done is seen by nobody yet, as in a transaction; a turn taken here is tried later.
    """
    stepper = getattr(_HERE, "stepper", None)
    if stepper is not None:
        stepper.pause(ready, minor=minor)


def give_way() -> None:
    """Ends a step, and lets the others have a turn before the next one: for a session that tries again."""
    stepper = getattr(_HERE, "stepper", None)
    if stepper is not None:
        stepper.pause(lambda: True, gives_way=True)


def rest() -> None:
    """Ends a step before a wait that is long in truth: the others go on meanwhile, and it is no preemption."""
    stepper = getattr(_HERE, "stepper", None)
    if stepper is not None:
        stepper.pause(lambda: True, rests=True)


@dataclass
class Run:
    """One order: the turns that were taken, and what each could have been; what a session raised, by its name.

    `holders`: from whom another turn would have been taken; empty if the one before had ended, waits or rests.
    `minor`: whether that one's pause is a minor one.
    """

    turns: list[str] = field(default_factory=list)
    options: list[list[str]] = field(default_factory=list)
    holders: list[str] = field(default_factory=list)
    minor: list[bool] = field(default_factory=list)
    failures: dict[str, BaseException] = field(default_factory=dict)
    strayed: bool = False

    def others(self, start: int, preemptions: int | None, by: Collection[str]) -> Iterator[tuple[int, list[str]]]:
        """The orders that leave this one at `start` or later, with at most so many preemptions, by these (if any).

        Each with what its choice counts: two if it is minor.
        """
        spent = 0
        for place, (turn, able, holder) in enumerate(zip(self.turns, self.options, self.holders, strict=True)):
            if place >= start:
                for other in able:
                    paid = spent + (holder not in ("", other))
                    if other == turn or (by and paid > spent and other not in by):
                        continue
                    if preemptions is None or paid <= preemptions:
                        yield 1 + self.minor[place], [*self.turns[:place], other]
            spent += holder not in ("", turn)


def every_order(
    observer: Database | None,
    sessions: Callable[[], Mapping[str, Callable[[], None]]],
    judge: Callable[[Run], None],
    preemptions: int | None = None,
    part: tuple[int, random.Random] | None = None,
    preempting: Collection[str] = (),
) -> int:
    """Runs fresh `sessions` in each order of their steps and has each run judged; returns the number of orders.

    A session's name is the `application_name` of its connection, by which the observer sees that it waits. `part`: so
    many orders at most, chosen by chance, and sessions whose work goes by time, too, may stray from theirs.
    `preempting`: who may take the turn from a session that could go on; all, if nobody is named.
    """
    tried, orders, numbers = 0, [(0, 0.0, 0, list[str]())], itertools.count(-1, -1)
    while orders and (part is None or tried < part[0]):
        choices, *_, order = heapq.heappop(orders)
        run = _run(observer, sessions(), order, may_stray=part is not None)
        judge(run)
        tried += 1
        for counts, other in run.others(len(order), preemptions, preempting):
            # Where all are tried, depth first keeps few in hand.
            ahead = (choices + counts, part[1].random()) if part else (0, 0.0)
            heapq.heappush(orders, (*ahead, next(numbers), other))
    return tried


def _run(
    observer: Database | None, sessions: Mapping[str, Callable[[], None]], order: list[str], *, may_stray: bool
) -> Run:
    lock, run = threading.Condition(), Run()
    steppers = {name: _Stepper(name, work, lock, able_since=-i) for i, (name, work) in enumerate(sessions.items())}
    for stepper in steppers.values():
        stepper.start()
    while able := _able(observer, steppers, lock, run.turns, order):
        place = len(run.turns)
        last = run.turns[-1] if run.turns else ""
        holder = last if last in able and not steppers[last].rests else ""
        for name in able:
            if steppers[name].able_since is None:
                steppers[name].able_since = place
        usual = holder or _next([steppers[name] for name in able])
        chosen = order[place] if place < len(order) else usual
        if chosen not in able:
            assert may_stray, f"{chosen} can't have the turn after {run.turns}: the sessions do not repeat themselves"
            run.strayed, order, chosen = True, [], usual
        run.turns.append(chosen)
        run.options.append(able)
        run.holders.append(holder)
        run.minor.append(holder != "" and steppers[holder].minor)
        steppers[chosen].able_since = None
        with lock:
            for name, stepper in steppers.items():
                stepper.gives_way &= name == chosen
            steppers[chosen].state = "running"
            lock.notify_all()
    with lock:
        for stepper in steppers.values():
            if stepper.state == "paused":
                stepper.state = "over"
        lock.notify_all()
        assert lock.wait_for(lambda: all(each.state == "ended" for each in steppers.values()), DEADLINE_SECONDS)
    run.failures = {name: each.failure for name, each in steppers.items() if each.failure is not None}
    return run


def _next(able: list[_Stepper]) -> str:
    """Who became able last, and does not rest; of those that rest the one that does so longest."""
    awake = [each for each in able if not each.rests]
    if awake:
        return max(reversed(awake), key=lambda each: each.able_since or 0).name
    return min(able, key=lambda each: each.able_since or 0).name


def _able(
    observer: Database | None,
    steppers: Mapping[str, _Stepper],
    lock: threading.Condition,
    turns: list[str],
    order: list[str],
) -> list[str]:
    """Who can have the next turn; one that an order names may need a moment to get the lock that it was given."""
    until = time.monotonic() + DEADLINE_SECONDS
    while True:
        _settle(observer, list(steppers.values()), lock, turns)
        able = [name for name, stepper in steppers.items() if stepper.able]
        able = [name for name in able if not steppers[name].gives_way] or able
        named = order[len(turns) : len(turns) + 1]
        if set(named) <= set(able) or steppers[named[0]].state != "running" or time.monotonic() > until:
            return able


def _settle(observer: Database | None, steppers: list[_Stepper], lock: threading.Condition, turns: list[str]) -> None:
    """Returns once each session is paused, has ended, or waits for a lock while another can go on."""
    until = time.monotonic() + DEADLINE_SECONDS
    while True:
        with lock:
            if lock.wait_for(lambda: all(each.state != "running" for each in steppers), 0.005):
                return
            running = {each.name for each in steppers if each.state == "running"}
            able = any(each.able for each in steppers)
        assert time.monotonic() < until, f"a standstill of {sorted(running)} after {turns}"
        if able and running <= _waiting(observer):
            return


def _waiting(observer: Database | None) -> set[str]:
    if observer is None:
        return set()
    with observer.transaction() as connection:
        return set(
            connection.execute(
                text("""SELECT application_name FROM pg_stat_activity a WHERE datname = current_database()
                        AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND NOT l.granted)""")
            ).scalars()
        )
