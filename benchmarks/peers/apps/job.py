"""The job of each peer: read a user's row, compute ten lines, store them, offer the invoice, keep the bill's id."""

import os
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import httpx

DATABASE = os.environ["PEER_DATABASE"]
ERP = os.environ["PEER_ERP"]
INVOICES = int(os.environ["PEER_INVOICES"])
REDIS = os.environ["PEER_REDIS"]
FOLDER = Path(os.environ["PEER_FOLDER"])
LANES = 16
NUMBERS = range(1, INVOICES + 1)

LINES = (
    ("1.1.", "Korištenje mreže, jedinstvena dnevna tarifa"),
    ("1.2.", "Korištenje mreže, viša dnevna tarifa"),
    ("1.3.", "Korištenje mreže, niža dnevna tarifa"),
    ("1.4.", "Angažirana snaga"),
    ("1.5.", "Prekomjerno preuzeta jalova energija"),
    ("1.6.", "Naknada za mjernu uslugu"),
    ("2.1.", "Opskrba električnom energijom, viša dnevna tarifa"),
    ("2.2.", "Opskrba električnom energijom, niža dnevna tarifa"),
    ("2.3.", "Naknada za poticanje proizvodnje iz obnovljivih izvora energije i kogeneracije"),
    ("2.4.", "Trošarina na električnu energiju"),
)
USER = """SELECT number, code, t1_begin_wh, t1_end_wh, t2_begin_wh, t2_end_wh, reactive_begin_varh, reactive_end_varh,
    peak_kw, price_t0, price_t1, price_t2, price_peak, price_reactive, fee, supply_t1, supply_t2, renewable, excise,
    tax_rate FROM users WHERE number = %s"""
INSERT = """INSERT INTO invoices (id, number, total_eur, tax_eur) VALUES (%s, %s, %s, %s)
    ON CONFLICT (id) DO NOTHING RETURNING id"""
INSERT_LINES = "INSERT INTO lines (invoice_id, ordinal, quantity, price, amount_eur) VALUES " + ", ".join(
    ["(%s, %s, %s, %s, %s)"] * 10
)
FINISH = "UPDATE invoices SET bill_id = %s, billed_at = clock_timestamp() WHERE id = %s"
BEGAN = "INSERT INTO runs DEFAULT VALUES"

_CENT = Decimal("0.01")
_THOUSAND = Decimal(1000)


class Computed:
    """One invoice: its row, its lines' rows, and what is offered, with the contract's own fields."""

    def __init__(self, user: Sequence[Any]) -> None:
        (number, code, t1_begin, t1_end, t2_begin, t2_end, reactive_begin, reactive_end, peak, price_t0,
         price_t1, price_t2, price_peak, price_reactive, fee, supply_t1, supply_t2, renewable, excise, tax_rate,
         ) = user  # fmt: skip
        t1, t2 = (t1_end - t1_begin) / _THOUSAND, (t2_end - t2_begin) / _THOUSAND
        t0 = t1 + t2
        reactive = max(Decimal(0), (reactive_end - reactive_begin) / _THOUSAND - t0 * Decimal("0.33"))
        priced = (
            (t0, price_t0), (t1, price_t1), (t2, price_t2), (peak, price_peak), (reactive, price_reactive),
            (Decimal(1), fee), (t1, supply_t1), (t2, supply_t2), (t0, renewable), (t0, excise),
        )  # fmt: skip
        amounts = [(quantity * price).quantize(_CENT, ROUND_HALF_UP) for quantity, price in priced]
        total = sum(amounts, Decimal("0.00"))
        tax = (total * tax_rate / 100).quantize(_CENT, ROUND_HALF_UP)
        self.id = f"user-{number:05d}.2026-10.1"
        self.row = (self.id, number, total, tax)
        self.lines = [
            (self.id, ordinal, *pair, amount) for (ordinal, _), pair, amount in zip(LINES, priced, amounts, strict=True)
        ]
        self.body = {
            "network_user_invoice_id": self.id, "sub_project_code": code, "invoice_date": "2026-10-31",
            "items": [
                {"ordinal": ordinal, "name": name, "unit": "Mjesec", "quantity": "1", "price_eur": str(amount)}
                for (ordinal, name), amount in zip(LINES, amounts, strict=True)
            ],
            "total_eur": str(total), "tax_rate_percent": str(tax_rate), "tax_eur": str(tax),
            "total_with_tax_eur": str(total + tax),
        }  # fmt: skip

    def line_values(self) -> list[object]:
        return [value for line in self.lines for value in line]


def url_of(invoice_id: str) -> str:
    return f"{ERP}/network-user-invoices/{invoice_id}"


def bill_of(answer: httpx.Response) -> str:
    answer.raise_for_status()
    return str(answer.json()["bill_id"])


def ready() -> None:
    """Says that the worker is up."""
    (FOLDER / "ready").touch()


class Job:
    """The job in steps, for threads: a pool of 16 connections and one client."""

    def __init__(self) -> None:
        from psycopg_pool import ConnectionPool

        self._pool = ConnectionPool(DATABASE, min_size=LANES, max_size=LANES, open=True)
        self._pool.wait()
        self._client = httpx.Client(limits=httpx.Limits(max_connections=LANES, max_keepalive_connections=LANES))

    def store(self, number: int) -> tuple[str, dict[str, Any]]:
        with self._pool.connection() as connection:
            made = Computed(connection.execute(USER, (number,)).fetchone())
            if connection.execute(INSERT, made.row).fetchone():
                connection.execute(INSERT_LINES, made.line_values())
        return made.id, made.body

    def offer(self, invoice_id: str, body: dict[str, Any]) -> str:
        return bill_of(self._client.put(url_of(invoice_id), json=body))

    def finish(self, invoice_id: str, bill_id: str) -> None:
        with self._pool.connection() as connection:
            connection.execute(FINISH, (bill_id, invoice_id))

    def run(self, number: int) -> None:
        invoice_id, body = self.store(number)
        self.finish(invoice_id, self.offer(invoice_id, body))


def began() -> None:
    """Notes, by the database's clock, that the jobs come now."""
    import psycopg

    with psycopg.connect(DATABASE) as connection:
        connection.execute(BEGAN)


class AsyncJob:
    """The same for coroutines, on asyncpg: open it with `await`."""

    async def open(self) -> None:
        import asyncpg

        self._pool = await asyncpg.create_pool(DATABASE, min_size=LANES, max_size=LANES)
        limits = httpx.Limits(max_connections=LANES, max_keepalive_connections=LANES)
        self._client = httpx.AsyncClient(limits=limits)

    async def run(self, number: int) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            made = Computed(tuple(await connection.fetchrow(numbered(USER), number)))
            if await connection.fetchval(numbered(INSERT), *made.row):
                await connection.execute(numbered(INSERT_LINES), *made.line_values())
        bill_id = bill_of(await self._client.put(url_of(made.id), json=made.body))
        async with self._pool.acquire() as connection:
            await connection.execute(numbered(FINISH), bill_id, made.id)


_numbered: dict[str, str] = {}


def numbered(sql: str) -> str:
    """The statement with $1, $2 and so on, as asyncpg wants them."""
    if sql not in _numbered:
        first, *others = sql.split("%s")
        _numbered[sql] = first + "".join(f"${place}{part}" for place, part in enumerate(others, start=1))
    return _numbered[sql]
