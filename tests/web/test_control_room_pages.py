"""The control room without a daemon: what it lets in, and that no text becomes markup on any of its pages."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markupsafe import Markup
from starlette.requests import Request

from billing.states import State
from cli.report import COLUMNS
from persistence.invoices.listing import Hour
from web.auth import (
    FAILURES_AT_MOST,
    LOCKOUT_SECONDS,
    SESSION_SECONDS,
    Authenticator,
    TooManyAttempts,
    is_cross_site,
    is_known_host,
)
from web.formatting import about
from web.overview import parts
from web.routes import list_context
from web.templating import render

TOKEN = "a-token-for-tests"
NASTY = """<script>alert(1)</script>'"><img src=x onerror="alert(1)">&amp;"""
AROUND = {"instance": NASTY, "form_key": None}
AT = datetime(2026, 11, 15, 12, tzinfo=UTC)


class Reader(HTMLParser):
    """What a browser would make of a page: its elements, their attributes, its text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(str(markup))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(), st.text())
def test_text_stays_text_wherever_it_is_put(inside: str, attribute: str) -> None:
    made = render("sign_in.html", problem=f"-{inside}", next_page=attribute)
    read = Reader(made)
    assert read.elements == Reader(render("sign_in.html", problem="-", next_page="")).elements
    assert f"-{inside}" in read.text
    assert ("value", attribute) in read.attributes


def test_markup_is_not_escaped_twice() -> None:
    made = render(
        "overview.html", **AROUND, title="a & b", here="", parts={"one": Markup("<b>a &amp; b</b>"), "two": "<hr>"}
    )
    assert "<b>a &amp; b</b>" in made
    assert "&lt;hr&gt;" in made
    assert "<title>a &amp; b · " in made


def test_a_name_that_a_page_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("sign_in.html", next_page="")


def status(**changes: Any) -> dict[str, Any]:
    nasty = {"name": NASTY, "state": "failed", "restarts": 2, "last_reason": NASTY, "children": []}
    alarm = {
        "id": "1", "code": NASTY, "key": NASTY, "severity": "major", "summary": NASTY, "count": 2,
        "raised_at": "2026-11-15T12:00:00Z", "acked_at": None,
        "context": {"invoices": [NASTY, "user-1.2026-10.1"], "reason": NASTY},
    }  # fmt: skip
    stuck = {"state": "held", "code": NASTY, "invoices": 2, "seconds": 5.0, "reason": NASTY, "reasons": 2}
    return {
        "running": True, "well": False, "verdict": NASTY, "instance": NASTY, "version": NASTY, "since": AT,
        "configuration": {"path": NASTY, "loaded_at": AT}, "database": {"state": NASTY, "since": AT},
        "erp": {"state": NASTY, "breaker": NASTY, "in_flight": 1, "queued": None, "last_success_at": None},
        "invoices": {"held": 2, "registered": 1000}, "oldest_seconds": {"held": 7200.0}, "waiting": 0,
        "periods": {"2026-10": {"registered": 1000, "held": 2}}, "stuck": [stuck], "alarms": [alarm],
        "tree": {"name": "root", "state": "up", "restarts": 0, "last_reason": None, "children": [nasty]},
    } | changes  # fmt: skip


def hours(*ages: float) -> list[Hour]:
    return [Hour(AT + timedelta(hours=place), 3, 2, 1, 0, age) for place, age in enumerate(ages)]


def invoice(**changes: Any) -> dict[str, Any]:
    return {
        "id": "user-1.2026-10.1", "network_user_id": "user-1", "period": "2026-10", "state": "held", "bill_id": NASTY,
        "held_code": "erp_conflict", "held_reason": NASTY, "abort_reason": NASTY, "total_eur": 1, "tax_eur": 1,
        "tax_rate_percent": Decimal(25), "total_with_tax_eur": 2, "invoice_date": AT.date(), "attempts": 1,
        "next_attempt_at": None, "updated_at": AT,
        "snapshot": {"network_user": {"title": NASTY}, "location": {"title": NASTY}},
        "lines": [{"ordinal": "1.1.", "name": NASTY, "unit": NASTY, "quantity": "1", "price_eur": "1.00"}],
        "calculations": [{"measurement_location_id": NASTY, "meter_id": NASTY, "catalogue_kind": NASTY, "items": [
            {"item": NASTY, "min": "0", "max": "1", "amount": "1", "price_eur": "1", "total_eur": "1"}]}],
        "history": [{"at": AT, "from_state": "sent", "to_state": "held", "actor": NASTY, "reason": NASTY}],
        "exchanges": [{"first_at": AT, "last_at": AT, "times": 1, "method": "PUT", "status": None, "outcome": NASTY,
                       "detail": NASTY}],
    } | changes  # fmt: skip


def pages() -> Iterator[str]:
    around = AROUND | {"title": NASTY, "here": "/room"}
    asked = {"state": "", "period": NASTY, "beginning": NASTY}
    yield from parts(status(), hours(0.0, 60.0), {State.SENT}).values()
    yield from parts(status(), NASTY, set()).values()
    yield render("invoice_list.html", **around, **list_context([invoice()] * 60, asked, {}))
    yield render("invoice.html", **around, invoice=invoice(), said=NASTY, reason_characters=500)
    yield render("overview.html", **around, parts={NASTY: NASTY})
    yield render("problem.html", **around, problem=NASTY)
    yield render("sign_in.html", next_page=NASTY, problem=NASTY)
    party = {"legal_person": dict.fromkeys(("name", "address", "postal_code", "city", "oib"), NASTY)}
    yield render("invoice_print.html", invoices=[invoice(snapshot={"location": party, "network_user": party})])
    rows = [dict.fromkeys(COLUMNS, NASTY)]
    yield render("month_report.html", period=NASTY, head=NASTY, columns=COLUMNS, number_columns=(), rows=rows)


def test_what_others_sent_shows_as_text_on_every_page() -> None:
    seen = 0
    for made in pages():
        read = Reader(made)
        assert "img" not in read.elements
        assert ("src", "x") not in read.attributes
        assert read.elements.count("script") == made.count('<script src="/room/app.js" defer></script>')
        assert not any(name.startswith("on") or name == "style" for name, _ in read.attributes)
        seen += read.text.count(NASTY)
    assert seen > 30


def test_charts_can_be_drawn_of_a_day_without_anything() -> None:
    drawn = parts(status(invoices={}), [Hour(AT, 0, 0, 0, 0, 0.0)] * 24, set())
    assert "no invoice is open" in drawn["charts"]
    assert "0 registered, 0 held or aborted in the last 24 hours" in drawn["charts"]
    assert "shares" not in drawn["pipeline"].split('class="months"')[0]


def test_only_the_ways_that_invoices_go_are_in_motion() -> None:
    assert parts(status(), hours(0), {State.SENT, State.INITIATED})["pipeline"].count("way moving") == 2
    assert parts(status(), hours(0), set())["pipeline"].count("way moving") == 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "under 2"), (119, "under 2"), (120, "2\u202fmin"), (7200, "2\u202fh"), (172800, "2\u202fd")],
)
def test_lengths_of_time_are_said_in_one_unit(seconds: float, said: str) -> None:
    assert about(seconds).startswith(said)


# The authenticator


class Now:
    """The monotonic clock, put forward by hand."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def request(**headers: str) -> Request:
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/room", "headers": given, "query_string": b""})


def test_the_token_opens_a_session_that_ends_in_time_with_the_token_and_on_signing_out() -> None:
    token, now = [TOKEN], Now()
    authenticator = Authenticator(lambda: token[0], "one", now)

    def sign_in() -> Request:
        return request(cookie=f"{authenticator.cookie}={authenticator.sign_in(TOKEN, 'ana')}")

    browser = sign_in()
    session = authenticator.authenticate(browser)
    assert session is not None
    assert session.id_hash is not None
    assert session.form_key
    assert session.owns_form_key(session.form_key)
    assert not session.owns_form_key("")
    now.seconds += SESSION_SECONDS + 1
    assert authenticator.authenticate(browser) is None
    browser = sign_in()
    token[0] = "another"
    assert authenticator.authenticate(browser) is None
    token[0] = TOKEN
    session = authenticator.authenticate(browser)
    assert session is not None
    assert authenticator.is_valid(session)
    authenticator.sign_out(session)
    assert authenticator.authenticate(browser) is None
    assert not authenticator.is_valid(session)


def test_nobody_is_with_session_without_the_right_token() -> None:
    authenticator = Authenticator(lambda: TOKEN, "one", Now())
    assert authenticator.sign_in("", "ana") is None
    assert authenticator.authenticate(request()) is None
    assert authenticator.authenticate(request(cookie=f"{authenticator.cookie}=")) is None
    assert authenticator.authenticate(request(cookie=f"{authenticator.cookie}={TOKEN}")) is None
    assert authenticator.authenticate(request(authorization=f"Bearer {TOKEN}x")) is None
    assert authenticator.authenticate(request(authorization=f"Basic {TOKEN}")) is None
    session = authenticator.authenticate(request(authorization=f"bearer {TOKEN}"))
    assert session is not None
    assert session.owns_form_key("")
    disabled = Authenticator(lambda: None, "one", Now())
    assert not disabled.enabled
    assert disabled.sign_in("", "ana") is None


def test_after_some_wrong_tokens_the_next_ones_have_to_wait_but_nobody_who_has_the_right_one() -> None:
    now = Now()
    authenticator = Authenticator(lambda: TOKEN, "one", now)
    browser = request(cookie=f"{authenticator.cookie}={authenticator.sign_in(TOKEN, 'ana')}")
    for _ in range(FAILURES_AT_MOST):
        assert authenticator.sign_in("wrong", "ana") is None
    with pytest.raises(TooManyAttempts):
        authenticator.sign_in("wrong", "ana")
    with pytest.raises(TooManyAttempts):
        authenticator.authenticate(request(authorization="Bearer wrong"))
    assert authenticator.sign_in(TOKEN, "ana") is not None
    assert authenticator.authenticate(request(authorization=f"Bearer {TOKEN}")) is not None
    session = authenticator.authenticate(browser)
    assert session is not None
    assert session.name == "ana"
    now.seconds += LOCKOUT_SECONDS + 1
    assert authenticator.sign_in("wrong", "ana") is None


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({}, False),
        ({"sec_fetch_site": "same-origin", "origin": "http://here:9464"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({"sec_fetch_site": "cross-site"}, True),
        ({"sec_fetch_site": "same-site"}, True),
        ({"origin": "http://here:9464"}, False),
        ({"origin": "http://here:9465"}, True),
        ({"origin": "https://elsewhere"}, True),
        ({"origin": "null"}, True),
        ({"origin": "http://[127.0.0.1"}, True),
    ],
)
def test_what_a_page_of_another_site_sends_is_known(headers: dict[str, str], foreign: bool) -> None:
    assert is_cross_site(request(host="here:9464", **headers), ()) is foreign


def test_a_proxy_may_change_the_host_if_its_name_is_configured() -> None:
    forwarded = request(host="127.0.0.1:9464", origin="https://Billing.example")
    assert is_cross_site(forwarded, ())
    assert not is_cross_site(forwarded, ("billing.example",))


@pytest.mark.parametrize(
    ("host", "known"),
    [
        (None, True), ("127.0.0.1:9464", True), ("[::1]:9464", True), ("localhost:9464", True), ("billing-1", True),
        ("room.localhost", True), ("Billing.Example:443", True), ("billing.example.", True), ("", True),
        ("evil.example:9464", False), ("127.0.0.1.evil.example", False), ("billing.example.evil.com", False),
        ("[::1", False), ("a@b.example", False),
    ],
)  # fmt: skip
def test_a_name_that_is_not_ours_is_refused(host: str | None, known: bool) -> None:
    assert is_known_host(host, ("billing.example",)) is known
