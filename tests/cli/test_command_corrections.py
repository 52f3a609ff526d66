"""`billingd invoices correct` and `waive`: on what condition, what they make, and what they leave alone."""

import gzip
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from altibiz.fake.server import FakeAltibiz
from persistence.connection.database import ConnectionSettings, Database
from persistence.invoices import claims
from tests.cli.command_line import Commands
from tests.support.billed_months import AUGUST, book, calculate_august, claim_offers, hold, states
from tests.support.calculated_rows import BY
from tests.support.sample import BAD

FIRST, SECOND, THIRD = AUGUST
NEXT = "user-004.2026-08.2"


@pytest.fixture
def erp() -> Iterator[FakeAltibiz]:
    with FakeAltibiz() as erp:
        yield erp


@pytest.fixture
def billingd(database_url: str, erp: FakeAltibiz, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands.on(database_url, tmp_path, capsys, erp={"base_url": erp.base_url})


@pytest.fixture
def calculated(database: Database) -> Database:
    calculate_august(database)
    return database


def shown(billingd: Commands, invoice_id: str) -> dict[str, Any]:
    (invoice,) = billingd("invoices", "show", "--json", invoice_id).document
    return dict(invoice)


def age_last_attempt(database: Database, seconds: float) -> None:
    with database.transaction() as connection:
        connection.execute(
            text("UPDATE invoices SET last_attempt_at = now() - make_interval(secs => :seconds)"), {"seconds": seconds}
        )


def raise_last_reading(billingd: Commands, folder: Path) -> None:
    """Replaces the readings at the end of August by some that are 100 kWh higher in T1."""
    with gzip.open(BAD / "readings-2026-08.csv.gz", "rt") as file:
        header, *rows = file.read().splitlines()
    changed = []
    for row in rows:
        meter, at, total, t1, *rest = row.split(",")
        if at.startswith("2026-08-31T22:00:00"):
            changed.append(",".join([meter, at, str(int(total) + 100_000), str(int(t1) + 100_000), *rest]))
    (folder / "corrected.csv").write_text("\n".join([header, *changed]) + "\n")
    done = billingd("import", "readings", "--replace", "--reason", "meter misread", folder / "corrected.csv")
    assert done.status == 0
    assert FIRST in done.out


def test_a_registered_invoice_is_corrected_by_the_difference(
    calculated: Database, erp: FakeAltibiz, billingd: Commands, tmp_path: Path
) -> None:
    book(calculated, erp)
    before = shown(billingd, FIRST)
    raise_last_reading(billingd, tmp_path)
    done = billingd("invoices", "correct", FIRST, "--reason", "meter misread")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"{FIRST}: corrected by {NEXT}, ")
    after = shown(billingd, NEXT)
    assert (after["state"], after["revision"]) == ("calculated", 2)
    lines = {line["ordinal"]: Decimal(line["price_eur"]) for line in after["lines"]}
    assert lines["1.6."] == 0
    assert lines["2.1."] > 0
    assert sum(lines.values()) == Decimal(after["total_eur"])
    assert Decimal(after["total_eur"]) + Decimal(after["tax_eur"]) == Decimal(after["total_with_tax_eur"])
    booked = {line["ordinal"]: Decimal(line["price_eur"]) for line in before["lines"]}
    items = [item for calculation in after["calculations"] for item in calculation["items"]]
    due_now = sum(Decimal(item["total_eur"]) for item in items if item["item"] == "supply_active_energy_t1")
    assert booked["2.1."] + lines["2.1."] == due_now
    (made,) = after["history"]
    assert (made["from_state"], made["to_state"]) == (None, "calculated")
    assert made["actor"].startswith("cli:")
    assert made["reason"] == f"corrects {FIRST}: meter misread"
    assert shown(billingd, FIRST) == before
    book(calculated, erp)
    assert states(calculated)[NEXT] == "registered"
    again = billingd("invoices", "correct", NEXT, "--reason", "x")
    assert (again.status, again.err) == (
        1, f"{NEXT}: there is nothing to correct: each line and the tax are what is registered already\n",
    )  # fmt: skip


def test_a_third_revision_takes_all_that_is_registered_off(
    calculated: Database, erp: FakeAltibiz, billingd: Commands, tmp_path: Path
) -> None:
    book(calculated, erp)
    whole = shown(billingd, FIRST)
    raise_last_reading(billingd, tmp_path)
    billingd("invoices", "correct", FIRST)
    book(calculated, erp)
    with calculated.transaction() as connection:  # a price of the master data, wrong until now
        connection.execute(text("UPDATE network_user_catalogues SET meter_fee = meter_fee + 1"))
    assert billingd("invoices", "correct", NEXT).status == 0
    third = shown(billingd, "user-004.2026-08.3")
    assert {line["ordinal"]: line["price_eur"] for line in third["lines"] if Decimal(line["price_eur"])} == {
        "1.6.": f"{len(whole['calculations'])}.00"
    }


def test_nothing_is_made_while_a_revision_is_open_or_when_a_later_one_is_there(
    calculated: Database, erp: FakeAltibiz, billingd: Commands, tmp_path: Path
) -> None:
    assert billingd("invoices", "correct", FIRST).err.startswith(f"{FIRST}: it is calculated, and nothing")
    book(calculated, erp)
    raise_last_reading(billingd, tmp_path)
    assert billingd("invoices", "correct", FIRST).status == 0
    done = billingd("invoices", "correct", FIRST)
    assert (done.status, done.err) == (1, f"{FIRST}: it has a later revision already: {NEXT}\n")
    claim_offers(calculated)
    assert "under way at the ERP" in billingd("invoices", "correct", NEXT).err
    assert billingd("invoices", "correct", "nobody.2026-08.1").err == "nobody.2026-08.1: there is no such invoice\n"


def test_a_held_invoice_that_the_erp_does_not_have_is_superseded(calculated: Database, billingd: Commands) -> None:
    for delivery in claim_offers(calculated):
        hold(calculated, delivery)
    age_last_attempt(calculated, 3600)
    done = billingd("invoices", "correct", FIRST, "--reason", "code mended")
    assert (done.status, done.err) == (0, "")
    old, new = shown(billingd, FIRST), shown(billingd, NEXT)
    assert (old["state"], old["abort_reason"]) == ("aborted", f"superseded by {NEXT}")
    assert old["history"][-1]["reason"] == f"superseded by {NEXT}: code mended"
    assert old["exchanges"][-1]["outcome"] == "absent"
    assert (new["state"], new["lines"], new["total_eur"]) == ("calculated", old["lines"], old["total_eur"])
    assert states(calculated)[SECOND] == "held"


def test_a_held_invoice_that_the_erp_has_is_left_to_a_retry(
    calculated: Database, erp: FakeAltibiz, billingd: Commands
) -> None:
    book(calculated, erp, but=AUGUST[1:])
    with calculated.transaction() as connection:
        connection.execute(text("UPDATE invoices SET claimed_until = now() - interval '1 s' WHERE state = 'sent'"))
        (again, *_) = claims.claim_deliveries(connection, BY, claims.Wanted(1), "probe")
    assert again.invoice_id in AUGUST[1:]
    with calculated.transaction() as connection:
        sent = connection.execute(
            text("SELECT body FROM invoice_documents WHERE invoice_id = :id"), {"id": again.invoice_id}
        ).scalar_one()
    httpx.put(f"{erp.base_url}/network-user-invoices/{again.invoice_id}", content=sent).raise_for_status()
    hold(calculated, again)
    age_last_attempt(calculated, 3600)
    for order in ("correct", "waive"):
        done = billingd("invoices", order, again.invoice_id)
        assert done.status == 1
        assert done.err.startswith(f"{again.invoice_id}: the ERP has it, registered as ALT-")
    assert states(calculated)[again.invoice_id] == "held"
    assert billingd("invoices", "retry", again.invoice_id).status == 0


def test_an_offer_that_may_be_under_way_is_waited_for(
    calculated: Database, database_url: str, erp: FakeAltibiz, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    billingd = Commands.on(
        database_url, tmp_path, capsys, erp={"base_url": erp.base_url, "total_timeout_seconds": 1},
        work={"lease_seconds": 16},
    )  # fmt: skip
    for delivery in claim_offers(calculated):
        hold(calculated, delivery)
    age_last_attempt(calculated, 14.5)
    done = billingd("invoices", "waive", FIRST, "--reason", "a mistake")
    assert (done.status, done.out) == (0, f"{FIRST}: waived\n")
    assert "waiting" in done.err


def test_an_erp_that_cannot_say_keeps_the_order_from_being_done(
    calculated: Database, erp: FakeAltibiz, billingd: Commands
) -> None:
    erp.stop()
    done = billingd("invoices", "waive", FIRST)
    assert done.status == 1
    assert "the ERP could not say whether it has it (unreachable" in done.err
    with calculated.transaction() as connection:
        assert len(claims.claim_deliveries(connection, BY, claims.Wanted(10))) == 3, "it goes on at once"


@pytest.mark.parametrize("state", ["due", "calculated"])
def test_what_is_not_offered_yet_can_be_waived_and_made_anew(
    calculated: Database, database_url: str, billingd: Commands, state: str
) -> None:
    if state == "due":
        billingd("issue", "--period", "2026-09")
    waived = FIRST if state == "calculated" else "user-004.2026-09.1"
    with Database(ConnectionSettings.from_url(database_url), listen=True) as daemon:
        daemon.notifications()
        done = billingd("invoices", "waive", waived, "--reason", "left\x1b the ZDS")
        assert daemon.notifications(wait_seconds=5) == ["waive"]
    assert (done.status, done.out) == (0, f"{waived}: waived\n")
    invoice = shown(billingd, waived)
    assert invoice["state"] == "aborted"
    assert invoice["abort_reason"].startswith("waived by cli:")
    assert invoice["history"][-1]["from_state"] == state
    assert "there is no" not in billingd("invoices", "waive", waived).err
    if state == "calculated":
        assert billingd("invoices", "correct", waived).status == 0
        assert shown(billingd, NEXT)["lines"] == invoice["lines"]


def test_a_claim_that_lives_is_respected(calculated: Database, billingd: Commands) -> None:
    billingd("issue", "--period", "2026-09")
    with calculated.transaction() as connection:
        assert claims.claim_due(connection, BY, claims.Wanted(10))
    done = billingd("invoices", "waive", "user-004.2026-09.1")
    assert done.status == 1
    assert "the daemon works on it until" in done.err


def test_a_dry_run_says_what_the_corrections_of_a_month_come_to_and_makes_none(
    calculated: Database, erp: FakeAltibiz, billingd: Commands, tmp_path: Path
) -> None:
    book(calculated, erp)
    assert billingd("invoices", "correct", "--period", "2026-08", "--dry-run").out == (
        "0 of 3 would change, by 0.00 EUR with tax\n"
    )
    raise_last_reading(billingd, tmp_path)
    done = billingd("invoices", "correct", "--period", "2026-08", "--dry-run")
    *_, last = done.out.splitlines()
    made = [billingd("invoices", "correct", each, "--dry-run").out.splitlines() for each in AUGUST]
    differences = [Decimal(lines[1].split()[3]) for lines in made]
    assert (done.status, last) == (0, f"3 of 3 would change, by {sum(differences)} EUR with tax")
    assert set(states(calculated)) == set(AUGUST)
    billingd("invoices", "correct", FIRST, "--reason", "meter misread")
    assert shown(billingd, NEXT)["total_with_tax_eur"] == str(differences[0])
    assert billingd("invoices", "correct", "--period", "2026-08", "--dry-run").out.endswith("EUR with tax\n")


@pytest.mark.parametrize("words", [(), ("--period", "2026-08"), (FIRST, "--period", "2026-08", "--dry-run")])
def test_a_month_is_corrected_one_by_one(billingd: Commands, words: tuple[str, ...]) -> None:
    assert billingd("invoices", "correct", *words).status == 64
