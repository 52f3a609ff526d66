"""Meters that are in use and whose last reading is older than is expected of their kind."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from persistence.connection.statements import fetch
from persistence.sql import Queries

_SQL = Queries(__file__)


def silent_meters(connection: Connection, expected: Mapping[str, float], now: datetime) -> list[Any]:
    """Rows of `id` and `last_at` (None: it has no reading), silent longest first; `expected` are seconds by kind."""
    return fetch(connection, _SQL.silent, expected=json.dumps(dict(expected)), now=now, month=f"{now:%Y-%m}")
