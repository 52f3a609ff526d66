"""`billingd alarms`: what stands, taking note of it, and what each code means."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from alarming.catalogue import CATALOGUE
from persistence.alarms import AlarmRecord, Severity, store
from persistence.connection.database import Database
from tests.cli.command_line import Commands

AT = datetime(2026, 11, 15, 12, tzinfo=UTC)
KEYS = "id code key severity summary count raised_at last_at cleared_at acked_at context"


@pytest.fixture
def billingd(database: Database, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    """The commands on a database with three alarms, one of them cleared."""
    with database.transaction() as connection:
        for name, code, severity, cleared in (
            ("a1", "invoice_overdue", Severity.WARNING, None),
            ("a2", "erp_unreachable", Severity.MAJOR, None),
            ("a3", "database_unreachable", Severity.CRITICAL, AT),
        ):
            summary = f"about {code}\x1b[2J"
            store(connection, AlarmRecord(name, code, "here", severity, summary, 1, AT, AT, "here", cleared_at=cleared))
    return Commands.on(database_url, tmp_path, capsys)


def test_the_standing_ones_are_listed_the_most_urgent_first(billingd: Commands) -> None:
    done = billingd("alarms", "list", "--json")
    assert [each["id"] for each in done.document] == ["a2", "a1"]
    assert " ".join(done.document[0]) == KEYS
    assert done.document[0]["raised_at"] == "2026-11-15T12:00:00Z"
    assert [each["id"] for each in billingd("alarms", "list", "--all", "--json").document] == ["a2", "a1", "a3"]


def test_the_table_for_people_lets_nobody_steer_the_terminal(billingd: Commands) -> None:
    done = billingd("alarms", "list")
    assert done.status == 0
    assert done.err.splitlines() == [
        "2 alarms", "`billingd alarms explain CODE` says what one means and what to do"
    ]  # fmt: skip
    assert [line.split()[0] for line in done.out.splitlines()] == ["id", "a2", "a1"]
    assert "\x1b" not in done.out
    assert "about erp_unreachable\\x1b[2J" in done.out


def test_taking_note_keeps_who_and_why_and_the_first_counts(billingd: Commands, database: Database) -> None:
    assert billingd("alarms", "ack", "a2", "--reason", "called them").status == 0
    assert billingd("alarms", "ack", "a2", "--reason", "again").status == 0
    with database.transaction() as connection:
        row = connection.execute(text("SELECT acked_by, ack_reason FROM alarms WHERE id = 'a2'")).one()
    assert row.acked_by.startswith("cli:")
    assert row.ack_reason == "called them"
    assert billingd("alarms", "list", "--json").document[0]["acked_at"] is not None


def test_an_unknown_alarm_is_one_line_and_1(billingd: Commands) -> None:
    done = billingd("alarms", "ack", "a9")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("there is no alarm a9")


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_is_explained_in_both_languages(
    code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    billingd, entry = Commands(tmp_path, capsys), CATALOGUE[code]
    for arguments, words in (([], entry.english), (["--croatian"], entry.croatian)):
        done = billingd("alarms", "explain", code, *arguments)
        assert (done.status, done.err) == (0, "")
        assert done.out.splitlines()[0] == f"{code} ({entry.severity.value}): {words.title}"
        told = " ".join(done.out.split())
        assert all(" ".join(part.split()) in told for part in (words.meaning, words.effect, words.action))


def test_a_misspelt_code_is_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = Commands(tmp_path, capsys)("alarms", "explain", "erp_unrechable")
    assert (done.status, done.out) == (1, "")
    assert done.err == "there is no alarm code erp_unrechable: did you mean erp_unreachable?\n"


def test_a_code_of_ones_own_rule_is_explained_by_the_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = [{"pattern": "disk .* slow", "code": "slow_disk"}]
    done = Commands(tmp_path, capsys, alarms={"rules": rules})("alarms", "explain", "slow_disk")
    assert done.status == 0
    assert "match disk .* slow" in done.out


def test_the_statistics_count_per_code_what_stood_and_for_how_long(billingd: Commands) -> None:
    done = billingd("alarms", "stats", "--days", "36500", "--json")
    found = {each["code"]: each for each in done.document}
    assert found.keys() == {"invoice_overdue", "erp_unreachable", "database_unreachable"}
    assert (found["erp_unreachable"]["alarms"], found["erp_unreachable"]["standing"]) == (1, 1)
    assert (found["database_unreachable"]["standing"], found["database_unreachable"]["standing_seconds"]) == (0, 0)
    shown = billingd("alarms", "stats", "--days", "36500")
    assert shown.out.startswith("code ")
    assert shown.err == "3 alarms in 36500 days\n"
