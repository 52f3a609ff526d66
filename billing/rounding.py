"""The rounding of billing, in decimals: half away from zero, or half to even for whoever must match that."""

import functools
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from enum import StrEnum

_EXACT = Context(prec=60)  # wide enough that no amount of ours is ever cut by the context


class Rounding(StrEnum):
    """What becomes of a half (`billing.rounding`); HALF_UP is half away from zero."""

    HALF_UP = "half_up"
    HALF_EVEN = "half_even"

    def round(self, value: Decimal, decimals: int) -> Decimal:
        """Rounds to so many decimals (docs/spec/billing.md, "Items of a calculation")."""
        # decimal's ROUND_HALF_UP is half away from zero; zero never keeps a minus sign
        way = ROUND_HALF_UP if self is Rounding.HALF_UP else ROUND_HALF_EVEN
        return _EXACT.plus(value.quantize(_unit(decimals), way, _EXACT))


def round_half_away(value: Decimal, decimals: int) -> Decimal:
    """Rounds to so many decimals, half away from zero."""
    return Rounding.HALF_UP.round(value, decimals)


@functools.cache
def _unit(decimals: int) -> Decimal:
    return Decimal(1).scaleb(-decimals)


@functools.lru_cache(maxsize=4096)
def format_money(amount: Decimal) -> str:
    """Writes euros with two decimals; raises ValueError when that would lose a digit."""
    rounded = round_half_away(amount, 2)
    if rounded != amount:
        raise ValueError(f"{amount} euros are not whole cents")
    return format(rounded, "f")


@functools.lru_cache(maxsize=4096)  # of prices there are few
def format_plain(value: Decimal) -> str:
    """Writes a decimal without exponent and without trailing zeros."""
    return format(_EXACT.plus(value.normalize(_EXACT)), "f")
