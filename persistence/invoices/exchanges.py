"""What was said between an invoice and the ERP, for `invoices show` and as witness."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import Connection

from persistence.connection.statements import execute


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to the ERP and what came of it."""

    method: str
    outcome: str
    status: int | None
    detail: str


def keep_exchanges(connection: Connection, exchanges: Mapping[str, Exchange], instance: str = "") -> None:
    """Keeps what was asked and answered, by invoice id; the same outcome again only counts up the last row.

    `instance` names the daemon that asked last; empty is a person, who is nobody's witness.
    """
    if not exchanges:
        return
    rows = [{"invoice_id": invoice_id, **asdict(exchange)} for invoice_id, exchange in exchanges.items()]
    execute(
        connection,
        """
            WITH input AS (
                SELECT r.*, l.seq, l.method = r.method AND l.outcome = r.outcome
                    AND l.status IS NOT DISTINCT FROM r.status AS again
                FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(
                    invoice_id text, method text, outcome text, status int, detail text)
                LEFT JOIN LATERAL (SELECT * FROM erp_exchanges e WHERE e.invoice_id = r.invoice_id
                                   ORDER BY seq DESC LIMIT 1) l ON true
            ), counted AS (
                UPDATE erp_exchanges e SET times = e.times + 1, last_at = clock_timestamp(), detail = r.detail,
                    instance = :instance
                FROM input r WHERE r.again AND e.invoice_id = r.invoice_id AND e.seq = r.seq
            )
            INSERT INTO erp_exchanges (invoice_id, seq, method, outcome, status, detail, instance)
            SELECT invoice_id, coalesce(seq, 0) + 1, method, outcome, status, detail, :instance
            FROM input WHERE again IS NOT TRUE""",
        rows=json.dumps(rows),
        instance=instance,
    )
