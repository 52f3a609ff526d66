"""The contract: what docs/spec/altibiz-openapi.yaml promises, asked of the fake ERP, and read by the client."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from altibiz.client import AltibizClient
from altibiz.fake.server import FakeAltibiz
from altibiz.outcomes import Page
from billing.erp_answers import Booking, Outcome, OutcomeKind
from tests.altibiz.openapi_contract import check_answer, document
from tests.support.altibiz_samples import (
    INVOICE,
    TOTAL,
    Clock,
    booking,
    client_of,
    invoice_id,
    offer_body,
    offered,
)
from tests.support.json_schema import problems

SCHEMAS = document()["components"]["schemas"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def erp(clock: Clock) -> Iterator[FakeAltibiz]:
    with FakeAltibiz(now=clock) as serving:
        yield serving


@pytest.fixture
def client(erp: FakeAltibiz) -> Iterator[AltibizClient]:
    asking = client_of(erp.base_url)
    yield asking
    asking.close()


@pytest.fixture
def http(erp: FakeAltibiz) -> Iterator[httpx.Client]:
    """Asks as anyone would; every answer is held against the contract."""

    def checked(answer: httpx.Response) -> None:
        answer.read()
        check_answer(answer)

    with httpx.Client(base_url=erp.base_url, trust_env=False, event_hooks={"response": [checked]}) as asking:
        yield asking


def put(http: httpx.Client, content: bytes, of: str = INVOICE) -> httpx.Response:
    return http.put(f"/network-user-invoices/{of}", content=content)


def test_the_checker_itself_sees_what_is_wrong() -> None:
    right = json.loads(booking())
    assert problems(document(), SCHEMAS["Booking"], right) == []
    assert problems(document(), SCHEMAS["Booking"], {**right, "state": "pondered"})
    assert problems(document(), SCHEMAS["Booking"], {**right, "total_with_tax_eur": 11.3})
    assert problems(document(), SCHEMAS["Booking"], {**right, "bill_id": ""})
    assert problems(document(), SCHEMAS["Booking"], {"state": "initiated"})


def test_the_first_offer_books_and_the_same_again_books_nothing_new(http: httpx.Client) -> None:
    first = put(http, offer_body())
    again = put(http, json.dumps(offered(), indent=2, sort_keys=True).encode())
    asked = http.get(f"/network-user-invoices/{INVOICE}")
    assert [first.status_code, again.status_code, asked.status_code] == [201, 200, 200]
    assert first.json() == again.json() == asked.json()
    assert first.json()["bill_id"] == "ALT-000001"
    assert len(http.get("/network-user-invoices").json()["bookings"]) == 1


def test_another_body_under_a_known_id_conflicts_and_changes_nothing(http: httpx.Client) -> None:
    put(http, offer_body())
    assert put(http, offer_body(total_with_tax_eur="11.31")).status_code == 409
    assert http.get(f"/network-user-invoices/{INVOICE}").json()["total_with_tax_eur"] == "11.30"


def items_with(**changed: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = offered()["items"]
    return [{**items[0], **changed}, *items[1:]]


@pytest.mark.parametrize(
    "changed",
    [
        {"network_user_invoice_id": invoice_id(8)},
        {"network_user_invoice_id": "NU 7.2026-10.1"},
        {"network_user_invoice_id": "NU-0007.2026-13.1"},
        {"sub_project_code": ""},
        {"sub_project_code": "x" * 65},
        {"invoice_date": "2026-02-30"},
        {"invoice_date": "20261101"},
        {"total_eur": 10},
        {"total_eur": "10,00"},
        {"total_eur": "1" * 15},
        {"tax_eur": "1.1234567"},
        {"tax_rate_percent": None},
        {"unknown": "key"},
        {"items": []},
        {"items": offered()["items"][1:]},
        {"items": items_with(ordinal="2.4.")},
        {"items": items_with(ordinal="3.1.")},
        {"items": items_with(name="")},
        {"items": items_with(name="x" * 201)},
        {"items": items_with(unit="x" * 21)},
        {"items": items_with(quantity=1)},
        {"items": items_with(price_eur="1.")},
        {"items": items_with(tax="1")},
    ],
)
def test_an_offer_that_breaks_the_schema_is_refused(http: httpx.Client, changed: dict[str, Any]) -> None:
    assert put(http, offer_body(**changed)).status_code == 422
    assert http.get("/network-user-invoices").json()["bookings"] == []


@pytest.mark.parametrize("key", sorted(offered()))
def test_an_offer_that_lacks_something_is_refused(http: httpx.Client, key: str) -> None:
    lacking = {name: value for name, value in offered().items() if name != key}
    assert put(http, json.dumps(lacking).encode()).status_code == 422


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_a_bad_request(http: httpx.Client, content: bytes) -> None:
    assert put(http, content).status_code == 400


def test_an_offer_that_is_too_long_is_refused(http: httpx.Client) -> None:
    assert put(http, b" " * 1_000_001).status_code == 413


def test_an_unknown_invoice_is_not_found(http: httpx.Client) -> None:
    assert http.get(f"/network-user-invoices/{INVOICE}").status_code == 404


def test_pages_go_from_the_oldest_to_the_last(http: httpx.Client) -> None:
    for number in range(5):
        put(http, offer_body(invoice_id(number)), invoice_id(number))
    seen: list[str] = []
    after: str | None = None
    while True:
        query = {"limit": "2"} if after is None else {"limit": "2", "after": after}
        page = http.get("/network-user-invoices", params=query).json()
        seen += [entry["network_user_invoice_id"] for entry in page["bookings"]]
        if (after := page["next"]) is None:
            break
    assert seen == [invoice_id(number) for number in range(5)]


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"after": "unknown"}])
def test_a_page_that_cannot_be_is_a_bad_request(http: httpx.Client, query: dict[str, str]) -> None:
    assert http.get("/network-user-invoices", params=query).status_code == 400


def test_the_client_reads_each_of_these_answers(erp: FakeAltibiz, client: AltibizClient) -> None:
    assert client.ask(INVOICE, TOTAL).kind is OutcomeKind.ABSENT
    first = client.offer(INVOICE, offer_body(), TOTAL)
    assert (first.kind, first.status) == (OutcomeKind.BOOKED, 201)
    assert first.booking == Booking(INVOICE, "registered", "ALT-000001", None, TOTAL)
    assert client.offer(INVOICE, offer_body(), TOTAL).status == 200
    assert client.ask(INVOICE, TOTAL).booking == first.booking
    assert client.offer(INVOICE, offer_body(tax_eur="1.31"), TOTAL).kind is OutcomeKind.CONFLICT
    assert client.offer(invoice_id(8), offer_body(), TOTAL).kind is OutcomeKind.REFUSED
    assert client.offer(invoice_id(8), b"{", TOTAL).kind is OutcomeKind.REFUSED
    assert client.page() == Page((first.booking,), None)


def test_the_client_pages_through_everything(client: AltibizClient) -> None:
    for number in range(5):
        client.offer(invoice_id(number), offer_body(invoice_id(number)), TOTAL)
    first = client.page(limit=3)
    assert isinstance(first, Page)
    second = client.page(first.next, limit=3)
    assert isinstance(second, Page)
    ids = [found.id for found in first.bookings + second.bookings]
    assert ids == [invoice_id(number) for number in range(5)]
    assert second.next is None


def test_a_token_is_asked_for_where_one_is_given() -> None:
    with FakeAltibiz(token="s3cret") as erp:
        assert client_of(erp.base_url).ask(INVOICE, TOTAL).kind is OutcomeKind.CREDENTIALS
        page = client_of(erp.base_url, token="other").page()
        assert isinstance(page, Outcome)
        assert page.kind is OutcomeKind.CREDENTIALS
        assert client_of(erp.base_url, token="s3cret").ask(INVOICE, TOTAL).kind is OutcomeKind.ABSENT
