"""What the db_writer has still to store, an invoice at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actors.messages import CountCrash, WriteCalculations, WriteOutcome
from billing.invoice import Invoice
from persistence.quarantine import InvoiceFault
from persistence.writes import Change

DEFER_BASE_SECONDS, DEFER_MOST_SECONDS = 0.1, 2.0


@dataclass(frozen=True, slots=True)
class Calculated:
    """A calculated invoice, under the claim that it was calculated with."""

    claim: int
    invoice: Invoice

    @property
    def invoice_id(self) -> str:
        return str(self.invoice.id)


@dataclass(frozen=True, slots=True)
class Crash:
    """A crash with this invoice in hand: it counts if the invoice was alone (`bisect_limit` None).

    Else the invoice is worked on again in a batch of at most `bisect_limit`, the second half a little later than the
    first. `since_seconds` is the monotonic instant of the first failure.
    """

    invoice_id: str
    reason: str
    since_seconds: float
    bisect_limit: int | None = None
    half: int = 1


@dataclass(frozen=True, slots=True)
class ForgetWait:
    """The ERP is back: this invoice, which was locked then, waits no longer for a time that was set by its failing."""

    invoice_id: str


@dataclass(frozen=True, slots=True)
class Stale:
    """A calculation that can't be stored as it is: the claim ends, and the invoice is calculated again."""

    invoice_id: str
    claim: int


Write = Calculated | Change | InvoiceFault | Crash | ForgetWait | Stale


@dataclass(eq=False, slots=True)
class Item:
    """One write in the queue; `not_before_seconds` is a monotonic instant, `deferrals` how often its row was locked."""

    write: Write
    not_before_seconds: float = float("-inf")
    deferrals: int = 0

    @property
    def invoice_id(self) -> str:
        return self.write.invoice_id

    @property
    def invoice_ids(self) -> tuple[str, ...]:
        return (self.write.invoice_id,)


def writes_of(message: WriteCalculations | WriteOutcome | CountCrash, now_seconds: float) -> list[Write]:
    """What a message asks for, an invoice at a time."""
    match message:
        case WriteCalculations(calculated=calculated, waiting=waiting):
            return [*(Calculated(claim, invoice) for claim, invoice in calculated), *waiting]
        case WriteOutcome(write=write):
            return [write]
        case CountCrash(invoices=ids):
            reason = f"{message.actor} {message.how}: {message.what}"
            since = now_seconds if message.since_seconds is None else message.since_seconds
            if len(ids) == 1:
                return [Crash(ids[0], reason, since)]
            limit = (len(ids) + 1) // 2
            return [Crash(each, reason, since, limit, 1 + (place >= limit)) for place, each in enumerate(ids)]


class WriteQueue:
    """The writes in the order in which they came; a deferred one lets the others go first."""

    def __init__(self) -> None:
        self._items: list[Item] = []

    def __len__(self) -> int:
        return len(self._items)

    @property
    def invoice_ids(self) -> set[str]:
        """The invoices that a write waits for."""
        return {item.invoice_id for item in self._items}

    def add(self, writes: Iterable[Write]) -> None:
        """Puts them at the end."""
        self._items += map(Item, writes)

    def ready(self, limit: int, now_seconds: float) -> list[Item]:
        """The first that are not deferred; they stay in the queue."""
        found = (item for item in self._items if item.not_before_seconds <= now_seconds)
        return [item for item, _ in zip(found, range(limit), strict=False)]

    def remove(self, items: Iterable[Item]) -> None:
        """They are stored, or will never be."""
        gone = set(map(id, items))
        self._items = [item for item in self._items if id(item) not in gone]

    def to_end(self, items: Sequence[Item]) -> None:
        """The others go first."""
        self.remove(items)
        self._items += items

    def next_seconds(self) -> float | None:
        """The monotonic instant at which the first of the deferred is tried again."""
        return min((item.not_before_seconds for item in self._items if item.deferrals), default=None)


def defer(item: Item, now_seconds: float) -> None:
    """Its row is locked: it is tried again soon, and ever more seldom."""
    item.not_before_seconds = now_seconds + min(DEFER_MOST_SECONDS, DEFER_BASE_SECONDS * 2.0 ** min(item.deferrals, 30))
    item.deferrals += 1
