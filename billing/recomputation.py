"""An invoice computed again from what was stored with it, to be held against what was stored."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from billing.calculation import MeasurementLocationBasis, PricedCatalogue
from billing.catalogues import NETWORK_USER_PRICES, REGULATORY_PRICES, CatalogueKind, Item
from billing.corrections import RegisteredRevision, correction
from billing.identity import InvoiceId
from billing.invoice import Invoice, InvoiceBasis, NotReady, RegulatoryCatalogue, calculate, calculate_correction
from billing.rounding import Rounding
from billing.segments import stored_gaps, stored_segments

_Document = Mapping[str, Any]


def recompute(
    invoice_id: str,
    invoice_date: date,
    tax_rate_percent: Decimal,
    calculations: Sequence[_Document],
    snapshot: _Document,
    registered: Sequence[RegisteredRevision],
) -> Invoice | None:
    """The invoice that registers and prices of the document make; `registered`: the revisions that it corrects.

    None if they make none. Raises KeyError, ValueError, TypeError or ArithmeticError for a document that was
    never made by this program.
    """
    places = {each["id"]: each for each in snapshot["measurement_locations"]}
    regulatory = snapshot["regulatory_catalogue"]
    prices = {**_prices(calculations[0], REGULATORY_PRICES)} if calculations else {}
    basis = InvoiceBasis(
        id=InvoiceId.parse(invoice_id),
        start=datetime.fromisoformat(snapshot["period_start"]),
        end=datetime.fromisoformat(snapshot["period_end"]),
        invoice_date=invoice_date,
        sub_project_code=snapshot["altibiz_sub_project_code"],
        parties={name: snapshot[name] for name in ("network_user", "location", "time_zone")},
        regulatory_catalogue_id=regulatory["id"],
        regulatory_catalogue=RegulatoryCatalogue(regulatory["id"], regulatory["valid_from"], prices, tax_rate_percent),
        measurement_locations=[
            _location(each, places[each["measurement_location_id"]], snapshot) for each in calculations
        ],
    )
    compute = calculate_correction if "corrects" in snapshot else calculate
    invoice = compute(basis, Decimal(0), rounding_of(snapshot))
    if isinstance(invoice, NotReady):
        return None
    return correction(invoice, registered) if "corrects" in snapshot else invoice


def rounding_of(snapshot: _Document) -> Rounding:
    """The rounding that an invoice was calculated with."""
    return Rounding(snapshot.get("rounding", Rounding.HALF_UP))


def _location(calculation: _Document, place: _Document, snapshot: _Document) -> MeasurementLocationBasis:
    catalogue = place["catalogue"]
    kind = CatalogueKind(calculation["catalogue_kind"])
    return MeasurementLocationBasis(
        id=place["id"],
        title=place["title"],
        catalogue_id=catalogue["id"],
        catalogue=PricedCatalogue(
            catalogue["id"], catalogue["valid_from"], kind, _prices(calculation, NETWORK_USER_PRICES)
        ),
        segments=stored_segments(place, snapshot),
        gaps=stored_gaps(place),
        refuses_gaps=False,
        has_it_at_end=place.get("has_it_at_end", True),
    )


def _prices(calculation: _Document, of: Mapping[Item, str]) -> dict[Item, Decimal]:
    return {Item(each["item"]): Decimal(each["price_eur"]) for each in calculation["items"] if Item(each["item"]) in of}
