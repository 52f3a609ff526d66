"""The few errors that leave this room: past it nobody meets one of the driver's, SQLAlchemy's or Alembic's."""


class PersistenceError(Exception):
    """The base of them all; `str()` of each is one line for people, and never holds a password."""

    away = False
    """Whether the database itself can't be used, rather than a statement."""


class DatabaseUnreachable(PersistenceError):  # noqa: N818 - named for what is so
    """No connection, or one that doesn't answer. What was under way has not been committed."""

    away = True


class CommitUnknown(DatabaseUnreachable):
    """The answer to COMMIT was lost: it may have happened, and whoever wrote has to look.

    A kind of `DatabaseUnreachable`, so that whoever only read needs no case of its own.
    """


class CommitHangs(CommitUnknown):
    """COMMIT is not answered in time, and the server is there: it waits for a synchronous standby, or for its disk."""

    away = False


class CredentialsRefused(PersistenceError):  # noqa: N818 - named for what is so
    """The server knows no such user, wants another password, or lets nobody in from here."""

    away = True


# What one row can be the cause of: its values (22), a constraint (23), a view's check (44), what a trigger raises (P0),
# an index entry that is too long, and a row or page that is corrupt.
_ROW_CLASSES = ("22", "23", "44", "P0")
_ROW_STATES = ("54000", "XX001", "XX002")


class DatabaseFailed(PersistenceError):  # noqa: N818 - named for what is so
    """A statement failed though the database is reached; its transaction has been rolled back."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate

    @property
    def concerns_row(self) -> bool:
        """Whether the same statement may succeed without one of its rows."""
        return self.sqlstate.startswith(_ROW_CLASSES) or self.sqlstate in _ROW_STATES


class RowRefused(DatabaseFailed):
    """One row broke a constraint, or holds a value that its column can't (SQLSTATE classes 23 and 22)."""

    def __init__(self, message: str, sqlstate: str, constraint: str | None) -> None:
        super().__init__(message, sqlstate)
        self.constraint = constraint


class RowHeldUp(DatabaseFailed):
    """One row alone takes longer than the limit for a lock (55P03) or a statement (57014); no table is locked."""

    @property
    def concerns_row(self) -> bool:
        """Always."""
        return True


class SchemaMismatch(PersistenceError):  # noqa: N818 - named for what is so
    """The database has no schema of ours, or an older or newer one than this program."""


class ServerUnsuitable(PersistenceError):  # noqa: N818 - named for what is so
    """What answers can't serve us, however often it is asked: it is too old, or a pooler shares its sessions out."""
