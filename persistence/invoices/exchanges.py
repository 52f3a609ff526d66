"""What was said between an invoice and the ERP, for `invoices show` and as witness."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import Connection

from persistence.connection.statements import execute
from persistence.sql import Queries

_SQL = Queries(__file__)


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
    execute(connection, _SQL.keep_exchanges, rows=json.dumps(rows), instance=instance)
