"""The floor: the same job as a batched loop that anybody would write first, with as much safety as is asked for."""

import json
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from zoneinfo import ZoneInfo

import httpx
from sqlalchemy import Connection, text

from billing.invoice import Invoice, calculate
from persistence.connection.database import Database
from persistence.invoices.calculation_inputs import fetch_inputs

BATCH = 500
LANES = 16
ZAGREB = ZoneInfo("Europe/Zagreb")
SAFETY = ("audit row", "claim", "sent-mark")
SCHEMA = """
    DROP TABLE IF EXISTS floor_invoices, floor_history;
    CREATE TABLE floor_invoices (
        id text PRIMARY KEY, total numeric NOT NULL, lines jsonb NOT NULL, body text NOT NULL, bill_id text,
        state text NOT NULL DEFAULT 'calculated', claim bigint NOT NULL DEFAULT 0, claimed_until timestamptz);
    CREATE TABLE floor_history (
        id text, at timestamptz NOT NULL DEFAULT clock_timestamp(), state text NOT NULL)
"""

_lane = threading.local()


class Floor:
    """One run. Without safety: no states, claims, history or breaker; killed, it offers hundreds again.

    `safety`: "audit row" keeps a row for each step, "claim" takes each batch with a lease and lets only
    the holder write back, "sent-mark" commits that an offer begins before it does.
    """

    def __init__(self, database: Database, erp_url: str, safety: Sequence[str] = ()) -> None:
        self._database = database
        self._erp_url = erp_url
        self._audits, self._claims, self._marks = (each in safety for each in SAFETY)

    def run(self, ids: list[str]) -> None:
        """Computes, stores and sends the invoices in batches; the next batch is stored while the last is sent."""
        with self._database.transaction() as connection:
            for statement in SCHEMA.split(";"):
                connection.execute(text(statement))
        pending: list[Future[dict[str, object]]] = []
        with ThreadPoolExecutor(LANES) as lanes:
            for begin in range(0, len(ids), BATCH):
                invoices = self._store(ids[begin : begin + BATCH])
                self._write_back(pending)
                claims = self._take([invoice_id for invoice_id, _ in invoices])
                pending = [lanes.submit(self._send, *each, claims.get(each[0], 0)) for each in invoices]
            self._write_back(pending)

    def _store(self, ids: list[str]) -> list[tuple[str, bytes]]:
        with self._database.transaction() as connection:
            made = [calculate(basis, 95) for basis in fetch_inputs(connection, ids, ZAGREB)]
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
            self._audit(connection, [str(each.id) for each in invoices], "calculated")
        return [(str(each.id), each.body()) for each in invoices]

    def _take(self, ids: list[str]) -> dict[str, int]:
        if not (self._claims or self._marks):
            return {}
        state = ", state = 'sent'" if self._marks else ""
        with self._database.transaction() as connection:
            rows = connection.execute(
                text(f"""UPDATE floor_invoices f SET claim = claim + 1,
                         claimed_until = now() + interval '60 seconds' {state}
                         FROM (SELECT id FROM floor_invoices WHERE id = ANY(CAST(:ids AS text[]))
                               ORDER BY id FOR UPDATE SKIP LOCKED) p
                         WHERE f.id = p.id RETURNING f.id, f.claim"""),
                {"ids": ids},
            ).all()
            if self._marks:
                self._audit(connection, ids, "sent")
        return {row.id: row.claim for row in rows}

    def _send(self, invoice_id: str, body: bytes, claim: int) -> dict[str, object]:
        if not hasattr(_lane, "client"):
            _lane.client = httpx.Client()
        answer = _lane.client.put(
            f"{self._erp_url}/network-user-invoices/{invoice_id}",
            content=body,
            headers={"content-type": "application/json"},
        )
        answer.raise_for_status()
        return {"id": invoice_id, "bill_id": str(answer.json()["bill_id"]), "claim": claim}

    def _write_back(self, pending: Sequence[Future[dict[str, object]]]) -> None:
        rows = [each.result() for each in pending]
        if not rows:
            return
        with self._database.transaction() as connection:
            connection.execute(
                text("""UPDATE floor_invoices f SET bill_id = r.bill_id, state = 'registered', claimed_until = NULL
                        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id text, bill_id text, claim bigint)
                        WHERE f.id = r.id AND f.claim = r.claim"""),
                {"rows": json.dumps(rows)},
            )
            self._audit(connection, [str(row["id"]) for row in rows], "registered")

    def _audit(self, connection: Connection, ids: Sequence[str], state: str) -> None:
        if self._audits:
            connection.execute(
                text("INSERT INTO floor_history (id, state) SELECT unnest(CAST(:ids AS text[])), :state"),
                {"ids": list(ids), "state": state},
            )
