"""The control room's pages of invoices: the list, and one invoice with its history and what may be done with it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from billing.states import State
from web.auth import Session
from web.formatting import at, cell, chip, number, percent
from web.layout import form_key
from web.markup import Html, join, tag

PAGE_OF = 50
REASON_CHARACTERS = 500

_Document = Mapping[str, Any]


def invoices_list(found: Sequence[_Document], asked: Mapping[str, str], counts: Mapping[str, int]) -> Iterator[Html]:
    """The invoices that were found for what was asked: `state`, `period`, `beginning`."""
    yield tag("h1", "Invoices")
    every: tuple[tuple[str, str, int], ...] = (("", "all", sum(counts.values())),)
    tabs = [*every, *((state.value, state.value, counts.get(state, 0)) for state in State)]
    yield tag(
        "nav",
        [
            tag(
                "a",
                name,
                " ",
                tag("span", number(many), class_="count"),
                href=_address({**asked, "state": state}),
                aria_current="page" if asked.get("state", "") == state else None,
                class_=f"tab {state or 'all'}",
            )
            for state, name, many in tabs
        ],
        class_="tabs",
        aria_label="States",
    )
    yield _search(asked)
    if not found:
        yield tag("p", "there is none", class_="quiet")
        return
    yield _table(
        ("invoice", "state", "EUR with tax", "since", "next try", "why"),
        [
            (
                tag("a", each["id"], href=f"/room/invoices/{each['id']}"),
                chip(each["state"]),
                cell(each["total_with_tax_eur"]),
                at(each["updated_at"]),
                at(each["next_attempt_at"]) or "-",
                cell(_why(each)),
            )
            for each in found[:PAGE_OF]
        ],
        numbers=(2,),
        css_class="cards",
    )
    if len(found) > PAGE_OF:
        last = found[PAGE_OF - 1]["id"]
        yield tag("p", tag("a", "Next page", href=_address({**asked, "after": last}), rel="next", class_="next"))


def _search(asked: Mapping[str, str]) -> Html:
    return tag(
        "form",
        tag("input", type="hidden", name="state", value=asked["state"]) if asked.get("state") else None,
        tag("label", "Id begins with", for_="beginning"),
        tag("input", id="beginning", name="beginning", value=asked.get("beginning", ""), maxlength=90),
        tag("label", "Month", for_="period"),
        tag(
            "input",
            id="period",
            name="period",
            value=asked.get("period", ""),
            placeholder="YYYY-MM",
            maxlength=7,
            size=8,
        ),
        tag("button", "Look"),
        class_="search",
        role="search",
        method="get",
        action="/room/invoices",
    )


def _address(asked: Mapping[str, str]) -> str:
    given = {name: value for name, value in asked.items() if value}
    return f"/room/invoices?{urlencode(given)}" if given else "/room/invoices"


def _why(invoice: _Document) -> str | None:
    if invoice["held_code"]:
        return f"{invoice['held_code']}: {invoice['held_reason']}"
    return invoice["abort_reason"] and str(invoice["abort_reason"])


def one_invoice(invoice: _Document, session: Session, said: str | None) -> Iterator[Html]:
    """An invoice from what is to be done to what it was computed from; `said` is what has just become of an order."""
    yield tag("h1", invoice["id"], " ", chip(invoice["state"]))
    if said:
        yield tag("p", said, class_="said", role="status")
    if _why(invoice):
        yield tag("p", cell(_why(invoice)), class_="problem" if invoice["state"] == "held" else "note")
    if invoice["state"] == State.HELD:
        yield _retry(invoice["id"], session)
    yield tag("dl", [(tag("dt", name), tag("dd", value)) for name, value in _facts(invoice)], class_="facts")
    yield tag("h2", "History")
    yield tag("ol", [_step(each) for each in reversed(invoice["history"])], class_="history")
    if invoice["exchanges"]:
        yield tag("h2", "Exchanges with the ERP")
        rows = [
            (at(each["first_at"]), at(each["last_at"]), each["times"], each["method"], cell(each["status"]),
             each["outcome"], cell(each["detail"]))
            for each in invoice["exchanges"]
        ]  # fmt: skip
        titles = ("first", "last", "times", "method", "status", "outcome", "detail")
        yield _table(titles, rows, numbers=(2,), css_class="cards")
    if invoice["lines"]:
        yield tag("h2", "Lines")
        yield _lines(invoice)
    for calculation in invoice["calculations"]:
        yield _calculation(calculation)


def _retry(invoice_id: str, session: Session) -> Html:
    return tag(
        "form",
        form_key(session),
        tag("h2", "Let it go on"),
        tag(
            "p",
            "It goes back to where it stood, with its counts reset. If the ERP may have it, the ERP is asked first.",
        ),
        tag("label", "Reason", for_="reason"),
        tag("input", id="reason", name="reason", required=True, maxlength=REASON_CHARACTERS, autocomplete="off"),
        tag("button", "Retry"),
        method="post",
        action=f"/room/invoices/{invoice_id}/retry",
        class_="order",
    )


def _facts(invoice: _Document) -> Iterator[tuple[str, Any]]:
    snapshot = invoice["snapshot"]
    yield "network user", cell(snapshot["network_user"]["title"]) if snapshot else invoice["network_user_id"]
    if snapshot:
        yield "location", cell(snapshot["location"]["title"])
    yield "period", invoice["period"]
    if invoice["total_with_tax_eur"] is not None:
        yield "to pay", (tag("b", cell(invoice["total_with_tax_eur"])), " EUR")
    if invoice["invoice_date"]:
        yield "date", invoice["invoice_date"]
    if invoice["bill_id"]:
        yield "bill", cell(invoice["bill_id"])
    yield "offers", f"{number(invoice['attempts'])} begun"
    yield "in this state since", at(invoice["updated_at"])
    if invoice["next_attempt_at"]:
        yield "next try", at(invoice["next_attempt_at"])


def _step(entry: _Document) -> Html:
    came = (chip(entry["from_state"]), " → ") if entry["from_state"] else None
    return tag(
        "li",
        tag("p", came, chip(entry["to_state"])),
        tag("p", cell(entry["reason"])),
        tag("p", at(entry["at"]), ", ", cell(entry["actor"]), class_="small"),
        class_=entry["to_state"],
    )


def _lines(invoice: _Document) -> Html:
    rows = [
        (line["ordinal"], line["name"], line["unit"], line["quantity"], line["price_eur"]) for line in invoice["lines"]
    ]
    totals = (
        ("total", invoice["total_eur"]),
        (f"tax {percent(invoice['tax_rate_percent'])} %", invoice["tax_eur"]),
        ("to pay", invoice["total_with_tax_eur"]),
    )
    foot = [
        tag("tr", tag("th", name, colspan=2, scope="row"), tag("td"), tag("td"), tag("td", cell(amount), class_="n"))
        for name, amount in totals
    ]
    return _table(("no.", "what", "unit", "quantity", "EUR"), rows, numbers=(3, 4), foot=foot, css_class="lines")


def _calculation(calculation: _Document) -> Html:
    names = ("item", "min", "max", "amount", "price_eur", "total_eur")
    rows = [[cell(each[name]) for name in names] for each in calculation["items"]]
    title = (
        f"{calculation['measurement_location_id']}, meter {calculation['meter_id']}, {calculation['catalogue_kind']}"
    )
    table = _table(("item", "from", "to", "amount", "price", "EUR"), rows, numbers=range(1, 6))
    return tag("details", tag("summary", "Computed at ", cell(title)), table)


def _table(
    titles: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    numbers: Sequence[int] = (),
    foot: Sequence[Html] = (),
    css_class: str | None = None,
) -> Html:
    """A table that moves sideways within itself where it is too wide, unless its class knows better."""
    right = dict.fromkeys(numbers, "n")
    head = tag("tr", [tag("th", title, scope="col", class_=right.get(place)) for place, title in enumerate(titles)])
    body = [
        tag(
            "tr",
            [tag("td", value, class_=right.get(place), data_title=titles[place]) for place, value in enumerate(row)],
        )
        for row in rows
    ]
    table = tag(
        "table", tag("thead", head), tag("tbody", body), tag("tfoot", *foot) if foot else None, class_=css_class
    )
    return (
        tag("div", table, class_="wide", role="region", tabindex=0, aria_label=titles[0])
        if not css_class
        else join(table)
    )
