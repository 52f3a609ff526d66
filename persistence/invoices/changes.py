"""What calculating and delivering make of the invoices in hand, under the claims that they were taken up with."""

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import Connection

from persistence.connection.statements import execute
from persistence.invoices.conditions import END_CLAIM, IS_DUE, OPEN, instance_of
from persistence.invoices.exchanges import Exchange, keep_exchanges
from persistence.invoices.transitions import Step, change_state
from persistence.sql import Queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of one invoice in hand, under the claim that it was taken up with; the claim ends with it.

    `to_state` None leaves the state; `outcome` is stored as the last outcome of an offer, None leaves it as it
    is; `delay_seconds` sets the next attempt from the database's now, None means at once. `passed` says that
    the step was done, so all counts against the invoice are over; `alone` that it is next taken up without others.
    `meter_versions` says which data a calculation rested on that found the invoice not ready (`store_calculations`).
    """

    invoice_id: str
    claim: int
    reason: str
    to_state: str | None = None
    bill_id: str | None = None
    abort_reason: str | None = None
    held_code: str | None = None
    held_reason: str | None = None
    outcome: str | None = None
    delay_seconds: float | None = None
    failures: int = 0
    polls: int = 0
    given_back: bool = False
    passed: bool = False
    alone: bool = False
    exchange: Exchange | None = None
    meter_versions: Mapping[str, int] = field(default_factory=dict, compare=False)


_SQL = Queries(__file__)
_COLUMNS = [each.name for each in fields(Change) if each.name not in ("invoice_id", "exchange", "meter_versions")]
_APPLY = Step(
    input=_SQL.input,
    where=OPEN,
    to_state="coalesce(r.to_state, i.state)",
    reason="CASE WHEN r.to_state <> i.state THEN r.reason END",
    sets=_SQL.sets,
    then="SELECT id, claim FROM changed",
)


def apply_changes(connection: Connection, by: str, write_id: uuid.UUID, changes: Sequence[Change]) -> set[str]:
    """Makes the changes whose claims still stand and returns their ids; the others have been taken over.

    Of several under one claim the first is made: it ends the claim. A final state never changes again.
    Raises RowRefused if a row violates a constraint.
    """
    if not changes:
        return set()
    first = {(change.invoice_id, change.claim): change for change in reversed(changes)}
    rows = json.dumps([_row(change) for change in first.values()])
    made = [first[row.id, row.claim] for row in change_state(connection, _APPLY, by, write_id, rows=rows)]
    exchanges = {change.invoice_id: change.exchange for change in made if change.exchange}
    keep_exchanges(connection, exchanges, instance_of(by))
    return {change.invoice_id for change in made}


def _row(change: Change) -> dict[str, Any]:
    """What `asdict` gives, without its copies, which cost as much as the JSON itself."""
    return {"id": change.invoice_id} | {name: getattr(change, name) for name in _COLUMNS}


def end_stale(connection: Connection, by: str, claims: Collection[tuple[str, int]]) -> None:
    """Ends claims, of invoice id and number, on due invoices whose result is stale: they are to be had at once."""
    if claims:
        execute(
            connection,
            f"""UPDATE invoices i SET {END_CLAIM}, next_attempt_at = NULL
                FROM unnest(CAST(:ids AS text[]), CAST(:claims AS bigint[])) AS r(id, claim)
                WHERE i.id = r.id AND i.claim = r.claim AND i.claimed_by = :by AND {IS_DUE}""",
            ids=[each for each, _ in claims], claims=[claim for _, claim in claims], by=by,
        )  # fmt: skip
