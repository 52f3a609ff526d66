"""Register readings in the database: imported file by file, each whole or not at all, and replaced with a trace."""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from persistence.connection.engine import copy_in
from persistence.connection.errors import RowRefused
from persistence.connection.statements import execute, fetch, fetch_column, fetch_row, fetch_value
from persistence.invoices import recalculation
from persistence.locks import lock_meters_in_turns
from persistence.readings.file import REGISTERS, ReadingsRejected, RowStream
from persistence.readings.partitions import Month, MonthArchived, make_month, missing_months, month_step, months_of
from persistence.sql import Queries

__all__ = ["ReadingsRejected", "ReadingsReport", "import_readings", "replace_readings"]

_WORK_MEMORY = "64MB"
_REPLACING_LOCK = 7_240_063
_AHEAD = timedelta(hours=1)  # clocks of meters go wrong, too
_FIRST_AT = datetime(2000, 1, 1, tzinfo=UTC)
_UNIQUE_VIOLATION = "23505"
_LARGE_BYTES = 4_000_000
_MONTH_AT_MOST = timedelta(days=32)
_COLUMNS = ", ".join(("meter_id", "at", *REGISTERS))
_SQL = Queries(
    __file__,
    COLUMNS=_COLUMNS,
    STAGED_VALUES=", ".join(f"s.{name}" for name in REGISTERS),
    KNOWN_VALUES=", ".join(f"k.{name}" for name in REGISTERS),
    OTHER_VALUES=", ".join(f"o.{name}" for name in REGISTERS),
    NEW_VALUES=", ".join(f"s.{name} AS new_{name}" for name in REGISTERS),
    SETS=", ".join(f"{name} = c.new_{name}" for name in REGISTERS),
)
_COPY = f"COPY {{table}} ({_COLUMNS}) FROM STDIN WITH (FORMAT csv)"
_COPY_LINE = re.compile(r"COPY staged_readings\D+([0-9]+)")  # `line` in the language of the server

_SURVEYED = "SELECT s.*, m.id IS NOT NULL AS known FROM staged_meters s LEFT JOIN meters m ON m.id = s.meter_id"
_STAGED = f"SELECT {_COLUMNS} FROM staged_readings s"
_INSERT = f"INSERT INTO readings ({_COLUMNS}) {_STAGED}"
_UNKNOWN = "NOT EXISTS (SELECT FROM known_readings k WHERE k.meter_id = s.meter_id AND k.at = s.at)"
# Neighbours in time are to lie side by side, which is how billing reads them: where the file has them otherwise.
_IN_ORDER = "ORDER BY meter_id, at"


@dataclass(frozen=True, slots=True)
class ReadingsReport:
    """What an import did: rows of the file, of which new, replaced, and the same as known or twice there.

    `invoices` were computed from values that have been replaced, or before readings of theirs came;
    `invoices_released` is how many wait for readings of these meters, and are looked at again at once.
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

    def corrections(self) -> list[str]:
        """The invoices, each with the command that corrects it."""
        return [f"{each}: `billingd invoices correct {each}`" for each in self.invoices]


@dataclass(frozen=True, slots=True)
class _Staged:
    rows: int
    meters: list[str]
    first_at: datetime
    last_at: datetime
    side_by_side: bool

    def span(self) -> dict[str, datetime]:
        """For the statements that look at no other month."""
        return {"first_at": self.first_at, "last_at": self.last_at}


def import_readings(
    connection: Connection,
    path: Path,
    *,
    who: str = "import readings",
    progress: Callable[[int], None] | None = None,
    now: datetime | None = None,
) -> ReadingsReport:
    """Takes a file of readings in; `progress` is told the rows read so far.

    With `now`, an instant before 2000 or more than an hour after `now` is refused.

    Raises ReadingsRejected, after which the transaction has to be rolled back; so the file counts whole or
    not at all. The same reading again is no error, a different value for a known instant is. The meters stay locked
    from its last statements until the transaction ends, which is to follow at once.
    """
    if (filled := _fill_new_month(connection, path, progress, now)) is not None:
        return _finish(connection, path, *filled, replaced=0, who=who)
    staged = _stage(connection, path, progress, now)
    return _take(connection, path, staged, replaced=0, who=who)


def replace_readings(
    connection: Connection,
    path: Path,
    reason: str,
    who: str,
    *,
    progress: Callable[[int], None] | None = None,
    now: datetime | None = None,
) -> ReadingsReport:
    """Takes a file of readings in and lets it replace known values, which are kept with who, when and why.

    Raises ReadingsRejected as `import_readings` does.
    """
    staged = _stage(connection, path, progress, now)
    # one replacement at a time: what is kept is what the update really meets
    execute(connection, "SELECT pg_advisory_xact_lock(:key)", key=_REPLACING_LOCK)
    _note_known(connection, staged)
    replaced = execute(connection, _SQL.replace, who=who, reason=reason, **staged.span())
    return _take(connection, path, staged, replaced, who)


class _LongerWay(Exception):  # noqa: N818 - named for what follows
    """The quick way can't take a file, or found something amiss in it."""


def _fill_new_month(
    connection: Connection, path: Path, progress: Callable[[int], None] | None, now: datetime | None
) -> tuple[_Staged, int, list[Month]] | None:
    """Takes a large file of a month that is new straight into its partition: nothing is written twice.

    Gives also how many rows were new, and the new months. None if that can't be, or if anything is amiss: then nothing
    of it stays, and the longer way takes the file or says what is wrong with it, and where.
    """
    month = _main_month(path)
    try:
        with connection.begin_nested():
            if month is None or not missing_months(connection, [month]):
                return None
            month_step(connection, month, filled=False)
            rows = RowStream(path, progress)
            copy_in(connection, _COPY.format(table=month.table), rows)
            staged = _survey_month(connection, month, rows, now)
            missed, months = _take_strays(connection, path, month)
            month_step(connection, month, filled=True)
            return staged, rows.rows - missed, [month, *months]
    except (_LongerWay, ReadingsRejected, MonthArchived, RowRefused):
        return None


def _main_month(path: Path) -> Month | None:
    """The month that a large file is about, if the rows at its begin are one meter's and lie in no more."""
    if not path.is_file() or path.stat().st_size < _LARGE_BYTES:
        return None
    rows = [row.split(b",") for row in next(iter(RowStream(path)), b"").splitlines()]
    try:
        of_one_meter = itertools.takewhile(lambda row: row[0] == rows[0][0], rows)
        instants = [datetime.fromisoformat(row[1].decode()) for row in of_one_meter]
    except ValueError:  # such as 30 February
        return None
    if len(instants) < 2 or abs(instants[-1] - instants[0]) > _MONTH_AT_MOST:
        return None
    return Month.of(instants[len(instants) // 2].astimezone(UTC))


def _survey_month(connection: Connection, month: Month, rows: RowStream, now: datetime | None) -> _Staged:
    found = fetch_row(connection, _SQL.survey_month.replace("new_month", month.table))
    if rows.problem is not None or found is None or not found.right:
        raise _LongerWay
    if now is not None and (found.first_at < _FIRST_AT or found.last_at > now + _AHEAD):
        raise _LongerWay
    return _Staged(rows.rows, sorted(found.meters.split(",")), found.first_at, found.last_at, side_by_side=True)


def _take_strays(connection: Connection, path: Path, month: Month) -> tuple[int, list[Month]]:
    """Inserts what doesn't lie in the month; gives how many of these rows were known, and further new months."""
    _make_staging(connection)
    others = f"SELECT {_COLUMNS} FROM {month.table} WHERE NOT ({month.has('at')})"
    strays = execute(connection, f"INSERT INTO staged_readings ({_COLUMNS}) {others}")
    if not strays:
        return 0, []
    new, months = _insert(connection, path, _survey(connection, path, strays))
    if new < strays and fetch_row(connection, _SQL.first_difference) is not None:
        raise _LongerWay
    return strays - new, months


def _make_staging(connection: Connection) -> None:
    for table in ("staged_readings", "staged_meters"):
        execute(connection, f"DROP TABLE IF EXISTS pg_temp.{table}")
    execute(connection, f"SET LOCAL work_mem = '{_WORK_MEMORY}'")
    execute(connection, _SQL.stage)


def _stage(connection: Connection, path: Path, progress: Callable[[int], None] | None, now: datetime | None) -> _Staged:
    _make_staging(connection)
    rows = RowStream(path, progress)
    try:
        copy_in(connection, _COPY.format(table="staged_readings"), rows)
    except RowRefused as error:
        raise _refused_by_copy(path, error) or error from error.__cause__
    if rows.problem is not None:
        raise rows.problem
    execute(connection, "ANALYZE staged_readings")
    if now is not None:
        _refuse_unlikely(connection, path, now)
    return _survey(connection, path, rows.rows)


def _refused_by_copy(path: Path, error: RowRefused) -> ReadingsRejected | None:
    """A value that has the right form and yet is none, such as 30 February; None if no line is to blame."""
    fields = error.__cause__.args[0] if error.__cause__ and error.__cause__.args else {}
    line = _COPY_LINE.match(fields.get("W", ""))
    return line and ReadingsRejected(str(path), int(line[1]) + 1, fields.get("M", str(error)))


def _refuse_unlikely(connection: Connection, path: Path, now: datetime) -> None:
    row = fetch_row(
        connection,
        "SELECT line, at FROM staged_readings WHERE at < :first OR at > :until ORDER BY line LIMIT 1",
        first=_FIRST_AT,
        until=now + _AHEAD,
    )
    if row is not None:
        what = "before 2000" if row.at < _FIRST_AT else "in the future"
        raise ReadingsRejected(
            str(path), row.line, f"{row.at:%Y-%m-%dT%H:%MZ} is {what}; --any-time takes it all the same"
        )


def _survey(connection: Connection, path: Path, rows: int) -> _Staged:
    execute(connection, _SQL.survey)
    meters = fetch(connection, _SURVEYED)
    unknown = sorted((meter.first_line, meter.meter_id) for meter in meters if not meter.known)
    wrong_sums = [meter.wrong_sum_line for meter in meters if meter.wrong_sum_line is not None]
    if unknown and (not wrong_sums or unknown[0][0] <= min(wrong_sums)):
        line, meter_id = unknown[0]
        more = f" (and {len(unknown) - 1} more unknown meters)" if len(unknown) > 1 else ""
        raise ReadingsRejected(str(path), line, f"no meter {meter_id} in the master data{more}")
    if wrong_sums:
        row = fetch_row(connection, "SELECT * FROM staged_readings WHERE line = :line", line=min(wrong_sums))
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
        all(meter.side_by_side for meter in meters),
    )


def _take(connection: Connection, path: Path, staged: _Staged, replaced: int, who: str) -> ReadingsReport:
    new, months = _insert(connection, path, staged)
    if new < staged.rows:
        _refuse_difference(connection, path)
    return _finish(connection, path, staged, new, months, replaced, who)


def _finish(
    connection: Connection, path: Path, staged: _Staged, new: int, months: list[Month], replaced: int, who: str
) -> ReadingsReport:
    invoices, released = _mark_stale(connection, staged, months, replaced, who) if new or replaced else ((), 0)
    return ReadingsReport(
        str(path),
        rows=staged.rows,
        new=new,
        same=staged.rows - new - replaced,
        replaced=replaced,
        meters=len(staged.meters),
        first_at=staged.first_at,
        last_at=staged.last_at,
        invoices=invoices,
        invoices_released=released,
    )


def _mark_stale(
    connection: Connection, staged: _Staged, months: list[Month], replaced: int, who: str
) -> tuple[tuple[str, ...], int]:
    """Makes what rests on the values of before stale; gives the invoices computed from them, and how many wait.

    No invoice rests on `months`, which are new: not even one of before they were archived.

    The last act of an import: nothing that others can hold up follows. A calculation that was stored before the
    meters are locked is listed here; one that comes later finds another version and is refused.
    """
    meters = {"meters": staged.meters}
    lock_meters_in_turns(connection, staged.meters)
    execute(connection, "UPDATE meters SET version = version + 1 WHERE id = ANY(CAST(:meters AS text[]))", **meters)
    late = " AND ".join([_SQL.note_late, *(f"NOT ({each.has('r.at')})" for each in months)])
    changed = replaced + execute(connection, late, who=who, **meters, **staged.span())
    invoices = fetch_column(connection, _SQL.computed_from_replaced, **meters) if changed else ()
    recalculation.request(connection, staged.meters)
    return tuple(invoices), recalculation.waiting(connection, staged.meters)


def _new_months(connection: Connection, path: Path, staged: _Staged) -> list[Month]:
    try:
        return missing_months(connection, months_of(connection, "staged_readings", staged.first_at, staged.last_at))
    except MonthArchived as error:
        line = fetch_value(connection, f"SELECT min(line) FROM staged_readings s WHERE {error.month.has('s.at')}")
        raise ReadingsRejected(str(path), line, str(error)) from error


def _insert(connection: Connection, path: Path, staged: _Staged) -> tuple[int, list[Month]]:
    """Inserts what is not there yet and gives the number of rows, and the months that it has made.

    The quick way takes no row twice: where the file has one twice, or another import has just brought it, the
    slower way, which looks each up as it goes, does it.
    """
    months = _new_months(connection, path, staged)
    _note_known(connection, staged)
    order = "" if staged.side_by_side else _IN_ORDER
    try:
        with connection.begin_nested():
            filled = [make_month(connection, each, f"{_STAGED} WHERE {each.has('s.at')} {order}") for each in months]
            others = [f"NOT ({each.has('s.at')})" for each in months]
            rest = execute(connection, f"{_INSERT} WHERE {' AND '.join([*others, _UNKNOWN])} {order}")
            return sum(filled) + rest, months
    except RowRefused as error:
        if error.sqlstate != _UNIQUE_VIOLATION:
            raise
    for each in months:
        make_month(connection, each, f"{_STAGED} WHERE false")
    new = execute(connection, f"{_INSERT} {order} ON CONFLICT DO NOTHING")
    _note_known(connection, staged)
    return new, months


def _note_known(connection: Connection, staged: _Staged) -> None:
    execute(connection, "DROP TABLE IF EXISTS pg_temp.known_readings")
    execute(connection, _SQL.known, **staged.span())
    execute(connection, "ANALYZE known_readings")


def _refuse_difference(connection: Connection, path: Path) -> None:
    row = fetch_row(connection, _SQL.first_difference)
    if row is None:
        return
    what = f"meter {row.meter_id} at {row.at:%Y-%m-%dT%H:%M:%SZ}"
    if row.other_line is not None:
        first, second = sorted((row.line, row.other_line))
        raise ReadingsRejected(str(path), second, f"{what} stands in line {first} with other values")
    raise ReadingsRejected(str(path), row.line, f"{what} is known with other values; --replace would change them")
