"""One invoice: what it is calculated from, its ten lines and totals, and the bytes offered to the ERP."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal

from billing.calculation import Calculation, MeasurementLocationBasis, calculate_items, lacks
from billing.catalogues import Item
from billing.identity import InvoiceId
from billing.instants import format_instant
from billing.remarks import energy_kwh, remarks_of
from billing.rounding import Rounding, format_money, format_plain

READINGS_INCOMPLETE = "readings_incomplete"
READINGS_INCONSISTENT = "readings_inconsistent"
ENERGY_ALREADY_BILLED = "energy_already_billed"
WAITS_FOR_DATA = (READINGS_INCOMPLETE, READINGS_INCONSISTENT, ENERGY_ALREADY_BILLED)
"""The held codes of due invoices that other readings or other master data may end."""
_REASONS_AT_MOST = 5
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

# ordinal and name of each line, in the order of the invoice (docs/spec/billing.md, "The invoice")
LINES = {
    Item.USAGE_ACTIVE_ENERGY_T0: ("1.1.", "Korištenje mreže, jedinstvena dnevna tarifa"),
    Item.USAGE_ACTIVE_ENERGY_T1: ("1.2.", "Korištenje mreže, viša dnevna tarifa"),
    Item.USAGE_ACTIVE_ENERGY_T2: ("1.3.", "Korištenje mreže, niža dnevna tarifa"),
    Item.USAGE_ACTIVE_POWER_PEAK_T1: ("1.4.", "Angažirana snaga"),
    Item.USAGE_REACTIVE_ENERGY: ("1.5.", "Prekomjerno preuzeta jalova energija"),
    Item.USAGE_METER_FEE: ("1.6.", "Naknada za mjernu uslugu"),
    Item.SUPPLY_ACTIVE_ENERGY_T1: ("2.1.", "Opskrba električnom energijom, viša dnevna tarifa"),
    Item.SUPPLY_ACTIVE_ENERGY_T2: ("2.2.", "Opskrba električnom energijom, niža dnevna tarifa"),
    Item.SUPPLY_RENEWABLE_ENERGY_FEE: (
        "2.3.",
        "Naknada za poticanje proizvodnje iz obnovljivih izvora energije i kogeneracije",
    ),
    Item.SUPPLY_BUSINESS_USAGE_FEE: ("2.4.", "Trošarina na električnu energiju"),
}


@dataclass(frozen=True, slots=True)
class RegulatoryCatalogue:
    """A regulatory catalogue's entry in force: supply prices and fees in EUR/kWh, and the tax rate."""

    id: str
    valid_from: str
    prices: Mapping[Item, Decimal]
    tax_rate_percent: Decimal


@dataclass(frozen=True, slots=True)
class InvoiceBasis:
    """All that one invoice rests on, as it stands when it is calculated; instants in UTC.

    `parties` is what is kept of names and legal persons: JSON-able, copied into the snapshot as it is. `asked_for`:
    the period is one of those that the user is billed for. `usual_energy_kwh` is what the last months before it had on
    average.
    """

    id: InvoiceId
    start: datetime
    end: datetime
    invoice_date: date
    sub_project_code: str
    parties: Mapping[str, object]
    regulatory_catalogue_id: str
    regulatory_catalogue: RegulatoryCatalogue | None
    measurement_locations: Sequence[MeasurementLocationBasis]
    asked_for: bool = True
    usual_energy_kwh: Decimal | None = None

    @property
    def meter_versions(self) -> dict[str, int]:
        """The version of each meter's data, by meter id."""
        return {each.meter_id: each.meter_version for place in self.measurement_locations for each in place.segments}


@dataclass(frozen=True, slots=True)
class NotReady:
    """Why an invoice has to wait in due: a held code of docs/spec/interfaces.md, and what is missing in words."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Line:
    """One of the ten lines; its quantity is 1."""

    ordinal: str
    name: str
    price_eur: Decimal

    def to_document(self) -> dict[str, str]:
        """As it is stored, shown and sent."""
        return {
            "ordinal": self.ordinal,
            "name": self.name,
            "unit": "Mjesec",
            "quantity": "1",
            "price_eur": format_money(self.price_eur),
        }


@dataclass(frozen=True, slots=True)
class Invoice:
    """What one network user owes for one period, with everything that is stored of it.

    `meter_versions` says which data it was calculated from; it is not stored. `holds_remarks`: with remarks it waits
    for an approval.
    """

    id: InvoiceId
    sub_project_code: str
    invoice_date: date
    lines: tuple[Line, ...]
    total_eur: Decimal = field(init=False)
    tax_rate_percent: Decimal
    tax_eur: Decimal
    calculations: tuple[Calculation, ...]
    snapshot: Mapping[str, object]
    meter_versions: Mapping[str, int] = field(default_factory=dict, compare=False)
    holds_remarks: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total_eur", sum((line.price_eur for line in self.lines), Decimal("0.00")))

    @property
    def remarked(self) -> bool:
        """Whether it waits for an approval, as it has remarks."""
        return self.holds_remarks and "remarks" in self.snapshot

    @property
    def energy_kwh(self) -> Decimal:
        """The active energy T0 of all measurement locations."""
        return energy_kwh(self.calculations)

    @property
    def total_with_tax_eur(self) -> Decimal:
        """What is to be paid."""
        return self.total_eur + self.tax_eur

    def lines_document(self) -> list[dict[str, str]]:
        """The lines as they are stored and shown."""
        return [line.to_document() for line in self.lines]

    def calculations_document(self) -> list[dict[str, object]]:
        """The calculations as they are stored and shown."""
        return [calculation.to_document() for calculation in self.calculations]

    def body(self) -> bytes:
        """The JSON that each offer to the ERP sends, in UTF-8: made once, then stored."""
        document = {
            "network_user_invoice_id": str(self.id),
            "sub_project_code": self.sub_project_code,
            "invoice_date": self.invoice_date.isoformat(),
            "items": self.lines_document(),
            "total_eur": format_money(self.total_eur),
            "tax_rate_percent": format_plain(self.tax_rate_percent),
            "tax_eur": format_money(self.tax_eur),
            "total_with_tax_eur": format_money(self.total_with_tax_eur),
        }
        return _encode(document).encode()


def calculate(
    basis: InvoiceBasis, min_coverage_percent: Decimal | int, rounding: Rounding = Rounding.HALF_UP
) -> Invoice | NotReady:
    """The invoice that a basis makes, or why it has to wait (docs/spec/billing.md, "The period")."""
    not_ready = _why_not_ready(basis, Decimal(min_coverage_percent))
    if not_ready is not None:
        return not_ready
    assert basis.regulatory_catalogue is not None  # its lack is a reason to wait
    return _invoice(basis, basis.regulatory_catalogue, rounding)


def _invoice(basis: InvoiceBasis, regulatory: RegulatoryCatalogue, rounding: Rounding) -> Invoice:
    calculations = tuple(
        calculate_items(each, regulatory.prices, rounding, whole=each.is_whole(basis.start, basis.end))
        for each in basis.measurement_locations
    )
    prices = dict.fromkeys(Item, Decimal("0.00"))
    for each in (each for calculation in calculations for each in calculation.items):
        prices[each.item] += each.total_eur
    lines = tuple(Line(*LINES[item], price_eur) for item, price_eur in prices.items())
    total_eur = sum((line.price_eur for line in lines), Decimal("0.00"))
    return Invoice(
        basis.id,
        basis.sub_project_code,
        basis.invoice_date,
        lines,
        regulatory.tax_rate_percent,
        rounding.round(total_eur * regulatory.tax_rate_percent / 100, 2),
        calculations,
        _snapshot(
            basis, regulatory, rounding, remarks_of(basis.measurement_locations, calculations, basis.usual_energy_kwh)
        ),
        basis.meter_versions,
    )


def calculate_correction(
    basis: InvoiceBasis, min_coverage_percent: Decimal | int, rounding: Rounding
) -> Invoice | NotReady:
    """As `calculate`; but a debt that master data does not ask for comes to nothing, in each line."""
    if basis.regulatory_catalogue is None or (basis.asked_for and basis.measurement_locations):
        return calculate(basis, min_coverage_percent, rounding)
    return _invoice(replace(basis, measurement_locations=()), basis.regulatory_catalogue, rounding)


def _why_not_ready(basis: InvoiceBasis, min_coverage_percent: Decimal) -> NotReady | None:
    segments = [each for place in basis.measurement_locations for each in place.segments]
    billed = [
        f"meter {each.meter_id} is billed by invoice {each.billed_by} in that time already: "
        f"correct that invoice, or move the meter back"
        for each in segments
        if each.billed_by is not None
    ]
    inconsistent = [
        f"meter {each.meter_id}: {each.first_fall.register} falls at {format_instant(each.first_fall.at)}"
        for each in segments
        if each.first_fall is not None
    ]
    incomplete = [problem for place in basis.measurement_locations for problem in lacks(place, min_coverage_percent)]
    if not basis.measurement_locations:
        incomplete.append(f"network user {basis.id.network_user_id} has no measurement location")
    elif not basis.asked_for:
        incomplete.append(f"network user {basis.id.network_user_id} is not billed for {basis.id.period}")
    if basis.regulatory_catalogue is None:
        incomplete.append(f"regulatory catalogue {basis.regulatory_catalogue_id} has no prices in force")
    problems = billed + inconsistent + incomplete
    if not problems:
        return None
    more = len(problems) - _REASONS_AT_MOST
    reason = "; ".join(problems[:_REASONS_AT_MOST]) + (f"; and {more} more" if more > 0 else "")
    # What is wrong needs a person, what is missing may come by itself: the former gives the code.
    if billed:
        return NotReady(ENERGY_ALREADY_BILLED, reason)
    return NotReady(READINGS_INCONSISTENT if inconsistent else READINGS_INCOMPLETE, reason)


def _snapshot(
    basis: InvoiceBasis, regulatory: RegulatoryCatalogue, rounding: Rounding, remarks: list[str]
) -> dict[str, object]:
    return {
        **basis.parties,
        "period_start": format_instant(basis.start),
        "period_end": format_instant(basis.end),
        "altibiz_sub_project_code": basis.sub_project_code,
        "regulatory_catalogue": {"id": regulatory.id, "valid_from": regulatory.valid_from},
        "measurement_locations": [_location_snapshot(basis, each) for each in basis.measurement_locations],
        **({} if rounding is Rounding.HALF_UP else {"rounding": rounding.value}),
        **({"remarks": remarks} if remarks else {}),
    }


def _location_snapshot(basis: InvoiceBasis, location: MeasurementLocationBasis) -> dict[str, object]:
    catalogue, segments = location.catalogue, location.segments
    document: dict[str, object] = {
        "id": location.id,
        "title": location.title,
        "meter_id": segments[-1].meter_id,
        "catalogue": catalogue and {"id": catalogue.id, "valid_from": catalogue.valid_from},
    }
    if location.is_whole(basis.start, basis.end):
        return document | segments[0].measured()
    return document | {
        "has_it_at_end": location.has_it_at_end,
        "segments": [each.names() | each.measured() for each in segments],
        "gaps": [each.to_document() for each in location.gaps],
    }
