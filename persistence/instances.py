"""The daemons on one database: their signs of life, how they ended, and what a predecessor left in hand."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from persistence.claims import INSTANCE


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
    up last and in halves (failures.md, Crashes). Called again by the same incarnation it changes nothing.
    """
    before = connection.execute(
        text("""SELECT incarnation, seen_at, ended_at, ended_how, gave_ups,
                extract(epoch FROM now() - coalesce(ended_at, seen_at))::float8 AS down_seconds
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
    in_hand = [] if again else _free(connection, name, unclean=not clean)
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


def _free(connection: Connection, name: str, *, unclean: bool) -> list[Row[Any]]:
    """Frees the claims of all incarnations of one instance; after an unclean end each is marked as in hand."""
    rows = connection.execute(
        text(f"""UPDATE invoices SET claimed_by = NULL, claimed_for = NULL, claimed_until = NULL,
                unclean_ends = CASE WHEN :unclean THEN unclean_ends + 1 ELSE 0 END
                WHERE claimed_by IS NOT NULL AND {INSTANCE} = :name
                RETURNING id, unclean_ends"""),
        {"name": name, "unclean": unclean},
    ).all()
    connection.execute(
        text("""UPDATE invoices SET unclean_ends = 0 WHERE unclean_ends > 0 AND id <> ALL(CAST(:ids AS text[]))
                AND state NOT IN ('registered', 'aborted')"""),
        {"ids": [row.id for row in rows]},
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
    """Says that this incarnation lives; False if another holds the name now."""
    return bool(
        connection.execute(
            text("""UPDATE instances SET seen_at = now() WHERE name = :name
                    AND incarnation = CAST(:incarnation AS uuid)"""),
            {"name": name, "incarnation": str(incarnation)},
        ).rowcount
    )


def depart(connection: Connection, name: str, incarnation: uuid.UUID, how: str) -> None:
    """Stores how this incarnation ended ('clean' or 'gave_up') and frees its claims."""
    connection.execute(
        text("""UPDATE instances SET ended_at = now(), ended_how = :how,
                gave_ups = CASE WHEN :how = 'gave_up' THEN gave_ups + 1 ELSE 0 END WHERE name = :name
                AND incarnation = CAST(:incarnation AS uuid)"""),
        {"name": name, "incarnation": str(incarnation), "how": how},
    )
    connection.execute(
        text("""UPDATE invoices SET claimed_by = NULL, claimed_for = NULL, claimed_until = NULL
                WHERE claimed_by = :by"""),
        {"by": f"{name}#{incarnation}"},
    )


def left_over(connection: Connection, name: str) -> bool:
    """Whether work that this incarnation found at its start is still to be done; what waits for people or readings
    is not counted."""
    return bool(
        connection.execute(
            text("""SELECT EXISTS (SELECT FROM invoices i JOIN instances n ON n.name = :name
                    WHERE i.state IN ('due', 'calculated', 'sent', 'initiated') AND i.held_code IS NULL
                    AND i.created_at < n.started_at)"""),
            {"name": name},
        ).scalar()
    )
