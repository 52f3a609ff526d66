"""One session with the server at the driver's level: its socket, its limits, and what its errors mean."""

import functools
import math
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import pg8000.dbapi
from pg8000.converters import TIMESTAMPTZ, make_params, timestamptz_in
from pg8000.core import IN_TRANSACTION, SYNC_MSG, Context
from pg8000.exceptions import DatabaseError, InterfaceError
from scramp import ScramException  # type: ignore[import-untyped] # the driver's, as untyped as it

from persistence.connection.errors import (
    CommitHangs,
    CredentialsRefused,
    PersistenceError,
    ServerUnsuitable,
)
from persistence.connection.sockets import with_tls_if_the_server_has_it
from persistence.connection.translation import fields_of, translate

ANSWER_GRACE_SECONDS = 5.0
"""How much longer than the server's own limit the client waits for its answer."""
_PASSWORD_REQUESTS = (3, 5)  # AuthenticationCleartextPassword, AuthenticationMD5Password
READ_ONLY = "25006"
"""The server takes no writes (any more): it has become a standby, or it was set so."""
Heartbeat = Callable[[bool], None]
"""Told of each statement (False), and every two seconds while its answer is waited for (True): an OSError ends that."""
_HEARTBEAT_SECONDS = 2.0
_SILENCE_SECONDS = 35.0
"""How long the server may take no part of a COPY, where statements have a heartbeat and no limit."""

CANCEL_SECONDS = 1.0
_CANCEL_REQUEST = struct.pack("!ii", 16, 80877102)


@functools.lru_cache(maxsize=512)
def _numbered(operation: str) -> str:
    """The statement with $1 for the first %s, which the driver finds letter by letter: once is enough."""
    return str(pg8000.dbapi.convert_paramstyle("format", operation, ())[0])


def _instant(text: str) -> Any:
    """A timestamptz; the driver's own reading takes ten times as long."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # infinity, or a year that Python doesn't have
        return timestamptz_in(text)


class Cursor(pg8000.dbapi.Cursor):  # type: ignore[misc]
    """The driver's, without reading a statement's text at each execution."""

    _input_oids: Sequence[int]

    def execute(self, operation: str, args: Sequence[object] = (), stream: Any = None) -> Any:
        """Runs one statement, in a transaction that it begins if there is none."""
        session: Session = self._c
        if not (args or stream is not None):
            return super().execute(operation)
        if not session.in_transaction:
            session.execute_simple("begin transaction")
        self._context = session.execute_unnamed(_numbered(operation), args, self._input_oids, stream)
        self._row_iter = None if self._context.rows is None else iter(self._context.rows)
        self._input_oids = ()
        return self


class Session(pg8000.dbapi.Connection):  # type: ignore[misc]
    """A driver's connection whose statements have limits, and which knows when it can't be trusted any more.

    Every failure of the transport comes out as `InterfaceError`, which SQLAlchemy knows for a lost connection.
    """

    heartbeat: Heartbeat | None = None

    def __init__(
        self,
        raw: socket.socket,
        where: str,
        statement_seconds: float,
        ssl_context: ssl.SSLContext | bool | None = None,
        *,
        scram_only: bool = True,
        **arguments: Any,
    ) -> None:
        self.where = where
        self.trusted = True
        self._scram_only = scram_only
        self.commit_begun = False
        self.backend = 0
        """The number of the server's process."""
        self.timeline = 0
        """The server's, as `SeenServer` has found it."""
        self.channels: frozenset[str] = frozenset()
        """What it LISTENs to."""
        self.was_lent = False
        """Whether `refuse_other_backend` has refused it."""
        self._was_cancelled = False
        self.deadline: float | None = None
        self._statement_seconds = statement_seconds
        self._server_seconds = statement_seconds
        # The driver wraps the socket for TLS, which takes it away from `raw`; this second handle outlives that.
        self.handle = raw.dup()
        self._handle_lock = threading.Lock()
        with ExitStack() as if_failed:
            if_failed.callback(raw.close)
            if_failed.callback(self.handle.close)
            try:
                if ssl_context is None:
                    raw, ssl_context = with_tls_if_the_server_has_it(raw), False
                super().__init__(sock=raw, ssl_context=ssl_context, **arguments)
                self.register_in_adapter(TIMESTAMPTZ, _instant)
            except ScramException as error:
                raise CredentialsRefused(f"database {where}: the password exchange failed: {error}") from error
            if_failed.pop_all()

    def handle_AUTHENTICATION_REQUEST(self, data: bytes, context: Context) -> None:  # noqa: N802 - the driver's
        """Answers the server's request for the password: in clear text or by MD5 only where nobody can listen."""
        if self._scram_only and struct.unpack_from("!i", data)[0] in _PASSWORD_REQUESTS:
            raise CredentialsRefused(
                f"database {self.where} asks for the password in clear text or by MD5, and it was not sent: store it "
                "as SCRAM-SHA-256 there, or use sslmode=verify-full; database.password_exchange: any allows it"
            )
        super().handle_AUTHENTICATION_REQUEST(data, context)

    def cursor(self) -> Cursor:
        """A cursor of this session."""
        return Cursor(self)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, be it a failed one."""
        return bool(self._in_transaction)

    def begin_limits(self, deadline: float | None) -> None:
        """Starts a transaction's limits; `deadline` is on the monotonic clock, None: each statement's own only."""
        self.deadline = deadline
        self.commit_begun = False
        self._server_seconds = self._statement_seconds

    def execute_unnamed(self, statement: str, vals: Any = (), oids: Any = (), stream: Any = None) -> Any:
        """Runs one statement in a single round trip (the driver's own takes three)."""
        # Before anything is sent: a value that can't be converted must leave nothing half sent behind.
        parameters = make_params(self.py_types, vals)
        self._limit_statement()

        def send() -> None:
            self.send_PARSE(b"\x00", statement, oids)
            self.send_DESCRIBE_STATEMENT(b"\x00")
            self.send_BIND(b"\x00", parameters)
            self.send_EXECUTE()
            self._sock.write(SYNC_MSG)

        return self._exchange(send, Context(statement, stream=stream))

    def set_up(self, statements: str) -> list[Any]:
        """Runs what a new session begins with, in the time that its socket has for connecting; gives the last row."""
        return list(self._simple(statements).rows[-1])

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler is between us and the server: it has given a number of its own for the backend."""
        return bool(struct.unpack_from("!i", self._backend_key_data)[0] != self.backend)

    def refuse_other_backend(self, backend: int, channels: Collection[str]) -> None:
        """Raises ServerUnsuitable unless this is the backend that the session began with, and it listens as it did.

        The session is of no use afterwards: its settings may be lost as well.
        """
        if backend != self.backend:
            reason, else_ = "a pooler lends this session's backend to others between its transactions", ""
        elif not self.channels <= set(channels):
            reason, else_ = "its LISTEN was lost without an error", "; if only that is lost there, database.listen: off"
        else:
            return
        self.trusted, self.was_lent = False, True
        raise ServerUnsuitable(
            f"database {self.where}: {reason}: let what is in between pool by session (PgBouncer: pool_mode = session) "
            f"or name the server itself in database.url{else_}"
        )

    def execute_simple(self, statement: str) -> Any:
        """Runs SQL without parameters."""
        self._limit_statement()
        if statement.startswith("ROLLBACK TO SAVEPOINT"):  # which undoes a limit that was set since
            self._server_seconds = self._statement_seconds
        return self._simple(statement)

    def commit(self) -> None:
        """Commits, in one round trip; past the deadline it rolls back instead, and fails."""
        try:
            self._limit_statement()
        except DatabaseError:
            self.rollback()
            raise
        self.commit_begun = True
        self._simple("commit")

    def rollback(self) -> None:
        """Rolls back, whatever the deadline says. Never fails: a session that is lost, the server rolls back."""
        if self.trusted and self._in_transaction:
            self._wait_at_most(self._server_seconds)
            try:
                self._simple("rollback")
            except (InterfaceError, DatabaseError):
                self.trusted = False
            # It undoes the server's lower limit: SQLAlchemy rolls back what it asks of a new connection, and the first
            # transaction then had no deadline at the server.
            self._server_seconds = self._statement_seconds

    @property
    def is_reusable(self) -> bool:
        """Whether the next transaction may have this session: it is in order, and in no transaction."""
        return self.trusted and not self._in_transaction

    def meaning(self, error: BaseException) -> PersistenceError | None:
        """What an error of this session means past this room; None for one that isn't the database's."""
        if self.commit_begun and self._was_cancelled:
            return CommitHangs(
                f"database {self.where}: the server is there and doesn't answer to COMMIT: is a synchronous standby "
                "gone, or its disk stuck? it may have happened"
            )
        return translate(error, self.where, connecting=False, committing=self.commit_begun)

    def has_news(self, wait_seconds: float) -> bool:
        """Whether the server has sent something unasked (or closed), waiting for it at most so long."""
        decrypted = isinstance(self._usock, ssl.SSLSocket) and self._usock.pending() > 0
        return decrypted or self._polls(select.POLLIN, wait_seconds)

    def is_stale(self) -> bool:
        """Whether the server has closed this session while nobody looked."""
        return not self.trusted or self._usock is None or self._polls(select.POLLRDHUP, 0)

    def unblock(self) -> None:
        """Ends whatever call another thread is in, at once; the session is of no use afterwards."""
        with self._handle_lock:
            self.trusted = False
            try:
                self.handle.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # closed already, by either side

    def close(self) -> None:
        """Ends the session; never fails and, if it can't be trusted any more, never waits."""
        if not self.trusted:
            self.unblock()
        try:
            super().close()
        except (InterfaceError, OSError, ValueError, AttributeError):
            return  # it was gone before
        finally:
            with self._handle_lock:
                self.handle.close()

    def _polls(self, event: int, wait_seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.handle, event)
        return bool(poll.poll(wait_seconds * 1000))

    def _simple(self, statement: str) -> Any:
        return self._exchange(lambda: self.send_QUERY(statement), Context(statement))

    def _exchange(self, send: Callable[[], None], context: Any) -> Any:
        """Sends, and reads the answer; after anything but an orderly one the session isn't trusted any more."""
        trusted, self.trusted = self.trusted, False
        try:
            send()
            self._sock.flush()
            if self.heartbeat is not None:
                self.heartbeat(False)
                while context.stream is None and not self.has_news(_HEARTBEAT_SECONDS):
                    self.heartbeat(True)
            self.handle_messages(context)
        except DatabaseError as error:
            fields = fields_of(error)
            self.trusted = trusted and fields.get("V") == "ERROR" and fields.get("C") != READ_ONLY
            raise
        except (InterfaceError, OSError, ValueError, AttributeError, KeyError) as error:
            if isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError):
                self._was_cancelled = self._cancel()
            if context.error is not None:
                raise context.error from error  # the server's last words, before it closed the connection
            if isinstance(error, InterfaceError):
                # The one that comes in an orderly way: a COMMIT that the server turned into a ROLLBACK.
                self.trusted = trusted and "failed transaction" in str(error)
                raise
            if context.stream is not None and not isinstance(error, OSError):
                raise  # of the stream that is copied from
            raise InterfaceError(f"network error: {error}") from error
        self.trusted = trusted
        return context

    def _cancel(self) -> bool:
        """Has the server end what this session waits for, as libpq's PQcancel does; False if nobody takes that.

        No limit of the server's ends a COMMIT that waits for a standby. Left alone such sessions would keep their
        locks and grow in number. Cancelled, it is committed at the server, and the session ends.
        """
        try:
            with socket.socket(self.handle.family, socket.SOCK_STREAM) as sock:
                sock.settimeout(CANCEL_SECONDS)
                sock.connect(self.handle.getpeername())
                sock.sendall(_CANCEL_REQUEST + self._backend_key_data)
                return sock.recv(1) == b""
        except OSError:
            return False

    def _limit_statement(self) -> None:
        """Gives the next statement what is left until the deadline, at the server and at the socket."""
        limit = self._statement_seconds
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise DatabaseError(
                    {"V": "ERROR", "C": "57014", "M": "the time allowed for this work with the database is over"}
                )
            limit = min(limit, left) if limit else left
            # The server's limit follows only when it is well above what is left: each costs a round trip.
            lower = not self._server_seconds or limit < self._server_seconds - 0.5
            if lower and self._transaction_status == IN_TRANSACTION:
                self._wait_at_most(limit)
                self._simple(f"SET LOCAL statement_timeout = {math.ceil(limit * 1000)}")
                self._server_seconds = limit
        self._wait_at_most(limit)

    def _wait_at_most(self, seconds: float) -> None:
        if self._usock is not None:
            without_limit = _SILENCE_SECONDS if self.heartbeat is not None else None
            self._usock.settimeout(seconds + ANSWER_GRACE_SECONDS if seconds else without_limit)
