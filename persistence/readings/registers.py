"""What the readings say of meters in periods, as they stand now or as they stood before they were replaced."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Connection

from billing.calculation import Registers
from persistence.connection.statements import fetch
from persistence.invoices.calculation_inputs import STEPS, registers, registers_of, within
from persistence.sql import Queries

_REGISTERS = [field.name for field in fields(Registers)]

_SQL = Queries(
    __file__,
    STEPS=STEPS,
    FIRST_REGISTERS=registers_of("first"),
    LAST_REGISTERS=registers_of("last"),
    AS_THEY_STOOD=", ".join(f"coalesce(k.{name}, r.{name}) AS {name}" for name in _REGISTERS),
)


@dataclass(frozen=True, slots=True)
class Span:
    """A meter in a period, both ends included."""

    meter_id: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Measured:
    """What an invoice takes from a meter's readings."""

    at_start: Registers | None
    at_end: Registers | None
    max_t1_step_wh: int | None
    quarter_hour_pairs: int
    readings_checksum: int | None
    falls: bool

    @property
    def is_gone(self) -> bool:
        """Whether there is no reading of it at all, as when they have been archived."""
        return self.at_start is None and self.at_end is None and self.quarter_hour_pairs == 0


def measure(connection: Connection, spans: Sequence[Span], *, before: datetime | None = None) -> list[Measured]:
    """What the readings say of each span; with `before` as they stood then, by what has been kept since."""
    sql = _SQL.measured if before is None else _SQL.measured_before
    starts, ends = [span.start for span in spans], [span.end for span in spans]
    parameters: dict[str, object] = {
        "meters": [span.meter_id for span in spans],
        "starts": starts,
        "ends": ends,
        **within(starts, ends),
    }
    if before is not None:
        parameters["since"] = before
    return [
        Measured(
            registers(row.at_start),
            registers(row.at_end),
            row.max_t1_step_wh,
            row.quarter_hour_pairs,
            row.readings_checksum,
            row.first_fall_at is not None,
        )
        for row in fetch(connection, sql, **parameters)
    ]
