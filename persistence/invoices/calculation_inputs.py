"""What invoices are calculated from, fetched for a batch with one query: one row a segment."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row

from billing.calculation import MeasurementLocationBasis, PricedCatalogue
from billing.catalogues import NETWORK_USER_PRICES, REGULATORY_PRICES, CatalogueKind, Item
from billing.identity import InvoiceId
from billing.invoice import InvoiceBasis, RegulatoryCatalogue
from billing.segments import Gap, RegisterFall, Registers, Segment
from persistence.connection.statements import fetch
from persistence.sql import Queries

_REGISTERS = [field.name for field in fields(Registers)]


USUAL_MONTHS = 3
"""With so many billed months before it a month's consumption is compared."""


def registers_of(table: str) -> str:
    """SQL for the registers of a row of readings, in one text as the driver's arrays are slow; null without a row."""
    values = ", ".join(f"{table}.{name}" for name in _REGISTERS)
    return f"CASE WHEN {table}.at IS NOT NULL THEN concat_ws(' ', {values}) END"


def _protocol(name: str) -> str:
    return ", ".join(f"ml.{name}[{place}]" for place, _ in enumerate(_REGISTERS, 1))


AT_ENDS = {
    f"AT_{end}": f"coalesce(array_to_string(ml.{protocol}, ' '), {registers_of(table)})"
    for end, protocol, table in (("START", "opening", "first"), ("END", "closing", "last"))
}
"""SQL for the registers at the ends of the segment `ml`: those of a protocol stand for the reading."""
_SQL = Queries(
    __file__,
    REGISTERS=", ".join(_REGISTERS),
    REGISTERS_BEFORE=", ".join(f"lag({name}) OVER in_time AS before_{name}" for name in _REGISTERS),
    ANY_FALLS=" OR ".join(f"step.{name} < step.before_{name}" for name in _REGISTERS),
    REGULATORY_PRICES=", ".join(f"rc.{name}" for name in REGULATORY_PRICES.values()),
    USUAL_MONTHS=USUAL_MONTHS,
    OPENING=_protocol("opening"),
    CLOSING=_protocol("closing"),
    NETWORK_USER_PRICES=", ".join(f"nc.{name}" for name in NETWORK_USER_PRICES.values()),
    **{f"{table.upper()}_REGISTERS": registers_of(table) for table in ("fallen", "before")},
    **AT_ENDS,
)
STEPS = _SQL.steps
INPUTS = _SQL.inputs


def fetch_inputs(connection: Connection, invoice_ids: Iterable[str], time_zone: ZoneInfo) -> list[InvoiceBasis]:
    """The bases of a batch of invoices, of any periods, in the order of the ids.

    Master data as it stands now, prices as they were in each invoice's period. The meters' versions are those of
    the same moment: one statement reads all. Raises ValueError for what is
    no invoice id, and LookupError for a network user that the master data doesn't have.
    """
    ids = [InvoiceId.parse(each) for each in invoice_ids]
    rows = fetch(connection, INPUTS, **input_values(ids, time_zone))
    by_place = {place: list(group) for place, group in groupby(rows, key=lambda row: row.place)}
    missing = [str(each) for place, each in enumerate(ids, start=1) if place not in by_place]
    if missing:
        raise LookupError(f"no network user for {', '.join(missing)}")
    return [_basis(each, by_place[place], time_zone) for place, each in enumerate(ids, start=1)]


def input_values(ids: Sequence[InvoiceId], time_zone: ZoneInfo) -> dict[str, Any]:
    """The values that INPUTS asks for."""
    starts, ends = [each.period.start(time_zone) for each in ids], [each.period.end(time_zone) for each in ids]
    return {
        "network_user_ids": [each.network_user_id for each in ids],
        "periods": [str(each.period) for each in ids],
        "starts": starts,
        "ends": ends,
        **within(starts, ends),
    }


def within(starts: Sequence[datetime], ends: Sequence[datetime]) -> dict[str, datetime | None]:
    """The values that WITHIN asks for."""
    return {"least_at": min(starts, default=None), "most_at": max(ends, default=None)}


def _basis(invoice_id: InvoiceId, rows: Sequence[Row[Any]], time_zone: ZoneInfo) -> InvoiceBasis:
    row, period = rows[0], invoice_id.period
    return InvoiceBasis(
        id=invoice_id,
        start=period.start(time_zone),
        end=period.end(time_zone),
        invoice_date=period.invoice_date(time_zone),
        sub_project_code=row.altibiz_sub_project_code,
        parties={
            "network_user": {
                "id": invoice_id.network_user_id,
                "title": row.network_user_title,
                "legal_person": row.network_user_legal_person,
            },
            "location": {"id": row.location_id, "title": row.location_title, "legal_person": row.location_legal_person},
            "time_zone": time_zone.key,
        },
        regulatory_catalogue_id=row.regulatory_catalogue,
        regulatory_catalogue=_regulatory_catalogue(row),
        measurement_locations=[
            _location(list(segments))
            for location_id, segments in groupby(rows, key=lambda each: each.measurement_location_id)
            if location_id is not None
        ],
        asked_for=row.asked_for,
        usual_energy_kwh=row.usual_energy_kwh,
    )


def _regulatory_catalogue(row: Row[Any]) -> RegulatoryCatalogue | None:
    if row.regulatory_valid_from is None:
        return None
    return RegulatoryCatalogue(
        row.regulatory_catalogue, row.regulatory_valid_from, _prices(row, REGULATORY_PRICES), row.tax_rate_percent
    )


def _location(rows: Sequence[Row[Any]]) -> MeasurementLocationBasis:
    row, catalogue = rows[0], None
    if row.kind is not None:
        kind = CatalogueKind(row.kind)
        catalogue = PricedCatalogue(row.catalogue, row.valid_from, kind, _prices(row, NETWORK_USER_PRICES))
    gaps = [(each.gap_since, each.starts_at) for each in rows] + [(each.ends_at, each.gap_until) for each in rows]
    return MeasurementLocationBasis(
        id=row.measurement_location_id,
        title=row.measurement_location_title,
        catalogue_id=row.catalogue,
        catalogue=catalogue,
        segments=tuple(map(_segment, rows)),
        gaps=tuple(
            Gap(*gap) for gap in sorted({(since, until) for since, until in gaps if since and until and since < until})
        ),
        refuses_gaps=row.refuses_gaps,
        has_it_at_end=any(each.has_it_at_end for each in rows),
    )


def _segment(row: Row[Any]) -> Segment:
    return Segment(
        meter_id=row.meter_id,
        start=row.starts_at,
        end=row.ends_at,
        at_start=registers(row.at_start),
        at_end=registers(row.at_end),
        max_t1_step_wh=row.max_t1_step_wh,
        quarter_hour_pairs=row.quarter_hour_pairs,
        first_gap_after=row.first_gap_after,
        first_fall=_fall(row.first_fall_at, registers(row.fallen), registers(row.before_fall)),
        readings_checksum=row.readings_checksum,
        meter_version=row.meter_version,
        billed_by=row.billed_by,
        max_t1_step_at=row.max_t1_step_at,
        max_step_wh=row.max_step_wh,
        repeated_before_peak=bool(row.repeated_before_peak),
        power_w=row.connection_power_w,
        protocol=tuple(name for name in ("opening", "closing") if getattr(row, name) is not None),
    )


def _prices(row: Row[Any], columns: dict[Item, str]) -> dict[Item, Decimal]:
    prices = {item: getattr(row, column) for item, column in columns.items()}
    return {item: price for item, price in prices.items() if price is not None}


def registers(values: str | None) -> Registers | None:
    """Reads what `registers_of` gives."""
    return None if values is None else Registers(*map(int, values.split()))


def _fall(at: datetime | None, fallen: Registers | None, before: Registers | None) -> RegisterFall | None:
    if at is None or fallen is None or before is None:
        return None
    register = fallen.first_below(before)
    return None if register is None else RegisterFall(at, register)
