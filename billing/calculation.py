"""The items of one measurement location in one period: what is measured, times what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.catalogues import CatalogueKind, Item, is_billed_for_peak, items_of
from billing.instants import format_instant
from billing.rounding import Rounding, format_money, format_plain
from billing.segments import Gap, Registers, Segment

FREE_REACTIVE_SHARE = Decimal("0.33")  # of active energy; what lies beyond is charged


@dataclass(frozen=True, slots=True)
class PricedCatalogue:
    """A network-user catalogue's entry in force; `valid_from` is '' or a month, prices in EUR."""

    id: str
    valid_from: str
    kind: CatalogueKind
    prices: Mapping[Item, Decimal]


@dataclass(frozen=True, slots=True)
class MeasurementLocationBasis:
    """All that the items of one measurement location rest on, for one network user in one period.

    `segments` are in the order of time, at least one. `gaps` are next to them and billed to nobody; with
    `refuses_gaps` the invoice waits instead. `has_it_at_end`: the user has the location at the period's end.
    """

    id: str
    title: str
    catalogue_id: str
    catalogue: PricedCatalogue | None
    segments: tuple[Segment, ...]
    gaps: tuple[Gap, ...] = ()
    refuses_gaps: bool = True
    has_it_at_end: bool = True

    def is_whole(self, start: datetime, end: datetime) -> bool:
        """Whether one meter measured the whole period, by its readings alone."""
        spans = [(each.start, each.end, each.protocol) for each in self.segments]
        return spans == [(start, end, ())] and not self.gaps and self.has_it_at_end


@dataclass(frozen=True, slots=True)
class CalculationItem:
    """One item: amount times price; `min` and `max` are what the amount came from, where measured.

    Over several segments `parts` has them, segment by segment.
    """

    item: Item
    min: Decimal | None
    max: Decimal | None
    amount: Decimal
    price_eur: Decimal
    total_eur: Decimal
    parts: tuple[tuple[Decimal, Decimal], ...] = ()

    def to_document(self) -> dict[str, Any]:
        """As it is stored and shown: decimals as strings."""
        document: dict[str, Any] = {
            "item": self.item.value,
            "min": None if self.min is None else format(self.min, "f"),
            "max": None if self.max is None else format(self.max, "f"),
            "amount": format(self.amount, "f"),
            "price_eur": format_plain(self.price_eur),
            "total_eur": format_money(self.total_eur),
        }
        if len(self.parts) > 1:
            document["segments"] = [{"min": format(low, "f"), "max": format(high, "f")} for low, high in self.parts]
        return document


@dataclass(frozen=True, slots=True)
class Calculation:
    """The items of one measurement location in one period; `whole`: one meter, from its start to its end."""

    measurement_location_id: str
    segments: tuple[Segment, ...]
    gaps: tuple[Gap, ...]
    whole: bool
    catalogue_kind: CatalogueKind
    items: tuple[CalculationItem, ...]

    def to_document(self) -> dict[str, object]:
        """As it is stored and shown; `meter_id` is the last meter."""
        document: dict[str, object] = {
            "measurement_location_id": self.measurement_location_id,
            "meter_id": self.segments[-1].meter_id,
            "catalogue_kind": self.catalogue_kind.value,
            "items": [item.to_document() for item in self.items],
        }
        if not self.whole:
            document["segments"] = [each.names() for each in self.segments]
            document["gaps"] = [each.to_document() for each in self.gaps]
        return document


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

    `parts` are the readings of `register` at the ends of each segment in kWh or kVArh; `peak_kw` the peak.
    """

    amount: Decimal
    parts: tuple[tuple[Decimal, Decimal], ...] = ()
    register: str | None = None
    reactive: ReactiveEnergy | None = None
    peak_kw: Decimal | None = None

    @property
    def difference(self) -> Decimal:
        """What was measured over all segments."""
        return sum((high - low for low, high in self.parts), Decimal(0))


def _energy(ends: Sequence[tuple[Registers, Registers]], register: str, rounding: Rounding) -> Amount:
    def thousands(registers: Registers) -> Decimal:
        return rounding.round(Decimal(getattr(registers, register)) / 1000, 2)

    parts = tuple((thousands(start), thousands(end)) for start, end in ends)
    return Amount(rounding.round(sum((high - low for low, high in parts), Decimal(0)), 0), parts, register)


def amounts(segments: Sequence[Segment], rounding: Rounding, *, has_it_at_end: bool = True) -> dict[Item, Amount]:
    """Every item's amount (docs/spec/billing.md, "Items of a calculation"); each segment has both registers."""
    ends = [(each.at_start, each.at_end) for each in segments if each.at_start and each.at_end]

    def energy(register: str) -> Amount:
        return _energy(ends, register, rounding)

    t0, t1, t2 = (energy(f"active_import_{name}_wh") for name in ("total", "t1", "t2"))
    taken, given = (energy(f"reactive_{way}_total_varh").amount for way in ("import", "export"))
    reactive = ReactiveEnergy(taken, given, t0.amount)
    # four quarter hours an hour: Wh in a quarter hour times 4 is the mean power in W
    peak_kw = rounding.round(Decimal(4 * max(each.max_t1_step_wh or 0 for each in segments)) / 1000, 2)
    return {
        Item.USAGE_ACTIVE_ENERGY_T0: t0,
        Item.USAGE_ACTIVE_ENERGY_T1: t1,
        Item.USAGE_ACTIVE_ENERGY_T2: t2,
        Item.USAGE_ACTIVE_POWER_PEAK_T1: Amount(rounding.round(peak_kw, 0), peak_kw=peak_kw),
        Item.USAGE_REACTIVE_ENERGY: Amount(rounding.round(max(reactive.excess, Decimal(0)), 0), reactive=reactive),
        Item.USAGE_METER_FEE: Amount(Decimal(int(has_it_at_end))),
        Item.SUPPLY_ACTIVE_ENERGY_T1: t1,
        Item.SUPPLY_ACTIVE_ENERGY_T2: t2,
        Item.SUPPLY_RENEWABLE_ENERGY_FEE: t0,
        Item.SUPPLY_BUSINESS_USAGE_FEE: t0,
    }


def price(amount: Decimal, price_eur: Decimal, rounding: Rounding) -> Decimal:
    """What an amount costs, in whole cents."""
    return rounding.round(amount * price_eur, 2)


def calculate_items(
    location: MeasurementLocationBasis, regulatory_prices: Mapping[Item, Decimal], rounding: Rounding, *, whole: bool
) -> Calculation:
    """The items of a measurement location that is ready (docs/spec/billing.md, "Items of a calculation").

    `whole` as in `Calculation`. Raises ValueError when it is not ready: without the registers at the ends of each
    segment or without a catalogue there is nothing to calculate.
    """
    catalogue = location.catalogue
    if catalogue is None or not all(each.at_start and each.at_end for each in location.segments):
        raise ValueError(f"measurement location {location.id} is not ready")
    found = amounts(location.segments, rounding, has_it_at_end=location.has_it_at_end)
    prices = {**catalogue.prices, **regulatory_prices}
    items = tuple(_priced(item, found[item], prices[item], rounding) for item in items_of(catalogue.kind))
    return Calculation(location.id, location.segments, location.gaps, whole, catalogue.kind, items)


def _priced(item: Item, of: Amount, price_eur: Decimal, rounding: Rounding) -> CalculationItem:
    low, high = of.parts[0] if len(of.parts) == 1 else (None, of.peak_kw)
    return CalculationItem(item, low, high, of.amount, price_eur, price(of.amount, price_eur, rounding), of.parts)


def lacks(location: MeasurementLocationBasis, min_coverage_percent: Decimal) -> list[str]:
    """What is missing to bill a location, in words that name meter and instant."""
    problems = []
    if location.catalogue is None:
        problems.append(f"measurement location {location.id}: catalogue {location.catalogue_id} has no prices in force")
    problems += [
        f"measurement location {location.id}: nobody is billed from {format_instant(gap.start)} "
        f"until {format_instant(gap.end)}, which `gaps: unbilled` in the master data would allow"
        for gap in location.gaps
        if location.refuses_gaps
    ]
    missing = [
        f"meter {each.meter_id} has no reading {' and '.join(instants)}"
        for each in location.segments
        if (instants := _missing_at(each))
    ]
    if not missing and location.catalogue is not None and is_billed_for_peak(location.catalogue.kind):
        missing = _coverage(location.segments, min_coverage_percent)
    return problems + missing


def _missing_at(segment: Segment) -> list[str]:
    ends = (segment.start, segment.at_start), (segment.end, segment.at_end)
    return [f"at {format_instant(at)}" for at, registers in ends if registers is None]


def _coverage(segments: Sequence[Segment], min_coverage_percent: Decimal) -> list[str]:
    pairs, all_of_them = (sum(getattr(each, name) for each in segments) for name in _COUNTED)
    if pairs and 100 * pairs >= min_coverage_percent * all_of_them:
        return []
    gaps = [each.first_gap_after for each in segments if each.first_gap_after is not None]
    first_gap = f"; the first gap follows the reading at {format_instant(min(gaps))}" if gaps else ""
    meters = " and ".join(dict.fromkeys(each.meter_id for each in segments))
    return [
        f"meter {meters} has {pairs} of {all_of_them} quarter hours, {min_coverage_percent} % are needed" + first_gap
    ]


_COUNTED = ("quarter_hour_pairs", "quarter_hours")
