"""What is odd about an invoice is said with it, and nothing else is."""

from dataclasses import replace
from decimal import Decimal

import pytest

from billing.catalogues import CatalogueKind
from billing.invoice import Invoice, InvoiceBasis, calculate
from tests.billing.billing_samples import basis, catalogue, location, segment

RED = catalogue(CatalogueKind.RED_LOW)


def remarks(it: InvoiceBasis) -> list[str]:
    invoice = calculate(it, 95)
    assert isinstance(invoice, Invoice)
    found = invoice.snapshot.get("remarks", [])
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(("power_w", "odd"), [(None, False), (17_000, True), (17_100, False), (17_099, True)])
def test_a_quarter_hour_beyond_the_power_of_the_connection(power_w: int | None, odd: bool) -> None:
    found = remarks(basis(location(max_step_wh=4275, power_w=power_w)))
    words = f"meter meter-1 needed 17100 W in a quarter hour, its connection has {power_w} W"
    assert found == ([words] if odd else [])
    assert remarks(basis(location(max_step_wh=None, power_w=3))) == [], "nothing was measured"


def test_a_peak_after_a_repeated_reading_where_peaks_are_billed() -> None:
    odd = segment(repeated_before_peak=True, max_t1_step_at=segment().start)
    assert remarks(basis(location(segments=(odd,)))) == []
    (words,) = remarks(basis(location(segments=(odd,), catalogue=RED)))
    assert words.startswith("meter meter-1: the highest quarter hour at 2026-09-30T22:00:00Z follows a reading that")
    (words,) = remarks(basis(location(segments=(replace(odd, max_t1_step_at=None),), catalogue=RED)))
    assert words.startswith("meter meter-1: the highest quarter hour follows a reading that")
    higher = replace(segment(max_t1_step_wh=9_999), repeated_before_peak=False)
    assert remarks(basis(location(segments=(odd, higher), catalogue=RED))) == []


@pytest.mark.parametrize(
    ("usual", "odd"), [(None, ""), (0, ""), (30, ""), (29, "more than 5 times"), (750, ""), (751, "less than a 5th of")]
)
def test_consumption_far_from_that_of_the_last_months(usual: int | None, odd: str) -> None:
    found = remarks(basis(usual_energy_kwh=None if usual is None else Decimal(usual)))  # 150 kWh are billed
    assert found == ([f"consumption of 150 kWh is {odd} the {usual} kWh of the last months"] if odd else [])


def test_only_what_has_remarks_is_held_for_them() -> None:
    for it, remarked in ((basis(), False), (basis(usual_energy_kwh=Decimal(1)), True)):
        invoice = calculate(it, 95)
        assert isinstance(invoice, Invoice)
        assert not invoice.remarked
        assert replace(invoice, holds_remarks=True).remarked is remarked
