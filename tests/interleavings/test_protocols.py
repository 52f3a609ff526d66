"""The protocols in which two parts meet, in every order of their statements and messages up to a bound.

After each order work that is ready has been done without a slow look, what is registered is what the ERP booked, and
nothing is billed twice, computed from old data or offered though the ERP had it. Each protocol with a bug in it fails.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from actors import erp_gateway
from persistence.connection.database import Database
from persistence.connection.statements import notify
from persistence.invoices import approval, calculations, claims, corrections, recalculation
from persistence.invoices.conditions import OPEN
from supervision.clock import SystemClock
from testkit.postgres import PostgresServer
from tests.interleavings.daemons import Play, gated_statements
from tests.support.interleaving import every_order, pause, rest
from tests.support.small_field import DUE, Field, small_field

ALL = os.environ.get("BILLINGD_FAULTS") == "all"
SEED = int(os.environ.get("BILLINGD_TEST_SEED", SystemClock().wall().toordinal()))
IN_THE_SUITE = 24
"""Orders of a protocol; another part of them each day. With BILLINGD_FAULTS=all so many as are given by `Protocol`."""
UNTIL_SEEN = 400
"""Orders in which a bug has to be seen."""


@dataclass(frozen=True)
class Protocol:
    """What plays: `sessions` of the commands beside the daemons' own; `orders` are more than `preemptions` allow."""

    sessions: Callable[[Play], dict[str, Callable[[], None]]]
    daemons: int = 1
    preemptions: int = 1
    orders: int = 100_000
    settings: dict[str, Any] = field(default_factory=dict)


def waive(play: Play) -> None:
    """As `billingd waive`: takes up, asks the ERP, and ends the invoice or gives it back."""
    ours = play.field.sessions["one"]

    def take_up(connection: Connection) -> corrections.TakenUp:
        return corrections.take_up(connection, "waive", DUE, "ana", offer_seconds=0.0, lease_seconds=60.0)

    taken = ours.run(take_up)
    rest()
    if DUE in play.erp.booked:
        ours.run(lambda connection: corrections.put_down(connection, taken))
    else:
        rest()
        ours.run(lambda connection: corrections.waive(connection, taken, "ana", "moved away"))


def approve(play: Play) -> None:
    """As `billingd approve`, of whatever waits then."""
    ours = play.field.sessions["one"]
    pause()
    ids = ours.run(lambda connection: approval.preview(connection, None, None)).ids
    if ids:
        pause()
        ours.run(lambda connection: approval.approve(connection, "ana", "seen", ids))


def tick(play: Play) -> None:
    pause()
    play.daemons[0].tick()


APPROVAL = {"billing": {"approval": "required"}}
PROTOCOLS = {
    "import, biller, db_writer": Protocol(
        lambda play: {"one": partial(play.field.import_last, "one"), "tick": partial(tick, play)}
    ),
    "replace, biller, db_writer": Protocol(
        lambda play: {"one": partial(play.field.replace_with, "higher", "one"), "tick": partial(tick, play)}
    ),
    "waive, gateway": Protocol(lambda play: {"one": partial(waive, play)}),
    "correct, gateway": Protocol(lambda play: {"one": partial(play.field.correct, "one"), "tick": partial(tick, play)}),
    "two daemons": Protocol(lambda play: {"two": play.end_leases}, daemons=2),
    "approve, calculate": Protocol(
        lambda play: {"one": partial(approve, play), "tick": partial(tick, play)}, settings=APPROVAL
    ),
    "approve, cut": Protocol(
        lambda play: {"one": partial(approve, play), "tick": partial(tick, play), "cut": play.cut}, settings=APPROVAL
    ),
}


@pytest.fixture(scope="module")
def small(shared_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with small_field(shared_server, "test_protocols", tmp_path_factory.mktemp("field")) as field:
        yield field


def explore(field: Field, name: str, at_most: int, *, only_commands: bool = False) -> str:
    protocol = PROTOCOLS[name]
    play = Play(field, protocol.daemons, **protocol.settings)
    commands = protocol.sessions(play).keys() if only_commands else ()

    def sessions() -> dict[str, Callable[[], None]]:
        play.start_afresh()
        return play.sessions() | protocol.sessions(play)

    began = time.monotonic()
    try:
        with gated_statements():
            tried = every_order(
                field.sessions["observer"],
                sessions,
                play.judge,
                protocol.preemptions,
                (at_most, random.Random(SEED)),
                commands,
            )
    finally:
        print(f"{name}: {play.judged} judged, {play.strayed} strayed; {time.monotonic() - began:.0f} s")
        play.close()
    of = "all" if tried < at_most else f"some (seed {SEED})"
    return f"{name}: {tried} orders, {of} of {protocol.preemptions} preemptions"


@pytest.mark.timeout(0 if ALL else 300)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_order_breaks(small: Field, name: str) -> None:
    print(explore(small, name, PROTOCOLS[name].orders if ALL else IN_THE_SUITE))


# Bugs that others have had, put into our code: each has to be seen.


def compare_nothing(patch: pytest.MonkeyPatch, _field: Field) -> None:
    """A calculation is stored whatever its data is by now."""
    patch.setattr(calculations, "_stale", lambda *_: set())


def ask_for_nothing(patch: pytest.MonkeyPatch, _field: Field) -> None:
    """An import tells nobody what has to be calculated again."""
    patch.setattr(recalculation, "request", lambda *_: None)


def take_without_a_fence(patch: pytest.MonkeyPatch, _field: Field) -> None:
    """A living claim keeps nobody off, and what was begun under a lost one is stored."""
    patch.setattr(claims, "READY", "(next_attempt_at IS NULL OR next_attempt_at <= now())")
    patch.setattr(corrections, "_lock_unchanged", lambda *_: None)
    where = f"i.id = :id AND CAST(:claim AS bigint) IS NOT NULL AND {OPEN}"
    patch.setattr(corrections, "_ABORT", replace(corrections._ABORT, input="", where=where))


def offer_without_asking(patch: pytest.MonkeyPatch, _field: Field) -> None:
    """What is found in `sent` is offered again at once."""
    patch.setattr(claims, "_OFFER", "true")


def outlive_the_lease(patch: pytest.MonkeyPatch, _field: Field) -> None:
    """A request leaves when its lease is over, too."""
    patch.setattr(erp_gateway, "leave_by_seconds", lambda *_: float("inf"))


def nudge_before_the_commit(patch: pytest.MonkeyPatch, field: Field) -> None:
    """The NOTIFY goes out before what it speaks of is there."""
    whole = approval.approve

    def approve(connection: Connection, *more: Any) -> list[str]:
        with Database(field.settings) as other:
            other.run(lambda connection: notify(connection, "approve"))
        pause()
        return whole(connection, *more)

    patch.setattr(approval, "notify", lambda *_: None)
    patch.setattr(approval, "approve", approve)


def miss_what_came_meanwhile(patch: pytest.MonkeyPatch, _field: Field) -> None:
    """A listener that had to connect again does not look whether it has missed something."""
    patch.setattr(Database, "nudged", lambda database: bool(database.notifications()))


TWICE = "offered though the ERP had it|does not allow"
BUGS = [
    ("import, biller, db_writer", ask_for_nothing, "waits for nothing"),
    ("replace, biller, db_writer", compare_nothing, "computed from other readings"),
    ("waive, gateway", take_without_a_fence, "registered .* booked"),
    ("two daemons", offer_without_asking, TWICE),
    ("two daemons", outlive_the_lease, TWICE),
    ("approve, calculate", nudge_before_the_commit, "nobody moves"),
    ("approve, cut", miss_what_came_meanwhile, "nobody moves"),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "bug", "seen_by"), BUGS, ids=[bug.__name__ for _, bug, _ in BUGS])
def test_a_bug_is_seen(
    small: Field,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    bug: Callable[[pytest.MonkeyPatch, Field], None],
    seen_by: str,
) -> None:
    bug(monkeypatch, small)
    with pytest.raises(AssertionError, match=seen_by) as seen:
        explore(small, name, UNTIL_SEEN, only_commands=True)
    print(f"{bug.__name__}: {str(seen.value)[-300:]}")
