"""The only writer of an invoice's state: one statement locks, checks the claim, changes and writes the history.

Every change has this shape, a creation too:

    input     the changes, each with the claim that it was made under (where there are several)
    locked    their rows, locked in the one order, those left out whose claim has been taken over
    changed   the rows with the new state
    logged    a row of the history for each step: from, to, by whom, why

The trigger invoices_guard refuses a step that is no arrow of billing/states.py.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sqlalchemy import Connection

from persistence.connection.statements import fetch, fetch_value

_LOGGED = """
    logged AS (
        INSERT INTO invoice_history (invoice_id, seq, from_state, to_state, actor, reason, write_id)
        SELECT id, history_length, from_state, state, :by, step_reason, CAST(:write_id AS uuid)
        FROM changed WHERE step_reason IS NOT NULL OR state IS DISTINCT FROM from_state
    )"""
_JOIN = "JOIN input r ON r.id = l.id AND r.claim = l.claim"


@dataclass(frozen=True)
class Step:
    """A change of the state of the invoices `i`, in SQL.

    `reason` is null where the state stays and the history says nothing. `more` are columns of the locked row `l`, by
    name, for `sets` and `then`. `input` is a SELECT of changes `r` with `id` and `claim`: only rows whose claim has
    this number and is `:claimer`'s are locked. `then` reads `changed`. `locking` may skip locked rows, in any order.
    """

    to_state: str
    reason: str
    where: str
    sets: str
    input: str = ""
    more: Mapping[str, str] = field(default_factory=dict)
    locking: str = "ORDER BY i.id FOR UPDATE OF i"
    then: str = "SELECT id FROM changed"

    @cached_property
    def sql(self) -> str:
        """The statement."""
        given = f"input AS ({self.input}), " if self.input else ""
        fenced = "i.claim = r.claim AND i.claimed_by = :claimer AND " if self.input else ""
        more = "".join(f", {value} AS {name}" for name, value in self.more.items())
        return f"""
    WITH {given}locked AS (
        SELECT i.id, i.claim, i.state AS from_state, {self.to_state} AS to_state, {self.reason} AS step_reason{more}
        FROM invoices i {"JOIN input r ON r.id = i.id" if self.input else ""} WHERE {fenced}{self.where}
        {self.locking}
    ), changed AS (
        UPDATE invoices i SET state = l.to_state, {self.sets},
            updated_at = CASE WHEN l.to_state <> l.from_state THEN clock_timestamp() ELSE i.updated_at END,
            history_length = i.history_length + (l.step_reason IS NOT NULL OR l.to_state <> l.from_state)::int
        FROM locked l {_JOIN if self.input else ""} WHERE i.id = l.id
        RETURNING i.*, l.from_state, l.step_reason{"".join(f", l.{name}" for name in self.more)}
    ), {_LOGGED}
    {self.then}"""


@dataclass(frozen=True)
class Creation:
    """New invoices: `input` is a SELECT of `columns`; `if_known` what to do with those that are there."""

    input: str
    columns: str
    if_known: str = ""
    then: str = "SELECT id FROM changed"

    @cached_property
    def sql(self) -> str:
        """The statement."""
        return f"""
    WITH input AS ({self.input}), changed AS (
        INSERT INTO invoices AS i ({self.columns}, history_length) SELECT {self.columns}, 1 FROM input
        {self.if_known} RETURNING i.*, CAST(NULL AS text) AS from_state, CAST(:reason AS text) AS step_reason
    ), {_LOGGED}
    {self.then}"""


def change_state(
    connection: Connection, step: Step | Creation, by: str, write_id: uuid.UUID | None = None, /, **values: Any
) -> list[Any]:
    """Makes the step and returns the rows of its `then`; `by` is who the history names.

    `write_id` tells whether a COMMIT whose answer was lost has happened (`was_written`); None: nobody will ask. The
    locks last until the transaction ends. Raises RowRefused for a row that breaks a constraint.
    """
    values = {"claimer": by, "by": by, "write_id": str(write_id or uuid.uuid4()), **values}
    return fetch(connection, step.sql, **values)


def was_written(connection: Connection, write_id: uuid.UUID) -> bool:
    """Whether the transaction with this id has happened, for a COMMIT whose answer was lost."""
    written = "SELECT EXISTS (SELECT FROM invoice_history WHERE write_id = CAST(:write_id AS uuid))"
    return bool(fetch_value(connection, written, write_id=str(write_id)))
