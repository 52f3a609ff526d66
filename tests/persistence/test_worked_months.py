"""The worked months of tests/data/months: each comes out as computed by hand, and explains itself."""

import json
import random
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from altibiz.fake.server import FakeAltibiz
from billing.invoice import Invoice, calculate
from billing.periods import QUARTER_HOUR
from cli.explain import explanation_lines
from cli.invoice_view import invoice_lines
from cli.verify import verify_invoices
from persistence.connection.database import Database
from persistence.connection.statements import fetch_dicts
from persistence.invoices import corrections, due_invoices
from persistence.invoices.calculation_inputs import fetch_inputs
from persistence.invoices.listing import show_invoices
from persistence.invoices.next_revisions import registered_revisions
from persistence.master_data import import_master
from tests.billing.billing_samples import ZAGREB
from tests.support.billed_months import book
from tests.support.calculated_rows import calculate_due
from tests.support.worked_months import MONTHS, NAMES, master_of, read_month, take_month, write_yaml
from web.templating import render


def stored(database: Database, ids: list[str]) -> list[dict[str, Any]]:
    """What was calculated, in the form of the expectation."""
    with database.reading() as reader:
        found = show_invoices(reader, ids)
    return [
        {"id": each["id"], "lines": {line["ordinal"]: line["price_eur"] for line in each["lines"]}}
        | {name: str(each[name]) for name in ("total_eur", "tax_eur", "total_with_tax_eur")}
        for each in found
    ]


def explained(database: Database, invoice_id: str) -> list[str]:
    with database.transaction() as connection:
        (invoice,) = show_invoices(connection, [invoice_id])
        registered = registered_revisions(connection, invoice["snapshot"].get("corrects", []))
    return list(explanation_lines(invoice, registered))


def calculate_october(database: Database) -> set[str]:
    with database.transaction() as connection:
        due_invoices.make_due(connection, "test", ["2026-10"], reason="test")
    return calculate_due(database)


@pytest.mark.parametrize("name", NAMES)
def test_a_worked_month_comes_out_as_computed_by_hand(database: Database, tmp_path: Path, name: str) -> None:
    month = read_month(name)
    take_month(database, month, tmp_path)
    wanted = month["expected"]
    calculate_october(database)
    assert stored(database, [each["id"] for each in wanted]) == wanted
    if "then" in month:
        with FakeAltibiz() as erp:
            book(database, erp)
        with database.transaction() as connection:
            report = import_master(
                connection, write_yaml(tmp_path / "then.yaml", master_of({**month, **month["then"]}))
            )
        corrected = month["expected_corrections"]
        assert report.to_correct == {each["corrects"]: "registered" for each in corrected}
        for each in corrected:
            with database.transaction() as connection:
                taken = corrections.take_up(
                    connection, "correct", each["corrects"], "me", offer_seconds=60, lease_seconds=60
                )
                corrections.correct(connection, taken, "me", "the protocol came", ZAGREB, Decimal(95))
            del each["corrects"]
        assert stored(database, [each["id"] for each in corrected]) == corrected
        wanted += corrected
    for each in wanted:
        lines = explained(database, each["id"])
        assert not [line for line in lines if "!!" in line]
    result = verify_invoices(database, None)
    assert (result.verified, result.findings) == (len(wanted), [])


def test_each_worked_month_has_a_page_with_its_figures() -> None:
    assert len(NAMES) >= 12
    for name in NAMES:
        page = (MONTHS / name / "README.md").read_text("utf-8")
        month = read_month(name)
        for each in [*month["expected"], *month.get("expected_corrections", [])]:
            assert f"## {each['id']}\n" in page
            assert f"to pay **{each['total_with_tax_eur']} EUR**" in page


def test_no_instant_of_a_meter_is_in_two_live_invoices(database: Database, tmp_path: Path) -> None:
    take_month(database, read_month("10-meter-moved"), tmp_path)
    calculate_october(database)
    with database.transaction() as connection:
        rows = connection.execute(
            text("""SELECT meter_id, invoice_id, to_char(starts_at AT TIME ZONE 'UTC', 'DD HH24:MI'),
                to_char(ends_at AT TIME ZONE 'UTC', 'DD HH24:MI') FROM billed_spans ORDER BY 1, 3 DESC""")
        ).all()
    assert [tuple(row) for row in rows] == [
        ("A", "user-1.2026-10.1", "30 22:00", "15 09:00"),
        ("A", "user-2.2026-10.1", "16 07:30", "31 23:00"),
        ("K", "user-2.2026-10.1", "30 22:00", "16 07:30"),
        ("N", "user-1.2026-10.1", "15 09:00", "31 23:00"),
    ]


def test_a_gap_is_waited_for_unless_it_is_billed_to_nobody(database: Database, tmp_path: Path) -> None:
    month = read_month("09-move-with-a-gap")
    unbilled = month["measurement_locations"][0]
    month["measurement_locations"] = [{name: value for name, value in unbilled.items() if name != "gaps"}]
    take_month(database, month, tmp_path)
    assert calculate_october(database) == set()
    with database.transaction() as connection:
        connection.execute(text("UPDATE measurement_locations SET gaps = 'unbilled'"))
        connection.execute(text("UPDATE invoices SET next_attempt_at = NULL, claimed_by = NULL, claimed_for = NULL, "
                                "claimed_until = NULL"))  # fmt: skip
    assert len(calculate_due(database)) == 2
    gap = "   from 2026-10-09T22:00:00Z until 2026-10-11T22:00:00Z it is billed to nobody"
    assert all(gap in explained(database, f"user-{number}.2026-10.1") for number in (1, 2))


def test_every_rendering_shows_segments_and_gaps_to_a_network_user(database: Database, tmp_path: Path) -> None:
    take_month(database, read_month("04-reset"), tmp_path)
    calculate_october(database)
    with database.reading() as reader:
        (invoice,) = show_invoices(reader, ["user-1.2026-10.1"])
    first = "meter A from 2026-09-30T22:00:00Z until 2026-10-20T04:00:00Z, closing as in the exchange's protocol"
    assert f"  {first}" in invoice_lines(invoice)
    assert f"   segment 1: {first}" in explained(database, "user-1.2026-10.1")
    around = {"title": "", "instance": "", "here": "", "form_key": None, "said": ""}
    page = render("invoice.html", invoice=invoice, **around)
    assert "<p>" + first.replace("'", "&#39;") + "</p>" in page
    assert "80123.46 / 0.00" in page, "both readings stand in the table of items"
    paper = render("invoice_print.html", invoices=[invoice])
    assert "Brojilo A od 2026-09-30T22:00:00Z do 2026-10-20T04:00:00Z (završno stanje iz zapisnika o zamjeni)" in paper
    gap = {"from": "2026-10-09T22:00:00Z", "until": "2026-10-11T22:00:00Z"}
    with_gap = {**invoice, "calculations": [{**invoice["calculations"][0], "gaps": [gap]}]}
    assert "it is billed to nobody" in render("invoice.html", invoice=with_gap, **around)
    assert "nije obračunato nikome" in render("invoice_print.html", invoices=[with_gap])


def test_real_readings_split_at_any_quarter_hour_give_the_same_invoice(database: Database, tmp_path: Path) -> None:
    """With the protocol's registers taken from the readings; a seed for each split is printed when it fails."""
    month = read_month("01-exchange-at-a-quarter-hour")
    (profile, _) = month["profiles"]
    month["profiles"] = [{**profile, "until": "2026-10-31T23:00:00Z"}]
    (place,) = month["measurement_locations"]
    always = {name: value for name, value in place.items() if name != "meters"} | {"meter_id": "A"}
    take_month(database, {**month, "measurement_locations": [always]}, tmp_path)
    with database.transaction() as connection:
        (whole,) = fetch_inputs(connection, ["user-1.2026-10.1"], ZAGREB)
    wanted = calculate(whole, 100)
    assert isinstance(wanted, Invoice)
    for seed in range(8):
        generator = random.Random(seed)
        cuts = sorted(generator.sample(range(1, 2980), generator.randint(1, 5)))
        with database.transaction() as connection:
            split_at(connection, [whole.start + cut * QUARTER_HOUR for cut in cuts])
            (parts,) = fetch_inputs(connection, ["user-1.2026-10.1"], ZAGREB)
        split = calculate(parts, 100)
        assert isinstance(split, Invoice), (seed, split)
        assert len(parts.measurement_locations[0].segments) == len(cuts) + 1
        assert (split.lines, split.body()) == (wanted.lines, wanted.body()), seed
        steps = {max(s.max_t1_step_wh or 0 for s in each.measurement_locations[0].segments) for each in (whole, parts)}
        assert len(steps) == 1, seed


def split_at(connection: Connection, cuts: Sequence[datetime]) -> None:
    """Makes meter A an exchange of itself at each cut, with the registers of its readings."""
    meters: list[dict[str, Any]] = [{"meter": "A"}]
    for cut in cuts:
        registers = fetch_dicts(
            connection,
            "SELECT to_jsonb(r) - 'meter_id' - 'at' AS registers FROM readings r WHERE meter_id = 'A' AND at = :at",
            at=cut,
        )[0]["registers"]
        meters[-1] |= {"until": cut.isoformat(), "closing": registers}
        meters.append({"meter": "A", "from": cut.isoformat(), "opening": registers})
    connection.execute(
        text("UPDATE measurement_locations SET meter_id = NULL, meters = CAST(:meters AS jsonb)"),
        {"meters": json.dumps(meters)},
    )
