"""What is odd about an invoice and yet possible: said with it, for whoever looks before it is sent."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from billing.calculation import Calculation, MeasurementLocationBasis
from billing.catalogues import Item, is_billed_for_peak
from billing.instants import format_instant
from billing.segments import Segment

USUAL_TIMES = 5
"""So many times more, or less, than usual is odd."""


def energy_kwh(calculations: Sequence[Calculation]) -> Decimal:
    """The active energy T0 of an invoice."""
    items = (item for each in calculations for item in each.items if item.item is Item.SUPPLY_RENEWABLE_ENERGY_FEE)
    return sum((item.amount for item in items), Decimal(0))


def remarks_of(
    places: Sequence[MeasurementLocationBasis], calculations: Sequence[Calculation], usual: Decimal | None
) -> list[str]:
    """The remarks of an invoice (docs/spec/billing.md, "Remarks"); `usual`: kWh, of the last months on average."""
    found = [remark for place in places for remark in _of_place(place)]
    energy = energy_kwh(calculations)
    if usual and (energy > USUAL_TIMES * usual or energy * USUAL_TIMES < usual):
        than = f"more than {USUAL_TIMES} times" if energy > usual else f"less than a {USUAL_TIMES}th of"
        found.append(f"consumption of {energy} kWh is {than} the {round(usual)} kWh of the last months")
    return found


def _of_place(place: MeasurementLocationBasis) -> Iterator[str]:
    for each in place.segments:
        if each.power_w is not None and 4 * (each.max_step_wh or 0) > each.power_w:
            yield (
                f"meter {each.meter_id} needed {4 * (each.max_step_wh or 0)} W in a quarter hour, "
                f"its connection has {each.power_w} W"
            )
    highest: Segment = max(place.segments, key=lambda each: each.max_t1_step_wh or 0)
    if highest.repeated_before_peak and place.catalogue and is_billed_for_peak(place.catalogue.kind):
        at = "" if highest.max_t1_step_at is None else f" at {format_instant(highest.max_t1_step_at)}"
        yield (
            f"meter {highest.meter_id}: the highest quarter hour{at} follows a reading that repeats the one before; "
            "it may have the energy of two"
        )
