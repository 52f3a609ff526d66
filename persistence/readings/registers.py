"""What the readings say of meters in periods, as they stand now or as they stood before they were replaced."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime

from sqlalchemy import Connection

from billing.segments import Registers, Segment
from persistence.connection.statements import fetch
from persistence.invoices.calculation_inputs import AT_ENDS, STEPS, registers, within
from persistence.sql import Queries

_REGISTERS = [field.name for field in fields(Registers)]

_SQL = Queries(
    __file__,
    STEPS=STEPS,
    **AT_ENDS,
    AS_THEY_STOOD=", ".join(f"coalesce(k.{name}, r.{name}) AS {name}" for name in _REGISTERS),
)


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


def measure(connection: Connection, segments: Sequence[Segment], *, before: datetime | None = None) -> list[Measured]:
    """What the readings say of each segment; with `before` as they stood then, by what has been kept since.

    The registers of a protocol are those of the segment.
    """
    sql = _SQL.measured if before is None else _SQL.measured_before
    starts, ends = [each.start for each in segments], [each.end for each in segments]
    parameters: dict[str, object] = {
        "meters": [each.meter_id for each in segments],
        "openings": [_protocol(each, "opening", each.at_start) for each in segments],
        "closings": [_protocol(each, "closing", each.at_end) for each in segments],
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


def _protocol(segment: Segment, end: str, registers: Registers | None) -> str | None:
    return " ".join(map(str, astuple(registers))) if registers and end in segment.protocol else None
