"""Register readings in the database: imported file by file, each whole or not at all, and replaced with a trace."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, text

from persistence.database import copy_in
from persistence.errors import RowRefused
from persistence.readings_file import REGISTERS, ReadingsRejected, RowStream
from persistence.waiting import release_waiting

__all__ = ["ReadingsRejected", "ReadingsReport", "import_readings", "replace_readings"]

_COLUMNS = ", ".join(("meter_id", "at", *REGISTERS))
_STAGED_VALUES = ", ".join(f"s.{name}" for name in REGISTERS)
_KNOWN_VALUES = ", ".join(f"r.{name}" for name in REGISTERS)
_DIFFER = f"({_STAGED_VALUES}) IS DISTINCT FROM ({_KNOWN_VALUES})"

# The line numbers come from the order in which COPY fills the table; line 1 is the header.
_STAGE = """
    CREATE TEMPORARY TABLE staged_readings (
        line bigint GENERATED ALWAYS AS IDENTITY (START WITH 2), LIKE readings
    ) ON COMMIT DROP
"""
_COPY = f"COPY staged_readings ({_COLUMNS}) FROM STDIN WITH (FORMAT csv)"
_COPY_LINE = re.compile(r"COPY staged_readings, line ([0-9]+)")

_SURVEY = """
    SELECT s.meter_id, m.id IS NOT NULL AS known, s.first_line, s.first_at, s.last_at, s.wrong_sum_line
    FROM (
        SELECT meter_id, min(line) AS first_line, min(at) AS first_at, max(at) AS last_at,
            min(line) FILTER (
                WHERE active_import_total_wh <> active_import_t1_wh + active_import_t2_wh
            ) AS wrong_sum_line
        FROM staged_readings GROUP BY meter_id
    ) s LEFT JOIN meters m ON m.id = s.meter_id
"""
# In the order of the key: neighbours in time come to lie side by side, which is how billing reads them.
_INSERT = f"""
    INSERT INTO readings ({_COLUMNS}) SELECT {_COLUMNS} FROM staged_readings ORDER BY meter_id, at
    ON CONFLICT DO NOTHING
"""
_FIRST_DIFFERENCE = f"""
    SELECT s.line, s.meter_id, s.at,
        (SELECT min(o.line) FROM staged_readings o WHERE o.meter_id = s.meter_id AND o.at = s.at AND o.line <> s.line
            AND ({_STAGED_VALUES}) IS DISTINCT FROM ({", ".join(f"o.{name}" for name in REGISTERS)})) AS other_line
    FROM staged_readings s JOIN readings r USING (meter_id, at)
    WHERE {_DIFFER} ORDER BY s.line LIMIT 1
"""
_REPLACE = f"""
    WITH changed AS (
        SELECT s.meter_id, s.at, {", ".join(f"s.{name} AS new_{name}, r.{name}" for name in REGISTERS)}
        FROM staged_readings s JOIN readings r USING (meter_id, at) WHERE {_DIFFER}
    ), kept AS (
        INSERT INTO readings_replaced ({_COLUMNS}, replaced_by, reason)
        SELECT DISTINCT {_COLUMNS}, CAST(:who AS text), CAST(:reason AS text) FROM changed
    )
    UPDATE readings r SET {", ".join(f"{name} = c.new_{name}" for name in REGISTERS)}
    FROM changed c WHERE r.meter_id = c.meter_id AND r.at = c.at
"""
_COMPUTED_FROM_REPLACED = """
    WITH replaced AS (
        SELECT meter_id, at FROM readings_replaced
        WHERE meter_id = ANY(CAST(:meters AS text[])) AND replaced_at = transaction_timestamp()
    ), months AS (SELECT min(at) - interval '2 days' AS first, max(at) + interval '2 days' AS last FROM replaced)
    SELECT i.id FROM invoices i JOIN invoice_documents d ON d.invoice_id = i.id, months
    WHERE i.period BETWEEN to_char(months.first, 'YYYY-MM') AND to_char(months.last, 'YYYY-MM')
        AND EXISTS (
            SELECT FROM jsonb_array_elements(d.calculations) c JOIN replaced r ON r.meter_id = c->>'meter_id'
            WHERE r.at BETWEEN CAST(d.snapshot->>'period_start' AS timestamptz)
                AND CAST(d.snapshot->>'period_end' AS timestamptz)
        )
    ORDER BY i.id
"""


@dataclass(frozen=True, slots=True)
class ReadingsReport:
    """What an import did: rows of the file, of which new, replaced, and the same as known or twice there.

    `invoices` were computed from values that have been replaced; `invoices_released` waited for readings
    and are looked at again at once.
    """

    file: str
    rows: int
    new: int
    same: int
    replaced: int
    meters: int
    first_at: datetime
    last_at: datetime
    invoices: tuple[str, ...]
    invoices_released: int


@dataclass(frozen=True, slots=True)
class _Staged:
    rows: int
    meters: list[str]
    first_at: datetime
    last_at: datetime


def import_readings(
    connection: Connection, path: Path, *, progress: Callable[[int], None] | None = None
) -> ReadingsReport:
    """Takes a file of readings in; `progress` is told the rows read so far.

    Raises ReadingsRejected, after which the transaction has to be rolled back; so the file counts whole or
    not at all. The same reading again is no error, a different value for a known instant is.
    """
    staged = _stage(connection, path, progress)
    return _take(connection, path, staged, replaced=0)


def replace_readings(
    connection: Connection,
    path: Path,
    reason: str,
    who: str,
    *,
    progress: Callable[[int], None] | None = None,
) -> ReadingsReport:
    """Takes a file of readings in and lets it replace known values, which are kept with who, when and why.

    Raises ReadingsRejected as `import_readings` does.
    """
    staged = _stage(connection, path, progress)
    # one replacement at a time: what is kept is what the update really meets
    connection.execute(text("LOCK TABLE readings_replaced IN SHARE ROW EXCLUSIVE MODE"))
    replaced = connection.execute(text(_REPLACE), {"who": who, "reason": reason}).rowcount
    return _take(connection, path, staged, replaced)


def _stage(connection: Connection, path: Path, progress: Callable[[int], None] | None) -> _Staged:
    connection.execute(text("DROP TABLE IF EXISTS pg_temp.staged_readings"))
    connection.execute(text(_STAGE))
    rows = RowStream(path, progress)
    try:
        copy_in(connection, _COPY, rows)
    except RowRefused as error:
        raise _refused_by_copy(path, error) or error from error.__cause__
    if rows.problem is not None:
        raise rows.problem
    connection.execute(text("ANALYZE staged_readings"))
    return _survey(connection, path, rows.rows)


def _refused_by_copy(path: Path, error: RowRefused) -> ReadingsRejected | None:
    """A value that has the right form and yet is none, such as 30 February; None if no line is to blame."""
    fields = error.__cause__.args[0] if error.__cause__ and error.__cause__.args else {}
    line = _COPY_LINE.match(fields.get("W", ""))
    return line and ReadingsRejected(str(path), int(line[1]) + 1, fields.get("M", str(error)))


def _survey(connection: Connection, path: Path, rows: int) -> _Staged:
    meters = connection.execute(text(_SURVEY)).all()
    unknown = sorted((meter.first_line, meter.meter_id) for meter in meters if not meter.known)
    wrong_sums = [meter.wrong_sum_line for meter in meters if meter.wrong_sum_line is not None]
    if unknown and (not wrong_sums or unknown[0][0] <= min(wrong_sums)):
        line, meter_id = unknown[0]
        more = f" (and {len(unknown) - 1} more unknown meters)" if len(unknown) > 1 else ""
        raise ReadingsRejected(str(path), line, f"no meter {meter_id} in the master data{more}")
    if wrong_sums:
        row = connection.execute(
            text("SELECT * FROM staged_readings WHERE line = :line"), {"line": min(wrong_sums)}
        ).one()
        raise ReadingsRejected(
            str(path),
            row.line,
            f"active_import_total_wh {row.active_import_total_wh} is not T1 + T2, "
            f"{row.active_import_t1_wh} + {row.active_import_t2_wh}",
        )
    return _Staged(
        rows,
        sorted(meter.meter_id for meter in meters),
        min(meter.first_at for meter in meters),
        max(meter.last_at for meter in meters),
    )


def _take(connection: Connection, path: Path, staged: _Staged, replaced: int) -> ReadingsReport:
    new = connection.execute(text(_INSERT)).rowcount
    if new < staged.rows:
        _refuse_difference(connection, path)
    meters = {"meters": staged.meters}
    invoices = connection.execute(text(_COMPUTED_FROM_REPLACED), meters).scalars().all() if replaced else ()
    released = release_waiting(connection, staged.meters)
    return ReadingsReport(
        str(path),
        rows=staged.rows,
        new=new,
        same=staged.rows - new - replaced,
        replaced=replaced,
        meters=len(staged.meters),
        first_at=staged.first_at,
        last_at=staged.last_at,
        invoices=tuple(invoices),
        invoices_released=released,
    )


def _refuse_difference(connection: Connection, path: Path) -> None:
    row = connection.execute(text(_FIRST_DIFFERENCE)).one_or_none()
    if row is None:
        return
    what = f"meter {row.meter_id} at {row.at:%Y-%m-%dT%H:%M:%SZ}"
    if row.other_line is not None:
        first, second = sorted((row.line, row.other_line))
        raise ReadingsRejected(str(path), second, f"{what} stands in line {first} with other values")
    raise ReadingsRejected(str(path), row.line, f"{what} is known with other values; --replace would change them")
