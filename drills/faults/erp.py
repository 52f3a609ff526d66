"""Faults of the ERP: off the network (E1), sending incorrect data (E2), throwing (E3)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from drills.environment import Environment, Setting
from drills.faults.fault import BRIEF_SECONDS, Fault, Switched, asks_erp
from drills.states import State
from testkit.daemon_log import wall_seconds
from testkit.waiting import NotReached, becomes_true, wait_until

TOTAL_SECONDS = 1.0


def _restart(env: Environment, certificate: str | None = None) -> None:
    """With this certificate; connections that were kept open are gone, too."""
    env.erp.kill()
    env.erp.start(certificate=certificate)


def _lose_name(env: Environment) -> None:
    env.say_name()
    _restart(env)


def _find_name(env: Environment) -> None:
    env.say_name("erp.drill", "127.0.0.1")


@dataclass
class Answers(Fault):
    """The ERP answers wrongly: once, all the time, or about one invoice only."""

    can_meet: Callable[[State], bool] = asks_erp
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
    can_meet: Callable[[State], bool] = lambda _: False

    def apply(self, env: Environment, state: State) -> None:
        for debt, stands in env.states().items():
            if stands == "registered":
                self.ids.append(env.erp.add_fault(**self.what, invoice_id=debt))


def _away(on: Callable[[Environment], object], off: Callable[[Environment], object], **more: Any) -> Fault:
    return Switched(("erp_unreachable",), can_meet=asks_erp, on=on, off=off, **more)


def _answers(code: str, which: Literal["once", "long", "one"] = "long", **what: Any) -> Callable[[], Fault]:
    late = what.pop("silence_seconds", 0.3)
    # An answer to a question with such a status has no row in docs/spec/failures.md: only an offer can be refused.
    codes = (code, "erp_error") if what.get("status") in (400, 409, 413, 422) else (code,)
    refused = what.get("status") in (400, 413, 422) and which == "long"
    return lambda: Answers(
        codes=codes, which=which, what=what, silence_seconds=late, holds_some=not refused,
        offers_again=what.get("status") == 404,
    )  # fmt: skip


def _code_of(status: int) -> str:
    """The alarm by which docs/spec/failures.md answers a status."""
    if status in (401, 403):
        return "erp_credentials"
    if status in (400, 413, 422):
        return "erp_refused_invoice"
    return "erp_conflict" if status == 409 else "erp_error"


STATUSES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("500", {"status": 500}),
    ("502", {"status": 502}),
    ("503", {"status": 503}),
    ("503_retry_after", {"status": 503, "retry_after": "1"}),
    ("429", {"status": 429}),
    ("429_retry_after", {"status": 429, "retry_after": "1"}),
    *((str(status), {"status": status}) for status in (400, 401, 403, 404, 409, 413, 422, 204, 302)),
)
E1: dict[str, Callable[[], Fault]] = {
    "refused": lambda: _away(lambda env: env.erp.kill(), lambda env: env.erp.start()),
    "no_answer": lambda: _away(lambda env: env.erp.freeze(), lambda env: env.erp.thaw(), silence_seconds=TOTAL_SECONDS),
    "one_byte_at_a_time": _answers("erp_unreachable", kind="trickle", seconds=0.3, silence_seconds=TOTAL_SECONDS + 0.3),
    "reset_before": _answers("erp_unreachable", kind="drop", when="request"),
    "reset_in": _answers("erp_unreachable", kind="drop", when="before"),
    "reset_after": _answers("erp_unreachable", kind="drop", when="after"),
    "name_not_resolved": lambda: _away(_lose_name, _find_name, setting=Setting(named_host=True)),
    "tls_not_accepted": lambda: _away(lambda env: _restart(env, "untrusted"), _restart, setting=Setting(tls=True)),
    "cut_in_answer": _answers("erp_unreachable", kind="cut"),
}
NONSENSE = ("not_json", "other_shape", "html", "truncated", "huge", "wrong_charset")
WRONG = ("other_id", "other_total", "unknown_state", "no_bill_id", "no_abort_reason")
E2: dict[str, Callable[[], Fault]] = {
    **{kind: _answers("erp_incorrect_data", kind=kind) for kind in (*NONSENSE, *WRONG)},
    "foreign_bill_id": lambda: ForeignBill(
        codes=("erp_incorrect_data",), what={"kind": "foreign_bill_id"}, silence_seconds=0.3
    ),
    "changed_bill_id": lambda: OfTheBooked(what={"kind": "changed_bill_id"}),
    "step_back": lambda: OfTheBooked(what={"kind": "step_back"}),
}
E3: dict[str, Callable[[], Fault]] = {
    f"{name}_{which}": _answers(_code_of(what["status"]), which, kind="status", **what)
    for name, what in STATUSES
    for which in ("once", "long", "one")
}
