"""Who works on which invoice, until when: claims with leases by the database's clock.

A claim is what makes several daemons, several incarnations and several threads safe on one table:

- It is stored before the work is begun, in the statement that picks the row (`FOR UPDATE SKIP LOCKED`), so
  what was in hand is known after a SIGKILL too, and nobody picks the same row meanwhile.
- Each claim raises the row's `claim` number, by so much at random that a number that was given once is not given
  again after an older backup has been put back. Every later write names the number it was made under and changes
  nothing once another has taken over (`persistence.invoices.transitions`): a thread that was written off, or a process
  that was frozen for minutes, can still write as late as it likes.
- The claim for an offer stores `sent` in the same statement and forgets the last outcome, so from then on
  nobody offers this invoice again without asking first, whatever happens to the one who claimed it.
- A look also takes over what its own process has claimed and nobody in it holds any more (`lost`): a message
  that was lost parks nothing.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import Connection

from billing.erp_answers import OFFER_AGAIN
from billing.states import State
from persistence.connection.statements import execute, fetch, fetch_column, fetch_value
from persistence.invoices.conditions import (
    CLAIM_IS_OVER,
    DELIVERABLE,
    IS_DUE,
    MAY_LEAVE,
    PAUSED,
    READY,
    WORKING,
    in_state,
    instance_of,
)
from persistence.invoices.transitions import Step, change_state
from persistence.sql import Queries
from persistence.timelines import ASK_FIRST, CHANGE

NEXT_CLAIM = "i.claim + 1 + floor(random() * 2147483648)::bigint"
LEASE = "now() + make_interval(secs => :lease_seconds)"
logger = logging.getLogger(__name__)
LEFT_OUT = "id <> ALL(CAST(:left_out AS text[]))"
AMONG = " AND id = ANY(CAST(:only AS text[]))"
_SQL = Queries(__file__, LEASE=LEASE, NEXT_CLAIM=NEXT_CLAIM, LEFT_OUT=LEFT_OUT)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A due invoice that is ours to calculate, under this claim number; `failures` to do so in a row.

    `due_since` is when it was made due, in seconds since 1970.
    """

    invoice_id: str
    claim: int
    failures: int = 0
    due_since: float = 0.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One invoice to offer to the ERP or to ask it about, under this claim number."""

    invoice_id: str
    claim: int
    action: Literal["offer", "ask"]
    state: str
    total_with_tax_eur: Decimal
    body: bytes | None
    failures: int
    polls: int
    incorrect_count: int


@dataclass(frozen=True, slots=True)
class Claimer:
    """Who claims: the instance with its incarnation, for how long; `approved_only`: offers need a person's approval."""

    name: str
    lease_seconds: float
    approved_only: bool = False


Kind = Literal["calculations", "offers", "questions", "probe"]
_SEARCHES: dict[Kind, tuple[str, str, str]] = {  # the states, the claim's purpose, the order
    "calculations": (IS_DUE, "calculation", "next_attempt_at NULLS FIRST, period, id"),
    "offers": (in_state(State.CALCULATED, State.SENT), "delivery", "next_attempt_at NULLS FIRST, period, id"),
    "questions": (in_state(State.INITIATED), "delivery", "next_attempt_at NULLS FIRST"),
    "probe": (DELIVERABLE, "delivery", "(id = :never) IS TRUE, last_attempt_at NULLS FIRST, id"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which invoices a claim looks for, at most `limit`.

    `holding` are in this process's hands: all others that it has claimed were lost. `left_out` are not touched. `only`
    names those that are to be had at most, None means any. A probe takes `never` only if there is no other.
    """

    limit: int
    holding: Collection[str] = ()
    left_out: Collection[str] = ()
    only: Collection[str] | None = None
    never: str | None = None

    def values(self) -> dict[str, Any]:
        """What the SQL of a search asks for."""
        return {
            "limit": self.limit, "holding": list(self.holding), "left_out": list(self.left_out),
            "only": None if self.only is None else list(self.only), "never": self.never,
        }  # fmt: skip

    def among(self, where: str) -> str:
        """The search's condition, for these invoices."""
        return f"{where} AND {LEFT_OUT}" + ("" if self.only is None else AMONG)


def claim_due(connection: Connection, by: Claimer, wanted: Wanted) -> list[Claimed]:
    """Claims due invoices to calculate, in the order of `_claim_order`."""
    _, _, order = _SEARCHES["calculations"]
    for where, size in _claim_order("calculations"):
        rows = fetch(
            connection,
            f"""UPDATE invoices i SET claim = {NEXT_CLAIM}, claimed_by = :by, claimed_for = 'calculation',
                    claimed_until = {LEASE}
                FROM (SELECT id FROM invoices WHERE {wanted.among(where)}
                      ORDER BY {order} LIMIT {size} FOR UPDATE SKIP LOCKED) AS picked
                WHERE i.id = picked.id
                RETURNING i.id, i.claim, i.failures, CAST(extract(epoch FROM i.created_at) AS float8)""",
            by=by.name, lease_seconds=by.lease_seconds, **wanted.values(),
        )  # fmt: skip
        if rows:
            logger.debug("claimed to calculate: %s", [row.id for row in rows])
            return [Claimed(*row) for row in rows]
    return []


def claim_deliveries(connection: Connection, by: Claimer, wanted: Wanted, kind: Kind = "offers") -> list[Delivery]:
    """Claims for delivery: offers, an offer is marked `sent` in the same statement; questions that are due; or a probe.

    A probe of the ERP takes the least recently tried, whatever its `next_attempt_at` says
    (docs/spec/failures.md, "The breaker").
    """
    for where, size in _claim_order(kind):
        if claimed := _claim(connection, by, where, _SEARCHES[kind][2], size, wanted):
            logger.debug("claimed %s: %s", kind, [each.invoice_id for each in claimed])
            return claimed
    return []


def candidates(connection: Connection, by: Claimer, kind: Kind, wanted: Wanted) -> list[str]:
    """The ids that a claim of this kind would take now, locked ones included; it changes and locks nothing."""
    _, _, order = _SEARCHES[kind]
    more = "" if kind == "calculations" else f" AND {MAY_LEAVE} AND NOT {PAUSED}"
    for where, size in _claim_order(kind):
        search = f"SELECT id FROM invoices WHERE {wanted.among(where)}{more} ORDER BY {order} LIMIT {size}"
        if ids := fetch_column(connection, search, by=by.name, approved_only=by.approved_only, **wanted.values()):
            return ids
    return []


def known_in(connection: Connection, kind: Kind) -> list[str]:
    """The ids that the history says stand where a claim of this kind looks: for rows that can't be read.

    It reads the whole history.
    """
    return fetch_column(connection, f"{_SQL.last_known} WHERE {_SEARCHES[kind][0]} ORDER BY id")


def waiting_first(connection: Connection, by: Claimer, limit: int) -> list[str]:
    """The first invoices of each kind that could be claimed: one that stays among them is locked by somebody else."""
    found = []
    for kind, (states, _, order) in _SEARCHES.items():
        if kind == "probe":
            continue
        more = "" if kind == "calculations" else f"AND {MAY_LEAVE} AND NOT {PAUSED}"
        # Two ranges of one index: with OR between them all that wait for their time would be read.
        found += [
            f"(SELECT id FROM invoices WHERE {states} AND {ready} AND batch_limit IS NULL AND {CLAIM_IS_OVER} {more}"
            f" ORDER BY {order} LIMIT :limit)"
            for ready in ("next_attempt_at IS NULL", "next_attempt_at <= now()")
        ]
    bisected = f"batch_limit IS NOT NULL AND {WORKING} AND {READY}"
    found.append(f"(SELECT id FROM invoices WHERE {bisected} ORDER BY batch_limit LIMIT :limit)")
    values = {"approved_only": by.approved_only, "limit": limit}
    return fetch_column(connection, " UNION ALL ".join(found), **values)


def _claim_order(kind: Kind) -> Sequence[tuple[str, str]]:
    """The searches, in order: what this process lost, what is ready, and at the end what is bisected; a probe has one.

    The last are those that a crash has met in a batch, or that failed alone: in batches of at most their
    bisect limit, the smallest first. What is in this process's hands is never ready: a lease that seems over may be
    the database's clock that was set forward, or a row that a restore has put back.
    """
    states, purpose, _ = _SEARCHES[kind]
    if kind == "probe":
        return ((f"{states} AND {CLAIM_IS_OVER}", ":limit"),)
    not_held = "id <> ALL(CAST(:holding AS text[]))"
    lost = f"claimed_by = :by AND claimed_for = '{purpose}' AND {not_held}"
    bisected = f"{states} AND batch_limit IS NOT NULL AND {not_held} AND (({READY}) OR ({lost})) AND {LEFT_OUT}"
    least = f"SELECT min(batch_limit) FROM invoices WHERE {bisected}"
    return (
        (f"{states} AND {lost} AND batch_limit IS NULL", ":limit"),
        (f"{states} AND {READY} AND batch_limit IS NULL AND {not_held}", ":limit"),
        (f"{bisected} AND batch_limit = ({least})", f"least(:limit, coalesce(({least}), 1))"),
    )


_SAME = f"delivery_timeline IS NOT DISTINCT FROM {CHANGE}"
_OFFER_AGAIN = f"{in_state(State.SENT)} AND last_outcome = ANY(CAST(:offer_again AS text[])) AND {_SAME}"
_OFFER = f"({in_state(State.CALCULATED)} AND NOT {ASK_FIRST} OR {_OFFER_AGAIN}) IS TRUE"


def _claim(connection: Connection, by: Claimer, where: str, order: str, size: str, wanted: Wanted) -> list[Delivery]:
    """Claims for delivery; `calculated` becomes `sent`, with its history, in the same statement.

    What the database has forgotten may have been offered all the same: after a failover it is asked about first.
    """
    step = Step(
        where=f"{wanted.among(where)} AND {MAY_LEAVE} AND NOT {PAUSED}",
        locking=f"ORDER BY {order} LIMIT {size} FOR UPDATE SKIP LOCKED",
        more={"offer": _OFFER},
        to_state=f"CASE WHEN {in_state(State.CALCULATED)} THEN '{State.SENT}' ELSE state END",
        reason=f"""CASE WHEN {in_state(State.CALCULATED)} THEN CASE WHEN {ASK_FIRST}
            THEN 'the ERP is asked first, since the database has stood elsewhere' ELSE 'an offer begins' END END""",
        sets=f"""
            claim = {NEXT_CLAIM}, claimed_by = :by, claimed_for = 'delivery', claimed_until = {LEASE},
            attempts = i.attempts + l.offer::int, last_attempt_at = clock_timestamp(),
            last_outcome = CASE WHEN NOT l.offer AND i.{_SAME} THEN i.last_outcome END,
            delivery_timeline = {CHANGE}""",
        then=_SQL.delivered,
    )
    rows = change_state(
        connection, step, by.name, lease_seconds=by.lease_seconds, offer_again=list(OFFER_AGAIN),
        approved_only=by.approved_only, **wanted.values(),
    )  # fmt: skip
    return [Delivery(*row) for row in rows]


def claim_as_it_is(connection: Connection, by: Claimer, invoice_id: str) -> None:
    """Takes one in hand without a change of its state, so that what is wrong with it can be counted."""
    execute(connection, _SQL.claim_as_it_is, by=by.name, lease_seconds=by.lease_seconds, id=invoice_id)


def touch(connection: Connection, by: str, invoice_id: str) -> None:
    """Changes an invoice so that the database says whether it takes a change.

    A claim of an earlier incarnation of the same instance ends; its claimer has been proved dead.
    """
    execute(connection, _SQL.touch, id=invoice_id, by=by, instance=instance_of(by))


def several_open(connection: Connection, *, approved_only: bool = False) -> bool:
    """Whether more than one invoice is on its way to the ERP (docs/spec/failures.md, "The breaker")."""
    return bool(fetch_value(connection, _SQL.several_open, approved_only=approved_only))


def waiting_for_the_erp(connection: Connection, left_out: Collection[str]) -> list[str]:
    """The invoices whose next attempt waits since the ERP has failed; not those that have failed by themselves."""
    return fetch_column(connection, _SQL.waiting_for_the_erp, left_out=list(left_out))


def forget_waits_for_the_erp(connection: Connection, left_out: Collection[str], only: Collection[str] | None) -> int:
    """After the whole ERP was away: nobody waits on for a time that was set by it; returns how many waited.

    What somebody else has locked is passed over: it is still among `waiting_for_the_erp` afterwards.
    """
    values = {"left_out": list(left_out), "only": None if only is None else list(only)}
    return execute(connection, _SQL.forget_waits_for_the_erp, **values)
