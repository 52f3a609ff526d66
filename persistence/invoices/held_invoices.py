"""Held invoices, and the order to let them go on."""

from sqlalchemy import Connection

from billing.states import State
from persistence.connection.statements import fetch_column
from persistence.invoices.conditions import IS_HELD
from persistence.invoices.queries import state_of
from persistence.invoices.transitions import Step, change_state
from persistence.locks import lock_invoices
from persistence.sql import Queries

_SQL = Queries(__file__)
_RETRY = Step(
    where=f"i.id = :id AND {IS_HELD}", to_state="i.held_from", reason="CAST(:reason AS text)", sets=_SQL.retry
)


def retry_held(connection: Connection, by: str, invoice_id: str, reason: str) -> str | None:
    """Puts a held invoice back where it stood and resets its counts; returns why not, or None.

    From `sent` on the ERP is asked before anything is offered again: the last outcome is forgotten.
    Whoever retries several locks them first.
    """
    lock_invoices(connection, [invoice_id])
    problem = why_no_retry(connection, invoice_id)
    if problem is None:
        change_state(connection, _RETRY, by, id=invoice_id, reason=reason)
    return problem


def why_no_retry(connection: Connection, invoice_id: str) -> str | None:
    """Why an invoice can't be put back, or None."""
    state = state_of(connection, invoice_id)
    if state is None:
        return "there is no such invoice"
    return None if state == State.HELD else f"it is not held, it is {state}"


def held_ids(connection: Connection, code: str | None = None, period: str | None = None) -> list[str]:
    """The held invoices, with this code and of this period; None means any."""
    return fetch_column(connection, _SQL.held, code=code, period=period)


def lock_held(connection: Connection, code: str | None = None, period: str | None = None) -> list[str]:
    """Locks what `held_ids` names, and returns those of it that are still held so."""
    locked = set(lock_invoices(connection, held_ids(connection, code, period)))
    return [each for each in held_ids(connection, code, period) if each in locked]
