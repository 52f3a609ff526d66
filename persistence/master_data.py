"""Master data in the database: a file of it checked as a whole, then added to and updated, never deleted from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from persistence.connection.statements import execute, fetch, fetch_column, fetch_value
from persistence.invoices import recalculation
from persistence.locks import lock_meters_in_turns
from persistence.master_file import FIELDS, Entry, MasterFile, read_master
from persistence.sql import Queries

__all__ = ["MasterRejected", "MasterReport", "import_master"]

# which field of which list has to be an id of which other list
_REFERENCES = (
    ("locations", "regulatory_catalogue", "regulatory_catalogues"),
    ("network_users", "location", "locations"),
    ("measurement_locations", "network_user", "network_users"),
    ("measurement_locations", "catalogue", "network_user_catalogues"),
    ("measurement_locations", "meter_id", "meters"),
)
_SQL = Queries(__file__)


class MasterRejected(ValueError):  # noqa: N818 - an outcome, named as the others of this room
    """A file of master data can't be taken; `problems` has every one, with file, line and key."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(f"{len(problems)} problem{'s' if len(problems) != 1 else ''}: {problems[0]}")
        self.problems = problems


@dataclass(frozen=True, slots=True)
class MasterReport:
    """What an import did, by list; `open_invoices_touched` are due and have another price now than before."""

    added: Mapping[str, int]
    updated: Mapping[str, int]
    unchanged: Mapping[str, int]
    warnings: tuple[str, ...]
    open_invoices_touched: int


def import_master(connection: Connection, path: Path) -> MasterReport:
    """Adds and updates master data from a YAML file.

    Raises MasterRejected before anything has been changed. All meters stay locked from its last statements until the
    transaction ends, which is to follow at once.
    """
    master = read_master(path)
    # One import of master data at a time: what is checked here still holds when it is stored.
    execute(connection, "LOCK TABLE measurement_locations IN SHARE ROW EXCLUSIVE MODE")
    _find_unknown_references(connection, master)
    _find_meters_in_use(connection, master)
    if not master.problems and not any(master.entries.values()):
        master.fail(1, "file", "it has no entries")
    if master.problems:
        raise MasterRejected([problem for _, problem in sorted(master.problems)])
    execute(connection, "DROP TABLE IF EXISTS pg_temp.prices_before")
    execute(connection, f"CREATE TEMPORARY TABLE prices_before ON COMMIT DROP AS {_SQL.prices_of_open_invoices}")
    added, updated = {}, {}
    for list_name, entries in master.entries.items():
        added[list_name], updated[list_name] = _store(connection, list_name, entries)
    report = MasterReport(
        added,
        updated,
        {name: len(entries) - added[name] - updated[name] for name, entries in master.entries.items()},
        _warnings(connection),
        fetch_value(connection, _SQL.touched),
    )
    _mark_stale(connection, master.entries["meters"])
    return report


def _mark_stale(connection: Connection, meters: list[Entry]) -> None:
    """Changes what is known of the meters, and makes what rests on the master data of before stale.

    The last act: nothing that others can hold up follows.
    """
    lock_meters_in_turns(connection, fetch_column(connection, "SELECT id FROM meters"))
    _update(connection, "meters", meters)
    execute(connection, "UPDATE meters SET version = version + 1")
    recalculation.request(connection, None)


def _find_unknown_references(connection: Connection, master: MasterFile) -> None:
    for list_name, name, target in _REFERENCES:
        wanted = {str(entry.values[name]) for entry in master.entries[list_name]}
        unknown = wanted - master.ids[target]
        unknown -= set(
            fetch_column(
                connection, f"SELECT id FROM {target} WHERE id = ANY(CAST(:ids AS text[]))", ids=sorted(unknown)
            )
        )
        for entry in master.entries[list_name]:
            if entry.values[name] in unknown:
                reason = f"there is no {entry.values[name]} in {target}"
                master.fail(entry.lines[name], entry.where(name), reason)


def _find_meters_in_use(connection: Connection, master: MasterFile) -> None:
    """A meter is at one measurement location; one that this file moves elsewhere gives its meter free."""
    entries = master.entries["measurement_locations"]
    moved = {entry.key[0] for entry in entries}
    used = fetch(
        connection,
        "SELECT meter_id, id FROM measurement_locations WHERE meter_id = ANY(CAST(:ids AS text[]))",
        ids=[str(entry.values["meter_id"]) for entry in entries],
    )
    used_at = {row.meter_id: row.id for row in used if row.id not in moved}
    for entry in entries:
        if entry.values["meter_id"] in used_at:
            reason = f"meter {entry.values['meter_id']} is at {used_at[entry.values['meter_id']]} already"
            master.fail(entry.lines["meter_id"], entry.where("meter_id"), reason)


def _store(connection: Connection, list_name: str, entries: list[Entry]) -> tuple[int, int]:
    """Adds and updates a list's rows; gives how many were added and how many changed.

    Rows that stay as they are get no lock. Meters are only added here: `_mark_stale` locks and updates them.
    """
    key, columns = ", ".join(_columns(list_name)[0]), ", ".join(FIELDS[list_name])
    changed = _count_changed(connection, list_name, entries)
    if list_name != "meters":
        _update(connection, list_name, entries)  # first: a new measurement location may get the meter of an old one
    added = execute(
        connection,
        f"""INSERT INTO {list_name} ({columns}) SELECT {columns} FROM {_given(list_name)}
                 ON CONFLICT ({key}) DO NOTHING""",
        **_rows(entries),
    )
    return added, changed


def _count_changed(connection: Connection, list_name: str, entries: list[Entry]) -> int:
    key, others = _columns(list_name)
    return int(
        fetch_value(
            connection,
            f"""SELECT count(*) FROM {list_name} AS known JOIN {_given(list_name)} USING ({", ".join(key)})
                     WHERE {_differ(others)}""",
            **_rows(entries),
        )
    )


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
