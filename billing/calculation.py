"""The items of one measurement location in one period: what is measured, times what it costs."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal

from billing.catalogues import CatalogueKind, Item, is_billed_for_peak, items_of
from billing.instants import format_instant
from billing.periods import QUARTER_HOUR
from billing.rounding import format_money, format_plain, round_half_away

FREE_REACTIVE_SHARE = Decimal("0.33")  # of active energy; what lies beyond is charged


@dataclass(frozen=True, slots=True)
class Registers:
    """What the registers of a meter stood at, at one instant; in Wh and VArh."""

    active_import_total_wh: int
    active_import_t1_wh: int
    active_import_t2_wh: int
    active_export_total_wh: int
    reactive_import_total_varh: int
    reactive_export_total_varh: int

    def first_below(self, previous: "Registers") -> str | None:
        """The name of the first register that stands lower than before."""
        return next((f.name for f in fields(self) if getattr(self, f.name) < getattr(previous, f.name)), None)

    def to_document(self) -> dict[str, int]:
        """As it is stored."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class RegisterFall:
    """The first reading of a period in which a register stands lower than in the one before."""

    at: datetime
    register: str


@dataclass(frozen=True, slots=True)
class PricedCatalogue:
    """A network-user catalogue's entry in force; `valid_from` is '' or a month, prices in EUR."""

    id: str
    valid_from: str
    kind: CatalogueKind
    prices: Mapping[Item, Decimal]


@dataclass(frozen=True, slots=True)
class MeasurementLocationBasis:
    """All that the items of one measurement location rest on.

    `max_t1_step_wh` and `quarter_hour_pairs` are over the pairs of readings exactly 15 minutes apart,
    `first_gap_after` is the last reading before the first longer step; all three matter for peak power only.
    `readings_checksum` is over all readings of the period, for later proof that they are the same.
    `meter_version` is the version of the meter's data that all this was read from. `billed_by` is another debt's
    invoice that bills this meter in this time already.
    """

    id: str
    title: str
    meter_id: str
    catalogue_id: str
    catalogue: PricedCatalogue | None
    at_start: Registers | None
    at_end: Registers | None
    max_t1_step_wh: int | None
    quarter_hour_pairs: int
    first_gap_after: datetime | None
    first_fall: RegisterFall | None
    readings_checksum: int | None = None
    meter_version: int = 0
    billed_by: str | None = None


@dataclass(frozen=True, slots=True)
class CalculationItem:
    """One item: amount times price; `min` and `max` are what the amount came from, where measured."""

    item: Item
    min: Decimal | None
    max: Decimal | None
    amount: Decimal
    price_eur: Decimal
    total_eur: Decimal

    def to_document(self) -> dict[str, str | None]:
        """As it is stored and shown: decimals as strings."""
        return {
            "item": self.item.value,
            "min": None if self.min is None else format(self.min, "f"),
            "max": None if self.max is None else format(self.max, "f"),
            "amount": format(self.amount, "f"),
            "price_eur": format_plain(self.price_eur),
            "total_eur": format_money(self.total_eur),
        }


@dataclass(frozen=True, slots=True)
class Calculation:
    """The items of one measurement location in one period."""

    measurement_location_id: str
    meter_id: str
    catalogue_kind: CatalogueKind
    items: tuple[CalculationItem, ...]

    def to_document(self) -> dict[str, object]:
        """As it is stored and shown."""
        return {
            "measurement_location_id": self.measurement_location_id,
            "meter_id": self.meter_id,
            "catalogue_kind": self.catalogue_kind.value,
            "items": [item.to_document() for item in self.items],
        }


@dataclass(frozen=True, slots=True)
class ReactiveEnergy:
    """What the amount of reactive energy comes from: taken and given in kVArh, active in kWh."""

    taken: Decimal
    given: Decimal
    active: Decimal

    @property
    def free(self) -> Decimal:
        """What may be taken and given without charge."""
        return FREE_REACTIVE_SHARE * self.active

    @property
    def excess(self) -> Decimal:
        """What lies beyond; negative where it doesn't."""
        return abs(self.taken) + abs(self.given) - self.free


@dataclass(frozen=True, slots=True)
class Amount:
    """An item's amount and what it came from.

    `min` and `max` are the readings of `register` in kWh or kVArh, or `max` alone the peak in kW.
    """

    amount: Decimal
    min: Decimal | None = None
    max: Decimal | None = None
    register: str | None = None
    reactive: ReactiveEnergy | None = None


def _energy(at_start: Registers, at_end: Registers, register: str) -> Amount:
    lower, upper = (
        round_half_away(Decimal(getattr(registers, register)) / 1000, 2) for registers in (at_start, at_end)
    )
    return Amount(round_half_away(upper - lower, 0), lower, upper, register)


def amounts(at_start: Registers, at_end: Registers, max_t1_step_wh: int | None) -> dict[Item, Amount]:
    """Every item's amount (docs/spec/billing.md, "Items of a calculation")."""
    t0 = _energy(at_start, at_end, "active_import_total_wh")
    t1 = _energy(at_start, at_end, "active_import_t1_wh")
    t2 = _energy(at_start, at_end, "active_import_t2_wh")
    taken = _energy(at_start, at_end, "reactive_import_total_varh").amount
    given = _energy(at_start, at_end, "reactive_export_total_varh").amount
    reactive = ReactiveEnergy(taken, given, t0.amount)
    # four quarter hours an hour: Wh in a quarter hour times 4 is the mean power in W
    peak_kw = round_half_away(Decimal(4 * (max_t1_step_wh or 0)) / 1000, 2)
    return {
        Item.USAGE_ACTIVE_ENERGY_T0: t0,
        Item.USAGE_ACTIVE_ENERGY_T1: t1,
        Item.USAGE_ACTIVE_ENERGY_T2: t2,
        Item.USAGE_ACTIVE_POWER_PEAK_T1: Amount(round_half_away(peak_kw, 0), max=peak_kw),
        Item.USAGE_REACTIVE_ENERGY: Amount(round_half_away(max(reactive.excess, Decimal(0)), 0), reactive=reactive),
        Item.USAGE_METER_FEE: Amount(Decimal(1)),
        Item.SUPPLY_ACTIVE_ENERGY_T1: t1,
        Item.SUPPLY_ACTIVE_ENERGY_T2: t2,
        Item.SUPPLY_RENEWABLE_ENERGY_FEE: t0,
        Item.SUPPLY_BUSINESS_USAGE_FEE: t0,
    }


def price(amount: Decimal, price_eur: Decimal) -> Decimal:
    """What an amount costs, in whole cents."""
    return round_half_away(amount * price_eur, 2)


def calculate_items(location: MeasurementLocationBasis, regulatory_prices: Mapping[Item, Decimal]) -> Calculation:
    """The items of a measurement location that is ready (docs/spec/billing.md, "Items of a calculation").

    Raises ValueError when it is not: without boundary registers or catalogue there is nothing to calculate.
    """
    if location.at_start is None or location.at_end is None or location.catalogue is None:
        raise ValueError(f"measurement location {location.id} is not ready")
    found = amounts(location.at_start, location.at_end, location.max_t1_step_wh)
    prices = {**location.catalogue.prices, **regulatory_prices}
    kind = location.catalogue.kind
    items = tuple(_priced(item, found[item], prices[item]) for item in items_of(kind))
    return Calculation(location.id, location.meter_id, kind, items)


def _priced(item: Item, of: Amount, price_eur: Decimal) -> CalculationItem:
    return CalculationItem(item, of.min, of.max, of.amount, price_eur, price(of.amount, price_eur))


def lacks(
    location: MeasurementLocationBasis, start: datetime, end: datetime, min_coverage_percent: Decimal
) -> list[str]:
    """What is missing to bill a location for `[start, end)`, in words that name meter and instant."""
    problems = []
    if location.catalogue is None:
        problems.append(f"measurement location {location.id}: catalogue {location.catalogue_id} has no prices in force")
    missing = [
        f"at {format_instant(at)}"
        for at, registers in ((start, location.at_start), (end, location.at_end))
        if registers is None
    ]
    if missing:
        return [*problems, f"meter {location.meter_id} has no reading {' and '.join(missing)}"]
    if location.catalogue is not None and is_billed_for_peak(location.catalogue.kind):
        pairs, needed = location.quarter_hour_pairs, min_coverage_percent / 100
        if pairs == 0 or QUARTER_HOUR.total_seconds() * pairs < needed * Decimal((end - start).total_seconds()):
            problems.append(
                f"meter {location.meter_id} has {pairs} of {(end - start) // QUARTER_HOUR} quarter hours, "
                f"{min_coverage_percent} % are needed" + _gap(location.first_gap_after)
            )
    return problems


def _gap(after: datetime | None) -> str:
    return "" if after is None else f"; the first gap follows the reading at {format_instant(after)}"
