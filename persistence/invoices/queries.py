"""Invoices as commands and actors read them, and how they come to be due."""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from persistence.locks import lock_invoices

MISSING = """
        SELECT u.id || '.' || p.period || '.1' AS id, u.id AS network_user_id, p.period
        FROM network_users u CROSS JOIN unnest(CAST(:periods AS text[])) AS p(period)
        WHERE p.period >= u.billed_from AND (u.billed_until IS NULL OR p.period <= u.billed_until)
        AND (CAST(:users AS text[]) IS NULL OR u.id = ANY(CAST(:users AS text[])))
        AND EXISTS (SELECT FROM measurement_locations m WHERE m.network_user = u.id)
        AND NOT EXISTS (SELECT FROM invoices i
                        WHERE i.network_user_id = u.id AND i.period = p.period AND i.revision = 1)
        AND u.id || '.' || p.period || '.1' <> ALL(CAST(:left_out AS text[]))
        AND (CAST(:only AS text[]) IS NULL OR u.id || '.' || p.period || '.1' = ANY(CAST(:only AS text[])))
        ORDER BY p.period, u.id"""
MAKE_DUE = f"""
    WITH made AS (
        INSERT INTO invoices (id, network_user_id, period, history_length)
        SELECT id, network_user_id, period, 1 FROM ({MISSING}) AS missing
        ON CONFLICT DO NOTHING RETURNING id
    ), logged AS (
        INSERT INTO invoice_history (invoice_id, seq, from_state, to_state, actor, reason, write_id)
        SELECT id, 1, NULL, 'due', :by, :reason, gen_random_uuid() FROM made
    )
    SELECT count(*) FROM made"""


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
    return int(connection.execute(text(MAKE_DUE), {**values, "by": by, "reason": reason}).scalar_one())


def missing(connection: Connection, periods: Sequence[str], *, left_out: Sequence[str]) -> list[str]:
    """The ids of the invoices that `make_due` would make."""
    values = _missing_values(periods, None, left_out, None)
    return list(connection.execute(text(MISSING), values).scalars())


def _missing_values(
    periods: Sequence[str], users: Sequence[str] | None, left_out: Sequence[str], only: Sequence[str] | None
) -> dict[str, object]:
    return {
        "periods": list(periods),
        "users": None if users is None else list(users),
        "left_out": list(left_out),
        "only": None if only is None else list(only),
    }


def state_of(connection: Connection, invoice_id: str) -> str | None:
    """Where an invoice stands; None if there is none."""
    found = connection.execute(text("SELECT state FROM invoices WHERE id = :id"), {"id": invoice_id}).scalar()
    return None if found is None else str(found)


def first_billed_period(connection: Connection) -> str | None:
    """The earliest month that any network user is billed from."""
    found = connection.execute(text("SELECT min(billed_from) FROM network_users")).scalar()
    return None if found is None else str(found)


def unknown_users(connection: Connection, users: Sequence[str]) -> list[str]:
    """Which of these ids no master data knows."""
    return list(
        connection.execute(
            text("""SELECT u FROM unnest(CAST(:users AS text[])) AS u
                    WHERE NOT EXISTS (SELECT FROM network_users n WHERE n.id = u)"""),
            {"users": list(users)},
        ).scalars()
    )


def not_billed(connection: Connection, period: str, users: Sequence[str]) -> dict[str, str]:
    """Which of these known users have no invoice in a period because none is to be made, and why not."""
    rows = connection.execute(
        text("""SELECT u.id, CASE WHEN :period < u.billed_from THEN 'is billed from ' || u.billed_from
                    WHEN :period > u.billed_until THEN 'is billed until ' || u.billed_until
                    ELSE 'has no measurement location' END AS reason
                FROM network_users u WHERE u.id = ANY(CAST(:users AS text[]))
                AND NOT EXISTS (SELECT FROM invoices i WHERE i.network_user_id = u.id AND i.period = :period)
                ORDER BY u.id"""),
        {"period": period, "users": list(users)},
    )
    return {row.id: row.reason for row in rows}


def existing(connection: Connection, period: str, users: Sequence[str] | None) -> int:
    """How many debts of a period, of these users or of all (None), have an invoice; corrections aside."""
    return int(
        connection.execute(
            text("""SELECT count(*) FROM invoices WHERE period = :period AND revision = 1
                    AND (CAST(:users AS text[]) IS NULL OR network_user_id = ANY(CAST(:users AS text[])))"""),
            {"period": period, "users": None if users is None else list(users)},
        ).scalar_one()
    )


def counts(connection: Connection) -> dict[str, int]:
    """How many invoices stand in each state."""
    rows = connection.execute(text("SELECT state, count(*) AS number FROM invoices GROUP BY state"))
    return {row.state: row.number for row in rows}


def retry_held(connection: Connection, by: str, invoice_id: str, reason: str) -> str | None:
    """Puts a held invoice back where it stood and resets its counts; returns why not, or None.

    From `sent` on the ERP is asked before anything is offered again: the last outcome is forgotten.
    Whoever retries several locks them first.
    """
    lock_invoices(connection, [invoice_id])
    problem = why_no_retry(connection, invoice_id)
    if problem is not None:
        return problem
    connection.execute(
        text("""
            WITH back AS (
                UPDATE invoices SET state = held_from, held_from = NULL, held_code = NULL, held_reason = NULL,
                    next_attempt_at = NULL, failures = 0, refused_since = NULL, incorrect_count = 0,
                    incorrect_since = NULL, crash_count = 0, crash_since = NULL, unclean_ends = 0,
                    batch_limit = NULL, updated_at = clock_timestamp(), history_length = history_length + 1,
                    last_outcome = CASE WHEN last_outcome IN ('refused', 'not_sent', 'absent') THEN last_outcome END
                WHERE id = :id RETURNING id, state, history_length
            )
            INSERT INTO invoice_history (invoice_id, seq, from_state, to_state, actor, reason, write_id)
            SELECT id, history_length, 'held', state, :by, :reason, gen_random_uuid() FROM back"""),
        {"id": invoice_id, "by": by, "reason": reason},
    )
    return None


def why_no_retry(connection: Connection, invoice_id: str) -> str | None:
    """Why an invoice can't be put back, or None."""
    state = connection.execute(
        text("SELECT state FROM invoices WHERE id = :id"), {"id": invoice_id}
    ).scalar_one_or_none()
    if state is None:
        return "there is no such invoice"
    return None if state == "held" else f"it is not held, it is {state}"


def held_ids(connection: Connection, code: str | None = None, period: str | None = None) -> list[str]:
    """The held invoices, with this code and of this period; None means any."""
    return list(
        connection.execute(
            text("""SELECT id FROM invoices WHERE state = 'held'
                    AND (CAST(:code AS text) IS NULL OR held_code = :code)
                    AND (CAST(:period AS text) IS NULL OR period = :period) ORDER BY id"""),
            {"code": code, "period": period},
        ).scalars()
    )


def lock_held(connection: Connection, code: str | None = None, period: str | None = None) -> list[str]:
    """Locks what `held_ids` names, and returns those of it that are still held so."""
    locked = set(lock_invoices(connection, held_ids(connection, code, period)))
    return [each for each in held_ids(connection, code, period) if each in locked]
