"""How invoices come to be due, and who is billed."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from persistence.connection.statements import fetch, fetch_column, fetch_value
from persistence.invoices.transitions import Creation, change_state
from persistence.sql import Queries

_SQL = Queries(__file__)
MISSING = _SQL.missing
# The row's default state is due.
_MAKE_DUE = Creation(input=MISSING, columns="id, network_user_id, period", if_known="ON CONFLICT DO NOTHING")


def make_due(
    connection: Connection,
    by: str,
    periods: Sequence[str],
    *,
    users: Sequence[str] | None = None,
    reason: str,
    left_out: Sequence[str] = (),
    only: Sequence[str] | None = None,
) -> int:
    """Makes the invoices of these periods due where they are missing; returns how many were made.

    It asks what is missing, not what has happened: a downtime of any length leaves no period out. The ids in
    `left_out` are not made; with `only` no others are.
    """
    if not periods:
        return 0
    values = _missing_values(periods, users, left_out, only)
    return len(change_state(connection, _MAKE_DUE, by, reason=reason, **values))


def missing(connection: Connection, periods: Sequence[str], *, left_out: Sequence[str]) -> list[str]:
    """The ids of the invoices that `make_due` would make."""
    values = _missing_values(periods, None, left_out, None)
    return fetch_column(connection, MISSING, **values)


def _missing_values(
    periods: Sequence[str], users: Sequence[str] | None, left_out: Sequence[str], only: Sequence[str] | None
) -> dict[str, Any]:
    return {
        "periods": list(periods),
        "users": None if users is None else list(users),
        "left_out": list(left_out),
        "only": None if only is None else list(only),
    }


def first_billed_period(connection: Connection) -> str | None:
    """The earliest month that any network user is billed from."""
    found = fetch_value(connection, "SELECT min(billed_from) FROM network_users")
    return None if found is None else str(found)


def unknown_users(connection: Connection, users: Sequence[str]) -> list[str]:
    """Which of these ids no master data knows."""
    return fetch_column(connection, _SQL.unknown_users, users=list(users))


def not_billed(connection: Connection, period: str, users: Sequence[str]) -> dict[str, str]:
    """Which of these known users have no invoice in a period because none is to be made, and why not."""
    rows = fetch(connection, _SQL.not_billed, period=period, users=list(users))
    return {row.id: row.reason for row in rows}


def existing(connection: Connection, period: str, users: Sequence[str] | None) -> int:
    """How many debts of a period, of these users or of all (None), have an invoice; corrections aside."""
    found = fetch_value(connection, _SQL.existing, period=period, users=None if users is None else list(users))
    return int(found)
