"""What master data no longer asks for is taken back, comes back, or is named for a correction."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from altibiz.fake.server import FakeAltibiz
from billing.identity import InvoiceId
from billing.periods import Period, Schedule, due_periods
from billing.rounding import Rounding
from cli.verify import verify_invoices
from persistence.connection.database import Database
from persistence.connection.statements import fetch
from persistence.invoices import claims, corrections, due_invoices
from persistence.invoices.corrections import OrderRefused
from persistence.invoices.listing import show_invoices
from persistence.invoices.next_revisions import NOTHING_TO_CORRECT, last_final_revisions, next_revisions
from persistence.master_data import MasterLimits, MasterRejected, MasterReport, import_master
from persistence.readings.importing import import_readings
from tests.billing.billing_samples import ZAGREB
from tests.support.billed_months import book, states
from tests.support.calculated_rows import BY, calculate_due
from tests.support.worked_months import (
    master_of,
    read_month,
    row,
    rows_of,
    take_month,
    write_readings,
    write_yaml,
)

NOW = datetime(2026, 11, 25, tzinfo=UTC)
HANDOVER = "08-handover"
OCTOBER = ("2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z")


def periods(first: str) -> list[str]:
    return [str(each) for each in due_periods(Period.parse(first), NOW, Schedule("5 1 1 * *"), ZAGREB)]


LIMITS = MasterLimits(due_periods=periods)


@pytest.fixture
def master() -> dict[str, Any]:
    """Two users of a location each, billed from October on."""
    month = {
        "measurement_locations": [
            {"id": "ml-1", "catalogue": "white-low", "network_user": "user-1", "meter_id": "A"},
            {"id": "ml-2", "catalogue": "white-low", "network_user": "user-2", "meter_id": "B"},
        ]
    }
    return master_of(month)


def take(database: Database, folder: Path, master: dict[str, Any], limits: MasterLimits = LIMITS) -> MasterReport:
    with database.transaction() as connection:
        return import_master(connection, write_yaml(folder / "master.yaml", master), limits=limits)


def take_with_readings(database: Database, folder: Path, master: dict[str, Any]) -> None:
    """Both meters have consumed the same in October."""
    take(database, folder, master)
    rows = (row(meter, at, (5000, 3000, 0, 0)) for meter in ("A", "B") for at in OCTOBER)
    with database.transaction() as connection:
        import_readings(connection, write_readings(folder / "readings.csv", rows))


def refused(database: Database, folder: Path, master: dict[str, Any], limits: MasterLimits = LIMITS) -> list[str]:
    with pytest.raises(MasterRejected) as rejected:
        take(database, folder, master, limits)
    return rejected.value.problems


def make_due(database: Database) -> int:
    with database.transaction() as connection:
        first = due_invoices.first_billed_period(connection)
        assert first is not None
        return due_invoices.make_due(connection, "test", periods(first), reason="test")


def billed(master: dict[str, Any], first: str, until: str | None = None, user: int = 0) -> dict[str, Any]:
    users = [dict(each) for each in master["network_users"]]
    users[user] |= {"billed_from": first, "billed_until": until}
    return {**master, "network_users": users}


def test_a_typing_error_is_refused_with_its_number_and_undone_with_another(
    database: Database, tmp_path: Path, master: dict[str, Any]
) -> None:
    wrong, right = billed(master, "2006-10"), billed(master, "2026-10")
    assert refused(database, tmp_path, wrong) == [
        "network user user-1: 241 invoices would become due, 2006-10 to 2026-10",
        "more than 24 for one network user look like a mistake in billed_from; if all 242 that this file makes due are "
        "meant, give --yes-make 242",
    ]
    assert len(refused(database, tmp_path, wrong, replace(LIMITS, yes_make=241))) == 2
    take(database, tmp_path, wrong, replace(LIMITS, yes_make=242))
    assert make_due(database) == 242
    (problem,) = refused(database, tmp_path, right)
    assert problem.startswith("240 of 242 open invoices are due and would be taken back")
    assert problem.endswith("give --yes-take-back 240")
    assert take(database, tmp_path, right, replace(LIMITS, yes_take_back=240)).taken_back == 240
    with database.reading() as reader:
        (old,) = show_invoices(reader, ["user-1.2006-10.1"])
    assert (old["state"], old["abort_reason"]) == ("aborted", "master data no longer asks for it")
    assert states(database)["user-1.2026-10.1"] == "due"
    assert make_due(database) == 0


def test_what_was_taken_back_comes_back_as_the_next_revision(
    database: Database, tmp_path: Path, master: dict[str, Any]
) -> None:
    take(database, tmp_path, billed(master, "2026-09"))
    make_due(database)
    agreed = replace(LIMITS, yes_take_back=1)
    assert take(database, tmp_path, billed(master, "2026-10"), agreed).taken_back == 1
    assert make_due(database) == 0
    take(database, tmp_path, billed(master, "2026-09"))
    assert make_due(database) == 1
    assert take(database, tmp_path, billed(master, "2026-10"), agreed).taken_back == 1
    assert [states(database)[f"user-1.2026-09.{revision}"] for revision in (1, 2)] == ["aborted", "aborted"]


def test_a_claim_on_what_is_taken_back_is_ended(database: Database, tmp_path: Path, master: dict[str, Any]) -> None:
    take(database, tmp_path, billed(master, "2026-09", "2026-09"))
    make_due(database)
    with database.transaction() as connection:
        before = {each.invoice_id: each.claim for each in claims.claim_due(connection, BY, claims.Wanted(9))}
    take(database, tmp_path, billed(master, "2026-10", "2026-10"), replace(LIMITS, yes_take_back=1))
    with database.transaction() as connection:
        after = claims.claim_due(connection, BY, claims.Wanted(9))
    assert "user-1.2026-09.1" in before
    assert "user-1.2026-09.1" not in {each.invoice_id for each in after}


def test_a_location_that_moves_away_after_it_was_booked_is_named_and_corrected_to_nothing(
    database: Database, tmp_path: Path
) -> None:
    month = read_month(HANDOVER)
    take_month(database, month, tmp_path)
    make_due(database)
    calculate_due(database)
    with FakeAltibiz() as erp:
        book(database, erp)
        (place,) = month["measurement_locations"]
        moved = {name: value for name, value in place.items() if name != "network_users"} | {"network_user": "user-2"}
        given = {**master_of(month), "measurement_locations": [{"title": "ml-1", **moved}]}
        report = take(database, tmp_path, given)
        assert report.to_correct == {"user-1.2026-10.1": "registered", "user-2.2026-10.1": "registered"}
        with database.transaction() as connection:
            last = last_final_revisions(connection, "2026-10")
            rules = ZAGREB, 95, Rounding.HALF_UP
            one, two = next_revisions(connection, last, *rules)
            assert one.invoice is not None
            assert one.invoice.total_with_tax_eur == -one.registered_eur == Decimal("-62.95")
            assert "energy_already_billed" in two.why_not
            taken = corrections.take_up(
                connection, "correct", "user-1.2026-10.1", "me", offer_seconds=60, lease_seconds=60
            )
        with database.transaction() as connection:
            corrections.correct(connection, taken, "me", "it is theirs", ZAGREB, Decimal(95))
        book(database, erp)
    with database.transaction() as connection:
        one, two = next_revisions(connection, [InvoiceId.parse("user-1.2026-10.2"), last[1]], *rules)
        assert (one.registered_eur, one.why_not) == (Decimal("0.00"), NOTHING_TO_CORRECT)
        assert two.invoice is not None
    assert verify_invoices(database, None).findings == []


def test_an_invoice_that_lacks_what_its_user_has_now_is_named_until_it_bills_it(
    database: Database, tmp_path: Path, master: dict[str, Any]
) -> None:
    take_with_readings(database, tmp_path, master)
    make_due(database)
    calculate_due(database)
    place = master["measurement_locations"][0]
    both = {"user-1.2026-10.1": "calculated", "user-2.2026-10.1": "calculated"}
    del place["network_user"]
    handover = {"until": "2026-10-15T00:00:00+02:00"}, {"from": "2026-10-15T00:00:00+02:00"}
    for spans, named in (
        (handover, both),
        (({"until": "2026-11-01T00:00:00+01:00"}, {"from": "2026-11-01T00:00:00+01:00"}), {}),
        (({"until": "2026-10-31T23:45:00+01:00"}, {"from": "2026-10-31T23:45:00+01:00"}), both),
    ):
        users = zip(spans, ("user-1", "user-2"), strict=True)
        place["network_users"] = [{**span, "network_user": user} for span, user in users]
        assert take(database, tmp_path, master).to_correct == named


def test_a_location_without_an_amount_that_moves_away_is_given_free_by_a_correction_of_zero(
    database: Database, tmp_path: Path, master: dict[str, Any]
) -> None:
    for catalogue in master["network_user_catalogues"]:
        catalogue["meter_fee"] = "0"
    take_with_readings(database, tmp_path, master)
    make_due(database)
    assert len(calculate_due(database)) == 2
    with FakeAltibiz() as erp:
        book(database, erp)
        assert correct(database, "user-1.2026-10.1") == NOTHING_TO_CORRECT
        master["measurement_locations"][0]["network_user"] = "user-2"
        master["network_user_catalogues"][0]["meter_fee"] = "1"
        assert list(take(database, tmp_path, master).to_correct) == ["user-1.2026-10.1", "user-2.2026-10.1"]
        assert "energy_already_billed" in str(correct(database, "user-2.2026-10.1"))
        assert correct(database, "user-1.2026-10.1") is None
        book(database, erp)
        assert correct(database, "user-2.2026-10.1") is None
        book(database, erp)
    assert set(states(database).values()) == {"registered"}
    assert correct(database, "user-1.2026-10.2") == NOTHING_TO_CORRECT
    assert verify_invoices(database, None).findings == []


def test_users_whose_meters_were_swapped_are_corrected_once_one_of_them_is_taken_back(
    database: Database, tmp_path: Path, master: dict[str, Any]
) -> None:
    rows = [
        row(meter, at, [registers * value for registers in (9000, 4000, 50, 0)])
        for meter, value in (("A", 10), ("B", 30))
        for at, registers in zip(OCTOBER, (0, 1), strict=True)
    ]
    take(database, tmp_path, master)
    with database.transaction() as connection:
        import_readings(connection, write_readings(tmp_path / "readings.csv", iter(rows)))
    make_due(database)
    calculate_due(database)
    before = owed(database)
    one, two = master["measurement_locations"]
    one["meter_id"], two["meter_id"] = two["meter_id"], one["meter_id"]
    with FakeAltibiz() as erp:
        book(database, erp)
        both = take(database, tmp_path, master).to_correct
        assert list(both) == ["user-1.2026-10.1", "user-2.2026-10.1"]
        for each in both:
            why_not = str(correct(database, each))
            assert why_not.endswith("if it waits for this one too, correct one of them with --take-back first")
        assert correct(database, "user-1.2026-10.1", take_back=True) is None
        book(database, erp)
        assert owed(database)["user-1"] == 0
        for each in ("user-2.2026-10.1", "user-1.2026-10.2"):
            assert correct(database, each) is None
            book(database, erp)
    assert owed(database) == {"user-1": before["user-2"], "user-2": before["user-1"]}
    assert correct(database, "user-1.2026-10.3") == NOTHING_TO_CORRECT
    assert verify_invoices(database, None).findings == []


def correct(database: Database, invoice_id: str, *, take_back: bool = False) -> str | None:
    """Why a correction was refused; None if it was made."""
    with database.transaction() as connection:
        taken = corrections.take_up(connection, "correct", invoice_id, "me", offer_seconds=60, lease_seconds=60)
    try:
        with database.transaction() as connection:
            corrections.correct(connection, taken, "me", "x", ZAGREB, Decimal(95), take_back=take_back)
    except OrderRefused as error:
        return str(error)
    return None


def owed(database: Database) -> dict[str, Decimal]:
    """What each user has to pay, over all revisions."""
    with database.transaction() as connection:
        rows = fetch(connection, "SELECT network_user_id, sum(total_with_tax_eur) FROM invoices GROUP BY 1 ORDER BY 1")
    return dict(map(tuple, rows))


def test_a_correction_stays_with_the_party_and_the_sub_project_of_what_is_registered(
    database: Database, tmp_path: Path
) -> None:
    month = read_month("12-correction-after-a-late-protocol")
    take_month(database, month, tmp_path)
    make_due(database)
    calculate_due(database)
    with FakeAltibiz() as erp:
        book(database, erp)
    given = master_of({**month, **month["then"]})
    given["network_users"][0] |= {"altibiz_sub_project_code": "NEW", "title": "Another"}
    take(database, tmp_path, given)
    with database.transaction() as connection:
        (following,) = next_revisions(connection, [InvoiceId.parse("user-1.2026-10.1")], ZAGREB, 95, Rounding.HALF_UP)
    assert following.invoice is not None
    assert following.invoice.sub_project_code == "user-1"
    assert following.invoice.snapshot["network_user"]["title"] == "user-1"  # type: ignore[index]


def test_a_correction_goes_by_the_catalogue_of_its_month(database: Database, tmp_path: Path) -> None:
    month = read_month("06-move-in")
    take_month(database, month, tmp_path)
    make_due(database)
    calculate_due(database)
    with FakeAltibiz() as erp:
        book(database, erp)
    given = master_of(month)
    (place,) = given["measurement_locations"]
    del place["catalogue"]
    for since, changes in (("2026-11", False), ("2026-10", True)):
        place["catalogues"] = [{"catalogue": "white-low"}, {"catalogue": "blue-low", "valid_from": since}]
        take(database, tmp_path, given)
        with database.transaction() as connection:
            (following,) = next_revisions(
                connection, [InvoiceId.parse("user-1.2026-10.1")], ZAGREB, 95, Rounding.HALF_UP
            )
        assert (following.invoice is not None) is changes
    place["catalogues"].reverse()
    (problem,) = refused(database, tmp_path, given)
    assert "catalogues: entry 2 has to have a later valid_from than the one before" in problem


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_the_order_of_imports_does_not_matter(database: Database, tmp_path: Path, order: tuple[int, ...]) -> None:
    month = read_month("12-correction-after-a-late-protocol")
    given = master_of({**month, **month["then"]})
    rows = list(rows_of(month))
    plain = {"title": "ml-1", "id": "ml-1", "catalogue": "white-low", "network_user": "user-1", "meter_id": "A"}
    take(database, tmp_path, {**given, "measurement_locations": [plain]})
    make_due(database)
    for place in order:
        with database.transaction() as connection:
            if place == 2:
                import_master(connection, write_yaml(tmp_path / "then.yaml", given))
            else:
                some = iter(rows[2 * place : 2 * place + 2])
                import_readings(connection, write_readings(tmp_path / f"{place}.csv", some))
    calculate_due(database)
    with database.reading() as reader:
        (invoice,) = show_invoices(reader, ["user-1.2026-10.1"])
    assert str(invoice["total_with_tax_eur"]) == "132.89"  # 129.49 and the correction of 3.40


def test_meters_and_users_out_of_order_are_refused_with_key_and_line(
    database: Database, tmp_path: Path, master: dict[str, Any]
) -> None:
    one, two, three = "2026-10-10T00:00:00+02:00", "2026-10-12T00:00:00Z", "2026-10-12T00:10:00Z"
    bad: dict[str, Any] = {
        "meters: entry 2 has to begin where the one before ends": [
            {"meter": "A", "until": two}, {"meter": "B", "from": one},
        ],
        "meters: entry 1 ends before it begins": [{"meter": "A", "from": two, "until": one}],
        "meters[1].until: 2026-10-12T00:10:00Z is no quarter hour": [{"meter": "A", "until": three}],
        "meters[1].until: '2026-10-12' is no instant with its zone": [{"meter": "A", "until": "2026-10-12"}],
        "meters: entry 1 has opening and no from": [
            {"meter": "A", "opening": dict.fromkeys(
                ("active_import_total_wh", "active_import_t1_wh", "active_import_t2_wh", "active_export_total_wh",
                 "reactive_import_total_varh", "reactive_export_total_varh"), 0)}
        ],
        "meters[1].opening.active_import_t1_wh: is missing": [{"meter": "A", "from": one, "opening": {}}],
        "meter_id: there is no Z in meters": [{"meter": "Z"}],
    }  # fmt: skip
    first, *others = master["measurement_locations"]
    without = {name: value for name, value in first.items() if name != "meter_id"}
    for words, meters in bad.items():
        problems = refused(database, tmp_path, {**master, "measurement_locations": [{**without, "meters": meters}]})
        assert any(words in each for each in problems), (words, problems)
    both = {**first, "meters": [{"meter": "A"}]}
    (problem,) = refused(database, tmp_path, {**master, "measurement_locations": [both]})
    assert "measurement_locations[ml-1].meter_id: give either meter_id or meters" in problem
    overlap = {**without, "meters": [{"meter": "A", "until": two}, {"meter": "B", "from": two}]}
    problems = refused(database, tmp_path, {**master, "measurement_locations": [overlap, *others]})
    assert any("meter B is at ml-" in each for each in problems)
