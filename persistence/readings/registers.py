"""What the readings say of meters in periods, as they stand now or as they stood before they were replaced."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Connection

from billing.calculation import Registers
from persistence.connection.statements import fetch
from persistence.invoices.calculation_inputs import STEPS, registers, registers_of, within

_REGISTERS = [field.name for field in fields(Registers)]

# Under this name the query below reads the values of then: of each reading the oldest that was replaced since.
_AS_THEY_STOOD = f"""
    WITH readings AS (
        SELECT r.meter_id, r.at, {", ".join(f"coalesce(k.{name}, r.{name}) AS {name}" for name in _REGISTERS)}
        FROM unnest(CAST(:meters AS text[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
            AS span (meter_id, starts_at, ends_at)
        JOIN readings r ON r.meter_id = span.meter_id AND r.at BETWEEN span.starts_at AND span.ends_at
        LEFT JOIN LATERAL (
            SELECT * FROM readings_replaced p WHERE p.meter_id = r.meter_id AND p.at = r.at
                AND p.replaced_at >= CAST(:since AS timestamptz) ORDER BY p.replaced_at LIMIT 1
        ) AS k ON true
    )
"""
_MEASURED = f"""
    SELECT {registers_of("first")} AS at_start, {registers_of("last")} AS at_end, steps.*
    FROM unnest(CAST(:meters AS text[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
        WITH ORDINALITY AS wanted (meter_id, starts_at, ends_at, place)
    CROSS JOIN LATERAL (SELECT wanted.meter_id) AS ml
    LEFT JOIN readings first ON first.meter_id = ml.meter_id AND first.at = wanted.starts_at
    LEFT JOIN readings last ON last.meter_id = ml.meter_id AND last.at = wanted.ends_at
    LEFT JOIN LATERAL ({STEPS}) AS steps ON true
    ORDER BY wanted.place
"""


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
    sql = _MEASURED if before is None else _AS_THEY_STOOD + _MEASURED
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
