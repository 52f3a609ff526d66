"""When a month is closed: its every invoice is final and none is missing; told once, and again if that changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from persistence.connection.statements import execute, fetch
from persistence.invoices.due_invoices import TIME_ZONE
from persistence.sql import Queries

_SQL = Queries(__file__)


@dataclass(frozen=True, slots=True)
class Closing:
    """What a closed month came to: how its invoices ended, and the sums of the registered ones."""

    period: str
    closed_at: datetime
    registered: int
    aborted: int
    total_eur: Decimal
    tax_eur: Decimal
    total_with_tax_eur: Decimal

    def __str__(self) -> str:
        aborted = f", {self.aborted} aborted" if self.aborted else ""
        return (
            f"the month {self.period} is closed: {self.registered} invoices registered{aborted}, "
            f"{self.total_eur} EUR + {self.tax_eur} EUR tax = {self.total_with_tax_eur} EUR"
        )


def close_periods(connection: Connection, periods: Sequence[str], time_zone: str = TIME_ZONE) -> int:
    """Notes which of these due periods are closed now; returns how many."""
    return execute(connection, _SQL.close, periods=list(periods), time_zone=time_zone)


def take_untold(connection: Connection) -> list[Closing]:
    """The closings that nobody was told of yet; they count as told when the transaction commits."""
    return sorted((Closing(*row) for row in fetch(connection, _SQL.take_untold)), key=lambda each: each.period)


def last_closings(connection: Connection, limit: int = 24) -> list[Closing]:
    """The closed periods, the latest ones, in order."""
    return [Closing(*row) for row in reversed(fetch(connection, _SQL.last_closings, limit=limit))]
