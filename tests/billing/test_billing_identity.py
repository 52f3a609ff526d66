"""Ids of invoices and network users, and the check digit of OIBs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.identity import InvoiceId, is_invoice_id, is_network_user_id, is_oib
from billing.periods import Period

network_user_ids = st.from_regex(r"[A-Za-z0-9-]{1,64}", fullmatch=True)


@given(network_user_ids, st.integers(2000, 2100), st.integers(1, 12), st.integers(1, 999))
def test_an_invoice_id_reads_back_as_it_was_built(user: str, year: int, month: int, revision: int) -> None:
    invoice_id = InvoiceId(user, Period(year, month), revision)
    assert InvoiceId.parse(str(invoice_id)) == invoice_id
    assert is_invoice_id(str(invoice_id))
    assert str(invoice_id.next_revision()) == f"{user}.{invoice_id.period}.{revision + 1}"


@pytest.mark.parametrize(
    "text",
    ["NU-7.2026-10", "NU-7.2026-10.0", "NU-7.2026-10.01", "NU-7.2026-13.1", "NU 7.2026-10.1", ".2026-10.1",
     "NU-7.2026-10.1\n", "a" * 65 + ".2026-10.1", "NU.7.2026-10.1", "NU-7.2026-10.-1"],
)  # fmt: skip
def test_what_is_no_invoice_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invoice id"):
        InvoiceId.parse(text)
    assert not is_invoice_id(text)


def test_an_invoice_id_cannot_be_built_from_a_bad_user() -> None:
    with pytest.raises(ValueError, match=r"'no such\.2026-10\.1' is not an invoice id"):
        InvoiceId("no such", Period(2026, 10), 1)


@pytest.mark.parametrize("text", ["", "a b", "a.b", "č", "a\n", "x" * 65, "a_b"])
def test_a_network_user_id_keeps_to_its_pattern(text: str) -> None:
    assert not is_network_user_id(text)
    assert is_network_user_id("NU-0007")


@pytest.mark.parametrize("oib", ["93104410010", "93104410028", "93104420111", "93104420226"])
def test_an_oib_is_wrong_with_any_other_digit_in_any_place(oib: str) -> None:
    assert is_oib(oib)
    for place, right in enumerate(oib):
        assert not any(is_oib(oib[:place] + d + oib[place + 1 :]) for d in "0123456789" if d != right)


@pytest.mark.parametrize("text", ["", "9310441001", "931044100100", "9310441001x", "٩3104410010"])
def test_an_oib_has_eleven_digits(text: str) -> None:
    assert not is_oib(text)
