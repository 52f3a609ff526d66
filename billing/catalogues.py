"""The kinds of network-user catalogue, and which items and prices each has."""

import functools
from enum import StrEnum


class CatalogueKind(StrEnum):
    """The kind of a network-user catalogue decides which items exist."""

    WHITE_MEDIUM = "white_medium"
    WHITE_LOW = "white_low"
    RED_LOW = "red_low"
    BLUE_LOW = "blue_low"


class Item(StrEnum):
    """What a measurement location can be charged for, in the order of the invoice's lines."""

    USAGE_ACTIVE_ENERGY_T0 = "usage_active_energy_t0"
    USAGE_ACTIVE_ENERGY_T1 = "usage_active_energy_t1"
    USAGE_ACTIVE_ENERGY_T2 = "usage_active_energy_t2"
    USAGE_ACTIVE_POWER_PEAK_T1 = "usage_active_power_peak_t1"
    USAGE_REACTIVE_ENERGY = "usage_reactive_energy"
    USAGE_METER_FEE = "usage_meter_fee"
    SUPPLY_ACTIVE_ENERGY_T1 = "supply_active_energy_t1"
    SUPPLY_ACTIVE_ENERGY_T2 = "supply_active_energy_t2"
    SUPPLY_RENEWABLE_ENERGY_FEE = "supply_renewable_energy_fee"
    SUPPLY_BUSINESS_USAGE_FEE = "supply_business_usage_fee"


NETWORK_USER_PRICES = {
    Item.USAGE_ACTIVE_ENERGY_T0: "active_energy_t0_price",
    Item.USAGE_ACTIVE_ENERGY_T1: "active_energy_t1_price",
    Item.USAGE_ACTIVE_ENERGY_T2: "active_energy_t2_price",
    Item.USAGE_ACTIVE_POWER_PEAK_T1: "active_power_peak_price",
    Item.USAGE_REACTIVE_ENERGY: "reactive_energy_price",
    Item.USAGE_METER_FEE: "meter_fee",
}
"""The field of a network-user catalogue that prices an item: EUR/kWh, EUR/kW, EUR/kVArh, EUR a month."""

REGULATORY_PRICES = {
    Item.SUPPLY_ACTIVE_ENERGY_T1: "supply_active_energy_t1_price",
    Item.SUPPLY_ACTIVE_ENERGY_T2: "supply_active_energy_t2_price",
    Item.SUPPLY_RENEWABLE_ENERGY_FEE: "renewable_energy_fee",
    Item.SUPPLY_BUSINESS_USAGE_FEE: "business_usage_fee",
}
"""The field of a regulatory catalogue that prices an item, EUR/kWh."""

_TWO_TARIFFS = {Item.USAGE_ACTIVE_ENERGY_T1, Item.USAGE_ACTIVE_ENERGY_T2}
_WITH_PEAK = _TWO_TARIFFS | {Item.USAGE_ACTIVE_POWER_PEAK_T1}
_FOR_ALL = {Item.USAGE_REACTIVE_ENERGY, Item.USAGE_METER_FEE} | set(REGULATORY_PRICES)
_ITEMS = {
    CatalogueKind.WHITE_MEDIUM: _WITH_PEAK,
    CatalogueKind.WHITE_LOW: _TWO_TARIFFS,
    CatalogueKind.RED_LOW: _WITH_PEAK,
    CatalogueKind.BLUE_LOW: {Item.USAGE_ACTIVE_ENERGY_T0},
}


@functools.cache
def items_of(kind: CatalogueKind) -> tuple[Item, ...]:
    """The items of a calculation under a kind of catalogue, in the order of the invoice's lines."""
    return tuple(item for item in Item if item in _ITEMS[kind] | _FOR_ALL)


def is_billed_for_peak(kind: CatalogueKind) -> bool:
    """Whether a kind charges the peak power, and so needs nearly every quarter hour."""
    return Item.USAGE_ACTIVE_POWER_PEAK_T1 in _ITEMS[kind]


def price_fields_of(kind: CatalogueKind) -> tuple[str, ...]:
    """The price fields that a network-user catalogue of a kind has."""
    return tuple(NETWORK_USER_PRICES[item] for item in items_of(kind) if item in NETWORK_USER_PRICES)
