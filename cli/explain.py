"""`billingd invoices explain`: how an invoice came to each of its cents, in words and figures.

Every figure is computed again from the snapshot, so an explanation that differs from what is stored says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import typer

from billing.calculation import FREE_REACTIVE_SHARE, Amount, amounts, price
from billing.catalogues import Item
from billing.corrections import RegisteredRevision
from billing.instants import format_instant
from billing.invoice import LINES
from billing.periods import QUARTER_HOUR
from billing.recomputation import rounding_of
from billing.rounding import Rounding, format_plain
from billing.segments import Segment, stored_segments
from cli.database import database
from cli.invocation import CommandFailed, InvoiceArgument, configuration
from cli.output import columns, print_lines
from persistence.invoices.listing import show_invoices
from persistence.invoices.next_revisions import registered_revisions
from web.formatting import cell
from web.invoice_tables import gap_words, segment_words


def explain(context: typer.Context, invoice_id: InvoiceArgument) -> None:
    """Explain an invoice, from the readings to each cent.

    All of it out of what is stored with the invoice; each step is computed again and held against it.
    """
    with database(configuration(context).settings, "invoices explain") as opened, opened.transaction() as connection:
        found = show_invoices(connection, [invoice_id])
        corrects = found[0]["snapshot"].get("corrects", []) if found else []
        registered = registered_revisions(connection, corrects)
    if not found:
        raise CommandFailed(f"{invoice_id}: there is no such invoice")
    (invoice,) = found
    if not invoice["lines"]:
        why = f": {invoice['held_reason']}" if invoice["held_reason"] else ""
        raise CommandFailed(f"{invoice_id}: it is {invoice['state']}, and nothing of it is calculated{why}")
    print_lines(explanation_lines(invoice, registered))


_Document = Mapping[str, Any]


def explanation_lines(invoice: _Document, registered: Sequence[RegisteredRevision]) -> Iterator[str]:
    """The steps, line by line; `registered` are the revisions that this one corrects."""
    snapshot = invoice["snapshot"]
    yield f"{invoice['id']}: {snapshot['network_user']['title']}, period {invoice['period']}"
    yield f"from {snapshot['period_start']} to {snapshot['period_end']} ({snapshot['time_zone']})"
    for remark in snapshot.get("remarks", ()):
        yield f"remark: {cell(remark)}"
    places = {each["id"]: each for each in snapshot["measurement_locations"]}
    for number, calculation in enumerate(invoice["calculations"], 1):
        yield ""
        yield from _place(number, calculation, places[calculation["measurement_location_id"]], snapshot)
    yield ""
    yield from _invoice_lines(invoice, registered)
    yield ""
    yield from _totals(invoice, registered)


def _place(number: int, calculation: _Document, place: _Document, snapshot: _Document) -> Iterator[str]:
    segments, rounding = stored_segments(place, snapshot), rounding_of(snapshot)
    meters = " and ".join(dict.fromkeys(each.meter_id for each in segments))
    yield f"{number}. Measurement location {place['id']} ({cell(place['title'])}), meter {meters}"
    supply = snapshot["regulatory_catalogue"]
    yield (
        f"   prices: {_catalogue(place['catalogue'])} ({calculation['catalogue_kind']}) for the network, "
        f"{_catalogue(supply)} for supply"
    )
    for which, segment in enumerate(segments, 1):
        yield ""
        if "segments" in place:
            yield f"   segment {which}: " + segment_words(segment.names())
        yield from _registers(segment)
    for gap in place.get("gaps", ()):
        yield "   " + gap_words(gap)
    yield ""
    has_it_at_end = place.get("has_it_at_end", True)
    found = amounts(segments, rounding, has_it_at_end=has_it_at_end)
    for item in calculation["items"]:
        kind = Item(item["item"])
        yield f"   {LINES[kind][1]} ({kind})"
        for step in (*_amount(item, found[kind], segments), _priced(item, rounding)):
            yield f"      {step}"


def _registers(segment: Segment) -> Iterator[str]:
    start, end = (registers.to_document() for registers in (segment.at_start, segment.at_end) if registers)
    names = [name for name in start if not name.startswith("active_export")]
    rows = [(name, start[name], end[name], end[name] - start[name]) for name in names]
    titles = ("register", "start", "end", "difference")
    yield from columns(titles, rows, right=titles[1:], indent="   ")


def _catalogue(catalogue: _Document) -> str:
    since = f" since {catalogue['valid_from']}" if catalogue["valid_from"] else ""
    return f"catalogue {catalogue['id']}{since}"


def _amount(item: _Document, of: Amount, segments: Sequence[Segment]) -> Iterator[str]:
    if of.register is not None:
        for which, (segment, (low, high)) in enumerate(zip(segments, of.parts, strict=True), 1):
            start, end = (getattr(each, of.register) for each in (segment.at_start, segment.at_end))
            where = f"segment {which}, " if len(segments) > 1 else ""
            yield f"{where}{of.register}: {start} / 1000 = {low} at the start, {end} / 1000 = {high} at the end"
        terms = [f"{high} - {low}" for low, high in of.parts]
        sum_of_them = terms[0] if len(terms) == 1 else " + ".join(f"({term})" for term in terms)
        yield _checked(f"{sum_of_them} = {of.difference}, rounded", of.amount, item["amount"], "kWh")
    elif of.reactive is not None:
        energy, free, excess = of.reactive, format_plain(of.reactive.free), format_plain(of.reactive.excess)
        both = f"taken {energy.taken} + given {energy.given} kVArh"
        yield f"{both}, of which {FREE_REACTIVE_SHARE} × {energy.active} kWh = {free} are free"
        yield _checked(f"beyond that {excess}, at least 0, rounded", of.amount, item["amount"], "kVArh")
    elif of.peak_kw is not None:
        highest = max(segments, key=lambda each: each.max_t1_step_wh or 0)
        pairs = sum(each.quarter_hour_pairs for each in segments)
        at = highest.max_t1_step_at
        when = f" ({format_instant(at - QUARTER_HOUR)} to {format_instant(at)})" if at else ""
        yield f"the highest quarter hour of {pairs}{when}: 4 × {highest.max_t1_step_wh} Wh / 1000 = {of.peak_kw} kW"
        yield _checked("rounded", of.amount, item["amount"], "kW")
    elif of.amount:
        yield _checked("one a month", of.amount, item["amount"], "")
    else:
        yield _checked("paid by whoever has the location at the end of the period", of.amount, item["amount"], "")


def _priced(item: _Document, rounding: Rounding) -> str:
    amount, price_eur = Decimal(item["amount"]), Decimal(item["price_eur"])
    product = f"{item['amount']} × {item['price_eur']} EUR = {format_plain(amount * price_eur)}, rounded"
    return _checked(product, price(amount, price_eur, rounding), item["total_eur"], "EUR")


def _invoice_lines(invoice: _Document, registered: Sequence[RegisteredRevision]) -> Iterator[str]:
    yield "Lines: the items of all measurement locations" + (
        f", minus what {' and '.join(each.id for each in registered)} have booked" if registered else ""
    )
    by_ordinal = {ordinal: item for item, (ordinal, _) in LINES.items()}
    for line in invoice["lines"]:
        item = by_ordinal[line["ordinal"]]
        totals = [
            Decimal(each["total_eur"])
            for calculation in invoice["calculations"]
            for each in calculation["items"]
            if each["item"] == item.value
        ]
        booked = [each.prices_eur.get(line["ordinal"], Decimal(0)) for each in registered]
        terms = " + ".join(f"{each}" for each in totals) or "no such item"
        taken_off = "".join(f" - {each}" if each >= 0 else f" + {-each}" for each in booked)
        value = sum(totals, Decimal("0.00")) - sum(booked, Decimal(0))
        yield "   " + _checked(f"{line['ordinal']} {line['name']}: {terms}{taken_off}", value, line["price_eur"], "EUR")


def _totals(invoice: _Document, registered: Sequence[RegisteredRevision]) -> Iterator[str]:
    total = sum((Decimal(line["price_eur"]) for line in invoice["lines"]), Decimal("0.00"))
    yield _checked("Total: the sum of the ten lines", total, invoice["total_eur"], "EUR")
    rate = invoice["tax_rate_percent"]
    whole = total + sum((price for each in registered for price in each.prices_eur.values()), Decimal(0))
    tax = rounding_of(invoice["snapshot"]).round(whole * rate / 100, 2)
    words = f"Tax: {whole} × {format_plain(rate)} % rounded"
    for each in registered:
        words += f", minus {each.tax_eur} of {each.id}"
        tax -= each.tax_eur
    yield _checked(words, tax, invoice["tax_eur"], "EUR")
    yield _checked("To pay: both together", total + tax, invoice["total_with_tax_eur"], "EUR")


def _checked(words: str, value: Decimal, stored: object, unit: str) -> str:
    """One step, and whether it gives what is stored."""
    mark = "" if value == Decimal(str(stored)) else f"  !! stored is {stored}"
    return f"{words} = {value} {unit}".rstrip() + mark
