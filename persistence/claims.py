"""Who works on which invoice, until when: claims with leases by the database's clock.

A claim is what makes several daemons, several incarnations and several threads safe on one table:

- It is stored before the work is begun, in the statement that picks the row (`FOR UPDATE SKIP LOCKED`), so
  what was in hand is known after a SIGKILL too, and nobody picks the same row meanwhile.
- Each claim raises the row's `claim` number. Every later write names the number it was made under and changes
  nothing once another has taken over (`persistence.writes`): a thread that was written off, or a process that
  was frozen for minutes, can still write as late as it likes.
- The claim for an offer stores `sent` in the same statement and forgets the last outcome, so from then on
  nobody offers this invoice again without asking first, whatever happens to the one who claimed it.
- A look also takes over what its own process has claimed and nobody in it holds any more (`lost`): a message
  that was lost parks nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from sqlalchemy import Connection, text

# Outcomes of an offer after which failures.md lets it be offered again without asking: the ERP said that it took
# nothing, or the request never left. "absent" is the ERP's 404 to a question.
OFFER_AGAIN = ("refused", "credentials", "too_many_requests", "not_sent", "absent")

LEASE = "now() + make_interval(secs => :lease_seconds)"
PAUSED = "EXISTS (SELECT FROM delivery_pauses WHERE resumed_at IS NULL AND until > now())"
MAY_LEAVE = "(state <> 'calculated' OR approved_at IS NOT NULL OR NOT CAST(:approved_only AS boolean))"
# The instance of a claimer's name in SQL, as `instance_of` finds it; null of a person's name.
INSTANCE = "substring(claimed_by FROM '^(.*)#[^#]*$')"
READY = "(next_attempt_at IS NULL OR next_attempt_at <= now()) AND (claimed_until IS NULL OR claimed_until <= now())"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A due invoice that is ours to calculate, under this claim number."""

    invoice_id: str
    claim: int


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


def instance_of(claimer: str) -> str:
    """The instance of a claimer's name, which may hold '#' itself: the incarnation behind the last one does not."""
    return claimer.rpartition("#")[0]


def claim_due(connection: Connection, by: Claimer, *, limit: int, holding: Collection[str]) -> list[Claimed]:
    """Claims due invoices to calculate: what was lost, else what is ready, else a bounded batch of suspects."""
    for where, size in _ways("state = 'due'", "calculation"):
        rows = connection.execute(
            text(f"""
                UPDATE invoices i SET claim = i.claim + 1, claimed_by = :by, claimed_for = 'calculation',
                    claimed_until = {LEASE}
                FROM (SELECT id FROM invoices WHERE {where}
                      ORDER BY next_attempt_at NULLS FIRST, period, id
                      LIMIT {size} FOR UPDATE SKIP LOCKED) AS picked
                WHERE i.id = picked.id RETURNING i.id, i.claim"""),
            {"by": by.name, "lease_seconds": by.lease_seconds, "limit": limit, "holding": list(holding)},
        ).all()
        if rows:
            return [Claimed(row.id, row.claim) for row in rows]
    return []


def claim_deliveries(connection: Connection, by: Claimer, *, limit: int, holding: Collection[str]) -> list[Delivery]:
    """Claims calculated and sent invoices for delivery; an offer is marked `sent` in the same statement."""
    for where, size in _ways("state IN ('calculated', 'sent')", "delivery"):
        claimed = _claim(connection, by, where, "next_attempt_at NULLS FIRST, period, id", size, limit, holding)
        if claimed:
            return claimed
    return []


def claim_questions(connection: Connection, by: Claimer, *, limit: int, holding: Collection[str]) -> list[Delivery]:
    """Claims initiated invoices whose next asking is due."""
    for where, size in _ways("state = 'initiated'", "delivery"):
        claimed = _claim(connection, by, where, "next_attempt_at NULLS FIRST", size, limit, holding)
        if claimed:
            return claimed
    return []


def claim_probe(connection: Connection, by: Claimer, *, never: str | None) -> list[Delivery]:
    """Claims one invoice to probe the ERP with: the least recently tried, whatever its `next_attempt_at` says.

    `never` is the one that failed last: it is taken only where there is no other (failures.md, The breaker).
    """
    where = (
        "state IN ('calculated', 'sent', 'initiated') AND (claimed_until IS NULL OR claimed_until <= now())"
        " AND id <> ALL(CAST(:holding AS text[]))"
    )
    order = "(id = :never) IS TRUE, last_attempt_at NULLS FIRST, id"
    return _claim(connection, by, where, order, "1", 1, (), never)


def _ways(state: str, purpose: str) -> Sequence[tuple[str, str]]:
    """The three looks, in order: what this process lost, what is ready, and suspects in halves at the end."""
    lost = f"claimed_by = :by AND claimed_for = '{purpose}' AND id <> ALL(CAST(:holding AS text[]))"
    suspect = f"{state} AND batch_limit IS NOT NULL AND (({READY}) OR ({lost}))"
    least = f"SELECT min(batch_limit) FROM invoices WHERE {suspect}"
    return (
        (f"{state} AND {lost} AND batch_limit IS NULL", ":limit"),
        (f"{state} AND {READY} AND batch_limit IS NULL", ":limit"),
        (f"{suspect} AND batch_limit = ({least})", f"least(:limit, coalesce(({least}), 1))"),
    )


def _claim(
    connection: Connection,
    by: Claimer,
    where: str,
    order: str,
    size: str,
    limit: int,
    holding: Collection[str],
    never: str | None = None,
) -> list[Delivery]:
    """Claims for delivery; `calculated` becomes `sent`, with its history, in the same statement."""
    rows = connection.execute(
        text(f"""
            WITH picked AS (
                SELECT id, state, (state = 'calculated' OR (state = 'sent'
                    AND last_outcome = ANY(CAST(:offer_again AS text[])))) IS TRUE AS offer
                FROM invoices WHERE {where} AND {MAY_LEAVE} AND NOT {PAUSED}
                ORDER BY {order} LIMIT {size} FOR UPDATE SKIP LOCKED
            ), claimed AS (
                UPDATE invoices i SET
                    claim = i.claim + 1, claimed_by = :by, claimed_for = 'delivery', claimed_until = {LEASE},
                    state = CASE WHEN p.offer THEN 'sent' ELSE i.state END,
                    updated_at = CASE WHEN p.state = 'calculated' THEN now() ELSE i.updated_at END,
                    attempts = i.attempts + p.offer::int,
                    last_outcome = CASE WHEN p.offer THEN NULL ELSE i.last_outcome END,
                    last_attempt_at = clock_timestamp(),
                    history_length = i.history_length + (p.state = 'calculated')::int
                FROM picked p WHERE i.id = p.id
                RETURNING i.*, p.offer, p.state AS from_state
            ), logged AS (
                INSERT INTO invoice_history (invoice_id, seq, from_state, to_state, actor, reason, write_id)
                SELECT id, history_length, from_state, 'sent', :by, 'an offer begins', gen_random_uuid()
                FROM claimed WHERE from_state = 'calculated'
            )
            SELECT c.id, c.claim, c.offer, c.state, c.total_with_tax_eur, c.failures, c.polls, c.incorrect_count,
                   CASE WHEN c.offer THEN d.body END AS body
            FROM claimed c JOIN invoice_documents d ON d.invoice_id = c.id"""),
        {
            "by": by.name, "lease_seconds": by.lease_seconds, "limit": limit, "holding": list(holding),
            "offer_again": list(OFFER_AGAIN), "never": never, "approved_only": by.approved_only,
        },
    ).all()  # fmt: skip
    return [
        Delivery(
            row.id, row.claim, "offer" if row.offer else "ask", row.state, row.total_with_tax_eur,
            row.body, row.failures, row.polls, row.incorrect_count,
        )
        for row in rows
    ]  # fmt: skip


def ready_to_offer(connection: Connection, by: Claimer, *, limit: int) -> list[str]:
    """The ids of calculated invoices that nobody works on, in the order in which they would be claimed."""
    return list(
        connection.execute(
            text(f"""SELECT id FROM invoices WHERE state = 'calculated' AND {READY} AND {MAY_LEAVE} AND NOT {PAUSED}
                     ORDER BY next_attempt_at NULLS FIRST, period, id LIMIT :limit"""),
            {"limit": limit, "approved_only": by.approved_only},
        ).scalars()
    )


def claim_offer(connection: Connection, by: Claimer, invoice_id: str) -> list[Delivery]:
    """Claims this one for its offer, if it is still to be had."""
    where = f"state = 'calculated' AND {READY} AND {MAY_LEAVE} AND NOT {PAUSED} AND id = :never"
    return _claim(connection, by, where, "id", "1", 1, (), invoice_id)


def claim_as_it_is(connection: Connection, by: Claimer, invoice_id: str) -> None:
    """Takes one in hand without a change of its state, so that what is wrong with it can be counted."""
    connection.execute(
        text(f"""UPDATE invoices SET claim = claim + 1, claimed_by = :by, claimed_for = 'delivery',
                 claimed_until = {LEASE} WHERE id = :id AND {READY}"""),
        {"by": by.name, "lease_seconds": by.lease_seconds, "id": invoice_id},
    )


def several_open(connection: Connection, *, approved_only: bool = False) -> bool:
    """Whether more than one invoice is on its way to the ERP (the breaker asks: failures.md, The breaker)."""
    return bool(
        connection.execute(
            text(f"""SELECT count(*) > 1 FROM (SELECT FROM invoices
                     WHERE state IN ('calculated', 'sent', 'initiated') AND {MAY_LEAVE} LIMIT 2) AS open_ones"""),
            {"approved_only": approved_only},
        ).scalar()
    )


def forget_waits_for_the_erp(connection: Connection) -> int:
    """After the whole ERP was away: nobody waits on for a time that was set by it; returns how many waited."""
    return connection.execute(
        text("""UPDATE invoices SET next_attempt_at = NULL, failures = 0
                WHERE state IN ('calculated', 'sent', 'initiated') AND failures > 0 AND claimed_by IS NULL
                AND incorrect_count = 0 AND refused_since IS NULL AND crash_count = 0""")
    ).rowcount
