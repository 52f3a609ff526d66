"""Calculated invoices that wait for a person's approval: what they come to, and letting them go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from billing.states import State
from persistence.connection.statements import fetch, fetch_column, fetch_row, notify
from persistence.invoices.conditions import in_state
from persistence.invoices.transitions import Step, change_state
from persistence.sql import Queries

EXAMPLES = 5
MONTHS = 3

_WAITS = f"{in_state(State.CALCULATED)} AND approved_at IS NULL"
_SQL = Queries(__file__, WAITS=_WAITS)


@dataclass(frozen=True, slots=True)
class Preview:
    """What waits for approval: which invoices, with which sums, per line, and those worth a look.

    `remarks` has rows (id, remark). `extremes` has rows
    (id, total_with_tax_eur, usual_eur) under largest, smallest and furthest.
    """

    ids: Sequence[str]
    total_eur: Decimal
    tax_eur: Decimal
    total_with_tax_eur: Decimal
    lines: Sequence[Any]
    extremes: Mapping[str, Sequence[Any]]
    remarks: Sequence[Any] = ()


def preview(connection: Connection, period: str | None, ids: Sequence[str] | None) -> Preview:
    """Looks at what waits for approval, of a period, of these ids, or of all.

    The amounts of a calculated invoice never change, so all of it speaks of the same invoices.
    """
    asked_for = {"period": period, "ids": None if ids is None else list(ids)}
    found = fetch_column(connection, _SQL.waiting, **asked_for)
    wanted = {"ids": found, "months": MONTHS}
    sums = fetch_row(connection, _SQL.sums, **wanted)
    extremes = {
        name: fetch(connection, getattr(_SQL, name), **wanted, examples=EXAMPLES)
        for name in ("largest", "smallest", "furthest")
    }
    lines = fetch(connection, _SQL.preview, **wanted)
    remarks = fetch(connection, _SQL.remarks, ids=found)
    return Preview(found, sums.total_eur, sums.tax_eur, sums.total_with_tax_eur, lines, extremes, remarks)


_APPROVE = Step(
    where=f"i.id = ANY(CAST(:ids AS text[])) AND {_WAITS}",
    to_state="i.state",
    reason="'approved: ' || CAST(:reason AS text)",
    sets="approved_at = clock_timestamp()",
)


def approve(connection: Connection, by: str, reason: str, ids: Sequence[str]) -> list[str]:
    """Lets these invoices go where they still wait for approval; returns the ids of those it has approved.

    Locks them in the order of their ids.
    """
    found = sorted(row.id for row in change_state(connection, _APPROVE, by, ids=list(ids), reason=reason))
    notify(connection, "approve")
    return found
