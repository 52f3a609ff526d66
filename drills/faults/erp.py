"""Faults of the ERP: off the network (E1), sending incorrect data (E2), throwing (E3)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from drills.environment import Environment
from drills.faults.fault import BRIEF_SECONDS, Fault, asks_erp
from drills.states import State
from testkit.daemon_log import wall_seconds
from testkit.waiting import NotReached, becomes_true, wait_until


def restart_erp(env: Environment, certificate: str | None = None) -> None:
    """With this certificate; connections that were kept open are gone, too."""
    env.erp.kill()
    env.erp.start(certificate=certificate)


def lose_name(env: Environment) -> None:
    env.say_name()
    restart_erp(env)


def find_name(env: Environment) -> None:
    env.say_name("erp.drill", "127.0.0.1")


@dataclass
class Answers(Fault):
    """The ERP answers wrongly: once, all the time, or about one invoice only."""

    can_meet: Callable[[State], bool] = asks_erp
    silence_seconds: float = 0.3
    what: dict[str, Any] = field(default_factory=dict)
    which: Literal["once", "long", "one"] = "long"
    ids: list[int] = field(default_factory=list)
    first_hit_at: float | None = None

    def __post_init__(self) -> None:
        if self.which == "once":
            self.lasting, self.lasts_seconds = False, BRIEF_SECONDS
        self.affects_one = self.which == "one"

    def apply(self, env: Environment, state: State) -> None:
        limits: dict[str, Any] = {"remaining": 1} if self.which == "once" else {}
        if self.which == "one":
            self.target = env.debts[0]
            limits = {"invoice_id": self.target}
        self.ids.append(env.erp.add_fault(**self.what, **limits))

    def released(self, env: Environment, state: State) -> None:
        self.met = becomes_true(lambda: env.erp.hits(self.ids), 15)
        if self.met:
            self.first_hit_at = wall_seconds()

    def first_sign(self, env: Environment) -> float | None:
        return None if self.first_hit_at is None else self.first_hit_at + self.silence_seconds

    def end(self, env: Environment) -> None:
        env.erp.clear_faults(self.ids)


@dataclass
class ForeignBill(Answers):
    """One invoice is answered with the bill_id of another that is registered already."""

    which: Literal["once", "long", "one"] = "one"
    replaces_hold: bool = True

    def apply(self, env: Environment, state: State) -> None:
        self.target = env.debts[0]
        if not state.asks_erp:
            return
        # The target is held there; the others go on, if they are held at the same failpoint, too.
        env.failpoints.enable("courier.send", "hold 0", [self.target])
        if state.name == "initiated":
            state.after(env)
        elif state.failpoint != "courier.send":
            env.failpoints.disable(state.failpoint)
        others = self.unaffected(env)
        wait_until(lambda: env.all_in("registered", others), what="the others are registered")
        bills = env.postgres.rows("SELECT bill_id FROM invoices WHERE state = 'registered' ORDER BY id")
        if not bills:
            raise NotReached("another invoice with a bill_id")
        self.ids.append(env.erp.add_fault(**self.what, invoice_id=self.target, bill_id=bills[0].bill_id))

    def released(self, env: Environment, state: State) -> None:
        env.failpoints.disable("courier.send")
        super().released(env, state)


@dataclass
class OfTheBooked(Answers):
    """The ERP revokes what it said of registered invoices. Only a late answer meets this."""

    lasting: bool = False
    silence_seconds: float = 0.0
    can_meet: Callable[[State], bool] = lambda _: False

    def apply(self, env: Environment, state: State) -> None:
        for debt, stands in env.states().items():
            if stands == "registered":
                self.ids.append(env.erp.add_fault(**self.what, invoice_id=debt))
