"""Owns asking the ERP: one request at a time over one kept connection, every failure turned into an outcome."""

from decimal import Decimal
from pathlib import Path

from altibiz.outcomes import Now, Outcome, Page


class AltibizClient:
    """Asks one ERP for one thread; only `abort` may be called from another."""

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
    ) -> None:
        """Connects to nothing yet; raises ValueError for an address, token or ca_file that can't be used."""
        raise NotImplementedError

    def offer(self, invoice_id: str, body: bytes, total_with_tax: Decimal) -> Outcome:
        """PUT the stored bytes of an invoice; never raises."""
        raise NotImplementedError

    def ask(self, invoice_id: str, total_with_tax: Decimal | None) -> Outcome:
        """GET the booking of an invoice; without a total the answer's is not compared. Never raises."""
        raise NotImplementedError

    def page(self, after: str | None = None, limit: int = 500) -> Page | Outcome:
        """GET the bookings that follow the id `after`, oldest first; never raises."""
        raise NotImplementedError

    def abort(self) -> None:
        """From any thread and for good: a blocked call returns at once as UNREACHABLE, later ones as NOT_SENT."""
        raise NotImplementedError

    def close(self) -> None:
        """Drop the connection."""
        raise NotImplementedError
