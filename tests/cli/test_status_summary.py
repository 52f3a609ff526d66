"""The first line of `status`: the most urgent first, with the command that comes next."""

from typing import Any

import pytest

from cli.status_view import status_lines
from daemon.summary import summarize

AT = "2026-11-15T12:00:00Z"
WELL: dict[str, Any] = {
    "running": True, "at": "2026-11-15T12:10:00Z", "instance": "me", "since": AT,
    "configuration": {"path": None, "sha256": None, "loaded_at": AT},
    "database": {"state": "connected", "since": AT, "seen_at": AT}, "erp": {
        "state": "reachable", "since": AT, "breaker": "closed", "last_success_at": AT, "in_flight": 0, "queued": 0,
        "booked_last_minute": 0,
    },
    "invoices": {"registered": 3}, "periods": {"2026-10": {"registered": 3}}, "waiting": 0, "stuck": [],
    "unapproved": 0, "pause": None, "alarms": [], "tree": None,
}  # fmt: skip
HELD = {
    "state": "held", "code": "erp_conflict", "invoices": 2, "first_period": "2026-09", "last_period": "2026-10",
    "example": "u.2026-09.1", "since": AT, "seconds": 600.0, "next_attempt_at": None, "reason": "409", "reasons": 2,
}  # fmt: skip
RETRIED = HELD | {"state": "sent", "code": None, "invoices": 1, "next_attempt_at": AT, "reasons": 0}


def alarm(code: str, severity: str = "major", key: str = "me") -> dict[str, Any]:
    return {
        "code": code, "key": key, "severity": severity, "summary": "so it is", "raised_at": AT, "acked_at": None
    }  # fmt: skip


AWAY = {"erp": WELL["erp"] | {"state": "breaker"}, "alarms": [alarm("erp_unreachable")]}
EVERYTHING_FINAL = "well: 3 of 3 invoices are final"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, EVERYTHING_FINAL),
        ({"invoices": {}}, "well: no invoice is due yet"),
        ({"alarms": [alarm("invoice_overdue", "warning")]}, EVERYTHING_FINAL),
        (
            {"invoices": {"registered": 1, "due": 2}, "waiting": 2},
            "well: 1 of 3 invoices are final; 2 invoices wait for readings: `billingd invoices list --state due`",
        ),
        (
            {
                "invoices": {"registered": 1, "due": 3},
                "waiting": 3,
                "stuck": [RETRIED | {"state": "due", "code": "inputs_unreadable", "invoices": 1}],
                "alarms": [alarm("inputs_unreadable")],
            },
            "alarm inputs_unreadable: `billingd alarms explain inputs_unreadable`; 2 invoices wait for readings; "
            "1 of 4 invoices are final",
        ),
        ({"pause": {"until": AT}}, f"{EVERYTHING_FINAL}; delivery is paused: `billingd resume`"),
        (
            {"unapproved": 1, "periods": {"2026-09": {"registered": 1}, "2026-10": {"calculated": 1}}},
            f"{EVERYTHING_FINAL}; 1 invoice waits for approval: `billingd invoices approve --preview --period 2026-10`",
        ),
        (AWAY, "the ERP is away: `billingd doctor`; 3 of 3 invoices are final"),
        (
            {"erp": WELL["erp"] | {"state": "credentials"}, "alarms": [alarm("erp_credentials", "critical")]},
            "the ERP refuses our credentials: `billingd doctor`; 3 of 3 invoices are final",
        ),
        (
            {
                "database": {"state": "SchemaMismatch", "since": AT},
                "alarms": [alarm("database_error")],
                "stuck": [HELD],
            },
            "the database has another schema than this program: `billingd doctor`; 2 invoices are held "
            "(2 erp_conflict); 3 of 3 invoices are final",
        ),
        (
            {"stuck": [HELD], "alarms": [alarm("erp_conflict", key="2026-10"), alarm("actor_hung")]},
            "2 invoices are held (2 erp_conflict): `billingd invoices list --state held`; alarm actor_hung; "
            "3 of 3 invoices are final",
        ),
        (
            {"alarms": [alarm("actor_hung"), alarm("database_unreachable", "critical")]},
            "alarm database_unreachable: `billingd alarms explain database_unreachable`; alarm actor_hung; "
            "3 of 3 invoices are final",
        ),
    ],
)
def test_the_most_urgent_comes_first_with_the_next_command(change: dict[str, Any], sentence: str) -> None:
    assert summarize(WELL | change) == (sentence.startswith("well"), sentence)


def screen(width: int | None = None, **change: Any) -> list[str]:
    return list(status_lines({"verdict": "so it stands", **WELL, **change}, width))


def test_a_month_is_a_bar_in_which_nothing_that_is_there_is_lost() -> None:
    months = {f"2026-{month:02d}": {"registered": 1000} for month in range(1, 9)}
    lines = screen(periods=months | {"2026-10": {"registered": 10_000, "held": 1, "due": 1}})
    place = lines.index("5 more months, all final")
    assert lines[place + 1].startswith("2026-06  " + "█" * 30)
    assert lines[place + 4] == f"2026-10  {'█' * 28}░!  10000 registered, 1 due, 1 held"


def test_what_is_stuck_says_since_when_why_and_what_comes_next() -> None:
    lines = screen(stuck=[HELD, RETRIED], alarms=[alarm("erp_conflict", key="2026-10"), alarm("erp_error", "critical")])
    assert lines[lines.index("Stuck") + 1 :][:6] == [
        "  2 held erp_conflict, 2026-09 to 2026-10, waiting for a person",
        "      since 2026-11-15 12:00:00Z (10 min): 409 (and 1 other reasons)",
        "      billingd invoices list --code erp_conflict",
        "  1 sent, 2026-09 to 2026-10, next try 2026-11-15 12:00:00Z",
        "      since 2026-11-15 12:00:00Z (10 min): 409",
        "      billingd invoices show u.2026-09.1",
    ]
    assert lines[lines.index("Alarms") + 1 :] == [
        "  critical erp_error, since 2026-11-15 12:00:00Z (10 min)",
        "      so it is",
        "      billingd alarms explain erp_error",
        "  major erp_conflict for 2026-10, since 2026-11-15 12:00:00Z (10 min)",
        "      billingd alarms explain erp_conflict",
    ]


def test_the_surroundings_are_said_in_words() -> None:
    pause = {"until": AT, "by": "cli:ops", "reason": "maintenance"}
    tried = {"tried_at": "2026-11-15T12:09:57Z", "next_try_at": "2026-11-15T12:10:12Z"}
    database = {"state": "DatabaseUnreachable", "since": AT, "seen_at": AT, **tried, "next_try_at": None}
    lines = screen(erp=AWAY["erp"] | tried, pause=pause, database=database)
    ago, seen = "2026-11-15 12:00:00Z (10 min)", "invoices as last seen at 2026-11-15 12:00:00Z"
    erp = f"away since {ago}, breaker closed, last success {ago}, tried 3 s ago, next try in 12 s"
    assert f"ERP            {erp}" in lines
    assert f"database       DatabaseUnreachable, since {ago}, tried 3 s ago, being tried now; {seen}" in lines
    assert "delivery       paused until 2026-11-15 12:00:00Z by cli:ops: maintenance" in lines


def test_the_verdict_is_broken_to_the_width_and_text_of_others_steers_nothing() -> None:
    assert screen(9, verdict="one two three\x1b")[:2] == ["one two", "three\\x1b"]
    assert "\x1b" not in "\n".join(screen(stuck=[HELD | {"reason": "\x1b[2J"}]))
