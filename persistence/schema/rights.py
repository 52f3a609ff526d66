"""The roles of grants.sql: what an administrator runs, and whether a session has the rights that the daemon uses."""

import re
from pathlib import Path

from sqlalchemy import Connection

from persistence.connection.errors import DatabaseFailed
from persistence.connection.statements import execute, fetch
from persistence.sql import Queries

_SQL = Queries(__file__)
_INSUFFICIENT_PRIVILEGE, _DUPLICATE_TABLE = "42501", "42P07"
_RIGHTS = re.compile(r"^ +\('(\w+)', '([A-Z, ]+)'\)", re.MULTILINE)
_TRIED = {
    "SELECT": "SELECT FROM {table} LIMIT 0",
    "INSERT": "INSERT INTO {table} ({column}) SELECT NULL WHERE false",
    "UPDATE": "UPDATE {table} SET {column} = {column} WHERE false",
    "DELETE": "DELETE FROM {table} WHERE false",
}
_OTHERS = {
    "EXECUTE on readings_month": "SELECT readings_month('1970-01-01', false)",
    "TEMPORARY on the database": "CREATE TEMPORARY TABLE tried ()",
}


def grants(owner: str, daemon: str, reader: str) -> str:
    """SQL that makes the three roles and gives them their rights; harmless to run again."""
    text = Path(__file__).with_name("grants.sql").read_text("utf-8")
    for name, role in (("owner", owner), ("daemon", daemon), ("reader", reader)):
        text = text.replace(f"{{{name}}}", role)
    return text


def lacking_rights(connection: Connection) -> list[str]:
    """Each right that the daemon uses and this user has not: each is tried, and all of it is rolled back."""
    rights = dict(_RIGHTS.findall(grants("", "", "")))
    columns = fetch(connection, _SQL.columns)
    tried = dict(_OTHERS)
    for row in columns:
        for right in ("SELECT", *filter(None, rights.get(row.name, "").split(", "))):
            tried[f"{right} on {row.name}"] = _TRIED[right].format(table=row.name, column=row.column_name)
    with connection.begin_nested() as tries:
        lacking = [name for name, sql in tried.items() if _is_denied(connection, sql)]
        tries.rollback()
    return lacking


def _is_denied(connection: Connection, sql: str) -> bool:
    try:
        with connection.begin_nested():
            execute(connection, sql)
    except DatabaseFailed as error:
        if error.sqlstate not in (_INSUFFICIENT_PRIVILEGE, _DUPLICATE_TABLE):
            raise
        return error.sqlstate == _INSUFFICIENT_PRIVILEGE
    return False
