"""What is stored of an invoice is enough to calculate it again."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from billing.catalogues import CatalogueKind, Item
from billing.corrections import RegisteredRevision, correction
from billing.invoice import Invoice, InvoiceBasis, RegulatoryCatalogue, calculate, calculate_correction
from billing.recomputation import recompute
from billing.rounding import Rounding
from billing.segments import Gap
from tests.billing.billing_samples import basis, catalogue, location, registers, segment

OCTOBER = segment()
PARTIES = {"network_user": {"id": "NU-0007"}, "location": {"title": "Park"}, "time_zone": "Europe/Zagreb"}
CUT = OCTOBER.start + timedelta(days=10)
OWN = {"readings_checksum": 17, "max_t1_step_at": CUT}
EXCHANGED = (
    segment(end=CUT, at_end=registers(1_040_000, 530_000), protocol=("closing",), **OWN),
    segment(start=CUT + timedelta(hours=1), meter_id="meter-2", protocol=("opening",), max_t1_step_wh=31, **OWN),
)
PLACES = {
    "one meter": location(max_t1_step_wh=1, **OWN),
    "one meter without a peak": location(id="ml-3", max_t1_step_wh=None, readings_checksum=None),
    "an exchange, and a gap": location(
        id="ml-2", title="Mill",
        catalogue=replace(catalogue(CatalogueKind.RED_LOW, "0.123456"), id="red", valid_from="2026"),
        segments=EXCHANGED, gaps=(Gap(CUT, CUT + timedelta(hours=1)),), refuses_gaps=False,
    ),
    "moved out": location(id="ml-4", end=CUT, has_it_at_end=False, gaps=(Gap(CUT, OCTOBER.end),), refuses_gaps=False),
}  # fmt: skip


def whole(*names: str, revision: int = 1) -> InvoiceBasis:
    prices = {item: Decimal("0.2") for item in Item if item.startswith("supply")}
    return basis(
        *(PLACES[name] for name in names), parties=PARTIES, id=f"NU-0007.2026-10.{revision}",
        regulatory_catalogue=RegulatoryCatalogue("hr", "2026-01-01", prices, Decimal("13.5")),
    )  # fmt: skip


def again(invoice: Invoice, *registered: RegisteredRevision) -> Invoice | None:
    """From JSON, as the database keeps it."""
    calculations, snapshot = json.loads(json.dumps([invoice.calculations_document(), invoice.snapshot]))
    return recompute(
        str(invoice.id), invoice.invoice_date, invoice.tax_rate_percent, calculations, snapshot, registered
    )


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("names", [[name] for name in PLACES] + [list(PLACES)], ids=" and ".join)
def test_it_is_made_again_from_what_is_stored(names: list[str], rounding: Rounding) -> None:
    invoice = calculate(whole(*names), 0, rounding)
    assert isinstance(invoice, Invoice)
    assert again(invoice) == invoice


def test_a_correction_is_made_again_with_what_it_corrects() -> None:
    first = calculate(whole("one meter"), 0)
    last = calculate_correction(whole("an exchange, and a gap", revision=2), 0, Rounding.HALF_UP)
    assert isinstance(first, Invoice)
    assert isinstance(last, Invoice)
    booked = RegisteredRevision.from_document(str(first.id), first.lines_document(), first.tax_eur, first.snapshot)
    corrected = correction(last, [booked])
    assert corrected is not None
    assert again(corrected, booked) == corrected


def test_a_debt_that_came_to_nothing_is_made_again() -> None:
    first = calculate(whole("one meter"), 0)
    nothing = calculate_correction(replace(whole("one meter", revision=2), asked_for=False), 0, Rounding.HALF_UP)
    assert isinstance(first, Invoice)
    assert isinstance(nothing, Invoice)
    booked = RegisteredRevision.from_document(str(first.id), first.lines_document(), first.tax_eur, first.snapshot)
    corrected = correction(nothing, [booked])
    assert corrected is not None
    assert corrected.total_with_tax_eur == -first.total_with_tax_eur
    assert again(corrected, booked) == corrected


def test_without_calculations_there_is_no_invoice() -> None:
    invoice = calculate(whole("one meter"), 0)
    assert isinstance(invoice, Invoice)
    snapshot = {**invoice.snapshot, "measurement_locations": []}
    assert recompute(str(invoice.id), invoice.invoice_date, invoice.tax_rate_percent, [], snapshot, ()) is None


def test_the_amounts_of_a_month_that_was_stored_long_ago_are_read() -> None:
    """Before exchanges, a place was stored with neither segments nor the time of its peak."""
    invoice = calculate(whole("one meter without a peak"), 0)
    assert isinstance(invoice, Invoice)
    (place,) = json.loads(json.dumps(invoice.snapshot))["measurement_locations"]
    del place["max_t1_step_at"]
    snapshot = {**invoice.snapshot, "measurement_locations": [place]}
    calculations = invoice.calculations_document()
    assert invoice == replace(
        recompute(str(invoice.id), invoice.invoice_date, invoice.tax_rate_percent, calculations, snapshot, ())
        or invoice,
        snapshot=invoice.snapshot,
    )
