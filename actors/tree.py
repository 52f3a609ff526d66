"""The supervision tree of billingd, as docs/spec/architecture.md, "The tree", draws it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from actors.biller import Biller
from actors.bookkeeper import Bookkeeper
from actors.clock import Clock
from actors.context import ActorContext
from actors.courier import Courier
from actors.erp_gateway import ErpGateway
from actors.importer import Importer
from actors.messages import (
    ALARMS,
    BILLER,
    BOOKKEEPER,
    CLOCK,
    COURIERS,
    DB_WRITER,
    ERP_GATEWAY,
    IMPORTER,
    courier_name,
    invoices_in_hand,
)
from actors.writer import DbWriter
from supervision import Actor, ChildSpec, Strategy, SupervisorSpec
from supervision.events import Exited
from supervision.spec import pool


def tree(context: ActorContext, alarms: Callable[[], Actor]) -> SupervisorSpec:
    """The root's specification; `alarms` makes the alarm actor, which needs nothing of the others."""
    settings = context.settings
    limits: dict[str, Any] = {
        "max_restarts": settings.supervision.max_restarts,
        "window_seconds": settings.supervision.window_seconds,
        "backoff_base_seconds": settings.supervision.backoff_base_seconds,
        "backoff_max_seconds": settings.supervision.backoff_max_seconds,
        "stable_seconds": settings.supervision.window_seconds,
    }
    # A writer finishes its transaction: then it is freed by force, at half of this.
    database_seconds = 2 * settings.database.connect_timeout_seconds

    def worker(name: str, factory: Callable[[], Actor]) -> ChildSpec:
        return _worker(context, name, factory, database_seconds)

    couriers = pool(
        SupervisorSpec(COURIERS, **limits), settings.erp.max_in_flight, lambda number: courier(context, number)
    )
    delivery = SupervisorSpec(
        "delivery",
        Strategy.REST_FOR_ONE,
        (worker(ERP_GATEWAY, lambda: ErpGateway(context)), couriers),
        **limits,
    )
    attempts: Counter[str] = Counter()  # how often each file has ended the importer: it outlives it
    importer = worker(IMPORTER, lambda: Importer(context, attempts))
    children = (
        worker(ALARMS, alarms),
        worker(DB_WRITER, lambda: DbWriter(context)),
        delivery,
        worker(BILLER, lambda: Biller(context)),
        worker(CLOCK, lambda: Clock(context)),
        worker(BOOKKEEPER, lambda: Bookkeeper(context)),
        # A file that ends it is refused after a few times, so such an exit uses up no restart that other faults need.
        replace(importer, exempt_from_max_restarts=lambda _: bool(attempts)),
    )
    return SupervisorSpec("root", Strategy.ONE_FOR_ONE, children, **limits)


def courier(context: ActorContext, number: int) -> ChildSpec:
    """The courier of that number, from 1. Told to stop, it is cut off at half of the time for one request."""
    return _worker(context, courier_name(number), lambda: Courier(context), context.settings.erp.total_timeout_seconds)


def _worker(context: ActorContext, name: str, factory: Callable[[], Actor], shutdown_seconds: float) -> ChildSpec:
    hang_seconds = context.settings.supervision.hang_seconds
    return ChildSpec(
        name, factory, shutdown_seconds=shutdown_seconds, hang_seconds=hang_seconds, start_seconds=hang_seconds,
        exempt_from_max_restarts=isolates_invoice,
    )  # fmt: skip


def isolates_invoice(notice: Exited) -> bool:
    """Whether an exit serves to isolate an invoice: then it uses up no restart that other faults need.

    What was in hand is worked on again in halves, so such exits end by themselves (docs/spec/failures.md, "Bisection").
    """
    return bool(invoices_in_hand(notice.in_hand))
