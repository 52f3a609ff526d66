"""What calculating and delivering make of the invoices in hand, under the claims that they were taken up with."""

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import Connection

from billing.erp_answers import Decision
from persistence.connection.statements import execute
from persistence.invoices.conditions import OPEN, instance_of
from persistence.invoices.exchanges import Exchange, keep_exchanges
from persistence.invoices.transitions import Step, change_state
from persistence.sql import Queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Decision):
    """A decision on one invoice in hand, under the claim that it was taken up with; the claim ends with it.

    `alone` says that it is next taken up without others. `meter_versions` says which data a calculation rested on
    that found the invoice not ready (`store_calculations`).
    """

    invoice_id: str
    claim: int
    alone: bool = False
    exchange: Exchange | None = None
    meter_versions: Mapping[str, int] = field(default_factory=dict, compare=False)


_SQL = Queries(__file__)
_NOT_SENT = ("invoice_id", "counted", "exchange", "meter_versions")
_COLUMNS = [each.name for each in fields(Change) if each.name not in _NOT_SENT]
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
        ids, numbers = zip(*claims, strict=True)
        execute(connection, _SQL.end_stale, ids=list(ids), claims=list(numbers), by=by)
