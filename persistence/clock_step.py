"""What a database's clock leaves behind when it is set back: instants ahead of it, for which the work would wait."""

from datetime import datetime

from sqlalchemy import Connection

from persistence.connection.statements import execute, fetch_value
from persistence.invoices.conditions import IS_ABORTED, OPEN

ROWS_AT_MOST = 2000
"""How many invoices one call changes, so that it ends soon; the rest is for the next one."""

# `least` and `greatest` take no notice of NULL, so it is kept by hand. One instant for all: clock_timestamp() is later
# than whatever this statement's snapshot can see, which now() is not.
_CLOCK = "WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS at)"
_HAPPENED = ("last_attempt_at", "refused_since", "incorrect_since", "crash_since", "updated_at")
_AHEAD = f"""
    ({OPEN} AND (
        next_attempt_at > clock.at + make_interval(secs => :longest_wait)
        OR claimed_until > clock.at + make_interval(secs => :longest_lease)
        OR greatest({", ".join(_HAPPENED)}) > clock.at))
    OR ({IS_ABORTED} AND updated_at > clock.at)"""


def _not_ahead(column: str) -> str:
    return f"{column} = CASE WHEN i.{column} > clock.at THEN clock.at ELSE i.{column} END"


_CLAMP = f"""
    {_CLOCK}, ahead AS (
        SELECT id FROM invoices, clock WHERE {_AHEAD}
        ORDER BY id LIMIT {ROWS_AT_MOST} FOR UPDATE OF invoices SKIP LOCKED
    )
    UPDATE invoices i SET
        next_attempt_at = CASE WHEN i.next_attempt_at IS NOT NULL
            THEN least(i.next_attempt_at, clock.at + make_interval(secs => :longest_wait)) END,
        claimed_until = CASE WHEN i.claimed_until > clock.at + make_interval(secs => :longest_lease)
            THEN clock.at + make_interval(secs => :lease) ELSE i.claimed_until END,
        {", ".join(map(_not_ahead, _HAPPENED))}
    FROM ahead, clock WHERE i.id = ahead.id"""
_LEFT = f"{_CLOCK} SELECT EXISTS (SELECT FROM invoices, clock WHERE {_AHEAD})"
# A pause keeps its length; a daemon that is gone does not look alive; a closed month is not announced for ever; an
# alarm of an instance that is gone is cleared in time.
_OTHERS = (
    """UPDATE delivery_pauses SET since = clock.at, until = clock.at + (until - since) FROM clock
       WHERE id IN (SELECT id FROM delivery_pauses, clock WHERE resumed_at IS NULL AND since > clock.at
                    FOR UPDATE OF delivery_pauses SKIP LOCKED)""",
    """UPDATE instances SET seen_at = clock.at FROM clock
       WHERE name IN (SELECT name FROM instances, clock WHERE seen_at > clock.at
                      FOR UPDATE OF instances SKIP LOCKED)""",
    """UPDATE period_closings SET closed_at = clock.at FROM clock
       WHERE period IN (SELECT period FROM period_closings, clock WHERE closed_at > clock.at
                        FOR UPDATE OF period_closings SKIP LOCKED)""",
    """UPDATE alarms SET last_at = clock.at FROM clock
       WHERE id IN (SELECT id FROM alarms, clock WHERE cleared_at IS NULL AND last_at > clock.at
                    FOR UPDATE OF alarms SKIP LOCKED)""",
)


def database_now(connection: Connection) -> datetime:
    """The instant at which this transaction began, by the database's clock."""
    now: datetime = fetch_value(connection, "SELECT now()")
    return now


def clock_seconds(connection: Connection) -> float:
    """The database's clock now, in seconds since 1970."""
    return float(fetch_value(connection, "SELECT extract(epoch FROM clock_timestamp())::float8"))


def clamp_times(
    connection: Connection, *, longest_wait_seconds: float, lease_seconds: float, longest_lease_seconds: float
) -> bool:
    """Brings back what is further ahead of the database's clock than it can be; False if some of it is left.

    A wait becomes the longest one, a lease beyond the longest becomes `lease_seconds`, and what has happened happened
    now at the latest. Locks invoices in the order of their ids, and waits for nobody: what is locked is left.
    """
    limits = {"longest_wait": longest_wait_seconds, "lease": lease_seconds, "longest_lease": longest_lease_seconds}
    execute(connection, _CLAMP, **limits)
    for statement in _OTHERS:
        execute(connection, f"{_CLOCK} {statement}")
    return not fetch_value(connection, _LEFT, **limits)
