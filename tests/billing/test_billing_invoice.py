"""One invoice: its ten lines and sums, the ERP's body, and every reason for which it has to wait."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.catalogues import CatalogueKind, Item
from billing.invoice import Invoice, InvoiceBasis, NotReady, RegulatoryCatalogue, calculate
from billing.rounding import round_half_away
from billing.segments import RegisterFall
from tests.billing.billing_samples import basis, catalogue, location, registers

ORDINALS = ["1.1.", "1.2.", "1.3.", "1.4.", "1.5.", "1.6.", "2.1.", "2.2.", "2.3.", "2.4."]
DECIMAL = re.compile(r"-?[0-9]{1,14}(\.[0-9]{1,6})?")


def invoice_of(it: InvoiceBasis) -> Invoice:
    invoice = calculate(it, 95)
    assert isinstance(invoice, Invoice), invoice
    return invoice


def reason_of(it: InvoiceBasis, min_coverage_percent: int = 95) -> NotReady:
    not_ready = calculate(it, min_coverage_percent)
    assert isinstance(not_ready, NotReady)
    return not_ready


def test_an_invoice_has_ten_lines_whatever_the_kind() -> None:
    invoice = invoice_of(basis(location(catalogue=catalogue(CatalogueKind.BLUE_LOW))))
    assert [line.ordinal for line in invoice.lines] == ORDINALS
    assert {line.ordinal: str(line.price_eur) for line in invoice.lines} == {
        "1.1.": "15.00", "1.2.": "0.00", "1.3.": "0.00", "1.4.": "0.00", "1.5.": "0.00", "1.6.": "0.10",
        "2.1.": "20.00", "2.2.": "10.00", "2.3.": "30.00", "2.4.": "30.00",
    }  # fmt: skip
    assert (invoice.total_eur, invoice.tax_eur) == (Decimal("105.10"), Decimal("13.66"))
    assert invoice.total_with_tax_eur == Decimal("118.76")


def test_a_line_sums_over_the_measurement_locations() -> None:
    one, two = location(), location(id="ml-2", catalogue=catalogue(CatalogueKind.RED_LOW))
    invoice = invoice_of(basis(one, two))
    alone = [invoice_of(basis(each)) for each in (one, two)]
    for place, line in enumerate(invoice.lines):
        assert line.price_eur == sum(each.lines[place].price_eur for each in alone)


wh = st.integers(0, 10**11)
bases = st.builds(
    lambda locations, tax: basis(
        *locations,
        regulatory_catalogue=RegulatoryCatalogue(
            "hr", "", dict.fromkeys([item for item in Item if item.startswith("supply")], Decimal("0.137199")), tax
        ),
    ),
    st.lists(
        st.builds(
            lambda kind, price, t1, t2, step: location(
                catalogue=catalogue(kind, str(price)), at_start=registers(7, 7), at_end=registers(t1 + 7, t2 + 7),
                max_t1_step_wh=step,
            ),
            st.sampled_from(CatalogueKind), st.decimals(0, 9, places=6), wh, wh, st.integers(0, 10**7),
        ),
        min_size=1, max_size=4,
    ),
    st.decimals(0, 99, places=3),
)  # fmt: skip


@given(bases)
def test_sums_hold_to_the_cent(it: InvoiceBasis) -> None:
    invoice = invoice_of(it)
    assert invoice.total_eur == sum(line.price_eur for line in invoice.lines)
    totals = [item.total_eur for calculation in invoice.calculations for item in calculation.items]
    assert invoice.total_eur == sum(totals)
    assert invoice.tax_eur == round_half_away(invoice.total_eur * invoice.tax_rate_percent / 100, 2)
    assert invoice.total_with_tax_eur == invoice.total_eur + invoice.tax_eur


@given(bases)
def test_the_body_keeps_to_the_contract(it: InvoiceBasis) -> None:
    invoice = invoice_of(it)
    body = json.loads(invoice.body())
    assert list(body) == [
        "network_user_invoice_id", "sub_project_code", "invoice_date", "items",
        "total_eur", "tax_rate_percent", "tax_eur", "total_with_tax_eur",
    ]  # fmt: skip
    assert [item["ordinal"] for item in body["items"]] == ORDINALS
    for item in body["items"]:
        assert list(item) == ["ordinal", "name", "unit", "quantity", "price_eur"]
        assert (item["unit"], item["quantity"]) == ("Mjesec", "1")
        assert DECIMAL.fullmatch(item["price_eur"])
    for name in ("total_eur", "tax_eur", "total_with_tax_eur"):
        assert re.fullmatch(r"-?[0-9]{1,14}\.[0-9]{2}", body[name])
    assert DECIMAL.fullmatch(body["tax_rate_percent"])
    assert Decimal(body["tax_rate_percent"]) == invoice.tax_rate_percent
    assert sum(Decimal(item["price_eur"]) for item in body["items"]) == Decimal(body["total_eur"])
    assert invoice.body() == invoice_of(it).body()


def test_the_body_is_utf8_with_the_tax_rate_as_short_as_it_goes() -> None:
    body = invoice_of(basis()).body()
    assert "Korištenje mreže".encode() in body
    assert b'"tax_rate_percent":"13"' in body
    assert b'"invoice_date":"2026-11-01"' in body


def test_what_is_stored_says_what_it_was_computed_from() -> None:
    invoice = invoice_of(basis())
    snapshot: Mapping[str, Any] = json.loads(json.dumps(invoice.snapshot))
    assert snapshot["period_start"] == "2026-09-30T22:00:00Z"
    assert snapshot["period_end"] == "2026-10-31T23:00:00Z"
    assert snapshot["measurement_locations"][0]["registers_at_end"]["active_import_total_wh"] == 1_650_000
    document: Any = invoice.calculations_document()
    assert document[0]["catalogue_kind"] == "white_low"
    assert document[0]["items"][0] == {
        "item": "usage_active_energy_t1", "min": "1000.00", "max": "1100.00", "amount": "100",
        "price_eur": "0.1", "total_eur": "10.00",
    }  # fmt: skip


def test_a_missing_boundary_is_named_with_meter_and_instant() -> None:
    not_ready = reason_of(basis(location(at_start=None)))
    assert not_ready == NotReady("readings_incomplete", "meter meter-1 has no reading at 2026-09-30T22:00:00Z")
    assert (
        "at 2026-09-30T22:00:00Z and at 2026-10-31T23:00:00Z"
        in reason_of(basis(location(at_start=None, at_end=None))).reason
    )


def test_a_falling_register_is_named_and_comes_before_what_is_missing() -> None:
    fall = RegisterFall(datetime(2026, 10, 3, 4, 15, tzinfo=UTC), "active_import_t1_wh")
    not_ready = reason_of(basis(location(at_end=None), location(id="ml-2", first_fall=fall)))
    assert not_ready.code == "readings_inconsistent"
    assert not_ready.reason.startswith("meter meter-1: active_import_t1_wh falls at 2026-10-03T04:15:00Z; ")
    assert "no reading at 2026-10-31T23:00:00Z" in not_ready.reason


@pytest.mark.parametrize(("pairs", "ready"), [(2831, True), (2830, False), (0, False)])
def test_peak_power_needs_95_percent_of_the_quarter_hours(pairs: int, ready: bool) -> None:
    # 745 hours: 2980 quarter hours, 95 % of them are 2831
    peak = location(catalogue=catalogue(CatalogueKind.RED_LOW), quarter_hour_pairs=pairs)
    outcome = calculate(basis(peak), 95)
    assert isinstance(outcome, Invoice) is ready
    if not ready:
        assert isinstance(outcome, NotReady)
        assert outcome.code == "readings_incomplete"
        assert f"meter meter-1 has {pairs} of 2980 quarter hours" in outcome.reason


def test_without_a_single_quarter_hour_there_is_no_peak_even_if_none_is_demanded() -> None:
    peak = location(catalogue=catalogue(CatalogueKind.RED_LOW), quarter_hour_pairs=0)
    assert reason_of(basis(peak), min_coverage_percent=0).code == "readings_incomplete"


def test_a_fraction_of_a_percent_is_no_rounding_matter() -> None:
    peak = location(catalogue=catalogue(CatalogueKind.RED_LOW), quarter_hour_pairs=2832)
    assert isinstance(calculate(basis(peak), Decimal("95.01")), Invoice)
    assert isinstance(calculate(basis(peak), Decimal("95.04")), NotReady)


def test_gaps_do_not_matter_where_no_peak_is_billed() -> None:
    assert isinstance(calculate(basis(location(quarter_hour_pairs=0)), 95), Invoice)


def test_prices_that_are_not_in_force_make_it_wait_and_not_crash() -> None:
    assert "regulatory catalogue hr has no prices in force" in reason_of(basis(regulatory_catalogue=None)).reason
    assert "catalogue any has no prices in force" in reason_of(basis(location(catalogue=None))).reason


def test_a_user_without_measurement_location_waits() -> None:
    assert "NU-0007 has no measurement location" in reason_of(basis(measurement_locations=())).reason


def test_a_long_list_of_reasons_is_cut_with_a_count() -> None:
    many = [location(id=f"ml-{n}", meter_id=f"meter-{n}", at_end=None) for n in range(8)]
    assert reason_of(basis(*many)).reason.endswith("; and 3 more")
