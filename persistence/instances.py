"""The daemons on one database: their signs of life, how they ended, and what a predecessor left in hand."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from persistence.connection.statements import execute, fetch, fetch_column, fetch_row, fetch_value, session_of
from persistence.invoices.conditions import OPEN
from persistence.locks import change_each
from persistence.sql import Queries

_SQL = Queries(__file__)
_INSTANCE_LOCKS = 7_240_061
"""Seed of the advisory locks that stand for instance names, so that they meet no one else's."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What a daemon finds when it registers: its predecessor under the same name, and what was in hand then.

    `down_seconds` is None at the very first start, and where this very process comes again. `clean` says
    whether the predecessor said how it ended, `gave_ups` counts its own givings up in a row. `alone_in_hand`
    names an invoice that was alone in hand at two unclean ends in a row. `stuck` are those whose claims could not
    be freed, and why.
    """

    down_since: datetime | None
    down_seconds: float | None
    clean: bool
    gave_ups: int
    open_invoices: int
    freed: int
    alone_in_hand: str | None
    stuck: Mapping[str, str] = field(default_factory=dict)


def register(connection: Connection, name: str, incarnation: uuid.UUID, version: str) -> Registration:
    """Registers this incarnation and frees its predecessor's claims: the caller has proved that it is dead.

    The end of a whole process counts against no invoice. What was in hand at two unclean ends in a row is taken
    up last and in halves (docs/spec/failures.md, "Crashes"). Called again by the same incarnation it changes nothing.
    """
    before = fetch_row(connection, _SQL.before, name=name)
    again = before is not None and str(before.incarnation) == str(incarnation)
    clean = before is None or before.ended_how is not None
    if not again:
        execute(connection, _SQL.register, name=name, incarnation=str(incarnation), version=version, clean=clean)
    in_hand, stuck = ([], {}) if again else _free(connection, name, unclean=not clean)
    open_invoices = fetch_value(connection, f"SELECT count(*) FROM invoices WHERE {OPEN}")
    twice = [row.id for row in in_hand if not clean and row.unclean_ends >= 2]
    return Registration(
        down_since=None if before is None or again else before.ended_at or before.seen_at,
        down_seconds=None if before is None or again else before.down_seconds,
        clean=clean,
        gave_ups=before.gave_ups if before is not None and before.ended_how == "gave_up" else 0,
        open_invoices=open_invoices,
        freed=len(in_hand),
        alone_in_hand=twice[0] if len(twice) == 1 and len(in_hand) == 1 else None,
        stuck=stuck,
    )


def _free(connection: Connection, name: str, *, unclean: bool) -> tuple[list[Row[Any]], dict[str, str]]:
    """Frees the claims of all incarnations of one instance; after an unclean end each is marked as in hand.

    Returns what was in hand, each with its unclean ends until now, and which could not be freed and why: those are
    free when their leases are over.
    """
    marked = fetch(connection, _SQL.marked, name=name, unclean=unclean)
    in_hand = [row for row in marked if row.in_hand]
    twice = [row.id for row in in_hand if unclean and row.unclean_ends >= 2]
    limit = (len(twice) + 1) // 2

    def free(ids: Sequence[str]) -> None:
        execute(connection, _SQL.free, ids=list(ids), twice=twice, limit=limit, name=name, unclean=unclean)

    return in_hand, change_each(connection, [row.id for row in marked], free)


def heartbeat(connection: Connection, name: str, incarnation: uuid.UUID) -> bool:
    """Says that this incarnation lives; False if it is not registered or its row is locked: nothing is changed then."""
    return bool(execute(connection, _SQL.heartbeat, name=name, incarnation=str(incarnation)))


def is_registered(connection: Connection, name: str, incarnation: uuid.UUID) -> bool:
    """Whether the name is registered for this incarnation; False after an older backup was put back."""
    return bool(fetch_value(connection, _SQL.is_registered, name=name, incarnation=str(incarnation)))


def register_again(connection: Connection, name: str, incarnation: uuid.UUID, version: str) -> None:
    """Registers an incarnation that runs and is not known any more, and frees all claims under its name.

    The caller has proved that nobody else has the name. It is the end of no process, so nothing is counted.
    """
    execute(connection, _SQL.register_again, name=name, incarnation=str(incarnation), version=version)
    _free(connection, name, unclean=False)


def deregister(connection: Connection, name: str, incarnation: uuid.UUID, how: str) -> None:
    """Stores how this incarnation ended ('clean' or 'gave_up') and frees its claims."""
    execute(connection, _SQL.deregister, name=name, incarnation=str(incarnation), how=how)
    by = f"{name}#{incarnation}"
    in_hand = fetch_column(connection, "SELECT id FROM invoices WHERE claimed_by = :by", by=by)

    def free(ids: Sequence[str]) -> None:
        execute(connection, _SQL.end_claims, by=by, ids=list(ids))

    # What can't be freed the next incarnation finds in hand.
    change_each(connection, in_hand, free)


def left_over(connection: Connection, name: str, *, approved_only: bool) -> bool:
    """Whether work that this incarnation found at its start is still to be done.

    What waits for a person (an approval, the end of a pause) or for readings is not counted.
    """
    return bool(fetch_value(connection, _SQL.left_over, name=name, approved_only=approved_only))


def try_instance_lock(connection: Connection, name: str) -> bool:
    """Takes, or finds it has, the advisory lock that stands for an instance's name; False: someone else has it.

    It lasts as long as the session, so each sign of life takes it again. Raises ServerUnsuitable if a pooler has
    given the session another backend, where it would be somebody else's lock, or has dropped its LISTEN.
    """
    lock = """SELECT pg_try_advisory_lock(hashtextextended(:name, :seed)) AS taken, pg_backend_pid() AS backend,
        ARRAY(SELECT pg_listening_channels()) AS channels"""
    row = fetch_row(connection, lock, name=name, seed=_INSTANCE_LOCKS)
    session_of(connection).refuse_other_backend(row.backend, row.channels)
    return bool(row.taken)


def instance_lock_holder(connection: Connection, name: str) -> int | None:
    """The server's number of the session that has this lock; None if nobody has it any more."""
    holder: int | None = fetch_value(connection, _SQL.lock_holder, name=name, seed=_INSTANCE_LOCKS)
    return holder


def session_number(connection: Connection) -> int:
    """The server's number of this session."""
    return session_of(connection).backend
