"""Properties of segments: splitting a month changes no amount by more than the rounding that is specified."""

from dataclasses import replace
from decimal import Decimal, localcontext

from hypothesis import given
from hypothesis import strategies as st

from billing.calculation import amounts
from billing.catalogues import CatalogueKind, Item
from billing.invoice import Invoice, calculate
from billing.periods import QUARTER_HOUR
from billing.rounding import Rounding
from billing.segments import Gap, Registers, Segment
from tests.billing.billing_samples import basis, catalogue, location, segment

OCTOBER = segment()
ENERGY = (Item.USAGE_ACTIVE_ENERGY_T0, Item.USAGE_ACTIVE_ENERGY_T1, Item.USAGE_ACTIVE_ENERGY_T2)
PEAK = Item.USAGE_ACTIVE_POWER_PEAK_T1
wh = st.integers(0, 10**9)
registers = st.builds(
    lambda t1, t2, out, taken, given: Registers(t1 + t2, t1, t2, out, taken, given), wh, wh, wh, wh, wh
)


def plus(one: Registers, more: Registers) -> Registers:
    return Registers(*(getattr(one, name) + getattr(more, name) for name in Registers.__slots__))


def split(whole: list[tuple[int, Registers, int]], start: Registers) -> list[Segment]:
    """Segments that follow one another: each ends at a quarter hour of the month, its registers higher, with a peak."""
    segments, begins, at = [], OCTOBER.start, start
    for quarter, risen, step in whole:
        ends, then = OCTOBER.start + quarter * QUARTER_HOUR, plus(at, risen)
        segments.append(
            segment(
                start=begins, end=ends, at_start=at, at_end=then, max_t1_step_wh=step, protocol=("opening", "closing")
            )
        )
        begins, at = ends, then
    return segments


cuts = st.lists(st.integers(1, OCTOBER.quarter_hours - 1), min_size=1, max_size=6, unique=True).map(sorted)
months = cuts.flatmap(
    lambda quarters: st.tuples(
        *(st.tuples(st.just(each), registers, st.integers(0, 10**6)) for each in [*quarters, OCTOBER.quarter_hours])
    )
)


@given(months, registers, st.sampled_from(Rounding))
def test_splitting_a_month_at_any_quarter_hour_changes_no_amount_by_more_than_its_rounding(
    month: tuple[tuple[int, Registers, int], ...], start: Registers, rounding: Rounding
) -> None:
    parts = split(list(month), start)
    whole = replace(OCTOBER, at_start=start, at_end=parts[-1].at_end, max_t1_step_wh=max(step for _, _, step in month))
    one, many = amounts([whole], rounding), amounts(parts, rounding)
    for item in ENERGY:
        # The registers at each cut are rounded once and cancel out: what is summed is the same, to the last digit.
        assert many[item].difference == one[item].difference
        assert many[item].amount == one[item].amount
    assert many[PEAK] == one[PEAK]
    assert many[Item.USAGE_REACTIVE_ENERGY].amount == one[Item.USAGE_REACTIVE_ENERGY].amount


@given(months, registers)
def test_the_users_of_a_location_pay_together_what_its_meter_counted(
    month: tuple[tuple[int, Registers, int], ...], start: Registers
) -> None:
    parts = split(list(month), start)
    whole = replace(OCTOBER, at_start=start, at_end=parts[-1].at_end)
    meter = amounts([whole], Rounding.HALF_UP)
    users = [amounts([each], Rounding.HALF_UP, has_it_at_end=each is parts[-1]) for each in parts]
    for item in ENERGY:
        assert sum(each[item].difference for each in users) == meter[item].difference
        together = sum(each[item].amount for each in users)
        assert abs(together - meter[item].amount) <= Decimal("0.5") * (len(users) + 1)
    assert sum(each[Item.USAGE_METER_FEE].amount for each in users) == 1


def test_a_half_is_rounded_away_from_zero_or_to_even_as_configured() -> None:
    it = basis(location(at_start=Registers(0, 0, 0, 0, 0, 0), at_end=Registers(2_500, 2_500, 0, 0, 0, 0)))
    up, even = calculate(it, 95), calculate(it, 95, Rounding.HALF_EVEN)
    assert isinstance(up, Invoice)
    assert isinstance(even, Invoice)
    t1 = [invoice.calculations[0].items[0].amount for invoice in (up, even)]
    assert t1 == [3, 2]
    assert "rounding" not in up.snapshot
    assert even.snapshot["rounding"] == "half_even"


def test_a_threads_own_context_of_decimals_changes_no_amount() -> None:
    with localcontext(prec=3):
        assert Rounding.HALF_UP.round(Decimal("123456.785"), 2) == Decimal("123456.79")


def test_a_whole_month_looks_as_it_always_did_and_a_part_says_which() -> None:
    whole, cut = calculate(basis(), 95), OCTOBER.start + QUARTER_HOUR
    assert isinstance(whole, Invoice)
    assert set(whole.calculations_document()[0]) == {
        "measurement_location_id", "meter_id", "catalogue_kind", "items",
    }  # fmt: skip
    gap = Gap(OCTOBER.start, cut)
    part = calculate(basis(location(start=cut, gaps=(gap,), refuses_gaps=False)), 95)
    assert isinstance(part, Invoice)
    document = part.calculations_document()[0]
    assert document["segments"] == [
        {"meter_id": "meter-1", "from": "2026-09-30T22:15:00Z", "until": "2026-10-31T23:00:00Z"}
    ]
    assert document["gaps"] == [{"from": "2026-09-30T22:00:00Z", "until": "2026-09-30T22:15:00Z"}]


def test_coverage_counts_the_quarter_hours_of_all_segments() -> None:
    cut = OCTOBER.start + 100 * QUARTER_HOUR
    parts = (segment(end=cut, quarter_hour_pairs=60), segment(start=cut, meter_id="meter-2", quarter_hour_pairs=2800))
    red = catalogue(CatalogueKind.RED_LOW)
    assert isinstance(calculate(basis(location(catalogue=red, segments=parts)), 95), Invoice)
    not_ready = calculate(basis(location(catalogue=red, segments=parts)), 99)
    assert not isinstance(not_ready, Invoice)
    assert not_ready.reason == "meter meter-1 and meter-2 has 2860 of 2980 quarter hours, 99 % are needed"
