"""The floor: the same job without any safety, as a batched loop that anybody would write first."""

import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from zoneinfo import ZoneInfo

import httpx
from sqlalchemy import text

from billing.invoice import Invoice, calculate
from persistence.bases import fetch_bases
from persistence.database import Database

BATCH = 500
LANES = 16
ZAGREB = ZoneInfo("Europe/Zagreb")
SCHEMA = """CREATE TABLE IF NOT EXISTS floor_invoices (
    id text PRIMARY KEY, total numeric NOT NULL, lines jsonb NOT NULL, body text NOT NULL, bill_id text)"""

_lane = threading.local()


def run(database: Database, erp_url: str, ids: list[str]) -> None:
    """Computes, stores and sends the invoices in batches; the next batch is stored while the last is sent.

    No states, no claims, no history, no breaker: killed in the middle, it offers hundreds of invoices again.
    """
    with database.transaction() as connection:
        connection.execute(text("DROP TABLE IF EXISTS floor_invoices"))
        connection.execute(text(SCHEMA))
    pending: list[Future[tuple[str, str]]] = []
    with ThreadPoolExecutor(LANES) as lanes:
        for begin in range(0, len(ids), BATCH):
            invoices = _store(database, ids[begin : begin + BATCH])
            _write_back(database, pending)
            pending = [lanes.submit(_send, erp_url, invoice_id, body) for invoice_id, body in invoices]
        _write_back(database, pending)


def _store(database: Database, ids: list[str]) -> list[tuple[str, bytes]]:
    with database.transaction() as connection:
        made = [calculate(basis, 95) for basis in fetch_bases(connection, ids, ZAGREB)]
        invoices = [each for each in made if isinstance(each, Invoice)]
        rows = [
            {"id": str(each.id), "total": str(each.total_with_tax_eur), "lines": each.lines_document(),
             "body": each.body().decode()}
            for each in invoices
        ]  # fmt: skip
        connection.execute(
            text("""INSERT INTO floor_invoices (id, total, lines, body)
                    SELECT id, total, lines, body FROM jsonb_to_recordset(CAST(:rows AS jsonb))
                    AS r(id text, total numeric, lines jsonb, body text)"""),
            {"rows": json.dumps(rows)},
        )
    return [(str(each.id), each.body()) for each in invoices]


def _send(erp_url: str, invoice_id: str, body: bytes) -> tuple[str, str]:
    if not hasattr(_lane, "client"):
        _lane.client = httpx.Client()
    answer = _lane.client.put(
        f"{erp_url}/network-user-invoices/{invoice_id}", content=body, headers={"content-type": "application/json"}
    )
    answer.raise_for_status()
    return invoice_id, str(answer.json()["bill_id"])


def _write_back(database: Database, pending: list[Future[tuple[str, str]]]) -> None:
    rows = [dict(zip(("id", "bill_id"), each.result(), strict=True)) for each in pending]
    if rows:
        with database.transaction() as connection:
            connection.execute(
                text("""UPDATE floor_invoices f SET bill_id = r.bill_id
                        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id text, bill_id text) WHERE f.id = r.id"""),
                {"rows": json.dumps(rows)},
            )
