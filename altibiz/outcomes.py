"""Owns what an answer of the ERP means: any status, headers and bytes become one of a few outcomes."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Final

from billing.erp_answers import Booking, Method, Outcome, OutcomeKind

RETRY_AFTER_LIMIT_SECONDS: Final = 3600.0
"""Longest Retry-After that is obeyed (docs/spec/failures.md, "What each class of ERP answer means")."""

DETAIL_LIMIT_CHARACTERS: Final = 500

DECIMAL_PATTERN: Final = r"^-?[0-9]{1,14}(\.[0-9]{1,6})?$"
BILL_ID_LIMIT_CHARACTERS: Final = 64
ABORT_REASON_LIMIT_CHARACTERS: Final = 500

Now = Callable[[], datetime]

_DECIMAL: Final = re.compile(DECIMAL_PATTERN.replace("$", r"\Z"))
_SECONDS: Final = re.compile(r"[0-9]{1,18}\Z")
_CHARSETS_OF_JSON: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_LAST_ERROR_STATUS: Final = 599


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the ERP's bookings, oldest first; `next` is None on the last page."""

    bookings: tuple[Booking, ...]
    next: str | None


def classify(
    method: Method,
    invoice_id: str,
    total_with_tax: Decimal | None,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    now: Now,
) -> Outcome:
    """Say what an answer to an offer (PUT) of, or a question (GET) about, one invoice means.

    Header names are looked up in lower case. Without `total_with_tax` the total is not compared.
    Never raises. What only our stored state can tell (a bill_id that changed or that another invoice
    has, a step back) is not decided here. Rule: docs/spec/failures.md, "What each class of ERP answer means".
    """
    kind = kind_of_status(method, status)
    if kind is not None:
        detail = f"{status}{_problem_detail(headers, body)}"
        retry_after = retry_after_seconds(headers, now) if kind is OutcomeKind.ERROR else None
        return Outcome(kind, method, status, detail, retry_after)
    try:
        booking = _read_booking(_read_json(headers, body))
        _refuse_wrong(booking, invoice_id, total_with_tax)
    except _Unusable as error:
        return Outcome(error.kind, method, status, error.reason)
    return Outcome(OutcomeKind.BOOKED, method, status, booking.state, booking=booking)


def classify_page(status: int, headers: Mapping[str, str], body: bytes, now: Now) -> Page | Outcome:
    """Read one page of bookings, or say what the answer means instead.

    A booking that breaks the contract's rules about bill_id and states is handed on as it is: reconciling
    has to show it. Never raises.
    """
    kind = kind_of_status("GET", status)
    if kind is not None:
        if kind is OutcomeKind.ABSENT:
            kind = OutcomeKind.NOT_CONTRACT
        retry_after = retry_after_seconds(headers, now) if kind is OutcomeKind.ERROR else None
        return Outcome(kind, "GET", status, f"{status}{_problem_detail(headers, body)}", retry_after)
    try:
        return _read_page(_read_json(headers, body))
    except _Unusable as error:
        return Outcome(OutcomeKind.NONSENSE, "GET", status, error.reason)


def kind_of_status(method: Method, status: int) -> OutcomeKind | None:
    """What the status alone decides; None where the body has to speak (200, and 201 to an offer)."""
    if status in (408, 429) or 500 <= status <= _LAST_ERROR_STATUS:
        return OutcomeKind.ERROR
    if status in (401, 403):
        return OutcomeKind.CREDENTIALS
    if status == 200 or (status == 201 and method == "PUT"):
        return None
    if method == "GET":
        return OutcomeKind.ABSENT if status == 404 else OutcomeKind.NOT_CONTRACT
    if status in (400, 413, 422):
        return OutcomeKind.REFUSED
    return OutcomeKind.CONFLICT if status == 409 else OutcomeKind.NOT_CONTRACT


# Not a date, or one without a zone.
_NO_DATE = (ValueError, TypeError, OverflowError, IndexError)


def retry_after_seconds(headers: Mapping[str, str], now: Now) -> float | None:
    """Seconds to wait by Retry-After (seconds or an HTTP date), at most an hour; None without a valid one."""
    text = headers.get("retry-after", "").strip()
    if _SECONDS.match(text):
        return min(float(text), RETRY_AFTER_LIMIT_SECONDS)
    try:
        wait = (parsedate_to_datetime(text) - _answered_at(headers, now)).total_seconds()
    except _NO_DATE:
        return None
    return min(max(wait, 0.0), RETRY_AFTER_LIMIT_SECONDS)


def _answered_at(headers: Mapping[str, str], now: Now) -> datetime:
    """By the ERP's own clock, where it says: then it doesn't matter whether ours is right."""
    try:
        at = parsedate_to_datetime(headers.get("date", ""))
    except _NO_DATE:
        return now()
    return at if at.tzinfo is not None else now()


def printable(text: str) -> str:
    """Foreign text made fit for a log line and for PostgreSQL: no control characters or surrogates, not long."""
    shown = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= DETAIL_LIMIT_CHARACTERS else shown[: DETAIL_LIMIT_CHARACTERS - 1] + "…"


class _Unusable(Exception):  # noqa: N818 - it names what happened
    """An answer can't be read, or is wrong about its invoice."""

    def __init__(self, reason: str, kind: OutcomeKind = OutcomeKind.NONSENSE) -> None:
        self.reason = printable(reason)
        self.kind = kind


def _read_json(headers: Mapping[str, str], body: bytes) -> object:
    charset = _charset(headers.get("content-type", ""))
    if charset not in _CHARSETS_OF_JSON:
        raise _Unusable(f"charset {charset}, not UTF-8")
    try:
        value: object = json.loads(
            body.decode("utf-8-sig"), object_pairs_hook=_each_name_once, parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        raise _Unusable("not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise _Unusable(f"not JSON: {error}") from None
    return value


def _charset(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'").lower()
    return "utf-8"


def _each_name_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _problem_detail(headers: Mapping[str, str], body: bytes) -> str:
    """What a refusal says about itself, for people: RFC 9457 title and detail, or the place of a redirect."""
    if location := headers.get("location"):
        return printable(f" to {location}")
    try:
        problem = _read_json(headers, body)
    except _Unusable:
        return ""
    if not isinstance(problem, dict):
        return ""
    said = [text for text in (problem.get("title"), problem.get("detail")) if isinstance(text, str) and text]
    return printable(": " + ": ".join(said)) if said else ""


def _read_booking(value: object) -> Booking:
    """Take a booking's shape from parsed JSON; what its fields say is not judged here."""
    if not isinstance(value, dict):
        raise _Unusable("not a booking: no JSON object")
    invoice_id, state = value.get("network_user_invoice_id"), value.get("state")
    total = value.get("total_with_tax_eur")
    if not (isinstance(invoice_id, str) and isinstance(state, str) and isinstance(total, str)):
        raise _Unusable("not a booking: id, state and total are not all there as strings")
    bill_id, abort_reason = value.get("bill_id"), value.get("abort_reason")
    if not _DECIMAL.match(total):
        raise _Unusable(f"total {total!a} is no decimal", OutcomeKind.INCORRECT)
    if not isinstance(bill_id, str | None):
        raise _Unusable("bill_id is no string", OutcomeKind.INCORRECT)
    if not isinstance(abort_reason, str | None):
        raise _Unusable("abort_reason is no string", OutcomeKind.INCORRECT)
    if not all(_is_storable(text) for text in (invoice_id, state, bill_id, abort_reason) if text is not None):
        raise _Unusable("text that can't be stored", OutcomeKind.INCORRECT)
    return Booking(invoice_id, state, bill_id, abort_reason, Decimal(total))


def _is_storable(text: str) -> bool:
    """PostgreSQL takes neither NUL nor half a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _refuse_wrong(booking: Booking, invoice_id: str, total_with_tax: Decimal | None) -> None:
    """Raises _Unusable for the first thing in which a booking is wrong about the invoice."""
    if booking.id != invoice_id:
        raise _Unusable(f"speaks of invoice {booking.id!a}", OutcomeKind.INCORRECT)
    if total_with_tax is not None and booking.total_with_tax != total_with_tax:
        raise _Unusable(f"total {booking.total_with_tax} instead of {total_with_tax}", OutcomeKind.INCORRECT)
    if booking.state not in ("initiated", "registered", "aborted"):
        raise _Unusable(f"unknown state {booking.state!a}", OutcomeKind.INCORRECT)
    for state, name, value, longest in (
        ("registered", "bill_id", booking.bill_id, BILL_ID_LIMIT_CHARACTERS),
        ("aborted", "abort_reason", booking.abort_reason, ABORT_REASON_LIMIT_CHARACTERS),
    ):
        if (not value or len(value) > longest) if booking.state == state else value is not None:
            raise _Unusable(f"{booking.state} with {name} {value!a}", OutcomeKind.INCORRECT)
    if booking.bill_id is not None and not booking.bill_id.isprintable():
        raise _Unusable(f"bill_id {booking.bill_id!a} can't be printed", OutcomeKind.INCORRECT)


def _read_page(value: object) -> Page:
    if not isinstance(value, dict) or not isinstance(value.get("bookings"), list) or "next" not in value:
        raise _Unusable("not a page of bookings")
    if not isinstance(value["next"], str | None):
        raise _Unusable("next is no string")
    return Page(tuple(map(_read_booking, value["bookings"])), value["next"])
