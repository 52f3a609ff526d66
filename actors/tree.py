"""The supervision tree of billingd, as docs/spec/architecture.md, "The tree", draws it."""

from collections.abc import Callable
from typing import Any

from actors.biller import Biller
from actors.bookkeeper import Bookkeeper
from actors.clock import Clock
from actors.courier import Courier
from actors.db_writer import DbWriter
from actors.erp_gateway import ErpGateway
from actors.messages import ALARMS, BILLER, BOOKKEEPER, CLOCK, COURIERS, DB_WRITER, ERP_GATEWAY, courier_name
from actors.parts import Parts
from supervision import Actor, ChildSpec, Strategy, SupervisorSpec
from supervision.spec import pool


def tree(parts: Parts, alarms: Callable[[], Actor]) -> SupervisorSpec:
    """The root's specification; `alarms` makes the alarm actor, which needs nothing of the others."""
    settings = parts.settings
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
        return _worker(parts, name, factory, database_seconds)

    lanes = pool(SupervisorSpec(COURIERS, **limits), settings.erp.max_in_flight, lambda number: courier(parts, number))
    delivery = SupervisorSpec(
        "delivery",
        Strategy.REST_FOR_ONE,
        (worker(ERP_GATEWAY, lambda: ErpGateway(parts)), lanes),
        **limits,
    )
    children = (
        worker(ALARMS, alarms),
        worker(DB_WRITER, lambda: DbWriter(parts)),
        delivery,
        worker(BILLER, lambda: Biller(parts)),
        worker(CLOCK, lambda: Clock(parts)),
        worker(BOOKKEEPER, lambda: Bookkeeper(parts)),
    )
    return SupervisorSpec("root", Strategy.ONE_FOR_ONE, children, **limits)


def courier(parts: Parts, number: int) -> ChildSpec:
    """One lane to the ERP, from 1. It finishes its request: then it is freed by force, at half of the time for one."""
    return _worker(parts, courier_name(number), lambda: Courier(parts), parts.settings.erp.total_timeout_seconds)


def _worker(parts: Parts, name: str, factory: Callable[[], Actor], shutdown_seconds: float) -> ChildSpec:
    hang_seconds = parts.settings.supervision.hang_seconds
    return ChildSpec(
        name, factory, shutdown_seconds=shutdown_seconds, hang_seconds=hang_seconds, start_seconds=hang_seconds
    )
