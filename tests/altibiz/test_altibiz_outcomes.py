"""What each answer of the ERP means, row by row and for any answer at all."""

import json
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from altibiz.outcomes import Page, classify, classify_page, retry_after_seconds
from billing.erp_answers import Booking, Method, Outcome, OutcomeKind, not_sent
from tests.support.altibiz_samples import INVOICE, TOTAL, Clock, booking

NOW = Clock()
JSON = {"content-type": "application/json"}


def outcome(
    body: bytes = b"", status: int = 200, method: Method = "PUT", headers: dict[str, str] | None = None
) -> Outcome:
    return classify(method, INVOICE, TOTAL, status, JSON if headers is None else headers, body, NOW)


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 599, 429, 408])
def test_it_is_the_erp_and_not_the_invoice(method: Method, status: int) -> None:
    assert outcome(booking(), status, method).kind is OutcomeKind.ERROR


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize("status", [401, 403])
def test_it_is_our_credentials(method: Method, status: int) -> None:
    assert outcome(b"", status, method).kind is OutcomeKind.CREDENTIALS


@pytest.mark.parametrize(
    ("status", "to_put", "to_get"),
    [
        (400, OutcomeKind.REFUSED, OutcomeKind.NOT_CONTRACT),
        (413, OutcomeKind.REFUSED, OutcomeKind.NOT_CONTRACT),
        (422, OutcomeKind.REFUSED, OutcomeKind.NOT_CONTRACT),
        (409, OutcomeKind.CONFLICT, OutcomeKind.NOT_CONTRACT),
        (404, OutcomeKind.NOT_CONTRACT, OutcomeKind.ABSENT),
        (201, OutcomeKind.BOOKED, OutcomeKind.NOT_CONTRACT),
        (200, OutcomeKind.BOOKED, OutcomeKind.BOOKED),
    ],
)
def test_a_status_means_one_thing_to_an_offer_and_another_to_a_question(
    status: int, to_put: OutcomeKind, to_get: OutcomeKind
) -> None:
    assert outcome(booking(), status, "PUT").kind is to_put
    assert outcome(booking(), status, "GET").kind is to_get


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize("status", [202, 204, 206, 301, 302, 307, 308, 405, 410, 418, 600, 999, 101])
def test_a_status_without_a_row_is_another_server(method: Method, status: int) -> None:
    assert outcome(booking(), status, method).kind is OutcomeKind.NOT_CONTRACT


def test_the_status_decides_before_the_body() -> None:
    assert outcome(booking(), 500).booking is None
    assert outcome(b"\xff\xfe", 422).kind is OutcomeKind.REFUSED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"booked, thank you",
        b"<html></html>",
        booking()[:40],
        b"[]",
        b"null",
        b'"registered"',
        b"{}",
        b'{"result": "ok"}',
        b"[" * 100_000,
        b"1" * 10_000,
        b"NaN",
        booking().decode().encode("utf-16"),
        b"\xef\xbb\xbf" * 2 + booking(),
        booking(total_with_tax_eur=11.30),
        booking(state=None),
        b'{"state": "initiated", ' + booking()[1:],
        json.dumps({"network_user_invoice_id": INVOICE, "state": "registered", "bill_id": "A"}).encode(),
    ],
)
def test_an_answer_that_says_nothing_about_an_invoice(body: bytes) -> None:
    assert outcome(body).kind is OutcomeKind.NONSENSE


@pytest.mark.parametrize("charset", ["utf-16", "iso-8859-2", "windows-1250", "nonsense"])
def test_a_charset_that_json_has_not_says_nothing(charset: str) -> None:
    assert outcome(booking(), headers={"content-type": f'application/json; Charset="{charset}"'}).kind is (
        OutcomeKind.NONSENSE
    )


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/json;charset=UTF-8", ""])
def test_utf_8_is_taken_by_any_of_its_names(content_type: str) -> None:
    assert outcome(booking(), headers={"content-type": content_type}).kind is OutcomeKind.BOOKED


@pytest.mark.parametrize(
    "changed",
    [
        {"network_user_invoice_id": "NU-0008.2026-10.1"},
        {"total_with_tax_eur": "11.31"},
        {"total_with_tax_eur": "-11.30"},
        {"total_with_tax_eur": "eleven"},
        {"total_with_tax_eur": "1e1"},
        {"total_with_tax_eur": "11.30\n"},
        {"state": "pondered"},
        {"state": "Registered"},
        {"bill_id": None},
        {"bill_id": ""},
        {"bill_id": "x" * 65},
        {"bill_id": 7},
        {"bill_id": "A\0B"},
        {"bill_id": "A\x1b[2J"},
        {"bill_id": "A\x9b2J"},
        {"bill_id": "A\u202e1"},
        {"bill_id": "A\n1"},
        {"bill_id": "A\ud800"},
        {"abort_reason": "though registered"},
        {"state": "initiated"},
        {"state": "aborted", "bill_id": None},
        {"state": "aborted", "bill_id": None, "abort_reason": ""},
        {"state": "aborted", "bill_id": None, "abort_reason": "x" * 501},
        {"state": "aborted", "abort_reason": "with a bill_id"},
        {"state": "initiated", "bill_id": None, "abort_reason": "not yet"},
    ],
)
def test_an_answer_that_is_wrong_about_the_invoice(changed: dict[str, Any]) -> None:
    found = outcome(booking(**changed))
    assert found.kind is OutcomeKind.INCORRECT
    assert found.booking is None
    assert found.detail


def test_each_state_of_a_right_booking_is_taken() -> None:
    registered = outcome(booking())
    assert registered.booking == Booking(INVOICE, "registered", "ALT-000001", None, TOTAL)
    initiated = outcome(booking(state="initiated", bill_id=None))
    assert initiated.booking == Booking(INVOICE, "initiated", None, None, TOTAL)
    aborted = outcome(booking(state="aborted", bill_id=None, abort_reason="no such project"))
    assert aborted.booking == Booking(INVOICE, "aborted", None, "no such project", TOTAL)


def test_totals_are_equal_by_value_and_unknown_ones_not_compared() -> None:
    assert outcome(booking(total_with_tax_eur="11.3")).kind is OutcomeKind.BOOKED
    other = booking(total_with_tax_eur="99.00")
    assert classify("GET", INVOICE, None, 200, JSON, other, NOW).kind is OutcomeKind.BOOKED


def test_absent_fields_are_as_good_as_null() -> None:
    bare = {"network_user_invoice_id": INVOICE, "state": "initiated", "total_with_tax_eur": "11.30"}
    assert outcome(json.dumps(bare).encode()).kind is OutcomeKind.BOOKED


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("86400", 3600),
        ("9" * 18, 3600),
        ("Sun, 15 Nov 2026 00:01:30 GMT", 90),
        ("Sat, 14 Nov 2026 00:00:00 GMT", 0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 3600),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Sun, 15 Nov 2026 00:01:30", None),
        ("Sun, 99 Nov 2026 00:01:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_an_hour_at_most(text: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": text}, NOW) == seconds


@pytest.mark.parametrize("years", [-10, 10])
def test_item_9_retry_after_goes_by_the_clock_of_the_erp_where_it_tells_it(years: int) -> None:
    """Ours is years off: an answer that wants 90 s of patience wants 90 s."""
    headers = {"date": "Sun, 15 Nov 2026 00:00:00 GMT", "retry-after": "Sun, 15 Nov 2026 00:01:30 GMT"}
    wrong = NOW().replace(year=2026 + years)
    assert retry_after_seconds(headers, lambda: wrong) == 90


@pytest.mark.parametrize("date", ["", "soon", "Sun, 15 Nov 2026 00:00:00"])
def test_item_9_retry_after_goes_by_our_clock_where_the_erp_tells_no_time(date: str) -> None:
    headers = {"date": date, "retry-after": "Sun, 15 Nov 2026 00:01:30 GMT"}
    assert retry_after_seconds(headers, NOW) == 90


def test_retry_after_speaks_for_the_whole_gateway_on_429_and_503_only() -> None:
    later = {**JSON, "retry-after": "30"}
    assert outcome(b"", 429, headers=later).pauses_gateway
    assert outcome(b"", 503, headers=later).pauses_gateway
    assert not outcome(b"", 503).pauses_gateway
    on_500 = outcome(b"", 500, headers=later)
    assert on_500.retry_after_seconds == 30
    assert not on_500.pauses_gateway


def test_a_refusal_says_why() -> None:
    problem = json.dumps({"title": "Unprocessable", "detail": "items.0.name\0 is empty"}).encode()
    assert outcome(problem, 422).detail == "422: Unprocessable: items.0.name  is empty"
    assert "elsewhere.example" in outcome(b"", 302, headers={"location": "http://elsewhere.example/"}).detail


def test_what_was_given_back_never_left() -> None:
    assert not_sent("PUT", "lease too short") == Outcome(
        OutcomeKind.NOT_SENT, "PUT", detail="lease too short", request_left=False
    )


ANY_HEADERS = st.dictionaries(st.sampled_from(["content-type", "retry-after", "location"]), st.text(max_size=40))
ALMOST = st.fixed_dictionaries(
    {},
    optional={
        "network_user_invoice_id": st.sampled_from([INVOICE, "NU-1.2026-10.1", 1, None]),
        "state": st.sampled_from(["initiated", "registered", "aborted", "other", None, 1]),
        "bill_id": st.one_of(st.none(), st.text(max_size=66), st.integers()),
        "abort_reason": st.one_of(st.none(), st.text(max_size=5), st.booleans()),
        "total_with_tax_eur": st.sampled_from(["11.30", "11.3", "11.31", "NaN", 11.3, None]),
    },
)


def is_exactly_right(value: object, total: Decimal) -> bool:
    """The contract's rule about a booking, said a second time and another way."""
    if not isinstance(value, dict) or value.get("network_user_invoice_id") != INVOICE:
        return False
    if value.get("total_with_tax_eur") not in {str(total), str(total.normalize())}:
        return False
    bill_id, reason = value.get("bill_id"), value.get("abort_reason")
    match value.get("state"):
        case "initiated":
            return bill_id is None and reason is None
        case "registered":
            return isinstance(bill_id, str) and 1 <= len(bill_id) <= 64 and reason is None
        case "aborted":
            return isinstance(reason, str) and 1 <= len(reason) <= 500 and bill_id is None
    return False


@given(st.sampled_from(get_args(Method)), st.integers(-1, 1000), ANY_HEADERS, st.binary(max_size=200))
@example("GET", 503, {"retry-after": "Mon, 01 Jan 0001 00:00:00 +9999"}, b"")
def test_no_answer_at_all_raises_or_is_taken_for_a_booking(
    method: Method, status: int, headers: dict[str, str], body: bytes
) -> None:
    found = classify(method, INVOICE, TOTAL, status, headers, body, NOW)
    assert found.kind is not OutcomeKind.BOOKED
    assert len(found.detail) <= 520
    assert isinstance(classify_page(status, headers, body, NOW), Outcome)


@given(ALMOST, st.sampled_from([200, 201, 204, 404, 500]))
def test_a_booking_is_taken_only_if_exactly_right(value: dict[str, Any], status: int) -> None:
    found = classify("PUT", INVOICE, TOTAL, status, JSON, json.dumps(value).encode(), NOW)
    if found.kind is OutcomeKind.BOOKED:
        assert status in (200, 201)
        assert is_exactly_right(value, TOTAL)
    elif status in (200, 201) and is_exactly_right(value, TOTAL):
        assert any("\0" in str(text) for text in value.values())


def test_a_page_is_read_as_it_is() -> None:
    entries = [json.loads(booking()), json.loads(booking("NU-0008.2026-10.1", bill_id=None))]
    body = json.dumps({"bookings": entries, "next": "NU-0008.2026-10.1"}).encode()
    page = classify_page(200, JSON, body, NOW)
    assert isinstance(page, Page)
    assert [found.id for found in page.bookings] == [INVOICE, "NU-0008.2026-10.1"]
    assert page.next == "NU-0008.2026-10.1"


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"bookings": []}', b'{"bookings": [1], "next": null}', b"x"])
def test_what_is_no_page_is_nonsense(body: bytes) -> None:
    found = classify_page(200, JSON, body, NOW)
    assert isinstance(found, Outcome)
    assert found.kind is OutcomeKind.NONSENSE


def test_a_missing_page_is_another_server() -> None:
    found = classify_page(404, JSON, b"", NOW)
    assert isinstance(found, Outcome)
    assert found.kind is OutcomeKind.NOT_CONTRACT
