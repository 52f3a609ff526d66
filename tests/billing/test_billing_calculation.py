"""The arithmetic of items: rounding, energy, peak and reactive energy, to the cent and by kind of catalogue."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.calculation import Calculation, CalculationItem, calculate_items
from billing.catalogues import CatalogueKind, Item, is_billed_for_peak, items_of, price_fields_of
from billing.rounding import Rounding, format_money, format_plain, round_half_away
from billing.segments import Registers
from tests.billing.billing_samples import basis, catalogue, location, registers

amounts = st.decimals(-(10**13), 10**13, allow_nan=False, allow_infinity=False, places=9)


def items(kind: CatalogueKind, **different: object) -> dict[Item, CalculationItem]:
    calculation = calculated(kind, **different)
    return {item.item: item for item in calculation.items}


def calculated(kind: CatalogueKind, **different: object) -> Calculation:
    regulatory = basis().regulatory_catalogue
    assert regulatory is not None
    place = location(catalogue=catalogue(kind), **different)
    return calculate_items(place, regulatory.prices, Rounding.HALF_UP, whole=True)


@given(amounts, st.integers(0, 6))
def test_rounding_is_to_the_nearest_and_half_goes_away_from_zero(value: Decimal, decimals: int) -> None:
    rounded = round_half_away(value, decimals)
    unit = Fraction(1, 10**decimals)
    distance = abs(Fraction(rounded) - Fraction(value))
    assert distance <= unit / 2
    assert Fraction(rounded) % unit == 0
    if distance == unit / 2:
        assert abs(rounded) > abs(value)
    assert round_half_away(-value, decimals) == -rounded


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        ("0.005", "0.01"),
        ("-0.005", "-0.01"),
        ("2.675", "2.68"),
        ("1.0049999", "1.00"),
        ("-0.001", "0.00"),
        ("0", "0.00"),
    ],
)
def test_cents_are_rounded_as_people_do(value: str, rounded: str) -> None:
    assert str(round_half_away(Decimal(value), 2)) == rounded


@pytest.mark.parametrize(
    ("value", "written"),
    [("13.000000", "13"), ("10", "10"), ("0.0", "0"), ("5.50", "5.5"), ("1E+2", "100"), ("-0", "0")],
)
def test_a_decimal_is_written_without_trailing_zeros_and_exponent(value: str, written: str) -> None:
    assert format_plain(Decimal(value)) == written


def test_money_is_written_with_two_decimals_or_not_at_all() -> None:
    assert format_money(Decimal(5)) == "5.00"
    assert format_money(Decimal("-0.10")) == "-0.10"
    with pytest.raises(ValueError, match="cents"):
        format_money(Decimal("0.001"))


def test_energy_is_the_difference_of_rounded_registers_rounded_to_whole_kwh() -> None:
    # 1000.004 -> 1000.00 and 1000.505 -> 1000.51 (half away): 0.51, one whole kWh, though 501 Wh were used
    item = items(CatalogueKind.BLUE_LOW, at_start=registers(1_000_004), at_end=registers(1_000_505))[
        Item.USAGE_ACTIVE_ENERGY_T0
    ]
    assert (item.min, item.max, item.amount) == (Decimal("1000.00"), Decimal("1000.51"), Decimal(1))


@pytest.mark.parametrize(
    ("step_wh", "peak", "amount"), [(2500, "10.00", 10), (126, "0.50", 1), (124, "0.50", 1), (123, "0.49", 0)]
)
def test_peak_is_four_times_the_largest_quarter_hour_rounded_twice(step_wh: int, peak: str, amount: int) -> None:
    item = items(CatalogueKind.RED_LOW, max_t1_step_wh=step_wh)[Item.USAGE_ACTIVE_POWER_PEAK_T1]
    assert str(item.max) == peak
    assert item.amount == amount


@pytest.mark.parametrize(
    ("reactive_import", "reactive_export", "amount"), [(60, 40, 67), (20, 13, 0), (33, 0, 0), (0, 34, 1)]
)
def test_reactive_energy_counts_beyond_a_third_of_active(
    reactive_import: int, reactive_export: int, amount: int
) -> None:
    end = registers(100_000, reactive=(reactive_import * 1000, reactive_export * 1000))
    item = items(CatalogueKind.WHITE_LOW, at_start=registers(), at_end=end)[Item.USAGE_REACTIVE_ENERGY]
    assert item.amount == amount


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        (CatalogueKind.BLUE_LOW, ["usage_active_energy_t0"]),
        (CatalogueKind.WHITE_LOW, ["usage_active_energy_t1", "usage_active_energy_t2"]),
        (CatalogueKind.RED_LOW, ["usage_active_energy_t1", "usage_active_energy_t2", "usage_active_power_peak_t1"]),
        (
            CatalogueKind.WHITE_MEDIUM,
            ["usage_active_energy_t1", "usage_active_energy_t2", "usage_active_power_peak_t1"],
        ),
    ],
)
def test_the_kind_decides_which_items_exist(kind: CatalogueKind, own: list[str]) -> None:
    for_all = [
        "usage_reactive_energy", "usage_meter_fee", "supply_active_energy_t1", "supply_active_energy_t2",
        "supply_renewable_energy_fee", "supply_business_usage_fee",
    ]  # fmt: skip
    assert [item.item.value for item in calculated(kind).items] == own + for_all
    assert is_billed_for_peak(kind) == ("usage_active_power_peak_t1" in own)
    assert len(price_fields_of(kind)) == len(own) + 2


wh = st.integers(0, 10**12)


@given(st.sampled_from(CatalogueKind), wh, wh, wh, wh, st.integers(0, 10**8))
def test_every_item_is_amount_times_price_and_never_negative(
    kind: CatalogueKind, t1: int, t2: int, reactive: int, start: int, step: int
) -> None:
    at_start = registers(start, start, reactive=(start, start))
    at_end = registers(start + t1, start + t2, reactive=(start + reactive, start))
    calculation = calculated(kind, at_start=at_start, at_end=at_end, max_t1_step_wh=step)
    assert [item.item for item in calculation.items] == list(items_of(kind))
    for item in calculation.items:
        assert item.amount >= 0
        assert item.amount == item.amount.to_integral_value()
        assert item.total_eur == round_half_away(item.amount * item.price_eur, 2)
    by_item = {item.item: item for item in calculation.items}
    assert abs(by_item[Item.SUPPLY_ACTIVE_ENERGY_T1].amount - Decimal(t1) / 1000) <= Decimal("0.51")


def test_what_is_not_ready_cannot_be_calculated() -> None:
    with pytest.raises(ValueError, match="ml-1"):
        calculated(CatalogueKind.BLUE_LOW, at_end=None)


def test_the_first_register_that_fell_is_named() -> None:
    before = Registers(10, 6, 4, 3, 2, 1)
    assert before.first_below(before) is None
    assert replace(before, active_import_t2_wh=3).first_below(before) == "active_import_t2_wh"
    assert replace(before, reactive_export_total_varh=0).first_below(before) == "reactive_export_total_varh"
