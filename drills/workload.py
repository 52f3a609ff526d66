"""The synthetic network users of a drill: every reading, and the debts that follow, by arithmetic of its own.

Nothing of billing/ is used for the amounts: the judge's verdict must not share a bug with what it judges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from persistence.connection.statements import notify
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from testkit.postgres import PostgresServer

ZONE = ZoneInfo("Europe/Zagreb")
FIRST_PERIOD = "2026-10"
LATE_USER = 5
"""This user is imported only when a fault is over: new work after it."""
KINDS = {1: ("blue_low",), 2: ("white_low",), 3: ("white_low", "blue_low"), 4: ("red_low",), 5: ("white_low",)}
"""The kinds of each user's measurement locations; further users are as the second."""
PEAK_USER = 4
MASTER: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("master.yaml").read_text("utf-8"))
"""The part of the master data that does not depend on the users: the location and the prices."""
(SUPPLY,) = MASTER["regulatory_catalogues"]
NETWORK: dict[str, dict[str, str]] = {each["id"]: each for each in MASTER["network_user_catalogues"]}
ORDINALS = ("1.1.", "1.2.", "1.3.", "1.4.", "1.5.", "1.6.", "2.1.", "2.2.", "2.3.", "2.4.")
QUARTER = timedelta(minutes=15)
COLUMNS = (
    "meter_id", "timestamp", "active_import_total_wh", "active_import_t1_wh", "active_import_t2_wh",
    "active_export_total_wh", "reactive_import_total_varh", "reactive_export_total_varh",
)  # fmt: skip


@dataclass(frozen=True)
class Debt:
    """One invoice that has to be, and its amounts."""

    invoice_id: str
    lines: tuple[Decimal, ...]
    total_eur: Decimal
    tax_eur: Decimal

    @property
    def total_with_tax_eur(self) -> Decimal:
        return self.total_eur + self.tax_eur


class Workload:
    """`users` of them from FIRST_PERIOD on, for `months` periods; the one with peak power for the first alone."""

    def __init__(self, users: int = 5, months: int = 4, refused: frozenset[str] = frozenset()) -> None:
        """`refused`: invoices that the ERP aborts; the next revision is owed in their place."""
        self.users, self.refused = users, refused
        self.periods = [FIRST_PERIOD]
        while len(self.periods) < months:
            self.periods.append(_after(self.periods[-1]))

    def user_id(self, user: int) -> str:
        """The id of a user, counted from 1."""
        return f"NU-{user:04d}"

    def debts(self, now: datetime, *, late: bool) -> dict[str, Debt]:
        """What is owed once `now` has come; `late`: the late user is known."""
        found = [
            self._debt(user, period)
            for period in self.periods
            if _start(_after(period)) + timedelta(hours=2) <= now
            for user in range(1, self.users + 1)
            if (late or user != LATE_USER) and (user != PEAK_USER or period == FIRST_PERIOD)
        ]
        return {debt.invoice_id: debt for debt in found}

    def is_late(self, invoice_id: str) -> bool:
        """Whether an invoice is the late user's."""
        return invoice_id.startswith(self.user_id(LATE_USER))

    def load(self, server: PostgresServer, folder: Path, *, late: bool) -> None:
        """Imports the late user, or all others, as an operator would; the files are left in the folder."""
        master, readings = self.write(folder, late=late)
        with server.session() as connection:
            import_master(connection, master)
            import_readings(connection, readings)
            notify(connection, "due")

    def write(self, folder: Path, *, late: bool) -> tuple[Path, Path]:
        """Writes the files of master data and readings of the late user, or of all others; gives their paths."""
        users = [user for user in range(1, self.users + 1) if late or user != LATE_USER]
        master = folder / "master.yaml"
        master.write_text(yaml.safe_dump(self._master(users), allow_unicode=True), "utf-8")
        instants = {user: self._instants(user) for user in ([LATE_USER] if late else users)}
        return master, _write_rows(folder / "readings.csv", instants)

    def write_late_readings(self, path: Path, *, after: datetime | None = None, until: datetime | None = None) -> Path:
        """Writes the late user's readings after and until these instants."""
        instants = self._instants(LATE_USER)
        chosen = [at for at in instants if (after is None or at > after) and (until is None or at <= until)]
        return _write_rows(path, {LATE_USER: chosen})

    def quarter_hours(self, user: int) -> list[str]:
        """A row of readings for each of this user's meters and quarter hours of the first month, and its end."""
        return [_row(user, place, at) for place in range(1, len(_kinds(user)) + 1) for at in self._instants(PEAK_USER)]

    def write_further_readings(self, path: Path, user: int) -> Path:
        """A reading more of each meter of this user, in the middle of the month after the first."""
        return _write_rows(path, {user: [_start(_after(FIRST_PERIOD)) + timedelta(days=10)]})

    def _master(self, users: Sequence[int]) -> dict[str, Any]:
        locations = [(user, place, kind) for user in users for place, kind in enumerate(_kinds(user), 1)]
        return {
            **MASTER,
            "network_users": [self._user(user) for user in users],
            "measurement_locations": [
                {"id": f"ml-{user}-{place}", "title": f"Mjesto {place}", "network_user": self.user_id(user),
                 "catalogue": kind, "meter_id": _meter(user, place)}
                for user, place, kind in locations
            ],
            "meters": [
                {"id": _meter(user, place), "kind": "abb_b2x", "phases": ["l1"]} for user, place, _ in locations
            ],
        }  # fmt: skip

    def _instants(self, user: int) -> list[datetime]:
        if user != PEAK_USER:
            return [_start(period) for period in (*self.periods, _after(self.periods[-1]))]
        start, end = _start(FIRST_PERIOD), _start(_after(FIRST_PERIOD))
        return [start + number * QUARTER for number in range(int((end - start) / QUARTER) + 1)]

    def _user(self, user: int) -> dict[str, Any]:
        return {
            "id": self.user_id(user), "title": f"Korisnik {user}", "location": "zds",
            "altibiz_sub_project_code": f"ZDS-{user:03d}", "billed_from": FIRST_PERIOD,
            "legal_person": {
                "name": f"Korisnik {user} d.o.o.", "oib": _oib(user), "address": "Ulica 1", "postal_code": "10000",
                "city": "Zagreb",
            },
            **({"billed_until": FIRST_PERIOD} if user == PEAK_USER else {}),
        }  # fmt: skip

    def _debt(self, user: int, period: str) -> Debt:
        start, end = _start(period), _start(_after(period))
        lines = [Decimal("0.00")] * len(ORDINALS)
        for place, kind in enumerate(_kinds(user), 1):
            before, after = _registers(user, place, start), _registers(user, place, end)
            t1, t2, qi, qe = (_energy(low, high) for low, high in zip(before, after, strict=True))
            t0 = _energy(before[0] + before[1], after[0] + after[1])
            prices = NETWORK[kind]
            peak = Decimal(0)
            if "active_power_peak_price" in prices:
                steps = (_registers(user, place, at + QUARTER)[0] - _registers(user, place, at)[0]
                         for at in self._instants(user)[:-1])  # fmt: skip
                peak = _round(_round(Decimal(4 * max(steps)) / 1000, 2), 0)
            reactive = _round(max(abs(qi) + abs(qe) - Decimal("0.33") * t0, Decimal(0)), 0)
            amounts = (
                (t0, prices.get("active_energy_t0_price")), (t1, prices.get("active_energy_t1_price")),
                (t2, prices.get("active_energy_t2_price")), (peak, prices.get("active_power_peak_price")),
                (reactive, prices["reactive_energy_price"]), (Decimal(1), prices["meter_fee"]),
                (t1, SUPPLY["supply_active_energy_t1_price"]), (t2, SUPPLY["supply_active_energy_t2_price"]),
                (t0, SUPPLY["renewable_energy_fee"]), (t0, SUPPLY["business_usage_fee"]),
            )  # fmt: skip
            for number, (amount, price) in enumerate(amounts):
                lines[number] += _round(amount * Decimal(price), 2) if price is not None else 0
        total = sum(lines, Decimal("0.00"))
        first = f"{self.user_id(user)}.{period}.1"
        invoice_id = f"{first[:-1]}2" if first in self.refused else first
        return Debt(invoice_id, tuple(lines), total, _round(total * Decimal(SUPPLY["tax_rate_percent"]) / 100, 2))


def _write_rows(path: Path, instants: Mapping[int, Sequence[datetime]]) -> Path:
    rows = (
        _row(user, place, at)
        for user, ats in instants.items() for place in range(1, len(_kinds(user)) + 1) for at in ats
    )  # fmt: skip
    path.write_text(",".join(COLUMNS) + "\n" + "".join(rows), "utf-8")
    return path


def _row(user: int, place: int, at: datetime) -> str:
    t1, t2, qi, qe = _registers(user, place, at)
    return f"{_meter(user, place)},{at:%Y-%m-%dT%H:%M:%SZ},{t1 + t2},{t1},{t2},0,{qi},{qe}\n"


@cache
def _registers(user: int, place: int, at: datetime) -> tuple[int, int, int, int]:
    """T1, T2, reactive import and export of a meter: odd numbers that only grow, day faster than night."""
    quarters = int((at - datetime(2026, 9, 1, tzinfo=UTC)) / QUARTER)
    base = 1_000_003 * user + 70_001 * place
    day = quarters // 96 * 57 + min(quarters % 96, 57)
    return (
        base + day * (131 + 7 * user) + quarters // 7 * place,
        base // 2 + (quarters - day) * (67 + 3 * user),
        base // 3 + quarters * (41 + 13 * user),
        base // 5 + quarters * 2,
    )


def _energy(low: int, high: int) -> Decimal:
    return _round(_round(Decimal(high) / 1000, 2) - _round(Decimal(low) / 1000, 2), 0)


def _round(value: Decimal, digits: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)


def _kinds(user: int) -> tuple[str, ...]:
    return KINDS.get(user, KINDS[2])


def _meter(user: int, place: int) -> str:
    return f"meter-{user:04d}-{place}"


def _after(period: str) -> str:
    year, month = map(int, period.split("-"))
    return f"{year + month // 12}-{month % 12 + 1:02d}"


def _start(period: str) -> datetime:
    year, month = map(int, period.split("-"))
    return datetime(year, month, 1, tzinfo=ZONE).astimezone(UTC)


def _oib(number: int) -> str:
    """Ten digits and their check digit by ISO 7064 MOD 11,10."""
    digits = f"{9_310_442_000 + number:010d}"
    rest = 10
    for digit in digits:
        rest = (rest + int(digit)) % 10 or 10
        rest = rest * 2 % 11
    return f"{digits}{(11 - rest) % 10}"
