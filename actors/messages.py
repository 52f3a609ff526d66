"""What the actors say to each other; each message is a nudge or carries work that the database knows of already."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from billing.erp_answers import Outcome
from billing.invoice import Invoice
from persistence.invoices.changes import Change
from persistence.invoices.claims import Claimed, Delivery
from supervision.errors import SupervisionError

logger = logging.getLogger(__name__)

ALARMS = "alarms"
DB_WRITER = "db_writer"
ERP_GATEWAY = "erp_gateway"
BILLER = "biller"
CLOCK = "clock"
BOOKKEEPER = "bookkeeper"
IMPORTER = "importer"
COURIERS = "couriers"


def courier_name(number: int) -> str:
    """The name of a courier, from 1."""
    return f"courier-{number}"


def invoices_in_hand(messages: Sequence[object]) -> tuple[str, ...]:
    """The invoices that these messages carry work on, each once."""
    return tuple(dict.fromkeys(each for message in messages for each in getattr(message, "invoice_ids", ())))


def try_tell(tell: Callable[[str, Any], None], name: str, message: object) -> bool:
    """Sends what may be lost, since a later look makes up for it; whether it could be delivered."""
    try:
        tell(name, message)
    except SupervisionError as error:
        logger.info("%s was not told: %s", name, error)
        return False
    return True


class _CarriesDelivery:
    """A message about one delivery, or about none."""

    __slots__ = ()
    delivery: Delivery | None

    @property
    def invoice_ids(self) -> tuple[str, ...]:
        return () if self.delivery is None else (self.delivery.invoice_id,)


@dataclass(frozen=True, slots=True)
class Poll:
    """To anyone: look at the database. `newly_due` asks the biller to look for periods that closed, too.

    `restored` tells that a failover or an older backup lost what was stored: the gateway drops what it has queued, for
    it was claimed in another past, and the importer looks for files that the database no longer has.
    """

    newly_due: bool = False
    restored: bool = False


@dataclass(frozen=True, slots=True)
class Overdue:
    """To itself: the db_writer has not answered in time (lost, or no database), or the wait after a failure is over."""


# biller -> db_writer -> biller


@dataclass(frozen=True, slots=True)
class MakeDue:
    """Make the invoices of closed periods due where they are missing."""


@dataclass(frozen=True, slots=True)
class ClaimDue:
    """Claim a batch to calculate; the sender holds nothing. `ask` numbers what it asks, from 1."""

    limit: int
    ask: int


@dataclass(frozen=True, slots=True)
class ClaimedDue:
    """A batch to calculate, empty when there is none; `ask` 0 answers whatever was asked last.

    The answer to any ask but the last is late: what it claimed, the last ask claims again.
    """

    batch: Sequence[Claimed]
    ask: int = 0

    @property
    def invoice_ids(self) -> tuple[str, ...]:
        return tuple(claimed.invoice_id for claimed in self.batch)


@dataclass(frozen=True, slots=True)
class WriteCalculations:
    """What became of a batch: invoices with their claims, and what still waits for its readings."""

    calculated: Sequence[tuple[int, Invoice]]
    waiting: Sequence[Change] = ()

    @property
    def invoice_ids(self) -> tuple[str, ...]:
        return (*(str(invoice.id) for _, invoice in self.calculated), *(change.invoice_id for change in self.waiting))


# erp_gateway -> db_writer -> erp_gateway


@dataclass(frozen=True, slots=True)
class ClaimDeliveries:
    """Claim offers and questions. `holding`: what the sender has in hand or queued. `probe`: one only, to try the ERP.

    `never` is the invoice that failed last. `asked_at_seconds` is the sender's CLOCK_BOOTTIME, from which leases count.
    """

    holding: frozenset[str]
    offers: int
    questions: int
    asked_at_seconds: float
    probe: bool = False
    never: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimedDeliveries:
    """What was claimed; `several_open` says whether more than one invoice is on its way to the ERP at all.

    `asked_at_seconds` says what it answers, as `ClaimedDue.ask` does; 0 answers whatever was asked last.
    """

    deliveries: Sequence[Delivery]
    asked_at_seconds: float
    several_open: bool
    probe: bool = False

    @property
    def invoice_ids(self) -> tuple[str, ...]:
        return tuple(delivery.invoice_id for delivery in self.deliveries)


@dataclass(frozen=True, slots=True)
class WriteOutcome(_CarriesDelivery):
    """Store what the outcome of a request makes of its invoice (`billing.erp_answers.decide`)."""

    delivery: Delivery
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ResetBackoffs:
    """The ERP is back: no invoice waits on for a time that was set while it was away."""


@dataclass(frozen=True, slots=True)
class InvoiceHeld:
    """An answer that counted against this invoice got it held: the alarm for it follows from the database."""

    invoice_id: str


# erp_gateway -> courier -> erp_gateway


@dataclass(frozen=True, slots=True)
class SendRequest(_CarriesDelivery):
    """One request to make. It leaves only before `leave_by_seconds` of CLOCK_BOOTTIME, else it is given back."""

    delivery: Delivery
    leave_by_seconds: float
    breaker_epoch: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask the ERP for nothing in particular: there is no invoice to probe it with."""

    breaker_epoch: int


@dataclass(frozen=True, slots=True)
class ExchangeFinished(_CarriesDelivery):
    """What came of a request; `delivery` None after a ping."""

    courier: str
    delivery: Delivery | None
    outcome: Outcome
    breaker_epoch: int


@dataclass(frozen=True, slots=True)
class CourierReady:
    """A courier has started: whatever its predecessor had in hand is no longer its."""

    courier: str


# to db_writer, from whatever isolates an invoice or hears of an actor's end


@dataclass(frozen=True, slots=True)
class CountCrash:
    """An actor ended in a crash or was written off with these in hand, or work on one of them raised.

    `since_seconds` is the monotonic instant at which the work first failed that this one was isolated from; None: now.
    """

    invoice_ids: tuple[str, ...]
    actor: str
    how: Literal["crashed", "hung"]
    what: str
    since_seconds: float | None = None


# from the process to the actors


@dataclass(frozen=True, slots=True)
class Drain:
    """The daemon is about to stop: begin nothing new, give back what is not begun."""


@dataclass(frozen=True, slots=True)
class CountPendingWrites:
    """Asked of the db_writer before a stop: how many writes still wait."""


@dataclass(frozen=True, slots=True)
class GetErpStatus:
    """Asked of the erp_gateway; answered with an ErpStatus."""


@dataclass(frozen=True, slots=True)
class ErpStatus:
    """The breaker's state by its usual names, what is under way, and when the ERP last did as its contract says.

    `open_reason` is None while requests may leave; `next_try_seconds` then, and while a request tries the ERP.
    """

    breaker: str
    open_reason: str | None
    in_flight: int
    queued: int
    last_success_seconds_ago: float | None
    tried_seconds_ago: float | None
    next_try_seconds: float | None
