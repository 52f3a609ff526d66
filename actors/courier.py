"""The actor of one lane to the ERP: one request at a time, on a client and connection of its own."""

import logging

from actors.failpoints import failpoint
from actors.messages import ERP_GATEWAY, Answered, Deliver, Knock, LaneFree
from actors.parts import Parts
from altibiz.client import AltibizClient
from altibiz.outcomes import Kind, Outcome, not_sent
from supervision import Actor

logger = logging.getLogger(__name__)

# What of a lease has to remain beyond the request's total timeout for the request to leave (architecture.md).
LEASE_MARGIN_SECONDS = 5.0


class Courier(Actor):
    """Makes the requests it is handed and tells what came of them."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self._parts = parts
        self._client: AltibizClient | None = None
        self._made_with: object = None

    def on_start(self) -> None:
        failpoint("courier.start")
        self.on_unblock(self._abort)
        self.tell(ERP_GATEWAY, LaneFree(self.name))

    def on_receive(self, message: object) -> None:
        match message:
            case Deliver(delivery=delivery, generation=generation):
                failpoint("courier.send", message)
                outcome = self._deliver(message)
                failpoint("courier.answered", message)
                self.tell(ERP_GATEWAY, Answered(self.name, delivery, outcome, generation))
            case Knock(generation=generation):
                self.tell(ERP_GATEWAY, Answered(self.name, None, self._knock(), generation))
            case _:
                logger.warning("%s was told what it does not know: %r", self.name, message)

    def on_stop(self) -> None:
        if self._client is not None:
            self._client.close()

    def _deliver(self, message: Deliver) -> Outcome:
        delivery = message.delivery
        if self._parts.clock.boottime() > message.leave_by_seconds:
            return not_sent("PUT" if delivery.action == "offer" else "GET", "too little of its lease is left")
        client = self._current_client()
        if delivery.action == "offer":
            assert delivery.body is not None, "an offer carries its body"
            return client.offer(delivery.invoice_id, delivery.body, delivery.total_with_tax_eur)
        return client.ask(delivery.invoice_id, delivery.total_with_tax_eur)

    def _knock(self) -> Outcome:
        page = self._current_client().page(limit=1)
        return page if isinstance(page, Outcome) else Outcome(Kind.BOOKED, "GET", 200, "it answers")

    def _current_client(self) -> AltibizClient:
        """The client for the settings and token in force; a reload makes the next request use a new one."""
        erp, token = self._parts.settings.erp, self._parts.token()
        if self._client is None or self._made_with != (erp, token):
            if self._client is not None:
                self._client.close()
            assert erp.base_url is not None, "run checks erp.base_url"
            self._client = AltibizClient(
                erp.base_url,
                now=self._parts.clock.wall,
                token=token,
                connect_timeout_seconds=erp.connect_timeout_seconds,
                read_timeout_seconds=erp.read_timeout_seconds,
                total_timeout_seconds=erp.total_timeout_seconds,
                ca_file=erp.ca_file,
            )
            self._made_with = (erp, token)
        return self._client

    def _abort(self) -> None:
        if self._client is not None:
            self._client.abort()


def leave_by_seconds(asked_at_seconds: float, lease_seconds: float, total_timeout_seconds: float) -> float:
    """Until when, by CLOCK_BOOTTIME, a request may leave whose claim was asked for then (architecture.md)."""
    return asked_at_seconds + lease_seconds - total_timeout_seconds - LEASE_MARGIN_SECONDS
