"""The few errors that leave this room: past it nobody meets one of the driver's, SQLAlchemy's or Alembic's."""

__all__ = [
    "CommitUnknown",
    "CredentialsRefused",
    "DatabaseFailed",
    "DatabaseUnreachable",
    "PersistenceError",
    "RowRefused",
    "SchemaMismatch",
]


class PersistenceError(Exception):
    """The base of them all; `str()` of each is one line for people, and never holds a password."""


class DatabaseUnreachable(PersistenceError):  # noqa: N818 - named for what is so
    """No connection, or one that doesn't answer. What was under way has not been committed."""


class CommitUnknown(DatabaseUnreachable):
    """The answer to COMMIT was lost: it may have happened, and whoever wrote has to look.

    A kind of `DatabaseUnreachable`, so that whoever only read needs no case of its own.
    """


class CredentialsRefused(PersistenceError):  # noqa: N818 - named for what is so
    """The server knows no such user, wants another password, or lets nobody in from here."""


class DatabaseFailed(PersistenceError):  # noqa: N818 - named for what is so
    """A statement failed though the database is reached; its transaction has been rolled back."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class RowRefused(DatabaseFailed):
    """One row broke a constraint, or holds a value that its column can't (SQLSTATE classes 23 and 22)."""

    def __init__(self, message: str, sqlstate: str, constraint: str | None) -> None:
        super().__init__(message, sqlstate)
        self.constraint = constraint


class SchemaMismatch(PersistenceError):  # noqa: N818 - named for what is so
    """The database has no schema of ours, or an older or newer one than this program."""
