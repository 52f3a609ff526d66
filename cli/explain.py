"""`billingd invoices explain`: how an invoice came to each of its cents, in words and figures.

Every figure is computed again from the snapshot, so an explanation that differs from what is stored says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

import typer

from billing.catalogues import Item
from billing.corrections import RegisteredRevision
from billing.invoice import LINES
from billing.rounding import format_plain, round_half_away
from cli.database import database
from cli.invocation import CommandFailed, configuration
from cli.output import columns, print_lines
from persistence.browsing import show_invoices
from persistence.connection import reader
from persistence.corrections import registered_revisions
from web.formatting import cell, percent


def explain(
    context: typer.Context, invoice_id: Annotated[str, typer.Argument(metavar="ID", help="Such as user-001.2026-10.1")]
) -> None:
    """Explain an invoice, from the readings to each cent.

    All of it out of what is stored with the invoice; each step is computed again and held against it.
    """
    with database(configuration(context).settings, "invoices explain") as opened, opened.transaction() as connection:
        found = show_invoices(reader(connection), [invoice_id])
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

# The register that each measured item is the difference of.
_REGISTER_OF = {
    Item.USAGE_ACTIVE_ENERGY_T0: "active_import_total_wh",
    Item.USAGE_ACTIVE_ENERGY_T1: "active_import_t1_wh",
    Item.USAGE_ACTIVE_ENERGY_T2: "active_import_t2_wh",
    Item.SUPPLY_ACTIVE_ENERGY_T1: "active_import_t1_wh",
    Item.SUPPLY_ACTIVE_ENERGY_T2: "active_import_t2_wh",
    Item.SUPPLY_RENEWABLE_ENERGY_FEE: "active_import_total_wh",
    Item.SUPPLY_BUSINESS_USAGE_FEE: "active_import_total_wh",
}
_REACTIVE = ("reactive_import_total_varh", "reactive_export_total_varh")


def explanation_lines(invoice: _Document, registered: Sequence[RegisteredRevision]) -> Iterator[str]:
    """The steps, line by line; `registered` are the revisions that this one corrects."""
    snapshot = invoice["snapshot"]
    yield f"{invoice['id']}: {snapshot['network_user']['title']}, period {invoice['period']}"
    yield f"from {snapshot['period_start']} to {snapshot['period_end']} ({snapshot['time_zone']})"
    places = {each["id"]: each for each in snapshot["measurement_locations"]}
    for number, calculation in enumerate(invoice["calculations"], 1):
        yield ""
        yield from _place(number, calculation, places[calculation["measurement_location_id"]], snapshot)
    yield ""
    yield from _invoice_lines(invoice, registered)
    yield ""
    yield from _totals(invoice, registered)


def _place(number: int, calculation: _Document, place: _Document, snapshot: _Document) -> Iterator[str]:
    yield f"{number}. Measurement location {place['id']} ({cell(place['title'])}), meter {place['meter_id']}"
    supply = snapshot["regulatory_catalogue"]
    yield (
        f"   prices: {_catalogue(place['catalogue'])} ({calculation['catalogue_kind']}) for the network, "
        f"{_catalogue(supply)} for supply"
    )
    yield ""
    names = [name for name in place["registers_at_start"] if not name.startswith("active_export")]
    start, end = place["registers_at_start"], place["registers_at_end"]
    rows = [(name, start[name], end[name], end[name] - start[name]) for name in names]
    yield from columns(
        ("register", "start", "end", "difference"), rows, right=("start", "end", "difference"), indent="   "
    )
    yield ""
    for item in calculation["items"]:
        yield f"   {LINES[Item(item['item'])][1]} ({item['item']})"
        for step in (*_amount(item, place), _priced(item)):
            yield f"      {step}"


def _catalogue(catalogue: _Document) -> str:
    since = f" since {catalogue['valid_from']}" if catalogue["valid_from"] else ""
    return f"catalogue {catalogue['id']}{since}"


def _amount(item: _Document, place: _Document) -> Iterator[str]:
    kind = Item(item["item"])
    if kind in _REGISTER_OF:
        name = _REGISTER_OF[kind]
        start, end = place["registers_at_start"][name], place["registers_at_end"][name]
        low, high = _thousandths(start), _thousandths(end)
        yield f"{name}: {start} / 1000 = {low} at the start, {end} / 1000 = {high} at the end"
        yield _checked(f"{high} - {low} = {high - low}, rounded", round_half_away(high - low, 0), item["amount"], "kWh")
    elif kind is Item.USAGE_ACTIVE_POWER_PEAK_T1:
        step = place["max_t1_step_wh"]
        peak = round_half_away(Decimal(4 * step) / 1000, 2)
        yield f"the highest quarter hour of {place['quarter_hour_pairs']}: 4 × {step} Wh / 1000 = {peak} kW"
        yield _checked("rounded", round_half_away(peak, 0), item["amount"], "kW")
    elif kind is Item.USAGE_REACTIVE_ENERGY:
        yield from _reactive(item, place)
    else:
        yield _checked("one a month", Decimal(1), item["amount"], "")


def _reactive(item: _Document, place: _Document) -> Iterator[str]:
    energy = [_energy(place, name) for name in (*_REACTIVE, "active_import_total_wh")]
    taken, given, active = energy
    allowed = Decimal("0.33") * active
    excess = abs(taken) + abs(given) - allowed
    yield f"taken {taken} + given {given} kVArh, of which 0.33 × {active} kWh = {format_plain(allowed)} are free"
    beyond = round_half_away(max(excess, Decimal(0)), 0)
    yield _checked(f"beyond that {format_plain(excess)}, at least 0, rounded", beyond, item["amount"], "kVArh")


def _energy(place: _Document, name: str) -> Decimal:
    start, end = place["registers_at_start"][name], place["registers_at_end"][name]
    return round_half_away(_thousandths(end) - _thousandths(start), 0)


def _thousandths(register: int) -> Decimal:
    return round_half_away(Decimal(register) / 1000, 2)


def _priced(item: _Document) -> str:
    amount, price = Decimal(item["amount"]), Decimal(item["price_eur"])
    product = f"{item['amount']} × {item['price_eur']} EUR = {format_plain(amount * price)}, rounded"
    return _checked(product, round_half_away(amount * price, 2), item["total_eur"], "EUR")


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
    tax = round_half_away(whole * rate / 100, 2)
    words = f"Tax: {whole} × {percent(rate)} % rounded"
    for each in registered:
        words += f", minus {each.tax_eur} of {each.id}"
        tax -= each.tax_eur
    yield _checked(words, tax, invoice["tax_eur"], "EUR")
    yield _checked("To pay: both together", total + tax, invoice["total_with_tax_eur"], "EUR")


def _checked(words: str, value: Decimal, stored: object, unit: str) -> str:
    """One step, and whether it gives what is stored."""
    mark = "" if value == Decimal(str(stored)) else f"  !! stored is {stored}"
    return f"{words} = {value} {unit}".rstrip() + mark
