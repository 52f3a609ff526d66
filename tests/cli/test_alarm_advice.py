"""Each command that an alarm advises exists, and does what it says where the alarm stands."""

import re
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from alarming.catalogue import CATALOGUE, Entry
from altibiz.fake.server import FakeAltibiz
from persistence.alarms import AlarmRecord, Severity, store
from persistence.connection.database import Database
from persistence.invoices.changes import Change
from tests.cli.command_line import Commands
from tests.support.altibiz_samples import offered
from tests.support.billed_months import AUGUST, book, calculate_august, change, claim_offers, hold, states
from tests.support.sample import BAD

AT = datetime(2026, 11, 15, 12, tzinfo=UTC)
ID, OTHER = AUGUST[:2]
# What ends with another status than 0 without being refused: it says what it found.
SAYS_WHAT_IT_FOUND = {"status": {0, 1, 3}, "doctor": {0, 1, 2}, "reconcile": {0, 1}}


@pytest.fixture
def erp() -> Iterator[FakeAltibiz]:
    with FakeAltibiz() as erp:
        yield erp


@pytest.fixture
def billingd(
    database: Database, database_url: str, erp: FakeAltibiz, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Commands:
    calculate_august(database)
    return Commands.on(database_url, tmp_path, capsys, erp={"base_url": erp.base_url}, instance="here")


def run(database: Database, statement: str, **values: object) -> None:
    with database.transaction() as connection:
        connection.execute(text(statement), values)


def held(code: str) -> Callable[[Database], None]:
    """All of the month are held, and no offer can be under way any more."""

    def make(database: Database) -> None:
        for delivery in claim_offers(database):
            hold(database, delivery, code)
        run(database, "UPDATE invoices SET last_attempt_at = now() - interval '1 hour'")

    return make


def aborted(database: Database) -> None:
    for each in claim_offers(database):
        verdict = Change(
            invoice_id=each.invoice_id, claim=each.claim, reason="no", to_state="aborted", abort_reason="no"
        )
        change(database, verdict)


def waits(code: str) -> Callable[[Database], None]:
    """The first is due and waits with that code; the other one is calculated."""

    def make(database: Database) -> None:
        with database.transaction() as connection:
            connection.execute(text("ALTER TABLE invoices DISABLE TRIGGER USER"))
            connection.execute(text("ALTER TABLE invoice_documents DISABLE TRIGGER USER"))
            connection.execute(text("DELETE FROM billed_spans WHERE invoice_id = :id"), {"id": ID})
            connection.execute(text("DELETE FROM invoice_documents WHERE invoice_id = :id"), {"id": ID})
            connection.execute(
                text("""UPDATE invoices SET state = 'due', held_code = :code, held_reason = 'it waits',
                            total_eur = NULL, tax_rate_percent = NULL, tax_eur = NULL, total_with_tax_eur = NULL,
                            invoice_date = NULL
                        WHERE id = :id"""),
                {"id": ID, "code": code},
            )
            connection.execute(text("ALTER TABLE invoices ENABLE TRIGGER USER"))
            connection.execute(text("ALTER TABLE invoice_documents ENABLE TRIGGER USER"))

    return make


STANDS: dict[str, Callable[[Database], None]] = {
    **{code: held(code) for code in ("erp_incorrect_data", "erp_refused_invoice", "erp_conflict", "poison_invoice")},
    **{
        code: waits(code)
        for code in ("energy_already_billed", "inputs_unreadable", "readings_incomplete", "readings_inconsistent")
    },
    "invoice_aborted": aborted,
}


def advised(entry: Entry) -> list[list[str]]:
    """The commands of an alarm's texts, in order."""
    told = f"{entry.english.meaning} {entry.english.effect} {entry.english.action} {entry.english.cleared_by}"
    return [shlex.split(words)[1:] for words in re.findall(r"`(billingd [^`]+)`", told)]


def filled(command: list[str]) -> list[str]:
    """With something of this deployment for each placeholder."""
    file = BAD / ("master.yaml" if "master" in command else "readings-2026-08.csv.gz")
    alarm_or_invoice = "a1" if command[0] == "alarms" else ID
    values = {"ID": alarm_or_invoice, "OTHER": OTHER, "YYYY-MM": "2026-08", "FILE": str(file), "TEXT": "a test"}
    return [values.get(word, word) for word in command]


ADVICE = [(entry.code.value, command) for entry in CATALOGUE.values() for command in advised(entry)]


@pytest.mark.parametrize(("code", "command"), ADVICE, ids=[f"{code}: {' '.join(words)}" for code, words in ADVICE])
def test_what_an_alarm_advises_is_accepted_where_it_stands(
    code: str, command: list[str], billingd: Commands, database: Database, erp: FakeAltibiz
) -> None:
    if code in STANDS:
        STANDS[code](database)
    if command[:2] == ["invoices", "correct"] and "OTHER" in command:  # "once it is booked"
        book(database, erp)
        run(database, "UPDATE network_user_catalogues SET meter_fee = meter_fee + 1")
    with database.transaction() as connection:
        store(connection, AlarmRecord("a1", code, "2026-08", Severity.MAJOR, "so it is", 1, AT, AT, "here"))
    done = billingd(*filled(command))
    assert done.status in SAYS_WHAT_IT_FOUND.get(command[0], {0}), done.err


def test_a_conflict_is_corrected_only_once_the_erp_has_given_its_own_up(
    billingd: Commands, database: Database, erp: FakeAltibiz
) -> None:
    held("erp_conflict")(database)
    theirs = erp.fake.ledger.book(ID, offered(ID), initiated_seconds=3600)
    refused = billingd("invoices", "correct", ID)
    assert (refused.status, refused.out) == (1, "")
    assert "the ERP has it" in refused.err
    action = CATALOGUE["erp_conflict"].english.action
    assert action.index("have Altibiz remove or abort theirs") < action.index("billingd invoices correct ID")
    erp.fake.ledger.settle(theirs, "aborted", "entered by hand")
    assert billingd("invoices", "correct", ID).status == 0
    assert states(database)[ID] == "aborted"
