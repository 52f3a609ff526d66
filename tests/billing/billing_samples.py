"""Small bases of invoices for tests: one meter, round registers, and whatever a test wants different."""

from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from billing.calculation import MeasurementLocationBasis, PricedCatalogue
from billing.catalogues import NETWORK_USER_PRICES, REGULATORY_PRICES, CatalogueKind, items_of
from billing.identity import InvoiceId
from billing.invoice import InvoiceBasis, RegulatoryCatalogue
from billing.periods import Period
from billing.segments import Registers, Segment

ZAGREB = ZoneInfo("Europe/Zagreb")


def registers(t1: int = 0, t2: int = 0, *, export: int = 0, reactive: tuple[int, int] = (0, 0)) -> Registers:
    """Registers in Wh and VArh; the total is T1 + T2."""
    return Registers(t1 + t2, t1, t2, export, *reactive)


def catalogue(kind: CatalogueKind, price: str = "0.1") -> PricedCatalogue:
    """A catalogue in which everything that its kind has costs the same."""
    items = [item for item in items_of(kind) if item in NETWORK_USER_PRICES]
    return PricedCatalogue("any", "", kind, dict.fromkeys(items, Decimal(price)))


def segment(**different: Any) -> Segment:
    """The whole of October 2026: 100 kWh in T1, 50 kWh in T2."""
    october = Period(2026, 10)
    values: dict[str, Any] = {
        "meter_id": "meter-1",
        "start": october.start(ZAGREB),
        "end": october.end(ZAGREB),
        "at_start": registers(1_000_000, 500_000),
        "at_end": registers(1_100_000, 550_000),
        "max_t1_step_wh": 2500,
        "quarter_hour_pairs": 2980,
    }
    return Segment(**(values | different))


def location(**different: Any) -> MeasurementLocationBasis:
    """A white_low measurement location that is ready, with one segment; fields of either may be different."""
    values: dict[str, Any] = {
        "id": "ml-1",
        "title": "Hall",
        "catalogue_id": "any",
        "catalogue": catalogue(CatalogueKind.WHITE_LOW),
    }
    own = MeasurementLocationBasis.__dataclass_fields__
    values |= {name: value for name, value in different.items() if name in own}
    rest = {name: value for name, value in different.items() if name not in own}
    return MeasurementLocationBasis(**{"segments": (segment(**rest),), **values})


def basis(*locations: MeasurementLocationBasis, **different: Any) -> InvoiceBasis:
    """The basis of an invoice for October 2026, all regulatory prices 0.2 EUR, tax 13 %."""
    invoice_id = InvoiceId.parse(different.pop("id", "NU-0007.2026-10.1"))
    values: dict[str, Any] = {
        "id": invoice_id,
        "start": invoice_id.period.start(ZAGREB),
        "end": invoice_id.period.end(ZAGREB),
        "invoice_date": date(2026, 11, 1),
        "sub_project_code": "ZDS-1",
        "parties": {"network_user": {"id": invoice_id.network_user_id}},
        "regulatory_catalogue_id": "hr",
        "regulatory_catalogue": RegulatoryCatalogue(
            "hr", "", dict.fromkeys(REGULATORY_PRICES, Decimal("0.2")), Decimal("13.000000")
        ),
        "measurement_locations": locations or (location(),),
    }
    return InvoiceBasis(**(values | different))
