"""The actor that makes requests to the ERP: one at a time, on a client and connection of its own."""

import logging

from actors.attribution import tell_of_exception
from actors.context import ActorContext
from actors.failpoints import failpoint
from actors.messages import DB_WRITER, ERP_GATEWAY, CountCrash, CourierReady, ExchangeFinished, Ping, SendRequest
from altibiz.client import AltibizClient, TrustUnusable
from billing.erp_answers import Method, Outcome, OutcomeKind, not_sent
from supervision import Actor

logger = logging.getLogger(__name__)

# What of a lease has to remain beyond the total timeout (docs/spec/architecture.md, "Claims and leases").
LEASE_MARGIN_SECONDS = 5.0


class Courier(Actor):
    """Makes the requests it is handed and tells what came of them."""

    def __init__(self, context: ActorContext) -> None:
        super().__init__()
        self._context = context
        self._client: AltibizClient | None = None
        self._made_with: object = None

    def on_start(self) -> None:
        failpoint("courier.start")
        self.on_unblock(self._abort)
        self.tell(ERP_GATEWAY, CourierReady(self.name))

    def on_receive(self, message: object) -> None:
        failpoint("courier.receive", message)
        match message:
            case SendRequest(delivery=delivery, breaker_epoch=epoch):
                outcome = self._try_to_deliver(message)
                if outcome is not None:
                    self.tell(ERP_GATEWAY, ExchangeFinished(self.name, delivery, outcome, epoch))
            case Ping(breaker_epoch=epoch):
                self.tell(ERP_GATEWAY, ExchangeFinished(self.name, None, self._ping(), epoch))
            case _:
                logger.warning("%s was told what it does not know: %r", self.name, message)

    def on_stop(self) -> None:
        self._close()

    def _try_to_deliver(self, message: SendRequest) -> Outcome | None:
        """What came of it; None if work on this one invoice raised: it counts, and the courier goes on.

        Nothing else is stored: whether the ERP has it is unknown, so it is asked first when it is next taken up.
        """
        try:
            failpoint("courier.send", message)
            outcome = self._deliver(message)
            failpoint("courier.answered", message)
        except Exception as error:  # one invoice's error must not end the actor that sends the others
            if self.stopping:
                raise
            invoice_ids = message.invoice_ids
            what = tell_of_exception(self, error, invoice_ids, self._context.settings.supervision.window_seconds)
            self._close()  # its state is unknown
            self.tell(DB_WRITER, CountCrash(invoice_ids, self.name, "crashed", what))
            self.tell(ERP_GATEWAY, CourierReady(self.name))
            return None
        return outcome

    def _deliver(self, message: SendRequest) -> Outcome:
        delivery, leave_by = message.delivery, message.leave_by_seconds
        logger.debug("%ss %s", delivery.action, delivery.invoice_id)
        method: Method = "PUT" if delivery.action == "offer" else "GET"
        try:
            client = self._current_client()
        except TrustUnusable as error:
            return not_sent(method, str(error), "trust")
        invoice_id, total = delivery.invoice_id, delivery.total_with_tax_eur
        if delivery.action == "offer":
            assert delivery.body is not None, "an offer carries its body"
            outcome = client.offer(invoice_id, delivery.body, total, leave_by_seconds=leave_by)
        else:
            outcome = client.ask(invoice_id, total, leave_by_seconds=leave_by)
        self._context.traces.exchanged(invoice_id, outcome)
        return outcome

    def _ping(self) -> Outcome:
        try:
            page = self._current_client().page(limit=1)
        except TrustUnusable as error:
            return not_sent("GET", str(error), "trust")
        return page if isinstance(page, Outcome) else Outcome(OutcomeKind.BOOKED, "GET", 200, "it answers")

    def _current_client(self) -> AltibizClient:
        """The client for the settings in force; after a reload or a certificate that was not trusted, a new one.

        It reads ca_file or the system's trust anew, whether or not a key has changed.
        """
        settings, token = self._context.settings_holder.in_force
        erp = settings.erp
        if self._client is None or self._client.distrusts or self._made_with is not erp:
            self._close()
            assert erp.base_url is not None, "run checks erp.base_url"
            clock, traceparent = self._context.clock, self._context.traces.traceparent
            self._client = AltibizClient.from_settings(
                erp, token, now=clock.wall, boottime=clock.boottime, traceparent=traceparent
            )
            self._made_with = erp
        return self._client

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _abort(self) -> None:
        if self._client is not None:
            self._client.abort()


def leave_by_seconds(asked_at_seconds: float, lease_seconds: float, total_timeout_seconds: float) -> float:
    """Until when, by CLOCK_BOOTTIME, a request may leave (docs/spec/architecture.md, "Claims and leases")."""
    return asked_at_seconds + lease_seconds - total_timeout_seconds - LEASE_MARGIN_SECONDS
