"""Worked months of tests/data/months: master data and readings as files, and what has to come out."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from persistence.connection.database import Database
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from tests.support.moved_meters import HEADER
from tests.support.sample import ROOT

MONTHS = ROOT / "tests" / "data" / "months"
NAMES = sorted(path.parent.name for path in MONTHS.glob("*/month.yaml"))
OIB = "93104420111"
_PERSON = {"name": "Any", "oib": OIB, "address": "Any 1", "postal_code": "10000", "city": "Zagreb"}


def read_month(name: str) -> dict[str, Any]:
    """A worked month as it is written."""
    document: dict[str, Any] = yaml.safe_load((MONTHS / name / "month.yaml").read_text("utf-8"))
    return document


def master_of(month: Mapping[str, Any]) -> dict[str, Any]:
    """The master data that a month's measurement locations need."""
    prices = yaml.safe_load((MONTHS / "prices.yaml").read_text("utf-8"))
    later = prices.pop("later")
    for catalogue, since in month.get("catalogues", {}).items():
        (before,) = [each for each in prices["network_user_catalogues"] if each["id"] == catalogue]
        prices["network_user_catalogues"].append({**before, **later[catalogue], "valid_from": since})
    places = month["measurement_locations"]
    users = {each for place in places for each in ids_in(place, "network_user", "network_users", "network_user")}
    meters = {each for place in places for each in ids_in(place, "meter_id", "meters", "meter")}
    return {
        **prices,
        "locations": [{"id": "zds", "title": "ZDS", "regulatory_catalogue": "hr", "legal_person": _PERSON}],
        "network_users": [
            {"id": each, "title": each, "location": "zds", "altibiz_sub_project_code": each,
             "billed_from": "2026-10", "billed_until": "2026-10", "legal_person": _PERSON} for each in sorted(users)
        ],
        "meters": [{"id": each, "kind": "abb_b2x", "phases": ["l1"]} for each in sorted(meters)],
        "measurement_locations": [{"title": each["id"], **each} for each in places],
    }  # fmt: skip


def ids_in(place: Mapping[str, Any], always: str, listed: str, key: str) -> list[str]:
    """The meters or the users of a measurement location."""
    return [place[always]] if always in place else [each[key] for each in place[listed]]


def rows_of(month: Mapping[str, Any]) -> Iterator[str]:
    """The readings as rows of a file."""
    for meter, at, *registers in month["readings"]:
        yield row(meter, at, registers)
    for profile in month.get("profiles", ()):
        at, until = (datetime.fromisoformat(profile[end]) for end in ("from", "until"))
        registers, special = list(profile["start"]), profile.get("t1_steps", {})
        while True:
            text = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            if at != datetime.fromisoformat(profile["from"]):
                steps = [special.get(text, profile["step"][0]), *profile["step"][1:]]
                registers = [a + b for a, b in zip(registers, steps, strict=True)]
            yield row(profile["meter"], text, registers)
            if at >= until:
                break
            at += timedelta(minutes=15)


def row(meter: str, at: str, registers: Sequence[int]) -> str:
    """A reading of T1, T2, reactive import and reactive export."""
    t1, t2, taken, given = registers
    return f"{meter},{at},{t1 + t2},{t1},{t2},0,{taken},{given}\n"


def write_yaml(path: Path, document: Mapping[str, Any]) -> Path:
    """Writes a file of master data."""
    path.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    return path


def write_readings(path: Path, rows: Iterator[str]) -> Path:
    """Writes a file of readings, each once."""
    path.write_text(HEADER + "".join(dict.fromkeys(rows)))
    return path


def take_month(database: Database, month: Mapping[str, Any], folder: Path) -> None:
    """Imports a month's master data and readings."""
    with database.transaction() as connection:
        import_master(connection, write_yaml(folder / "master.yaml", master_of(month)))
    with database.transaction() as connection:
        import_readings(connection, write_readings(folder / "readings.csv", rows_of(month)))
