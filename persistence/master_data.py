"""Master data in the database: a file of it checked as a whole, then added to and updated, never deleted from."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from billing.identity import InvoiceId
from billing.states import State
from persistence.connection.statements import execute, fetch, fetch_column, fetch_value
from persistence.invoices import due_invoices, recalculation
from persistence.invoices.conditions import OPEN
from persistence.locks import lock_meters_in_turns
from persistence.master_assignments import line_of_key, referred
from persistence.master_file import FIELDS, Entry, MasterFile, read_master
from persistence.sql import Queries

# which field of which list has to be an id of which other list
_REFERENCES = (
    ("locations", "regulatory_catalogue", "regulatory_catalogues"),
    ("network_users", "location", "locations"),
    ("measurement_locations", "network_user", "network_users"),
    ("measurement_locations", "catalogue", "network_user_catalogues"),
    ("measurement_locations", "meter_id", "meters"),
)
_NOT_BOOKED = (State.CALCULATED, State.HELD)


def _covers(assignment: str) -> str:
    return f"""{assignment}.meter_id = b.meter_id AND {assignment}.network_user = b.network_user_id
        AND {assignment}.starts_at <= b.starts_at AND {assignment}.ends_at >= b.ends_at
        AND b.period >= {assignment}.billed_from
        AND ({assignment}.billed_until IS NULL OR b.period <= {assignment}.billed_until)"""


_SQL = Queries(__file__, COVERED_BEFORE=_covers("o"), COVERED_NOW=_covers("a"))


class MasterRejected(ValueError):  # noqa: N818 - an outcome, named as the others of this room
    """A file of master data can't be taken; `problems` has every one, with file, line and key."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(f"{len(problems)} problem{'s' if len(problems) != 1 else ''}: {problems[0]}")
        self.problems = problems


@dataclass(frozen=True, slots=True)
class MasterReport:
    """What an import did, by list; `open_invoices_touched` are due and have another price now than before.

    `taken_back` is how many due invoices have ended, as master data no longer asks for them. `to_correct` are those,
    with their states, that bill a meter and a time to a user who had both before and does not have them any more, and
    those of the user who has them now.
    """

    added: Mapping[str, int]
    updated: Mapping[str, int]
    unchanged: Mapping[str, int]
    warnings: tuple[str, ...]
    open_invoices_touched: int
    taken_back: int
    to_correct: Mapping[str, str]

    def corrections(self) -> list[str]:
        """Those to correct, each with its state and the command that corrects it."""
        return [
            f"{each} ({state}): `billingd invoices {'waive' if state in _NOT_BOOKED else 'correct'} {each}`"
            for each, state in self.to_correct.items()
        ]


@dataclass(frozen=True, slots=True)
class MasterLimits:
    """What a file may make due and take back; without `due_periods`, which gives those from a month on, anything.

    `yes_*` are the numbers that a person has agreed to.
    """

    time_zone: str = due_invoices.TIME_ZONE
    due_periods: Callable[[str], Sequence[str]] | None = None
    yes_make: int | None = None
    yes_take_back: int | None = None


NO_LIMITS = MasterLimits()
DUE_AT_MOST = 24
"""So many invoices of one network user may become due by an import without being asked about."""


def import_master(
    connection: Connection, path: Path, *, limits: MasterLimits = NO_LIMITS, by: str = "import master"
) -> MasterReport:
    """Adds and updates master data from a YAML file, and takes back the due invoices that it no longer asks for.

    Raises MasterRejected, after which the transaction has to be rolled back. All meters, and what is taken back, stay
    locked from its last statements until the transaction ends, which is to follow at once.
    """
    master = read_master(path)
    # One import of master data at a time: what is checked here still holds when it is stored.
    execute(connection, "LOCK TABLE measurement_locations IN SHARE ROW EXCLUSIVE MODE")
    _find_unknown_references(connection, master)
    if not master.problems and not any(master.entries.values()):
        master.fail(1, "file", "it has no entries")
    _reject(master)
    for name in ("prices_of_open_invoices", "assignments"):
        execute(connection, f"DROP TABLE IF EXISTS pg_temp.{name}_before")
        execute(connection, f"CREATE TEMPORARY TABLE {name}_before ON COMMIT DROP AS {getattr(_SQL, name)}")
    missing_before = _missing(connection, limits)
    added, updated = {}, {}
    for list_name, entries in master.entries.items():
        added[list_name], updated[list_name] = _store(connection, list_name, entries)
    _find_meters_in_use(connection, master)
    _reject(master)
    _refuse_many_due(_missing(connection, limits) - missing_before, limits)
    not_asked_for = due_invoices.not_asked_for(connection, limits.time_zone)
    _refuse_many_taken_back(connection, len(not_asked_for), limits)
    warnings, touched = _warnings(connection), fetch_value(connection, _SQL.touched)
    _mark_stale(connection, master.entries["meters"], not_asked_for)
    # Under its locks: what was calculated from the data of before is stored by now, or will be refused.
    to_correct = fetch(connection, _SQL.to_correct, time_zone=limits.time_zone)
    return MasterReport(
        added,
        updated,
        {name: len(entries) - added[name] - updated[name] for name, entries in master.entries.items()},
        warnings,
        touched,
        due_invoices.take_back(connection, by, not_asked_for),
        {row.id: row.state for row in to_correct},
    )


def _reject(master: MasterFile) -> None:
    if master.problems:
        raise MasterRejected([problem for _, problem in sorted(master.problems)])


def _missing(connection: Connection, limits: MasterLimits) -> set[str]:
    """The ids of the invoices that a daemon will make due."""
    first = due_invoices.first_billed_period(connection)
    periods = limits.due_periods(first) if first is not None and limits.due_periods is not None else ()
    return set(due_invoices.missing(connection, periods, time_zone=limits.time_zone)) if periods else set()


def _refuse_many_due(made: set[str], limits: MasterLimits) -> None:
    by_user: dict[str, list[str]] = {}
    for each in sorted(map(InvoiceId.parse, made), key=lambda each: each.period):
        by_user.setdefault(each.network_user_id, []).append(str(each.period))
    many = {user: periods for user, periods in sorted(by_user.items()) if len(periods) > DUE_AT_MOST}
    if many and limits.yes_make != len(made):
        raise MasterRejected(
            [
                *(
                    f"network user {user}: {len(periods)} invoices would become due, {periods[0]} to {periods[-1]}"
                    for user, periods in many.items()
                ),
                f"more than {DUE_AT_MOST} for one network user look like a mistake in billed_from; if all "
                f"{len(made)} that this file makes due are meant, give --yes-make {len(made)}",
            ]
        )


def _refuse_many_taken_back(connection: Connection, taken: int, limits: MasterLimits) -> None:
    open_invoices = int(fetch_value(connection, f"SELECT count(*) FROM invoices WHERE {OPEN}"))
    if limits.due_periods is not None and taken * 10 > open_invoices and limits.yes_take_back != taken:
        raise MasterRejected(
            [
                f"{taken} of {open_invoices} open invoices are due and would be taken back, as master data would no "
                f"longer ask for them; if that is meant, give --yes-take-back {taken}"
            ]
        )


def _mark_stale(connection: Connection, meters: list[Entry], taken_back: list[str]) -> None:
    """Changes what is known of the meters, and makes what rests on the master data of before stale.

    It locks what will be taken back too, after the meters. Only that and a look follow: nothing that others hold up.
    """
    lock_meters_in_turns(connection, fetch_column(connection, "SELECT id FROM meters"), taken_back)
    _update(connection, "meters", meters)
    execute(connection, "UPDATE meters SET version = version + 1")
    recalculation.request(connection, None)


def _find_unknown_references(connection: Connection, master: MasterFile) -> None:
    for list_name, name, target in _REFERENCES:
        wanted = {each for entry in master.entries[list_name] for each in referred(entry.values, name)}
        unknown = wanted - master.ids[target]
        unknown -= set(
            fetch_column(
                connection, f"SELECT id FROM {target} WHERE id = ANY(CAST(:ids AS text[]))", ids=sorted(unknown)
            )
        )
        for entry in master.entries[list_name]:
            for each in unknown.intersection(referred(entry.values, name)):
                master.fail(line_of_key(entry.lines, name), entry.where(name), f"there is no {each} in {target}")


def _find_meters_in_use(connection: Connection, master: MasterFile) -> None:
    """A meter is at one measurement location at a time; one that this file moves elsewhere gives its meter free."""
    entries = {entry.key[0]: entry for entry in master.entries["measurement_locations"]}
    for row in fetch(connection, _SQL.meters_twice, ids=list(entries)):
        entry = entries[row.id]
        where = line_of_key(entry.lines, "meter_id"), entry.where("meter_id")
        master.fail(*where, f"meter {row.meter_id} is at {row.other} already")


def _store(connection: Connection, list_name: str, entries: list[Entry]) -> tuple[int, int]:
    """Adds and updates a list's rows; gives how many were added and how many changed.

    Rows that stay as they are get no lock. Meters are only added here: `_mark_stale` locks and updates them.
    """
    key, others = _columns(list_name)
    joined = f"{list_name} AS known JOIN {_given(list_name)} USING ({', '.join(key)}) WHERE {_differ(others)}"
    changed = fetch_value(connection, f"SELECT count(*) FROM {joined}", **_rows(entries))
    if list_name != "meters":
        _update(connection, list_name, entries)  # first: a new measurement location may get the meter of an old one
    columns = ", ".join(FIELDS[list_name])
    new = f"SELECT {columns} FROM {_given(list_name)} ON CONFLICT ({', '.join(key)}) DO NOTHING"
    return execute(connection, f"INSERT INTO {list_name} ({columns}) {new}", **_rows(entries)), int(changed)


def _update(connection: Connection, list_name: str, entries: list[Entry]) -> None:
    key, others = _columns(list_name)
    execute(
        connection,
        f"""UPDATE {list_name} AS known SET {", ".join(f"{c} = given.{c}" for c in others)}
                 FROM {_given(list_name)} WHERE {" AND ".join(f"known.{c} = given.{c}" for c in key)}
                 AND {_differ(others)}""",
        **_rows(entries),
    )


def _columns(list_name: str) -> tuple[list[str], list[str]]:
    """The key of a list, and its other columns."""
    key = ["id", "valid_from"] if list_name.endswith("_catalogues") else ["id"]
    return key, [column for column in FIELDS[list_name] if column not in key]


def _given(list_name: str) -> str:
    return f"jsonb_populate_recordset(NULL::{list_name}, CAST(:rows AS jsonb)) AS given"


def _differ(columns: list[str]) -> str:
    return f"({', '.join(f'known.{c}' for c in columns)}) IS DISTINCT FROM ({', '.join(f'given.{c}' for c in columns)})"


def _rows(entries: list[Entry]) -> dict[str, str]:
    return {"rows": json.dumps([entry.values for entry in entries])}


def _warnings(connection: Connection) -> tuple[str, ...]:
    without = fetch_column(connection, _SQL.without_measurement_location)
    unpriced = fetch(connection, _SQL.without_prices)
    return (
        *(f"network user {each} has no measurement location and gets no invoice" for each in without),
        *dict.fromkeys(
            f"network user {row.id} is billed from {row.billed_from}, when {row.catalogue} has no prices in force yet"
            for row in unpriced
        ),
    )
