"""The import of master data: what it adds and updates, everything it refuses, and what it says about it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from sqlalchemy import text

from persistence.connection.database import ConnectionSettings, Database
from persistence.invoices import due_invoices, recalculation
from persistence.master_data import MasterRejected, MasterReport, import_master
from testkit.postgres import PostgresServer
from tests.support.sample import ROOT

BAD = ROOT / "tests" / "data" / "bad"
GOOD = (BAD / "master.yaml").read_text("utf-8")


@pytest.fixture(scope="module")
def empty(shared_server: PostgresServer) -> Iterator[Database]:
    """One database for all that is refused: it stays empty."""
    name = "test_import_master"
    with Database(ConnectionSettings.from_url(shared_server.create_database(name))) as database:
        yield database
    shared_server.drop_database(name)


def take(database: Database, path: Path) -> MasterReport:
    with database.transaction() as connection:
        return import_master(connection, path)


def problems_of(database: Database, path: Path) -> list[str]:
    with pytest.raises(MasterRejected) as rejected:
        take(database, path)
    return [problem.removeprefix(f"{path}:") for problem in rejected.value.problems]


def changed(tmp_path: Path, *replacements: tuple[str, str]) -> Path:
    """The correct file with other words in some places."""
    words = GOOD
    for old, new in replacements:
        assert old in words
        words = words.replace(old, new, 1)
    path = tmp_path / "master.yaml"
    path.write_text(words, "utf-8")
    return path


def line_of(path: Path, words: str) -> int:
    return path.read_text("utf-8").split(words)[0].count("\n") + 1


def count(database: Database, table: str) -> int:
    with database.transaction() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_it_adds_then_finds_all_unchanged_then_updates_what_differs(database: Database, tmp_path: Path) -> None:
    first = take(database, ROOT / "cli" / "sample" / "master.yaml")
    assert first.added == {
        "regulatory_catalogues": 1, "network_user_catalogues": 4, "locations": 2, "network_users": 12, "meters": 20,
        "measurement_locations": 20,
    }  # fmt: skip
    again = take(database, ROOT / "cli" / "sample" / "master.yaml")
    assert again.unchanged == first.added
    assert sum(again.added.values()) + sum(again.updated.values()) == 0
    # a file with three users changes one and deletes none of the twelve
    third = take(database, changed(tmp_path, ('title: "Tiskara Žabac"', 'title: "Tiskara Žabica"')))
    assert third.updated["network_users"] == 1
    assert sum(third.updated.values()) == 1
    assert count(database, "network_users") == 12


def test_what_is_stored_is_what_was_written(database: Database) -> None:
    take(database, BAD / "master.yaml")
    with database.transaction() as connection:
        price = connection.execute(
            text("SELECT active_energy_t1_price::text FROM network_user_catalogues WHERE id = 'red-low'")
        ).scalar_one()
        person = connection.execute(
            text("SELECT legal_person->>'name' FROM network_users WHERE id = 'user-008'")
        ).scalar_one()
    assert (price, person) == ("0.037236", "Ordinacija Ćukov")


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("missing-price", r"\d+: network_user_catalogues\[red-low\]\.active_power_peak_price: is missing"),
        ("unknown-kind", r"\d+: network_user_catalogues\[blue-low\]\.kind: 'yellow_low' is none of white_medium, .*"),
        ("duplicate-id", r"110: measurement_locations\[ml-004-1\]: an entry with this id stands in line 100 already"),
        (
            "negative-price",
            r"\d+: network_user_catalogues\[white-low\]\.active_energy_t2_price: -0\.028689 is negative",
        ),
    ],
)
def test_each_bad_file_is_refused_for_its_one_reason(empty: Database, file: str, problem: str) -> None:
    problems = problems_of(empty, BAD / f"master-{file}.yaml")
    assert len(problems) == 1
    assert re.fullmatch(problem, problems[0])
    assert count(empty, "network_users") == 0


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"0.037236"', '"0.0372361"', "[red-low].active_energy_t1_price: 0.0372361 has 7 decimals, 6 at most"),
        ('"6.559"', '"6.5591"', "network_user_catalogues[red-low].active_power_peak_price: 6.5591 has 4 decimals, 3"),
        ('"7.060"', '"7,060"', "meter_fee: '7,060' is not a decimal number"),
        ('"7.060"', "1_000", "meter_fee: '1_000' is not a decimal number"),
        ('"7.060"', "true", "meter_fee: 'true' is not a decimal number"),
        ('"7.060"', "[7]", "meter_fee: has to be a single value"),
        ('"7.060"', '"1234567890"', "meter_fee: 1234567890 is too large"),
        ("    meter_fee:", "    meter_fees:", "meter_fees: unknown key; did you mean meter_fee?"),
        ("network_users:", "network_user:", "network_user: unknown list; did you mean network_users?"),
        ("user-004\n    title", "user_004\n    title", "users[user_004].id: 'user_004' is no network user's id"),
        ('"93104420146"', '"93104420147"', "network_users[user-004].legal_person.oib: '93104420147' is no OIB"),
        ('"93104420146"', "93104420146", "network_users[user-004].legal_person.oib: '93104420146' is not text"),
        ('billed_from: "2026-08"', 'billed_from: "2026-13"', "[user-004].billed_from: '2026-13' is not a month"),
        ('billed_from: "2026-08"', 'billed_from: "2026-08"\n    billed_until: "2026-07"', "is before billed_from"),
        ("catalogue: red-low", "catalogue: red-high", "catalogue: there is no red-high in network_user_catalogues"),
        ("location: zds-", "location: zdz-", "location: there is no zdz-"),
        ("phases: [l1", "phases: [l4", "phases: has to be a list of l1, l2, l3"),
        ("kind: abb_b2x", "kind: abb_b3x", "kind: 'abb_b3x' is none of abb_b2x, schneider_iem3xxx"),
        ("regulatory_catalogue: hr-2026", "regulatory_catalogue: hr-2025", "there is no hr-2025 in regul"),
        ("    kind: red_low\n", "    kind: red_low\n" * 2, "network_user_catalogues[red-low].kind: stands in line"),
    ],
)  # fmt: skip
def test_a_problem_is_told_with_line_and_key(empty: Database, tmp_path: Path, old: str, new: str, problem: str) -> None:
    path = changed(tmp_path, (old, new))
    problems = problems_of(empty, path)
    found = [each for each in problems if problem in each]
    assert len(found) == 1, problems
    now = path.read_text("utf-8").splitlines()
    first_change = next(
        n for n, lines in enumerate(zip(GOOD.splitlines(), now, strict=False), 1) if lines[0] != lines[1]
    )
    assert found[0].startswith(f"{first_change}: ")
    assert count(empty, "locations") == 0


def test_the_prices_of_another_kind_are_unknown_keys(empty: Database, tmp_path: Path) -> None:
    problems = problems_of(empty, changed(tmp_path, ("kind: white_low", "kind: blue_low")))
    assert [problem.partition("[white-low].")[2] for problem in problems] == [
        "active_energy_t0_price: is missing",
        "active_energy_t1_price: unknown key; did you mean active_energy_t0_price?",
        "active_energy_t2_price: unknown key; did you mean active_energy_t0_price?",
    ]


@pytest.mark.parametrize("person", ["{}", "7", "[]", "{name: A, oib: [], address: B, city: C}"])
def test_a_legal_person_that_is_none_is_refused(empty: Database, tmp_path: Path, person: str) -> None:
    path = tmp_path / "master.yaml"
    path.write_text(
        f"locations: [{{id: a, title: A, regulatory_catalogue: b, legal_person: {person}}}, {{}}, 7]", "utf-8"
    )
    problems = problems_of(empty, path)
    assert any("locations[a].legal_person" in problem for problem in problems)
    assert "1: locations[2].id: is missing" in problems
    assert "1: locations[3]: has to be a mapping of names to values" in problems


def test_every_problem_is_told_in_one_go_in_the_order_of_lines(empty: Database, tmp_path: Path) -> None:
    path = changed(
        tmp_path,
        ('"93104420146"', '"93104420147"'), ('"0.037236"', '"-1"'), ("catalogue: red-low", "catalogue: none-such"),
        ('billed_from: "2026-08"', 'billed_from: "soon"'),
    )  # fmt: skip
    problems = problems_of(empty, path)
    assert len(problems) == 4
    lines = [int(problem.split(":")[0]) for problem in problems]
    assert lines == sorted(lines)


def test_a_price_may_be_a_plain_number_as_it_is_written(database: Database, tmp_path: Path) -> None:
    assert take(database, changed(tmp_path, ('"0.037236"', "0.037236"), ('"13"', "13"))).added["network_users"] == 3


@pytest.mark.parametrize(
    "words", ["", "[]", "locations: 7", "a: [", "\t", "locations: []", "--- {}\n--- {}", "\x00", "[" * 100_000]
)
def test_what_is_no_master_data_is_refused_and_no_traceback(empty: Database, tmp_path: Path, words: str) -> None:
    path = tmp_path / "master.yaml"
    path.write_text(words, "utf-8")
    assert len(problems_of(empty, path)) == 1


def test_a_file_that_cannot_be_read_is_refused(empty: Database, tmp_path: Path) -> None:
    assert "No such file" in problems_of(empty, tmp_path / "none.yaml")[0]


def test_the_same_catalogue_may_stand_twice_with_different_months(database: Database, tmp_path: Path) -> None:
    dated = yaml.safe_load(GOOD)
    dated["regulatory_catalogues"].append({**dated["regulatory_catalogues"][0], "valid_from": "2027-01"})
    path = tmp_path / "dated.yaml"
    path.write_text(yaml.safe_dump(dated), "utf-8")
    assert take(database, path).added["regulatory_catalogues"] == 2
    dated["regulatory_catalogues"].append({**dated["regulatory_catalogues"][0], "valid_from": "2027-01"})
    path.write_text(yaml.safe_dump(dated), "utf-8")
    assert "with this id and valid_from stands in line" in problems_of(database, path)[0]


def meters_at(database: Database) -> dict[str, str]:
    with database.transaction() as connection:
        rows = connection.execute(text("SELECT id, meter_id FROM measurement_locations")).all()
    return {row.id: row.meter_id for row in rows}


def test_a_meter_is_at_one_measurement_location_in_the_file_and_in_the_database(
    database: Database, tmp_path: Path
) -> None:
    twice = changed(tmp_path, ("meter_id: abb-B2x-00406524", "meter_id: abb-B2x-00220651"))
    assert "meter abb-B2x-00220651 is at measurement_locations[ml-004-1]" in problems_of(database, twice)[0]
    take(database, BAD / "master.yaml")
    path = tmp_path / "moved.yaml"
    entry = {"id": "ml-new", "title": "New", "network_user": "user-004", "catalogue": "red-low"}
    path.write_text(yaml.safe_dump({"measurement_locations": [{**entry, "meter_id": "abb-B2x-00220651"}]}), "utf-8")
    assert problems_of(database, path) == [
        f"{line_of(path, 'meter_id')}: measurement_locations[ml-new].meter_id: "
        "meter abb-B2x-00220651 is at ml-004-1 already"
    ]


def test_two_measurement_locations_may_change_meters(database: Database, tmp_path: Path) -> None:
    take(database, BAD / "master.yaml")
    before = meters_at(database)
    a, b = "meter_id: abb-B2x-00220651", "meter_id: abb-B2x-00406524"
    report = take(database, changed(tmp_path, (a, "meter_id: ?"), (b, a), ("meter_id: ?", b)))
    assert report.updated["measurement_locations"] == 2
    assert meters_at(database)["ml-004-1"] == before["ml-004-2"]


def test_it_warns_of_users_who_cannot_be_billed(database: Database, tmp_path: Path) -> None:
    words = yaml.safe_load(GOOD)
    user = words["network_users"][0]
    words["network_users"].append({**user, "id": "lonely"})
    next(each for each in words["network_user_catalogues"] if each["id"] == "blue-low")["valid_from"] = "2027-01"
    path = tmp_path / "lonely.yaml"
    path.write_text(yaml.safe_dump(words), "utf-8")
    assert take(database, path).warnings == (
        "network user lonely has no measurement location and gets no invoice",
        "network user user-012 is billed from 2026-08, when network-user catalogue blue-low has no prices in force yet",
    )


def test_it_says_how_many_open_invoices_a_changed_price_touches(database: Database, tmp_path: Path) -> None:
    take(database, BAD / "master.yaml")
    with database.transaction() as connection:
        assert due_invoices.make_due(connection, "test", ["2026-08"], reason="test") == 3
    assert take(database, BAD / "master.yaml").open_invoices_touched == 0
    assert take(database, changed(tmp_path, ('"6.559"', '"6.560"'))).open_invoices_touched == 1  # red_low: user-004
    assert take(database, changed(tmp_path, ('title: "Tiskara Žabac"', "title: Other"))).open_invoices_touched == 1
    dated = yaml.safe_load(GOOD)
    dated["regulatory_catalogues"].append(
        {**dated["regulatory_catalogues"][0], "valid_from": "2027-01", "tax_rate_percent": "25"}
    )
    path = tmp_path / "later.yaml"
    path.write_text(yaml.safe_dump(dated), "utf-8")
    assert take(database, path).open_invoices_touched == 0
    path.write_text(path.read_text("utf-8").replace("2027-01", "2026-08"), "utf-8")
    assert take(database, path).open_invoices_touched == 3


def test_what_waits_is_looked_at_again_at_once(database: Database) -> None:
    take(database, BAD / "master.yaml")
    with database.transaction() as connection:
        due_invoices.make_due(connection, "test", ["2026-08"], reason="test")
        connection.execute(
            text(
                "UPDATE invoices SET next_attempt_at = now() + interval '1 hour', held_code = 'readings_incomplete', "
                "held_reason = 'any'"
            )
        )
    take(database, BAD / "master.yaml")
    with database.transaction() as connection:
        assert recalculation.take_up(connection) == 3
        waiting = connection.execute(text("SELECT count(*) FROM invoices WHERE next_attempt_at IS NOT NULL"))
        assert waiting.scalar_one() == 0
