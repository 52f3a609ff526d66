"""An operator's orders for an invoice that can't go on: next revision, or end (docs/spec/billing.md, "Corrections").

It takes three steps, because the ERP is asked in between and no lock outlives that: `take_up` claims the invoice, so
that no daemon begins anything with it; the caller waits until no offer can be under way any more and asks the ERP;
`correct` or `waive` writes under the claim, or `put_down` gives it back. A caller who dies on the way has changed
nothing: his claim ends by itself.
"""

import uuid
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from billing.identity import InvoiceId
from billing.invoice import Invoice
from billing.rounding import Rounding
from billing.states import FINAL_STATES, State
from persistence.connection.statements import execute, fetch_column, fetch_row, fetch_value, notify
from persistence.invoices.calculations import insert_calculated
from persistence.invoices.conditions import OPEN
from persistence.invoices.next_revisions import next_revisions
from persistence.invoices.transitions import Step, change_state
from persistence.locks import lock_invoices, lock_meters
from persistence.sql import Queries

_SQL = Queries(__file__)
Order = Literal["correct", "waive"]

# What an invoice has to stand in, by what is ordered; `held` and all that may be waived is asked after at the ERP.
_ACCEPTED = {
    "correct": (State.REGISTERED, State.ABORTED, State.HELD),
    "waive": (State.DUE, State.CALCULATED, State.HELD),
}


class OrderRefused(Exception):  # noqa: N818 - an outcome, named as the others of this room
    """An order that can't be carried out; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class TakenUp:
    """An invoice in hand. `wait_seconds`: how long an offer may still be under way; None: the ERP needn't be asked."""

    invoice_id: InvoiceId
    state: str
    claim: int
    by: str
    wait_seconds: float | None


def take_up(
    connection: Connection, order: Order, invoice_id: str, by: str, *, offer_seconds: float, lease_seconds: float
) -> TakenUp:
    """Claims an invoice for an order, for `lease_seconds` beyond the wait.

    `offer_seconds`: how long after it was claimed an offer can be under way. Raises OrderRefused.
    """
    lock_invoices(connection, [invoice_id])
    row = fetch_row(connection, _SQL.with_its_wait, id=invoice_id, offer=offer_seconds)
    if row is None:
        raise OrderRefused("there is no such invoice")
    if row.state not in _ACCEPTED[order]:
        raise OrderRefused(_wrong_state(order, row.state))
    _refuse_superseded(connection, InvoiceId.parse(invoice_id))
    if row.claimed:
        raise OrderRefused(f"the daemon works on it until {row.claimed_until:%H:%M:%SZ}: try again then")
    taken = TakenUp(InvoiceId.parse(invoice_id), row.state, row.claim, f"{by}#{uuid.uuid4()}", None)
    if row.state in FINAL_STATES:
        return taken
    taken = replace(taken, claim=row.claim + 1, wait_seconds=row.wait or 0.0)
    lease_seconds += row.wait or 0.0
    execute(connection, _SQL.claim, id=invoice_id, claim=taken.claim, by=taken.by, lease=lease_seconds)
    return taken


def put_down(connection: Connection, taken: TakenUp) -> None:
    """Gives an invoice back unchanged; whoever has taken over meanwhile keeps it."""
    execute(connection, _SQL.put_down, id=str(taken.invoice_id), claim=taken.claim, by=taken.by)
    notify(connection, "retry")


def waive(connection: Connection, taken: TakenUp, by: str, reason: str) -> None:
    """Ends an invoice as aborted. Raises OrderRefused if somebody has changed it meanwhile."""
    _lock_unchanged(connection, taken)
    _abort(connection, taken, by, "operator", f"waived by {by}: {reason}", reason, uuid.uuid4())
    notify(connection, "waive")


def correct(
    connection: Connection,
    taken: TakenUp,
    by: str,
    reason: str,
    time_zone: ZoneInfo,
    min_coverage_percent: Decimal,
    rounding: Rounding = Rounding.HALF_UP,
    *,
    take_back: bool = False,
) -> Invoice:
    """Makes the next revision, as calculated: the amounts of now minus all that is registered; returns it.

    With `take_back` it is all that is registered, taken back, whatever master data says.
    Raises OrderRefused where there is nothing to correct, readings are missing, or somebody was quicker. The user's
    meters stay locked until the transaction ends, so that no import comes between.
    """
    meters = fetch_column(connection, _SQL.meters, user=taken.invoice_id.network_user_id)
    locked = lock_meters(connection, meters)
    _lock_unchanged(connection, taken)
    _refuse_superseded(connection, taken.invoice_id)
    rules = time_zone, min_coverage_percent, rounding
    (following,) = next_revisions(connection, [taken.invoice_id], *rules, take_back=take_back)
    invoice = following.invoice
    if invoice is None:
        raise OrderRefused(following.why_not)
    if not invoice.meter_versions.keys() <= set(locked):
        raise OrderRefused("its meters were changed meanwhile: look at it again")
    write_id = uuid.uuid4()
    if taken.state == State.HELD:
        superseded = f"superseded by {invoice.id}"
        _abort(connection, taken, by, "correction", superseded, f"{superseded}: {reason}", write_id)
    insert_calculated(connection, by, write_id, invoice, f"corrects {taken.invoice_id}: {reason}")
    notify(connection, "correct")
    return invoice


def _wrong_state(order: Order, state: str) -> str:
    if order == "correct" and state in (State.DUE, State.CALCULATED):
        return f"it is {state}, and nothing of it is booked: waive it, then correct it, if it has to be made anew"
    if state in (State.SENT, State.INITIATED):
        return f"it is {state}, and under way at the ERP: wait for the verdict"
    return (
        f"it is {state}, which is final: correct it instead" if state == State.REGISTERED else f"it is {state} already"
    )


def _refuse_superseded(connection: Connection, invoice_id: InvoiceId) -> None:
    user, period, revision = invoice_id.network_user_id, str(invoice_id.period), invoice_id.revision
    later = fetch_value(connection, _SQL.later, user=user, period=period, revision=revision)
    if later is not None:
        raise OrderRefused(f"it has a later revision already: {later}")


def _lock_unchanged(connection: Connection, taken: TakenUp) -> None:
    lock_invoices(connection, [str(taken.invoice_id)])
    row = fetch_row(connection, "SELECT state, claim FROM invoices WHERE id = :id", id=str(taken.invoice_id))
    if (row.state, row.claim) != (taken.state, taken.claim):
        raise OrderRefused(f"it was changed meanwhile and is {row.state} now: look at it again")


_ABORT = Step(
    input="SELECT CAST(:id AS text) AS id, CAST(:claim AS bigint) AS claim",
    where=OPEN,
    to_state=f"'{State.ABORTED}'",
    reason="CAST(:reason AS text)",
    sets=_SQL.abort,
)


def _abort(
    connection: Connection,
    taken: TakenUp,
    by: str,
    ended_by: Literal["operator", "correction"],
    abort_reason: str,
    reason: str,
    write_id: uuid.UUID,
) -> None:
    if not change_state(
        connection, _ABORT, by, write_id, claimer=taken.by, id=str(taken.invoice_id), claim=taken.claim,
        abort_reason=abort_reason, ended_by=ended_by, reason=reason,
    ):  # fmt: skip
        raise OrderRefused("it was changed meanwhile: look at it again")
