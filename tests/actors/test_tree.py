"""Which exits of billingd's actors use up no restart of their supervisor."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from actors.context import ActorContext
from actors.messages import COURIERS, IMPORTER, Poll, SendRequest, courier_name
from actors.tree import courier, isolates_invoice, tree
from persistence.invoices.claims import Delivery
from supervision import Actor, EndKind, SupervisorSpec
from supervision.spec import ChildSpec
from tests.support.actor_context import make_context
from tests.support.supervision import DrivenSystem

NAME = courier_name(1)


class Ends(Actor):
    """Ends on every message, as a bug outside the work on an invoice would have it."""

    def on_receive(self, message: object) -> None:
        raise SystemExit(f"on {message}")


@pytest.fixture
def context() -> ActorContext:
    return make_context("postgresql://nobody@nowhere/none")


@pytest.fixture
def system(context: ActorContext) -> Iterator[DrivenSystem]:
    """A courier of the real specification that ends on every message, and two restarts for it."""
    child = replace(courier(context, 1), factory=Ends)
    system = DrivenSystem(SupervisorSpec(COURIERS, children=(child,), max_restarts=2, backoff_base_seconds=0.0))
    system.start()
    yield system
    if system.ended is None:
        system.stop()


def crash(system: DrivenSystem, message: object) -> None:
    system.tell(NAME, message)
    system.settle()
    system.advance(0.25)


def request(number: int) -> SendRequest:
    return SendRequest(Delivery(f"u-{number}.2026-08.1", 1, "offer", "sent", Decimal(1), b"{}", 0, 0, 0), 0.0, 1)


def test_ends_with_invoices_in_hand_use_up_no_restart_and_others_do(system: DrivenSystem) -> None:
    for number in range(12):
        crash(system, request(number))
    crash(system, Poll())
    crash(system, Poll())
    assert system.ended is None
    crash(system, Poll())
    assert system.ended is not None
    assert system.ended.kind is EndKind.GAVE_UP


def test_every_actor_of_the_tree_that_may_have_invoices_in_hand_is_exempt(context: ActorContext) -> None:
    def workers(spec: SupervisorSpec) -> Iterator[ChildSpec]:
        for child in spec.children:
            if isinstance(child, SupervisorSpec):
                yield from workers(child)
            else:
                yield child

    with_invoices = [each for each in workers(tree(context, Ends)) if each.name != IMPORTER]
    assert {each.exempt_from_max_restarts for each in with_invoices} == {isolates_invoice}
