"""Counts what speaks against an invoice, and looks for its witness (docs/spec/failures.md, "Blame needs a witness").

A count says: this invoice was refused, answered incorrectly, or an actor crashed with it in hand. It may be the
invoice, or the whole system. The witness decides: another invoice that has passed the same step since the first
count. It passed in the same daemon: what another one can do says nothing about this one's surroundings. Nor does what
a person has done. Without a witness nobody is held, and the invoice is tried again with backoff.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from billing.erp_answers import CounterName
from billing.quarantine import backoff_seconds, is_held
from billing.states import State
from persistence.connection.statements import execute, fetch, fetch_column, fetch_value
from persistence.invoices.changes import Change, apply_changes
from persistence.invoices.conditions import instance_of
from persistence.sql import Queries

_SQL = Queries(__file__)


def answer_witnessed(connection: Connection, by: str, invoice_id: str, method: str, counted: CounterName) -> bool:
    """Whether another invoice has passed the same step since this one's first such answer; False at the first.

    The same step: an offer's refusal is witnessed by an offer that was booked, an answer's by its own method.
    """
    since = fetch_value(connection, f"SELECT {counted}_since FROM invoices WHERE id = :id", id=invoice_id)
    return since is not None and _witnessed(connection, by, method, invoice_id, since)


def count_answers(connection: Connection, by: str, counted: CounterName, claims: Collection[tuple[str, int]]) -> None:
    """Counts such an answer against invoices, of id and claim number, whose claims still stand."""
    ids, numbers = zip(*claims, strict=True)
    execute(connection, getattr(_SQL, f"count_{counted}"), ids=list(ids), claims=list(numbers), by=by)


def count_crash(
    connection: Connection,
    by: str,
    write_id: uuid.UUID,
    invoice_ids: Sequence[str],
    *,
    reason: str,
    max_attempts: int,
    backoff_base_seconds: float,
    backoff_max_seconds: float = 300.0,
    failed_seconds_ago: float = 0.0,
) -> list[str]:
    """Work failed, or was written off, with these in hand: one is counted, a batch is worked on again in halves.

    `failed_seconds_ago` is when the work first failed that this invoice was isolated from: what the others have
    passed since is witness. Returns the ids that are held now (`poison_invoice`).
    """
    if len(invoice_ids) > 1:
        half = (len(invoice_ids) + 1) // 2
        for part, ids in enumerate((invoice_ids[:half], invoice_ids[half:]), 1):
            limit_batch(connection, by, ids, bisect_limit=half, delay_seconds=backoff_base_seconds * part)
        return []
    held = []
    for row in fetch(connection, _SQL.in_hand, ids=list(invoice_ids), by=by, ago=failed_seconds_ago):
        count = row.crash_count + 1
        change = Change(
            invoice_id=row.id, claim=row.claim, reason=reason, failures=row.failures, polls=row.polls, alone=True,
            delay_seconds=backoff_seconds(count, backoff_base_seconds, backoff_max_seconds),
        )  # fmt: skip
        witnessed = count >= max_attempts and _witnessed(connection, by, row.claimed_for, row.id, row.since)
        if is_held(count, max_attempts, witnessed=witnessed):
            change = replace(
                change, to_state=State.HELD, held_code="poison_invoice", delay_seconds=None,
                held_reason=f"{count} crashes with it in hand, the last: {reason}",
            )  # fmt: skip
            held.append(row.id)
        counted = "UPDATE invoices SET crash_count = :count, crash_since = :since WHERE id = :id"
        execute(connection, counted, id=row.id, count=count, since=row.since)
        apply_changes(connection, by, write_id, [change])
    return held


def limit_batch(
    connection: Connection, by: str, invoice_ids: Sequence[str], *, bisect_limit: int, delay_seconds: float
) -> None:
    """Ends the claims of what a crash met in a batch: it is worked on again in smaller batches, after the delay.

    From here on what passes of it is witness against what does not.
    """
    execute(connection, _SQL.limit_batch, ids=list(invoice_ids), limit=bisect_limit, delay=delay_seconds, by=by)


def crashing_without_witness(connection: Connection, invoice_ids: Sequence[str], max_attempts: int) -> list[str]:
    """Those whose counts have reached the limit and who are not held all the same: nobody else has passed since."""
    return fetch_column(connection, _SQL.crashing, ids=list(invoice_ids), most=max_attempts)


def _witnessed(connection: Connection, by: str, step: str, invoice_id: str, since: object) -> bool:
    # What lies ahead of the clock passed before the clock was set back: nobody knows whether that was since then.
    passed = getattr(_SQL, f"passed_{step}")
    search = f"SELECT EXISTS ({passed} AND at BETWEEN :since AND clock_timestamp() AND invoice_id <> :id)"
    return bool(fetch_value(connection, search, since=since, id=invoice_id, instance=instance_of(by)))
