"""Reading for people's eyes, straight on the driver: SQLAlchemy takes longer to import than they like to wait."""

from typing import Any

from pg8000.dbapi import convert_paramstyle
from pg8000.exceptions import Error as DriverError

from persistence.connection.session import Session


class Reader:
    """What a transaction on a session finds; its methods raise the errors of persistence.connection.errors."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def where(self) -> str:
        """The server and database for messages."""
        return self._session.where

    def rows(self, statement: str, **values: object) -> list[dict[str, Any]]:
        """The rows by column; `values` are those of the statement's `:names`."""
        session = self._session
        numbered, given = convert_paramstyle("named", statement, values)
        try:
            if not session.in_transaction:
                session.execute_simple("begin transaction")
            found = session.execute_unnamed(numbered, given)
        except DriverError as error:
            raise (session.meaning(error) or error) from error
        names = [column["name"] for column in found.columns]
        return [dict(zip(names, row, strict=True)) for row in found.rows]

    def value(self, statement: str, **values: object) -> Any:
        """The first column of the first row; None if there is none."""
        return next((next(iter(row.values())) for row in self.rows(statement, **values)), None)
