"""The states in which a fault can happen (docs/spec/failures.md): how each is reached, and released again."""

from dataclasses import dataclass
from typing import Any

from drills.environment import Environment
from testkit.waiting import NotReached


@dataclass(frozen=True)
class State:
    """Where the daemon stands. `failpoint`: where it is held, or passes next; `actor`: the actor that passes it."""

    name: str
    failpoint: str
    actor: str
    asks_erp: bool = False
    """Whether the next thing to come is a request to the ERP."""
    has_work: bool = True
    next_seconds: float = 0.5
    """Within how long it next needs the database or the ERP, once it is let go."""
    codes: tuple[str, ...] = ()
    """The alarms that the state itself may raise, whatever the fault."""

    def reach(self, env: Environment) -> None:
        """Starts the daemon and brings it there. Raises NotReached."""
        failpoints = env.failpoints
        failpoints.enable(self.failpoint, "hold 0")
        env.daemon.start()
        failpoints.wait_for_arrivals(self.failpoint, 1)
        while not self.stands(env):
            passed = failpoints.reached(self.failpoint)
            failpoints.enable(self.failpoint, f"hold {passed}")
            failpoints.wait_for_arrivals(self.failpoint, passed + 1)

    def stands(self, env: Environment) -> bool:
        """Whether the database agrees that this is the state."""
        wanted = {"due": ("due",), "calculating": ("due",), "storing": ("due",), "calculated": ("calculated",)}
        states = env.states()
        return all(states.get(debt) in wanted.get(self.name, ("sent", "registered")) for debt in env.debts)

    def release(self, env: Environment) -> None:
        """Lets the daemon go on."""
        env.failpoints.disable(self.failpoint)

    def after(self, env: Environment) -> None:
        """What the state itself waits for, once the fault is over."""


class Sending(State):
    """All couriers are held with an invoice each; with `booked` the ERP has it and its answer was lost."""

    def reach(self, env: Environment) -> None:
        booked = self.name == "sending_after"
        if booked:
            for debt in env.debts:
                env.erp.add_fault(kind="drop", method="PUT", when="after", invoice_id=debt, remaining=1)
        env.failpoints.enable(self.failpoint, "hold 0")
        env.daemon.start()
        number = len(env.debts)
        env.failpoints.wait_for_arrivals(self.failpoint, number)
        if len(env.erp.bookings()) != (number if booked else 0) or not env.all_in("sent"):
            raise NotReached("all invoices sent, and the ERP's ledger as it should be")


class Initiated(State):
    """The ERP has all invoices and gives no verdict."""

    def reach(self, env: Environment) -> None:
        env.verdicts_wait = [env.erp.add_fault(kind="initiated", method="PUT", seconds=864_000)]
        env.daemon.start()
        env.wait_all_in("initiated")

    def after(self, env: Environment) -> None:
        env.erp.clear_faults(env.verdicts_wait)
        env.erp.give_verdicts()


class Idle(State):
    """All is registered. New work comes once the fault is over."""

    def reach(self, env: Environment) -> None:
        env.daemon.start()
        env.wait_all_in("registered")

    def after(self, env: Environment) -> None:
        env.import_late_user()


class Arriving(Idle):
    """All is registered; the importer is held with a new user's readings, which were posted. The master data is in."""

    def reach(self, env: Environment) -> None:
        super().reach(env)
        env.failpoints.enable(self.failpoint, "hold 1")
        env.deliver_late_user()
        env.failpoints.wait_for_arrivals(self.failpoint, 2)

    def after(self, env: Environment) -> None:
        pass


# The readings that are held up are missing meanwhile.
ARRIVING: dict[str, Any] = {"has_work": False, "next_seconds": 2.0, "codes": ("readings_incomplete",)}
STATES: dict[str, State] = {
    state.name: state
    for state in (
        State("due", "db_writer.claim_due", "db_writer"),
        State("calculating", "biller.calculate", "biller"),
        State("storing", "db_writer.store", "db_writer", next_seconds=2.0),
        State("calculated", "db_writer.claim_deliveries", "db_writer", asks_erp=True),
        Sending("sending_before", "courier.send", "courier", asks_erp=True),
        # The ERP was last seen to lose its answers, and a fault may keep the daemon from asking it again.
        Sending("sending_after", "courier.answered", "courier", asks_erp=True, codes=("erp_unreachable",)),
        Initiated("initiated", "courier.send", "courier", asks_erp=True, next_seconds=3.0),
        State("storing_verdict", "db_writer.store_verdict", "db_writer", next_seconds=2.0),
        Idle("idle", "biller.receive", "biller", has_work=False, next_seconds=2.0),
        Arriving("arriving", "importer.take", "importer", **ARRIVING),
        # The invoice of these readings is locked by the import that is held up.
        Arriving(
            "importing",
            "importer.import",
            "importer",
            **ARRIVING | {"codes": ("readings_incomplete", "database_error")},
        ),
        Arriving("imported_not_moved", "importer.imported", "importer", **ARRIVING),
    )
}
