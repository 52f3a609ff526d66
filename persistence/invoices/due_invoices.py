"""How invoices come to be due, and are taken back, as master data asks for them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from billing.states import State
from persistence.connection.statements import fetch, fetch_column, fetch_value
from persistence.invoices.transitions import Creation, Step, change_state
from persistence.sql import Queries

_SQL = Queries(__file__)
# The row's default state is due.
_MAKE_DUE = Creation(
    input=_SQL.missing, columns="id, network_user_id, period, revision", if_known="ON CONFLICT DO NOTHING"
)
_TAKE_BACK = Step(
    where="i.id = ANY(CAST(:ids AS text[])) AND (i.state = 'due' OR i.held_from = 'due')",
    to_state=f"'{State.ABORTED}'",
    reason=_SQL.taken_back_since,
    sets=_SQL.take_back,
)
TIME_ZONE = "Europe/Zagreb"
"""That of `billing.time_zone` unless configured."""
MADE_AT_ONCE = 5000
"""With ten times as many in one statement a slow server never gets to its end in time."""


def make_due(
    connection: Connection,
    by: str,
    periods: Sequence[str],
    *,
    users: Sequence[str] | None = None,
    reason: str,
    left_out: Sequence[str] = (),
    only: Sequence[str] | None = None,
    time_zone: str = TIME_ZONE,
) -> int:
    """Makes invoices of these periods due where they are missing, MADE_AT_ONCE at most; returns how many were made.

    It asks what is missing, not what has happened: a downtime of any length leaves no period out. The ids in
    `left_out` are not made; with `only` no others are. What was taken back is made again as the next revision.
    """
    if not periods:
        return 0
    values = _missing_values(periods, users, left_out, only, time_zone, MADE_AT_ONCE)
    return len(change_state(connection, _MAKE_DUE, by, reason=reason, **values))


def missing(
    connection: Connection, periods: Sequence[str], *, left_out: Sequence[str] = (), time_zone: str = TIME_ZONE,
    at_most: int | None = None,
) -> list[str]:  # fmt: skip
    """The ids of the invoices that are missing, the first ones of which `make_due` would make."""
    return fetch_column(connection, _SQL.missing, **_missing_values(periods, None, left_out, None, time_zone, at_most))


def not_asked_for(connection: Connection, time_zone: str = TIME_ZONE) -> list[str]:
    """The ids of the due invoices that master data does not ask for, and those that are held and were due."""
    return fetch_column(connection, _SQL.not_asked_for, time_zone=time_zone)


def take_back(connection: Connection, by: str, ids: Sequence[str]) -> int:
    """Ends those of these that still are due as aborted, and the claims on them; returns how many."""
    return len(change_state(connection, _TAKE_BACK, by, ids=list(ids))) if ids else 0


def _missing_values(
    periods: Sequence[str], users: Sequence[str] | None, left_out: Sequence[str], only: Sequence[str] | None,
    time_zone: str, at_most: int | None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "time_zone": time_zone,
        "at_most": at_most,
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
    """How many debts of a period, of these users or of all (None), have an invoice."""
    found = fetch_value(connection, _SQL.existing, period=period, users=None if users is None else list(users))
    return int(found)
