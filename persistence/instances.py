"""The daemons on one database: their signs of life, how they ended, and what a predecessor left in hand."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from persistence.claims import MAY_LEAVE, PAUSED
from persistence.locks import lock_invoices


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a daemon finds when it arrives: its predecessor under the same name, and what was in hand then.

    `down_seconds` is None at the very first start, and where this very process comes again. `clean` says
    whether the predecessor said how it ended, `gave_ups` counts its own givings up in a row. `alone_in_hand`
    names an invoice that was alone in hand at two unclean ends in a row.
    """

    down_since: datetime | None
    down_seconds: float | None
    clean: bool
    gave_ups: int
    open_invoices: int
    freed: int
    alone_in_hand: str | None


def arrive(connection: Connection, name: str, incarnation: uuid.UUID, version: str) -> Arrival:
    """Registers this incarnation and frees its predecessor's claims: the caller has proved that it is dead.

    The end of a whole process counts against no invoice. What was in hand at two unclean ends in a row is taken
    up last and in halves (docs/spec/failures.md, "Crashes"). Called again by the same incarnation it changes nothing.
    """
    before = connection.execute(
        text("""SELECT incarnation, seen_at, ended_at, ended_how, gave_ups,
                greatest(0, extract(epoch FROM now() - coalesce(ended_at, seen_at)))::float8 AS down_seconds
                FROM instances WHERE name = :name FOR UPDATE"""),
        {"name": name},
    ).one_or_none()
    again = before is not None and str(before.incarnation) == str(incarnation)
    clean = before is None or before.ended_how is not None
    if not again:
        connection.execute(
            text("""INSERT INTO instances (name, incarnation, version)
                    VALUES (:name, CAST(:incarnation AS uuid), :version)
                    ON CONFLICT (name) DO UPDATE SET
                    incarnation = excluded.incarnation, version = excluded.version,
                    started_at = now(), seen_at = now(), ended_at = NULL, ended_how = NULL,
                    unclean_ends = CASE WHEN :clean THEN 0 ELSE instances.unclean_ends + 1 END"""),
            {"name": name, "incarnation": str(incarnation), "version": version, "clean": clean},
        )
    in_hand = [] if again else _free(connection, f"{name}#", unclean=not clean)
    open_invoices = connection.execute(
        text("SELECT count(*) FROM invoices WHERE state NOT IN ('registered', 'aborted')")
    ).scalar_one()
    twice = [row.id for row in in_hand if row.unclean_ends >= 2]
    return Arrival(
        down_since=None if before is None or again else before.ended_at or before.seen_at,
        down_seconds=None if before is None or again else before.down_seconds,
        clean=clean,
        gave_ups=before.gave_ups if before is not None and before.ended_how == "gave_up" else 0,
        open_invoices=open_invoices,
        freed=len(in_hand),
        alone_in_hand=twice[0] if len(twice) == 1 and len(in_hand) == 1 else None,
    )


def _free(connection: Connection, claimer_prefix: str, *, unclean: bool) -> list[Row[Any]]:
    """Frees the claims of all incarnations of one instance; after an unclean end each is marked as in hand.

    A start waits for no row: a claim that somebody else has locked ends with its lease.
    """
    found = connection.execute(
        text("""SELECT id, claimed_by IS NOT NULL AND starts_with(claimed_by, :prefix) AS ours FROM invoices
                WHERE (claimed_by IS NOT NULL AND starts_with(claimed_by, :prefix))
                OR (unclean_ends > 0 AND state NOT IN ('registered', 'aborted'))"""),
        {"prefix": claimer_prefix},
    ).all()
    locked = set(lock_invoices(connection, [row.id for row in found], wait=False))
    rows = connection.execute(
        text("""UPDATE invoices SET claimed_by = NULL, claimed_for = NULL, claimed_until = NULL,
                unclean_ends = CASE WHEN :unclean THEN unclean_ends + 1 ELSE 0 END
                WHERE id = ANY(CAST(:ids AS text[])) AND starts_with(claimed_by, :prefix)
                RETURNING id, unclean_ends"""),
        {"ids": [row.id for row in found if row.ours and row.id in locked], "prefix": claimer_prefix,
         "unclean": unclean},
    ).all()  # fmt: skip
    connection.execute(
        text("UPDATE invoices SET unclean_ends = 0 WHERE unclean_ends > 0 AND id = ANY(CAST(:ids AS text[]))"),
        {"ids": [row.id for row in found if not row.ours and row.id in locked]},
    )
    twice = [row.id for row in rows if row.unclean_ends >= 2]
    if twice:
        connection.execute(
            text("""UPDATE invoices SET batch_limit = greatest(1, least(batch_limit, (:number + 1) / 2))
                    WHERE id = ANY(CAST(:ids AS text[]))"""),
            {"ids": twice, "number": len(twice)},
        )
    return list(rows)


def sign_of_life(connection: Connection, name: str, incarnation: uuid.UUID) -> bool:
    """Says that this incarnation lives; False if it is not registered, and nothing is changed then."""
    return bool(
        connection.execute(
            text("""UPDATE instances SET seen_at = now() WHERE name = :name
                    AND incarnation = CAST(:incarnation AS uuid)"""),
            {"name": name, "incarnation": str(incarnation)},
        ).rowcount
    )


def is_registered(connection: Connection, name: str, incarnation: uuid.UUID) -> bool:
    """Whether the name is registered for this incarnation; False after an older backup was put back."""
    return bool(
        connection.execute(
            text("""SELECT EXISTS (SELECT FROM instances WHERE name = :name
                    AND incarnation = CAST(:incarnation AS uuid))"""),
            {"name": name, "incarnation": str(incarnation)},
        ).scalar()
    )


def register_again(connection: Connection, name: str, incarnation: uuid.UUID, version: str) -> None:
    """Registers an incarnation that runs and is not known any more, and frees all claims under its name.

    The caller has proved that nobody else has the name. It is the end of no process, so nothing is counted.
    """
    connection.execute(
        text("""INSERT INTO instances (name, incarnation, version)
                VALUES (:name, CAST(:incarnation AS uuid), :version)
                ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, version = excluded.version,
                    started_at = now(), seen_at = now(), ended_at = NULL, ended_how = NULL"""),
        {"name": name, "incarnation": str(incarnation), "version": version},
    )
    _free(connection, f"{name}#", unclean=False)


def depart(connection: Connection, name: str, incarnation: uuid.UUID, how: str) -> None:
    """Stores how this incarnation ended ('clean' or 'gave_up') and frees its claims."""
    connection.execute(
        text("""UPDATE instances SET ended_at = now(), ended_how = :how,
                gave_ups = CASE WHEN :how = 'gave_up' THEN gave_ups + 1 ELSE 0 END WHERE name = :name
                AND incarnation = CAST(:incarnation AS uuid)"""),
        {"name": name, "incarnation": str(incarnation), "how": how},
    )
    by = f"{name}#{incarnation}"
    held = connection.execute(text("SELECT id FROM invoices WHERE claimed_by = :by"), {"by": by}).scalars().all()
    connection.execute(
        text("""UPDATE invoices SET claimed_by = NULL, claimed_for = NULL, claimed_until = NULL
                WHERE claimed_by = :by AND id = ANY(CAST(:ids AS text[]))"""),
        {"by": by, "ids": lock_invoices(connection, held, wait=False)},
    )


def left_over(connection: Connection, name: str, *, approved_only: bool) -> bool:
    """Whether work that this incarnation found at its start is still to be done.

    What waits for a person (an approval, the end of a pause) or for readings is not counted.
    """
    return bool(
        connection.execute(
            text(f"""SELECT EXISTS (SELECT FROM invoices i JOIN instances n ON n.name = :name
                    WHERE i.state IN ('due', 'calculated', 'sent', 'initiated') AND i.held_code IS NULL
                    AND i.created_at < n.started_at
                    AND (i.state = 'due' OR ({MAY_LEAVE} AND NOT {PAUSED})))"""),
            {"name": name, "approved_only": approved_only},
        ).scalar()
    )
