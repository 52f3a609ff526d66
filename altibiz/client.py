"""Owns asking the ERP: one request at a time over one kept connection, and every failure as an outcome."""

import functools
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote

import httpcore
import httpx

from altibiz.outcomes import Now, Page, classify, classify_page, kind_of_status, printable
from billing.erp_answers import Method, Outcome, OutcomeKind, not_sent
from network.deadline import TOO_LATE, DeadlineNetworkBackend
from network.trust import client_context
from network.urls import http_url

BODY_LIMIT_BYTES: Final = 1_000_000
PAGE_BOOKINGS: Final = 150
"""So many of the longest bookings fit the limit: 500 characters of abort_reason, each escaped in 12 bytes, and 600."""
# Below the idle limit of the common servers (5 s at least), so that the client usually closes the connection.
KEEPALIVE_SECONDS: Final = 4.0

_DISTRUSTED: Final = (OutcomeKind.NONSENSE, OutcomeKind.INCORRECT, OutcomeKind.NOT_CONTRACT)
_TRANSPORT_ERRORS: Final = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)

for _library in ("httpx", "httpcore"):  # they would log every request; what is worth a line is the caller's to say
    logging.getLogger(_library).setLevel(logging.WARNING)


class TrustUnusable(ValueError):  # noqa: N818 - it names what happened
    """The file of trusted certificates can't be used; the message is one line with the path."""


class AltibizClient:
    """Asks one ERP for one thread; only `abort` may be called from another.

    Redirects are never followed, proxies and other settings of the environment never used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        now: Now,
        token: str | None = None,
        connect_timeout_seconds: float = 5.0,
        read_timeout_seconds: float = 20.0,
        total_timeout_seconds: float = 30.0,
        ca_file: Path | None = None,
        boottime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        traceparent: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        """Connects to nothing yet; raises ValueError for an address or token that can't be used.

        Raises TrustUnusable for a ca_file that can't be. `traceparent` gives the header of W3C Trace Context for a
        request about an invoice.
        """
        self._traceparent = traceparent
        self._now = now
        self._total_timeout_seconds = total_timeout_seconds
        self._network = DeadlineNetworkBackend(connect_timeout_seconds, read_timeout_seconds, boottime)
        url = _checked_url(base_url)
        self._invoices_url = f"{url}/network-user-invoices"
        found = httpx.URL(self._invoices_url)
        self._invoices = httpcore.URL(
            scheme=found.raw_scheme, host=found.raw_host, port=found.port, target=found.raw_path
        )
        # Without httpx's Client, which would add redirects, cookies and defaults: none may be, and they cost a fifth.
        # Nor its Request, which would read and write URL and headers anew for each.
        # Nor httpcore's pool: there is one connection.
        self._new_connection = functools.partial(
            httpcore.HTTPConnection,
            self._invoices.origin,
            trust(ca_file) if ca_file is not None or url.scheme == "https" else None,
            KEEPALIVE_SECONDS,
            network_backend=self._network,
        )
        self._connection = self._new_connection()
        self._headers = [
            (b"host", found.netloc), (b"accept", b"application/json"), (b"accept-encoding", b"identity"),
            (b"user-agent", b"billingd"),
        ]  # fmt: skip
        if token is not None:
            self._headers.append((b"authorization", b"Bearer " + _checked_token(token).encode()))

    @classmethod
    def from_settings(cls, erp: Any, token: str | None, **others: Any) -> Self:
        """For the section `erp` of the configuration, and what is none of its keys. Raises as the constructor."""
        names = ("connect_timeout_seconds", "read_timeout_seconds", "total_timeout_seconds", "ca_file")
        return cls(erp.base_url, token=token, **{name: getattr(erp, name) for name in names}, **others)

    def offer(
        self, invoice_id: str, body: bytes, total_with_tax: Decimal, *, leave_by_seconds: float = float("inf")
    ) -> Outcome:
        """PUT the stored bytes of an invoice; never raises. NOT_SENT past `leave_by_seconds` of CLOCK_BOOTTIME."""
        return self._about_invoice("PUT", invoice_id, body, total_with_tax, leave_by_seconds)

    def ask(
        self, invoice_id: str, total_with_tax: Decimal | None, *, leave_by_seconds: float = float("inf")
    ) -> Outcome:
        """GET the booking of an invoice; without a total the answer's is not compared. Else as `offer`."""
        return self._about_invoice("GET", invoice_id, None, total_with_tax, leave_by_seconds)

    def page(self, after: str | None = None, limit: int = PAGE_BOOKINGS) -> Page | Outcome:
        """GET the bookings that follow the id `after`, oldest first; never raises."""
        query = f"?limit={limit}" + (f"&after={quote(after, safe='')}" if after is not None else "")
        begun = time.monotonic()
        answer = self._exchange("GET", self._request("GET", query))
        read = answer if isinstance(answer, Outcome) else classify_page(*answer, self._now)
        return read if isinstance(read, Page) else self._told(read, self._invoices_url, begun)

    @property
    def distrusts(self) -> bool:
        """Whether a certificate was not trusted: a new client reads the trust again, which may have changed."""
        return self._network.unverified

    def abort(self) -> None:
        """From any thread, for good: a blocked call returns at once as UNREACHABLE, later ones NOT_SENT."""
        self._network.abort()

    def close(self) -> None:
        self._connection.close()

    def _about_invoice(
        self, method: Method, invoice_id: str, body: bytes | None, total: Decimal | None, leave_by_seconds: float
    ) -> Outcome:
        path = f"/{quote(invoice_id, safe='')}"
        begun = time.monotonic()
        request = self._request(method, path, body, self._traceparent(invoice_id))
        outcome = self._exchange(method, request, leave_by_seconds)
        if isinstance(outcome, _Answer):
            outcome = classify(method, invoice_id, total, *outcome, self._now)
        return self._told(outcome, self._invoices_url + path, begun)

    def _told(self, outcome: Outcome, url: str, begun: float) -> Outcome:
        detail = f"{outcome.detail} ({url})" if outcome.kind is OutcomeKind.NOT_CONTRACT else outcome.detail
        if outcome.kind in _DISTRUSTED:
            self._connection.close()  # the next answer on this connection might be this one's rest
        return replace(outcome, detail=detail, duration_seconds=time.monotonic() - begun)

    def _request(
        self, method: Method, path: str, body: bytes | None = None, traceparent: str | None = None
    ) -> httpcore.Request:
        url, headers = self._invoices, self._headers.copy()
        if body is not None:
            headers += [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
        if traceparent is not None:
            headers.append((b"traceparent", traceparent.encode()))
        target = httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target + path.encode())
        return httpcore.Request(method, target, headers=headers, content=body)

    def _exchange(
        self, method: Method, request: httpcore.Request, leave_by_seconds: float = float("inf")
    ) -> "_Answer | Outcome":
        if self._network.aborted:
            return not_sent(method, "aborted")
        self._network.begin(self._total_timeout_seconds, leave_by_seconds)
        if self._network.too_late:
            return not_sent(method, TOO_LATE)
        try:
            return self._send(method, request)
        except _TRANSPORT_ERRORS as error:
            if not self._never_left_a_kept_connection():
                return self._failed(method, error)
        self._network.begin_again()
        try:
            return self._send(method, request)
        except _TRANSPORT_ERRORS as error:
            return self._failed(method, error)

    def _never_left_a_kept_connection(self) -> bool:
        """Whether the peer had closed the connection we kept before the kernel took one byte of the request."""
        network = self._network
        return not (network.connects_anew or network.bytes_sent or network.bytes_received or network.aborted)

    def _send(self, method: Method, request: httpcore.Request) -> "_Answer | Outcome":
        if self._connection.is_closed() or self._connection.has_expired():
            self._connection.close()
            self._connection = self._new_connection()
        answer = self._connection.handle_request(request)
        headers = httpx.Headers(answer.headers)
        status_decides = kind_of_status(method, answer.status) is not None
        body: bytes | None = b""
        try:
            body = _read_limited(answer, headers)
        except _TRANSPORT_ERRORS:
            if not status_decides:
                raise
        finally:
            answer.close()
        if body is None and not status_decides:
            detail = f"body longer than {BODY_LIMIT_BYTES} bytes or compressed"
            return Outcome(OutcomeKind.NONSENSE, method, answer.status, detail)
        return _Answer(answer.status, headers, body or b"")

    def _failed(self, method: Method, error: Exception) -> Outcome:
        network = self._network
        if network.too_late:
            return not_sent(method, TOO_LATE)
        left = network.bytes_sent > 0
        if network.exhausted and not left:
            return not_sent(method, printable(str(error)), "resources")
        detail = "aborted" if network.aborted else printable(str(error)) or type(error).__name__
        not_http = isinstance(error, httpcore.RemoteProtocolError) and not network.peer_closed
        if not_http and network.bytes_received:
            return Outcome(OutcomeKind.NONSENSE, method, detail=f"not HTTP: {detail}", request_left=left)
        return Outcome(OutcomeKind.UNREACHABLE, method, detail=detail, request_left=left)


class _Answer(NamedTuple):
    status: int
    headers: httpx.Headers
    body: bytes


def _read_limited(answer: httpcore.Response, headers: httpx.Headers) -> bytes | None:
    """The body, or None if it is too long or compressed, which we never ask for."""
    if headers.get("content-encoding", "identity") != "identity":
        return None
    body = bytearray()
    for piece in answer.iter_stream():
        body += piece
        if len(body) > BODY_LIMIT_BYTES:
            return None
    return bytes(body)


def _checked_url(base_url: str) -> httpx.URL:
    try:
        return httpx.URL(http_url(base_url))
    except (httpx.InvalidURL, ValueError) as error:
        raise ValueError(f"the ERP's address can't be used: {error}") from error


def _checked_token(token: str) -> str:
    if not (token.isascii() and token.isprintable() and token and " " not in token):
        raise ValueError("the ERP token is empty or holds characters that no token has")  # never the token
    return token


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """What the ERP's certificate is checked by: this file, else the system's trust. Raises TrustUnusable."""
    try:
        return client_context(ca_file)
    except OSError as error:
        raise TrustUnusable(f"cannot use the certificate file {ca_file} (key erp.ca_file): {error}") from error
