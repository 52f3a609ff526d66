"""What an error of the driver means, with what to do about the server's own trouble."""

from pg8000.exceptions import DatabaseError, InterfaceError

from persistence.connection.errors import (
    CommitUnknown,
    CredentialsRefused,
    DatabaseFailed,
    DatabaseUnreachable,
    PersistenceError,
    RowRefused,
)

# The server's own trouble, by SQLSTATE: what whoever runs it has to do.
_ADVICE = {
    "25006": "it has become a standby or was set read-only; another host of database.url is looked for",
    "25P03": "this session was idle within a transaction for too long (idle_in_transaction_session_timeout)",
    "25P04": "the server's transaction_timeout is shorter than this work takes",
    "53100": "make room on the server's disk, for its data and its WAL",
    "53200": "raise the server's max_locks_per_transaction (each month of readings takes locks), or its memory",
    "53300": "raise the role's CONNECTION LIMIT or the server's max_connections, or end other sessions",
    "57P02": "a process of the server crashed; its log says why: a full disk for the WAL, too, does it",
    "57P05": "something in between sets idle_session_timeout for this session",
    "58030": "the server can't read or write its files: look at its disk and its log",
    "XX001": "data is corrupted: look at the server's log, and restore from a backup",
    "XX002": "an index is corrupted: REINDEX it, and look at the server's log",
}


def translate(error: BaseException, where: str, *, connecting: bool, committing: bool) -> PersistenceError | None:
    """What an error of the driver means; None for one that is not the database's, but a bug's or the caller's.

    `where` is the server and database for the message.
    """
    if isinstance(error, DatabaseError):
        return _of_the_server(fields_of(error), where, connecting=connecting, committing=committing)
    if isinstance(error, InterfaceError) and "failed transaction" in str(error):
        return DatabaseFailed(
            f"database {where}: the transaction had failed before its COMMIT and was rolled back", "25P02"
        )
    if not isinstance(error, InterfaceError | OSError):
        return None
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    reason = (cause.strerror if isinstance(cause, OSError) else None) or str(cause)
    if reason == "network error":
        reason = "the connection was closed"
    if committing:
        return CommitUnknown(f"database {where}: the answer to COMMIT was lost ({reason}); it may have happened")
    return DatabaseUnreachable(f"database {where} can't be reached: {reason}; is the server up?")


def _of_the_server(fields: dict[str, str], where: str, *, connecting: bool, committing: bool) -> PersistenceError:
    sqlstate = fields.get("C", "XX000")
    said = " ".join(fields.get("M", "no message").split())
    if advice := _ADVICE.get(sqlstate):
        said += f": {advice}"
    if connecting:
        if sqlstate.startswith("28"):
            return CredentialsRefused(f"database {where}: {said}; check user, password and pg_hba.conf")
        if sqlstate.startswith(("08", "53", "57P")):
            return DatabaseUnreachable(f"database {where} takes no connection: {said}")
    if committing and fields.get("V") != "ERROR":
        return CommitUnknown(f"database {where}: the session ended in COMMIT ({said}); it may have happened")
    if sqlstate.startswith(("22", "23")):
        detail = " ".join(fields.get("D", "").split())
        message = f"database {where}: {said}" + (f" ({detail})" if detail else "")
        return RowRefused(message, sqlstate, fields.get("n"))
    # Undefined tables and columns: who reads it can rarely tell a missing schema from a broken one.
    hint = "; is the schema current? run `billingd db upgrade`" if sqlstate in ("42P01", "42703") else ""
    return DatabaseFailed(f"database {where}: {said} (SQLSTATE {sqlstate}){hint}", sqlstate)


def fields_of(error: DatabaseError) -> dict[str, str]:
    """The fields of the server's message, by their letters in the protocol."""
    fields = error.args[0] if error.args else {}
    return fields if isinstance(fields, dict) else {"M": str(fields)}
