"""Corrections: with what is registered they add up to the new amounts, line by line."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.corrections import RegisteredRevision, correction
from billing.invoice import Invoice, calculate
from tests.billing.billing_samples import basis, location, registers


def whole(t1_kwh: int, revision: int = 1) -> Invoice:
    at_start, at_end = registers(5), registers(5 + t1_kwh * 1000)
    invoice = calculate(basis(location(at_start=at_start, at_end=at_end), id=f"NU-7.2026-10.{revision}"), 95)
    assert isinstance(invoice, Invoice)
    return invoice


def registered(invoice: Invoice) -> RegisteredRevision:
    lines, tax_eur = invoice.lines_document(), invoice.tax_eur
    return RegisteredRevision.from_document(str(invoice.id), lines, tax_eur, invoice.snapshot)


def test_with_nothing_registered_it_is_the_whole() -> None:
    corrected = correction(whole(100, revision=2), [])
    assert corrected is not None
    assert corrected.lines == whole(100).lines
    assert corrected.tax_eur == whole(100).tax_eur


def test_nothing_is_made_when_nothing_changed() -> None:
    assert correction(whole(100, revision=2), [registered(whole(100))]) is None


def test_lines_and_tax_may_be_negative() -> None:
    corrected = correction(whole(90, revision=2), [registered(whole(100))])
    assert corrected is not None
    assert corrected.total_eur < 0
    assert corrected.tax_eur < 0
    assert b'"price_eur":"-1.00"' in corrected.body()
    assert b'"-0.00"' not in corrected.body()
    assert corrected.snapshot["corrects"] == ["NU-7.2026-10.1"]


def test_a_change_of_tax_alone_is_corrected() -> None:
    corrected = correction(replace(whole(100, revision=2), tax_eur=Decimal("1.00")), [registered(whole(100))])
    assert corrected is not None
    assert corrected.total_eur == 0
    assert corrected.tax_eur == Decimal("1.00") - whole(100).tax_eur


@given(st.lists(st.integers(0, 500), min_size=1, max_size=6))
def test_the_registered_revisions_add_up_to_the_last_amounts(kwh: list[int]) -> None:
    revisions: list[Invoice] = []
    for number, amount in enumerate(kwh, start=1):
        made = correction(whole(amount, revision=number), [registered(each) for each in revisions])
        revisions += [made] if made is not None else []
    last = whole(kwh[-1])
    for place, line in enumerate(last.lines):
        assert line.price_eur == sum(each.lines[place].price_eur for each in revisions)
    assert sum(each.total_with_tax_eur for each in revisions) == last.total_with_tax_eur
