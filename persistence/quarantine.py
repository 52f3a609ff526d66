"""What counts against an invoice, and when it is held (docs/spec/failures.md, "Blame needs a witness").

A count says: this invoice was refused, answered incorrectly, or an actor crashed with it in hand. It may be the
invoice, or the whole system. The witness decides: another invoice that has passed the same step since the first
count. It passed in the same daemon: what another one can do says nothing about this one's surroundings. Nor does what
a person has done. Without a witness nobody is held, and the invoice is tried again with backoff.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, text

from persistence.claims import INSTANCE, instance_of
from persistence.writes import Change, apply_changes

PASSED_OFFER = "SELECT FROM erp_exchanges WHERE method = 'PUT' AND outcome = 'booked' AND instance = :instance"
PASSED_QUESTION = "SELECT FROM erp_exchanges WHERE method = 'GET' AND outcome = 'booked' AND instance = :instance"
PASSED_DELIVERY = (
    "SELECT FROM erp_exchanges WHERE outcome = 'booked' AND method IN ('PUT', 'GET') AND instance = :instance"
)
PASSED_CALCULATION = f"""SELECT FROM invoice_history WHERE from_state = 'due' AND to_state = 'calculated'
    AND {INSTANCE.replace("claimed_by", "actor")} = :instance"""


@dataclass(frozen=True, slots=True)
class InvoiceFault:
    """An answer that counts against the invoice: what to do if it is not held, and what it is held with.

    `change` leaves the state and waits; its `held_code` and `held_reason` are used if it is held.
    `kind` is "refused" (held at the first count after a witness) or "incorrect" (held from `limit` counts on).
    """

    change: Change
    kind: str
    limit: int
    code: str

    @property
    def invoice_id(self) -> str:
        return self.change.invoice_id


def count_fault(connection: Connection, by: str, write_id: uuid.UUID, fault: InvoiceFault) -> bool:
    """Counts the answer against the invoice and holds it if there is a witness; returns whether it is held."""
    change = fault.change
    row = connection.execute(
        text("""SELECT refused_since, incorrect_count, incorrect_since FROM invoices
                WHERE id = :id AND claim = :claim AND claimed_by = :by
                AND state NOT IN ('registered', 'aborted') FOR UPDATE"""),
        {"id": change.invoice_id, "claim": change.claim, "by": by},
    ).one_or_none()
    if row is None:
        return False
    refused = fault.kind == "refused"
    count = 1 if refused else row.incorrect_count + 1
    since = row.refused_since if refused else row.incorrect_since
    # The same step: an offer's refusal is witnessed by an offer that was booked, an answer's by its own method.
    method = change.exchange.method if change.exchange else "PUT"
    passed = PASSED_OFFER if method == "PUT" else PASSED_QUESTION
    if (
        since is not None
        and count >= fault.limit
        and _witnessed(connection, by, passed, "last_at", change.invoice_id, since)
    ):
        held = replace(change, to_state="held", held_code=fault.code, held_reason=change.reason, delay_seconds=None)
        apply_changes(connection, by, write_id, [held])
        return True
    columns = "refused_since = coalesce(refused_since, clock_timestamp())"
    if not refused:
        columns = (
            "incorrect_count = incorrect_count + 1, incorrect_since = coalesce(incorrect_since, clock_timestamp())"
        )
    connection.execute(text(f"UPDATE invoices SET {columns} WHERE id = :id"), {"id": change.invoice_id})
    apply_changes(connection, by, write_id, [change])
    return False


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
    in_hand = connection.execute(
        text("""SELECT id, claim, claimed_for, crash_count, bill_id, failures, polls,
                coalesce(crash_since, clock_timestamp() - make_interval(secs => :ago)) AS since
                FROM invoices WHERE id = ANY(CAST(:ids AS text[])) AND claimed_by = :by
                AND state NOT IN ('registered', 'aborted', 'held') FOR UPDATE"""),
        {"ids": list(invoice_ids), "by": by, "ago": failed_seconds_ago},
    ).all()
    held = []
    for row in in_hand:
        count = row.crash_count + 1
        calculating = row.claimed_for == "calculation"
        passed, column = (PASSED_CALCULATION, "at") if calculating else (PASSED_DELIVERY, "last_at")
        change = Change(
            invoice_id=row.id, claim=row.claim, reason=reason, failures=row.failures, polls=row.polls, alone=True,
            delay_seconds=min(backoff_base_seconds * 2.0 ** min(count, 60), backoff_max_seconds),
        )  # fmt: skip
        if count >= max_attempts and _witnessed(connection, by, passed, column, row.id, row.since):
            change = replace(
                change, to_state="held", held_code="poison_invoice", delay_seconds=None,
                held_reason=f"{count} crashes with it in hand, the last: {reason}",
            )  # fmt: skip
            held.append(row.id)
        connection.execute(
            text("UPDATE invoices SET crash_count = :count, crash_since = :since WHERE id = :id"),
            {"id": row.id, "count": count, "since": row.since},
        )
        apply_changes(connection, by, write_id, [change])
    return held


def limit_batch(
    connection: Connection, by: str, invoice_ids: Sequence[str], *, bisect_limit: int, delay_seconds: float
) -> None:
    """Ends the claims of what a crash met in a batch: it is worked on again in smaller batches, after the delay.

    From here on what passes of it is witness against what does not.
    """
    connection.execute(
        text("""UPDATE invoices SET batch_limit = :limit, claimed_by = NULL, claimed_for = NULL,
                claimed_until = NULL, next_attempt_at = now() + make_interval(secs => :delay),
                crash_since = coalesce(crash_since, clock_timestamp())
                WHERE id = ANY(CAST(:ids AS text[])) AND claimed_by = :by
                AND state NOT IN ('registered', 'aborted', 'held')"""),
        {"ids": list(invoice_ids), "limit": bisect_limit, "delay": delay_seconds, "by": by},
    )


def crashing_without_witness(connection: Connection, invoice_ids: Sequence[str], max_attempts: int) -> list[str]:
    """Those whose counts have reached the limit and who are not held all the same: nobody else has passed since."""
    return list(
        connection.execute(
            text("""SELECT id FROM invoices WHERE id = ANY(CAST(:ids AS text[])) AND crash_count >= :most
                    AND state NOT IN ('registered', 'aborted', 'held') ORDER BY id"""),
            {"ids": list(invoice_ids), "most": max_attempts},
        ).scalars()
    )


def _witnessed(connection: Connection, by: str, passed: str, column: str, invoice_id: str, since: object) -> bool:
    # What lies ahead of the clock passed before the clock was set back: nobody knows whether that was since then.
    return bool(
        connection.execute(
            text(f"SELECT EXISTS ({passed} AND {column} BETWEEN :since AND clock_timestamp() AND invoice_id <> :id)"),
            {"since": since, "id": invoice_id, "instance": instance_of(by)},
        ).scalar()
    )
