"""Real actors as sessions that a scheduler gives turns: each statement and each message is a step of its own.

No timer fires by itself, so whatever moves was told to. `Play.a_moment` lets pass what is not the slow look: the
db_writer's two seconds, and whatever an actor has set to try again sooner.
"""

import itertools
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from actors.biller import Biller
from actors.context import ActorContext
from actors.courier import Courier, leave_by_seconds
from actors.erp_gateway import ErpGateway
from actors.messages import BILLER, DB_WRITER, ERP_GATEWAY, Poll
from actors.writer import DbWriter
from billing.erp_answers import Booking, Outcome, OutcomeKind, not_sent
from drills.traces import first_refused
from persistence import locks
from persistence.connection import database as database_module
from persistence.connection.database import Database
from persistence.connection.session import Session
from persistence.invoices.corrections import OrderRefused
from supervision.mailbox import Envelope
from supervision.timers import Timer
from tests.support.actor_context import SkippingClock, make_context
from tests.support.interleaving import Run, give_way, pause, rest
from tests.support.small_field import REGISTERED, TWICE, Field
from tests.support.supervision import ActorHarness

MOMENT_SECONDS = 2.0
COURIER = "courier-1"
# What touches nothing that another session could see.
_PRIVATE = re.compile(
    r"\s*(begin|set local|savepoint|release|rollback|analyze|listen|drop table if exists pg_temp|copy staged"
    r"|create temp|select 1\b)",
    re.IGNORECASE,
)
READY = """
    SELECT id, state, claimed_by FROM invoices WHERE state IN ('due', 'calculated', 'sent')
    AND (NOT :approved OR approved_at IS NOT NULL OR state = 'due')
    AND (next_attempt_at IS NULL OR next_attempt_at <= now() OR claimed_by IS NOT NULL)
"""
HISTORIES = """
    SELECT id, (SELECT json_agg(json_build_array(from_state, to_state) ORDER BY seq) FROM invoice_history h
                WHERE h.invoice_id = i.id) AS history,
        (SELECT coalesce(json_agg(json_build_array(method, outcome) ORDER BY seq), '[]') FROM erp_exchanges e
         WHERE e.invoice_id = i.id AND e.instance <> '') AS exchanges
    FROM invoices i WHERE id <> :registered
"""


@contextmanager
def gated_statements() -> Iterator[None]:
    """Each statement and COMMIT of a session is a step; who waits for a lock in turns lets others have theirs."""

    class Yielding:
        def wait(self, _seconds: float) -> None:
            give_way()

    class Threading:
        Event, Lock = Yielding, threading.Lock

    with pytest.MonkeyPatch.context() as patch:
        for name in ("execute_unnamed", "execute_simple", "commit"):
            patch.setattr(Session, name, _gated(getattr(Session, name)))
        patch.setattr(locks, "threading", Threading)
        patch.setattr(locks, "_ONE_WAIT_SECONDS", 0.03)
        patch.setattr(database_module, "threading", Threading)
        yield


def _gated(original: Callable[..., Any]) -> Callable[..., Any]:
    def gated(session: Session, *args: Any, **more: Any) -> Any:
        if not (_PRIVATE.match(args[0]) if args else not session.in_transaction):
            pause(minor=bool(args) and session.in_transaction)
        return original(session, *args, **more)

    return gated


@dataclass
class InstantErp:
    """An ERP that books at once and answers, and a courier's line to it; it remembers what it was offered again."""

    distrusts = False

    booked: dict[str, Booking] = field(default_factory=dict)
    offered_again: list[str] = field(default_factory=list)

    over_until: float = float("-inf")
    """A request that has to leave by this instant comes too late."""
    nothing_booked: bool = False
    """Whether one did, or a question found nothing: the gateway's next look finds what was given back then."""

    def offer(self, invoice_id: str, _body: bytes, total: Decimal, *, leave_by_seconds: float, **_: Any) -> Outcome:
        rest()
        if self._is_late(leave_by_seconds):
            return not_sent("PUT", "too little of its lease is left")
        if invoice_id in self.booked:
            self.offered_again.append(invoice_id)
        made = Booking(invoice_id, "registered", f"bill {invoice_id}", None, total)
        booking = self.booked.setdefault(invoice_id, made)
        rest()
        return Outcome(OutcomeKind.BOOKED, "PUT", 200, booking=booking)

    def ask(self, invoice_id: str, _total: Decimal, *, leave_by_seconds: float, **_: Any) -> Outcome:
        rest()
        if self._is_late(leave_by_seconds):
            return not_sent("GET", "too little of its lease is left")
        booking = self.booked.get(invoice_id)
        self.nothing_booked |= booking is None
        kind = OutcomeKind.ABSENT if booking is None else OutcomeKind.BOOKED
        return Outcome(kind, "GET", 404 if booking is None else 200, booking=booking)

    def _is_late(self, leave_by_seconds: float) -> bool:
        late = leave_by_seconds <= self.over_until
        self.nothing_booked |= late
        return late

    def close(self) -> None: ...


class StandingClock(SkippingClock):
    """It moves by what a test skips, so that a busy machine changes no run; no instant of a lease is another's."""

    readings = itertools.count(1)

    def monotonic(self) -> float:
        return self.skipped_seconds

    def boottime(self) -> float:
        return self.skipped_seconds + next(self.readings) / 1_000_000

    def wait(self, _event: threading.Event, _seconds: float | None) -> bool:
        return False


class InstantCourier(Courier):
    """Its client is an ERP in this process."""

    def __init__(self, context: ActorContext, erp: InstantErp) -> None:
        super().__init__(context)
        self._erp = erp

    def _current_client(self) -> Any:
        return self._erp


class Post(ActorHarness):
    """An actor that takes its messages when it has the turn; what it tells its neighbours reaches them."""

    def __init__(self, name: str, factory: Callable[[], Any], posts: dict[str, "Post"]) -> None:
        super().__init__(name, factory)
        self.name = name
        self._posts = posts
        self._moments: list[tuple[Timer, Callable[[], None]]] = []
        posts[name] = self

    def tell(self, sender: Any, name: str, message: Any, wait_seconds: float = 0.0) -> None:
        if name in self._posts:
            self._posts[name].put(message)
        else:
            super().tell(sender, name, message, wait_seconds)

    def put(self, message: Any) -> None:
        self.mailbox(self.name).put(Envelope(message))

    def after(self, seconds: float, action: Callable[[], None], repeat: bool = False) -> Timer:
        timer = super().after(seconds, action, repeat)
        if not repeat and seconds <= MOMENT_SECONDS:
            self._moments.append((timer, action))
        return timer

    def fire_what_is_soon(self) -> None:
        soon, self._moments = self._moments, []
        for timer, action in soon:
            if timer.pending:
                timer.cancel()
                action()

    def run(self) -> None:
        """Takes each message that comes; for a session."""
        while True:
            pause(lambda: len(self.mailbox(self.name)) > 0)
            self.take()

    def take(self) -> bool:
        """Handles a message, if there is one."""
        envelope = self.mailbox(self.name).next_for(self.incarnation, block=False)
        if envelope is not None:
            self.actor.on_receive(envelope.message)
            self.incarnation.in_hand.clear()
        return envelope is not None


class Daemon:
    """db_writer, biller, gateway and a courier on one database, under the names that its sessions have."""

    def __init__(self, play: "Play", prefix: str, **settings: Any) -> None:
        self.prefix = prefix
        context = make_context(play.url, play.clock, **settings)
        self.context = replace(context, instance=f"{prefix}daemon", connect=self._connect)
        self._settings = play.field.settings
        self.databases: dict[str, Database] = {}
        self.posts: dict[str, Post] = {}
        factories: Mapping[str, Callable[[], Any]] = {
            DB_WRITER: lambda: DbWriter(self.context),
            ERP_GATEWAY: lambda: ErpGateway(self.context),
            COURIER: lambda: InstantCourier(self.context, play.erp),
            BILLER: lambda: Biller(self.context),
        }
        for name, factory in factories.items():
            Post(name, factory, self.posts)
        for post in self.posts.values():
            post.actor.on_start()

    def _connect(self, name: str, *, listen: bool = False) -> Database:
        settings = replace(self._settings, application_name=f"{self.prefix}{name}")
        self.databases[name] = Database(settings, listen=listen)
        return self.databases[name]

    def sessions(self) -> dict[str, Callable[[], None]]:
        return {f"{self.prefix}{name}": post.run for name, post in self.posts.items()}

    def tick(self) -> None:
        """The db_writer looks at what others say, as it does every two seconds."""
        self.posts[DB_WRITER].put(Poll())

    def close(self) -> None:
        for database in self.databases.values():
            database.close()


class Play:
    """Daemons and commands on the small field, and what has to be true in the end."""

    def __init__(self, field: Field, daemons: int = 1, **settings: Any) -> None:
        self.field, self.clock, self.erp = field, StandingClock(), InstantErp()
        self.url = field.url
        self.judged = self.strayed = 0
        prefixes = ("one.", "two.")[:daemons]
        self.daemons = [Daemon(self, each, **settings) for each in prefixes]
        self.start_afresh()
        self.a_moment()  # once, so that all runs begin alike; with connections, too, as making one takes statements
        for session in self.field.sessions.values():
            session.run(lambda connection: connection.execute(text("SELECT 1")))

    def close(self) -> None:
        for daemon in self.daemons:
            daemon.close()

    def start_afresh(self) -> None:
        """As before each run: the field put back, nobody at work, the first daemon's biller and gateway nudged."""
        self.field.put_back()
        self.erp.booked.clear()
        self.erp.offered_again.clear()
        self.erp.over_until, self.erp.nothing_booked = float("-inf"), False
        for daemon in self.daemons:
            daemon.posts[BILLER].put(Poll())

    def sessions(self) -> dict[str, Callable[[], None]]:
        return {name: run for daemon in self.daemons for name, run in daemon.sessions().items()}

    def end_leases(self) -> None:
        """A session: all leases run out, by every clock; then the daemons look for work."""
        lease_seconds = self.daemons[0].context.settings.work.lease_seconds
        with self.field.sessions["two"].transaction() as connection:
            gone = f"claimed_until - make_interval(secs => {lease_seconds})"
            connection.execute(text(f"UPDATE invoices SET claimed_until = {gone} WHERE claimed_by IS NOT NULL"))
        timeout_seconds = self.daemons[0].context.settings.erp.total_timeout_seconds
        self.erp.over_until = leave_by_seconds(self.clock.boottime(), lease_seconds, timeout_seconds)
        for daemon in self.daemons:
            for name in (BILLER, ERP_GATEWAY):
                daemon.posts[name].put(Poll())

    def cut(self, name: str = DB_WRITER) -> None:
        """A session: the server ends the connection of a part of the first daemon."""
        pause()
        with self.field.sessions["two"].transaction() as connection:
            gone = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = :name"
            connection.execute(text(gone), {"name": f"{self.daemons[0].prefix}{name}"})

    def settle(self) -> None:
        """All messages are handled, one after the other, until none is left."""
        posts = [post for daemon in self.daemons for post in daemon.posts.values()]
        while sum(post.take() for post in posts):
            pass

    def a_moment(self) -> None:
        """Two seconds pass, several times over: what was told is handled, what is to be tried again soon is."""
        for _ in range(3):
            self.settle()
            self.clock.skipped_seconds += MOMENT_SECONDS
            for daemon in self.daemons:
                for post in daemon.posts.values():
                    post.fire_what_is_soon()
                daemon.tick()
        self.settle()

    def judge(self, run: Run) -> None:
        order = f"after {' '.join(run.turns)}"
        self.judged += 1
        self.strayed += run.strayed
        for name, failure in run.failures.items():
            assert isinstance(failure, OrderRefused), f"{order}: {name}: {failure!r}"
        self.a_moment()
        if self.erp.nothing_booked:
            for daemon in self.daemons:
                daemon.posts[ERP_GATEWAY].put(Poll())
            self.a_moment()
        with self.field.sessions["observer"].transaction() as connection:
            ready = connection.execute(
                text(READY), {"approved": self.daemons[0].context.as_claimer().approved_only}
            ).all()
            crashed = connection.execute(text("SELECT id FROM invoices WHERE crash_count + unclean_ends > 0")).all()
            assert not crashed, f"{order}: work on {crashed} has crashed"
            assert not ready, f"{order}: nobody moves though work is ready: {ready}"
            self.field.judge_readings(connection, order)
            twice = connection.execute(text(TWICE)).all()
            assert not twice, f"{order}: billed twice: {twice}"
            rows = connection.execute(text("SELECT id, state FROM invoices WHERE id <> :id"), {"id": REGISTERED})
            registered = {each.id for each in rows if each.state == "registered"}
            self.field.judge_waiting(connection, order)
            for each in connection.execute(text(HISTORIES), {"registered": REGISTERED}):
                refused = first_refused([tuple(row) for row in each.history], [tuple(row) for row in each.exchanges])
                assert not refused, f"{order}: the model of a delivery does not allow for {each.id}: {refused}"
        assert registered == set(self.erp.booked), f"{order}: registered {registered}, booked {set(self.erp.booked)}"
        assert not self.erp.offered_again, f"{order}: offered though the ERP had it: {self.erp.offered_again}"
