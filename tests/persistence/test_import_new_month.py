"""A large file of a new month goes straight into its partition; what comes of it is what the longer way makes of it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from persistence.connection.database import Database
from persistence.master_data import import_master
from persistence.readings import importing
from persistence.readings.importing import ReadingsRejected, import_readings
from tests.support.sample import BAD

HEADER = (
    "meter_id,timestamp,active_import_total_wh,active_import_t1_wh,active_import_t2_wh,active_export_total_wh,"
    "reactive_import_total_varh,reactive_export_total_varh\n"
)
METERS = ("abb-B2x-00220651", "abb-B2x-00129728")
NOW = datetime(2026, 11, 1, tzinfo=UTC)
Rows = list[str]


def rows_of(meter: str, first: datetime, number: int, of: int = 0) -> Rows:
    return [
        f"{meter},{first + timedelta(hours=at):%Y-%m-%dT%H:%M:%SZ},{3 * at + of},{2 * at},{at + of},0,0,0"
        for at in range(number)
    ]


def whole() -> Rows:
    """August in Zagreb, with two hours of July, and its last instant."""
    return [row for meter in METERS for row in rows_of(meter, datetime(2026, 7, 31, 22, tzinfo=UTC), 745)]


def changed(number: int, old: str, new: str) -> Rows:
    rows = whole()
    assert old in rows[number]
    rows[number] = rows[number].replace(old, new)
    return rows


AS_IT_IS = {
    "one meter after the other": (whole, True),
    "three months": (lambda: whole() + rows_of(METERS[1], datetime(2026, 9, 1, tzinfo=UTC), 3), True),
    "with an offset": (lambda: [row.replace("Z,", "+00:00,") for row in whole()], True),
    "by time": (lambda: sorted(whole(), key=lambda row: row.split(",")[1]), False),
    "a meter comes back": (lambda: whole()[3:] + whole()[:3], False),
    "a row twice": (lambda: [*whole(), whole()[-1]], False),
    "an unknown meter": (lambda: changed(-1, METERS[1], "nobody"), False),
    "a wrong sum": (lambda: changed(900, ",0,0,0", "1,0,0,0"), False),
    "30 February": (lambda: changed(900, "2026-08", "2026-02-30T00:00:00Z,3,2,1,0,0,0\n"), False),
    "in the future": (lambda: changed(-1, "2026", "2027"), False),
    "before 2000": (lambda: changed(0, "2026", "1999"), False),
    "two values of an instant": (lambda: whole() + rows_of(METERS[1], datetime(2026, 8, 1, tzinfo=UTC), 1, 7), False),
}  # fmt: skip


@pytest.fixture
def take(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Rows, bool], tuple[object, list[object], bool]]:
    """Takes rows in and back again; gives what came of it, what was in the table, and whether it was staged."""
    with database.transaction() as connection:
        import_master(connection, BAD / "master.yaml")

    def run(rows: Rows, straight: bool, known: Rows = []) -> tuple[object, list[object], bool]:  # noqa: B006 - only read
        path, staged = tmp_path / "readings.csv", list[object]()
        stage = importing._stage

        def noted(*given: Any) -> Any:
            staged.append(given)
            return stage(*given)

        with monkeypatch.context() as patched, database.transaction() as connection:
            patched.setattr(importing, "_LARGE_BYTES", 10**9)
            before = connection.begin_nested()
            if known:
                path.write_text(HEADER + "\n".join(known) + "\n")
                import_readings(connection, path)
            patched.setattr(importing, "_LARGE_BYTES", 0 if straight else 10**9)
            patched.setattr(importing, "_stage", noted)
            path.write_text(HEADER + "\n".join(rows) + "\n")
            found: object
            content = list[object]()
            try:
                found = import_readings(connection, path, now=NOW)
                content = list(
                    connection.execute(text("SELECT tableoid::regclass::text, * FROM readings ORDER BY 2, 3"))
                )
            except ReadingsRejected as rejected:
                found = str(rejected)
            before.rollback()
        return found, content, bool(staged)

    return run


@pytest.mark.parametrize("name", AS_IT_IS)
def test_a_file_fares_as_on_the_longer_way(name: str, take: Callable[..., tuple[object, list[object], bool]]) -> None:
    rows, straight = AS_IT_IS[name]
    *expected, staged = take(rows(), False)
    assert staged
    *found, staged = take(rows(), True)
    assert found == expected
    assert staged != straight


@pytest.mark.parametrize(("of", "straight"), [(0, True), (7, False)])
def test_instants_that_the_month_before_has_already(
    of: int, straight: bool, take: Callable[..., tuple[object, list[object], bool]]
) -> None:
    """The first instants of a file are the last of the file before; with other values they are refused."""
    known = [row for meter in METERS for row in rows_of(meter, datetime(2026, 7, 31, 22, tzinfo=UTC), 2, of)]
    *expected, _ = take(whole(), False, known)
    *found, staged = take(whole(), True, known)
    assert found == expected
    assert staged != straight
