"""What one meter measured for one network user: a segment of a period, with the registers at its ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from billing.instants import format_instant
from billing.periods import QUARTER_HOUR


@dataclass(frozen=True, slots=True)
class Registers:
    """What the registers of a meter stood at, at one instant; in Wh and VArh."""

    active_import_total_wh: int
    active_import_t1_wh: int
    active_import_t2_wh: int
    active_export_total_wh: int
    reactive_import_total_varh: int
    reactive_export_total_varh: int

    def first_below(self, previous: "Registers") -> str | None:
        """The name of the first register that stands lower than before."""
        return next((f.name for f in fields(self) if getattr(self, f.name) < getattr(previous, f.name)), None)

    def to_document(self) -> dict[str, int]:
        """As it is stored."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class RegisterFall:
    """The first reading of a segment in which a register stands lower than in the one before."""

    at: datetime
    register: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A time between two meters, or between two users, that is billed to nobody."""

    start: datetime
    end: datetime

    def to_document(self) -> dict[str, str]:
        """As it is stored and shown."""
        return {"from": format_instant(self.start), "until": format_instant(self.end)}


@dataclass(frozen=True, slots=True)
class Segment:
    """The part `[start, end)` of a period in which a location has one meter and one network user.

    `max_t1_step_wh` and `quarter_hour_pairs` are over the pairs of readings exactly 15 minutes apart, and
    `max_t1_step_at` is the end of the highest one; `first_gap_after` is the last reading before the first longer step.
    `readings_checksum` is over all readings of the segment, for later proof that they are the same. `protocol` says
    which ends have the registers of an exchange's protocol: 'opening', 'closing'. `meter_version` is the version of
    the meter's data that all this was read from. `billed_by` is another debt's invoice that bills this meter in this
    time already. `max_step_wh` is the highest quarter hour of the total, `repeated_before_peak` says that the highest
    one of T1 follows two equal readings, `power_w` is what the connection may take.
    """

    meter_id: str
    start: datetime
    end: datetime
    at_start: Registers | None
    at_end: Registers | None
    max_t1_step_wh: int | None
    quarter_hour_pairs: int
    first_gap_after: datetime | None = None
    first_fall: RegisterFall | None = None
    readings_checksum: int | None = None
    meter_version: int = 0
    billed_by: str | None = None
    max_t1_step_at: datetime | None = None
    protocol: tuple[str, ...] = ()
    max_step_wh: int | None = None
    repeated_before_peak: bool = False
    power_w: int | None = None

    @property
    def quarter_hours(self) -> int:
        """How many there are, measured or not."""
        return (self.end - self.start) // QUARTER_HOUR

    def names(self) -> dict[str, object]:
        """Which meter and time, as it is stored and shown."""
        span = {"meter_id": self.meter_id, "from": format_instant(self.start), "until": format_instant(self.end)}
        return span | ({"protocol": list(self.protocol)} if self.protocol else {})

    def measured(self) -> dict[str, object]:
        """What was measured, as it is stored."""
        return {
            "registers_at_start": self.at_start and self.at_start.to_document(),
            "registers_at_end": self.at_end and self.at_end.to_document(),
            "max_t1_step_wh": self.max_t1_step_wh,
            "max_t1_step_at": self.max_t1_step_at and format_instant(self.max_t1_step_at),
            "quarter_hour_pairs": self.quarter_hour_pairs,
            "readings_checksum": self.readings_checksum,
        }


def stored_segments(place: Mapping[str, Any], snapshot: Mapping[str, Any]) -> tuple[Segment, ...]:
    """The segments of a measurement location in a stored snapshot: without a list of them it is the whole period.

    Raises KeyError, ValueError or TypeError for a document that was never made by this program.
    """
    whole = {"from": snapshot["period_start"], "until": snapshot["period_end"]}
    each_one: Sequence[Mapping[str, Any]] = place.get("segments") or [{**place, **whole}]
    return tuple(
        Segment(
            meter_id=each["meter_id"],
            start=datetime.fromisoformat(each["from"]),
            end=datetime.fromisoformat(each["until"]),
            at_start=Registers(**each["registers_at_start"]),
            at_end=Registers(**each["registers_at_end"]),
            max_t1_step_wh=each["max_t1_step_wh"],
            quarter_hour_pairs=each["quarter_hour_pairs"],
            readings_checksum=each["readings_checksum"],
            max_t1_step_at=datetime.fromisoformat(at) if (at := each.get("max_t1_step_at")) else None,
            protocol=tuple(each.get("protocol", ())),
        )
        for each in each_one
    )


def stored_gaps(place: Mapping[str, Any]) -> tuple[Gap, ...]:
    """The gaps of a measurement location in a stored snapshot."""
    return tuple(
        Gap(datetime.fromisoformat(each["from"]), datetime.fromisoformat(each["until"]))
        for each in place.get("gaps", ())
    )
