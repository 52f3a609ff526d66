"""Owns what the fake ERP was told to do wrong: to which requests, how often, and how."""

import itertools
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from altibiz.fake.ledger import Entry, Ledger

TransportKind = Literal["delay", "status", "drop", "cut", "trickle", "hang", "hold"]
NonsenseKind = Literal["not_json", "other_shape", "html", "truncated", "huge", "wrong_charset"]
IncorrectKind = Literal[
    "other_id", "other_total", "unknown_state", "no_bill_id", "no_abort_reason", "foreign_bill_id", "changed_bill_id",
    "step_back",
]  # fmt: skip
BookingKind = Literal["initiated", "abort", "book_twice"]
NONSENSE_KINDS: Final = get_args(NonsenseKind)
INCORRECT_KINDS: Final = get_args(IncorrectKind)
BOOKING_KINDS: Final = get_args(BookingKind)


class Fault(BaseModel):
    """One thing to do wrong. Of those that match a request the oldest acts, and one of the booking kinds besides."""

    model_config = ConfigDict(extra="forbid")

    kind: TransportKind | NonsenseKind | IncorrectKind | BookingKind
    method: Literal["PUT", "GET", "ANY"] = "ANY"
    invoice_id: str | None = None
    remaining: Annotated[int, Field(ge=1)] | None = None
    """For how many more requests; without it for all, until deleted."""
    when: Literal["request", "before", "after"] = "before"
    """delay, status, drop, hang, hold: before or after the ERP has booked; drop also with the request unread."""
    seconds: Annotated[float, Field(ge=0)] = 1.0
    """delay: in all; trickle: between two bytes; initiated: until the verdict."""
    status: Annotated[int, Field(ge=200, le=599)] = 500
    retry_after: str | None = None
    body: str | None = None
    """status: instead of a problem document."""
    reason: str = "refused by the bookkeeper"
    """abort: the abort_reason."""
    bill_id: str | None = None
    """foreign_bill_id: which; without it that of another booking."""
    size_bytes: Annotated[int, Field(ge=0)] = 50_000_000
    """huge: length of the body."""
    id: int = 0
    hits: int = 0
    """How many requests it has acted on."""

    def matches(self, method: str, invoice_id: str | None) -> bool:
        used_up = self.remaining is not None and self.hits >= self.remaining
        return not used_up and self.method in ("ANY", method) and self.invoice_id in (None, invoice_id)


class Faults:
    """The faults in force, oldest first; a used-up one stays to be looked at until it is deleted."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._ids = itertools.count(1)

    def add(self, fault: Fault) -> Fault:
        fault.id, fault.hits = next(self._ids), 0
        self._faults.append(fault)
        return fault

    def clear(self, fault_id: int | None) -> None:
        """Delete one fault, or all."""
        self._faults = [fault for fault in self._faults if fault_id is not None and fault.id != fault_id]

    def all(self) -> list[Fault]:
        return self._faults

    def take(self, method: str, invoice_id: str | None, *, booking: bool) -> Fault | None:
        """The fault that acts on a request now (booking: on the entering of it), counted as used."""
        acts = (each for each in self._faults if (each.kind in BOOKING_KINDS) is booking)
        if fault := next((each for each in acts if each.matches(method, invoice_id)), None):
            fault.hits += 1
        return fault


def falsify(fault: Fault, entry: Entry, ledger: Ledger) -> dict[str, Any]:
    """A booking that is wrong about its invoice, in the way that the fault says."""
    others = (other.bill_id for other in ledger.all() if other.invoice_id != entry.invoice_id)
    foreign = fault.bill_id or next(others, f"ALT-{entry.number + 1:06d}")
    registered = {"state": "registered", "abort_reason": None, "bill_id": entry.bill_id}
    changes: dict[str, dict[str, Any]] = {
        "other_id": {"network_user_invoice_id": f"X{entry.invoice_id}"},
        "other_total": {"total_with_tax_eur": "123456789.01"},
        "unknown_state": {"state": "pondered"},
        "no_bill_id": {**registered, "bill_id": None},
        "no_abort_reason": {"state": "aborted", "bill_id": None, "abort_reason": None},
        "foreign_bill_id": {**registered, "bill_id": foreign},
        "changed_bill_id": {**registered, "bill_id": f"{entry.bill_id}-{fault.hits}"},
        "step_back": {"state": "initiated", "bill_id": None, "abort_reason": None},
    }
    return {**entry.as_booking(), **changes[fault.kind]}
