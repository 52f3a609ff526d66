"""Rows for tests of alarms: network users and invoices that stand in any state."""

from sqlalchemy import Connection, text

_AMOUNTS = "100.00, 25, 25.00, 125.00, DATE '2026-11-01'"


def add_users(connection: Connection, number: int) -> None:
    """Network users NU-0001 and on, at one location."""
    connection.execute(text("INSERT INTO locations VALUES ('L', 'Location', 'R', '{}')"))
    connection.execute(
        text("""INSERT INTO network_users (id, title, location, altibiz_sub_project_code, billed_from, legal_person)
                SELECT 'NU-' || lpad(n::text, 4, '0'), 'User', 'L', 'S', '2026-01', '{}'
                FROM generate_series(1, :number) AS n"""),
        {"number": number},
    )


def add_invoices(
    connection: Connection,
    state: str,
    numbers: range,
    *,
    period: str = "2026-10",
    revision: int = 1,
    held_code: str | None = None,
    reason: str | None = None,
    ended_by: str = "erp",
    age_seconds: float = 0,
) -> None:
    """An invoice in that state of each of those users; `reason` is the held or the abort reason."""
    due = state == "due"
    amounts = "NULL, NULL, NULL, NULL, NULL" if due else _AMOUNTS
    connection.execute(
        text(f"""INSERT INTO invoices (id, network_user_id, period, revision, state, bill_id, abort_reason, ended_by,
                    held_code, held_reason, held_from, updated_at, total_eur, tax_rate_percent, tax_eur,
                    total_with_tax_eur, invoice_date)
                SELECT u.id || '.' || :period || '.' || CAST(:revision AS text), u.id, :period,
                    CAST(:revision AS integer), :state,
                    CASE WHEN :state = 'registered' THEN u.id || :period END,
                    CASE WHEN :state = 'aborted' THEN CAST(:reason AS text) END,
                    CASE WHEN :state = 'aborted' THEN CAST(:ended_by AS text) END, CAST(:held_code AS text),
                    CASE WHEN CAST(:held_code AS text) IS NOT NULL THEN CAST(:reason AS text) END,
                    CASE WHEN :state = 'held' THEN 'sent' END, now() - make_interval(secs => :age), {amounts}
                FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n
                JOIN network_users u ON u.id = 'NU-' || lpad(n::text, 4, '0')"""),
        {
            "period": period,
            "revision": revision,
            "state": state,
            "reason": reason,
            "ended_by": ended_by,
            "held_code": held_code,
            "age": age_seconds,
            "first": numbers.start,
            "last": numbers.stop - 1,
        },
    )


def set_state(connection: Connection, state: str, period: str = "2026-10") -> None:
    """Moves what is held of a period out of it."""
    connection.execute(
        text("""UPDATE invoices SET state = :state, held_code = NULL, held_reason = NULL, held_from = NULL
                WHERE state = 'held' AND period = :period"""),
        {"state": state, "period": period},
    )
