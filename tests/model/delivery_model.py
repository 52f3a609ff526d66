"""The protocol of a delivery as a model that a machine exhausts: claim, lease, fence, asking first, idempotent booking.

Daemons claim invoices, offer them to the ERP or ask it about them, and store what came of it. They crash, freeze (a
daemon that takes no step), and lose answers. The database fails over and loses what it had not replicated. Requests
arrive late. Time is not counted: a lease runs out at any moment, which includes every real order.

The promises (`broken_promise`, `finish`):

- doubled: the ERP books an invoice once.
- blind: no offer leaves while the fate of an earlier one is unknown and nobody has asked since. Only what was claimed
  before a failover that lost the claim may: nobody can know of it, and there the ERP's idempotence is all there is.
- invented: what is registered is booked.
- lost: from every state in which no more faults happen all invoices can still be registered.

`RULES` are the rules of docs/spec/architecture.md, "Claims and leases". Without any one of them a promise breaks.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

RULES = {
    "claim": "an invoice is claimed before it is worked on, and a claim whose lease runs is left alone",
    "sent_first": "`sent` is committed before the offer leaves",
    "forget_outcome": "the claim for an offer forgets the last outcome",
    "ask_first": "what is `sent` is asked about, unless the last outcome says that the ERP took nothing",
    "lease": "a request leaves only while its own lease runs",
    "fence": "a result is stored only under the claim that it was worked on with",
    "ask_after_failover": "after a failover everything open is asked about before it is offered",
    "proof_after_failover": "an outcome of a claim from before a failover proves nothing",
    "idempotent": "the ERP books the same id once",
}
REGISTERED, CALCULATED, SENT = "registered", "calculated", "sent"
NOBODY = -1


class Row(NamedTuple):
    """An invoice in the database; `took_nothing`: the last outcome says so; `lost`: a failover may have lost offers."""

    state: str = CALCULATED
    claim: int = 0
    holder: int = NOBODY
    lease_runs: bool = False
    took_nothing: bool = False
    lost: bool = False


class Hand(NamedTuple):
    """What a daemon has in hand; `result` says how far it has got: to send, sent, and then what came of it."""

    claim: int
    action: str
    result: str = "to send"
    lease_runs: bool = True
    outlived: bool = False


class Invoice(NamedTuple):
    """One invoice everywhere: primary, standby, daemons, network, ERP; `unknown`: an offer's fate, and nobody asked."""

    row: Row
    standby: Row
    hands: tuple[Hand | None, ...]
    under_way: int = 0
    booked: int = 0
    unknown: bool = False
    blind: bool = False


class Snapshot(NamedTuple):
    """All invoices, and how many faults may still happen."""

    invoices: tuple[Invoice, ...]
    crashes: int
    failovers: int


class Bounds(NamedTuple):
    """How much there is of each."""

    daemons: int
    invoices: int
    crashes: int
    failovers: int


@dataclass(frozen=True)
class Exhausted:
    """What the search has seen; `trace` leads to the state that breaks `promise`, both empty if none does."""

    states: int
    promise: str = ""
    trace: tuple[str, ...] = ()


class Model:
    """The steps of the protocol without the rules that were taken away."""

    def __init__(self, bounds: Bounds, without: str = "") -> None:
        assert not without or without in RULES
        self._daemons, self._without = range(bounds.daemons), without
        one = Invoice(Row(), Row(), (None,) * bounds.daemons)
        self.first = Snapshot((one,) * bounds.invoices, bounds.crashes, bounds.failovers)

    def _has(self, rule: str) -> bool:
        return rule != self._without

    def steps(self, snapshot: Snapshot, *, faults: bool = True) -> Iterator[tuple[str, Snapshot]]:
        """Every step that can be next, by name."""
        for place, invoice in enumerate(snapshot.invoices):
            for name, changed in self._steps_of(invoice, faults=faults):
                changed_ones = (*snapshot.invoices[:place], changed, *snapshot.invoices[place + 1 :])
                yield name, snapshot._replace(invoices=changed_ones)
        if not faults:
            return
        if snapshot.crashes:
            for daemon in self._daemons:
                after = tuple(self._in_hand(each, daemon, None) for each in snapshot.invoices)
                yield "a daemon crashes", Snapshot(after, snapshot.crashes - 1, snapshot.failovers)
        if snapshot.failovers:
            caught_up = tuple(each._replace(standby=each.row) for each in snapshot.invoices)
            yield "the standby catches up", snapshot._replace(invoices=caught_up)
            after = tuple(map(self._fail_over, snapshot.invoices))
            yield "the database fails over", Snapshot(after, snapshot.crashes, snapshot.failovers - 1)

    def _steps_of(self, invoice: Invoice, *, faults: bool) -> Iterator[tuple[str, Invoice]]:
        if invoice.under_way:
            booked = 1 if self._has("idempotent") else invoice.booked + 1
            yield "an offer arrives", invoice._replace(under_way=invoice.under_way - 1, booked=booked)
        if invoice.row.lease_runs:
            yield "the lease runs out", self._run_out(invoice)
        for daemon, hand in enumerate(invoice.hands):
            if hand is None:
                yield from self._claim(invoice, daemon)
            elif hand.result == "to send":
                if hand.lease_runs or not self._has("lease"):
                    yield from self._send(invoice, daemon, hand)
                else:
                    yield "a daemon gives back", self._store(invoice, daemon, hand, "nothing")
            elif hand.result == "sent":
                yield "a daemon gets no answer", self._in_hand(invoice, daemon, hand._replace(result="timeout"))
                if invoice.booked:
                    yield "a daemon gets its answer", self._in_hand(invoice, daemon, hand._replace(result="booked"))
            else:
                yield "a daemon stores", self._store(invoice, daemon, hand, hand.result)
            if hand is not None and hand.lease_runs and hand.claim != invoice.row.claim:
                expired = hand._replace(lease_runs=False)
                yield "the lease of a lost claim runs out", self._in_hand(invoice, daemon, expired)

    def _claim(self, invoice: Invoice, daemon: int) -> Iterator[tuple[str, Invoice]]:
        row = invoice.row
        free = row.holder == NOBODY or not row.lease_runs or not self._has("claim")
        if row.state == REGISTERED or not free:
            return
        safe = (row.state == CALCULATED and not row.lost) or row.took_nothing or not self._has("ask_first")
        number = 1 + max(row.claim, invoice.standby.claim, *(hand.claim for hand in invoice.hands if hand), 0)
        row = row._replace(claim=number, holder=daemon, lease_runs=True)
        if safe and self._has("sent_first"):
            row = row._replace(state=SENT)
        if safe and self._has("forget_outcome"):
            row = row._replace(took_nothing=False)
        claimed = self._in_hand(invoice._replace(row=row), daemon, Hand(number, "offer" if safe else "ask"))
        yield f"a daemon claims to {'offer' if safe else 'ask'}", claimed

    def _send(self, invoice: Invoice, daemon: int, hand: Hand) -> Iterator[tuple[str, Invoice]]:
        if hand.action == "offer":
            if invoice.under_way < 2:  # a third at once shows nothing that two do not
                blind = invoice.unknown and not hand.outlived
                unknown = invoice.unknown or not hand.outlived
                offered = invoice._replace(under_way=invoice.under_way + 1, unknown=unknown, blind=blind)
                yield "a daemon offers", self._in_hand(offered, daemon, hand._replace(result="sent"))
            return
        answered = self._in_hand(
            invoice._replace(unknown=False), daemon, hand._replace(result="booked" if invoice.booked else "nothing")
        )
        yield "a daemon asks", answered
        yield "a daemon asks in vain", self._in_hand(invoice, daemon, hand._replace(result="timeout"))

    def _store(self, invoice: Invoice, daemon: int, hand: Hand, result: str) -> Invoice:
        row = invoice.row
        done = self._in_hand(invoice, daemon, None)
        if row.state == REGISTERED or (self._has("fence") and (row.claim, row.holder) != (hand.claim, daemon)):
            return done
        row = row._replace(holder=NOBODY, lease_runs=False)
        proves = not hand.outlived or not self._has("proof_after_failover")
        match result:
            case "booked":
                row = row._replace(state=REGISTERED, took_nothing=False, lost=False)
            case "nothing" if hand.action == "offer" or hand.result != "to send":
                row = row._replace(state=SENT, took_nothing=proves, lost=row.lost and not proves)
            case "timeout" if hand.action == "offer":
                row = row._replace(state=SENT, took_nothing=False)
        return done._replace(row=row)

    def _run_out(self, invoice: Invoice) -> Invoice:
        hands = tuple(
            hand._replace(lease_runs=False) if hand and hand.claim == invoice.row.claim else hand
            for hand in invoice.hands
        )
        return invoice._replace(row=invoice.row._replace(lease_runs=False), hands=hands)

    def _fail_over(self, invoice: Invoice) -> Invoice:
        row = invoice.standby
        if self._has("ask_after_failover") and row.state != REGISTERED:
            row = row._replace(lost=True, took_nothing=False)
        hands = tuple(hand and hand._replace(outlived=True) for hand in invoice.hands)
        return invoice._replace(row=row, standby=row, hands=hands)

    def _in_hand(self, invoice: Invoice, daemon: int, hand: Hand | None) -> Invoice:
        return invoice._replace(hands=(*invoice.hands[:daemon], hand, *invoice.hands[daemon + 1 :]))


def broken_promise(snapshot: Snapshot) -> str:
    """The promise that this state breaks, or nothing."""
    for each in snapshot.invoices:
        if each.booked > 1:
            return "doubled"
        if each.blind:
            return "blind"
        if each.row.state == REGISTERED and not each.booked:
            return "invented"
    return ""


def canonical(snapshot: Snapshot) -> Snapshot:
    """The same state, with daemons and invoices in one order and claims numbered from 0: names make no difference."""

    def seen_by(daemon: int) -> tuple[Any, ...]:
        return tuple(
            (each.hands[daemon] or (), each.row.holder == daemon, each.standby.holder == daemon)
            for each in snapshot.invoices
        )

    if not snapshot.failovers:  # nobody will see the standby
        snapshot = snapshot._replace(invoices=tuple(each._replace(standby=Row()) for each in snapshot.invoices))
    order = sorted(range(len(snapshot.invoices[0].hands)), key=seen_by)
    names = {daemon: place for place, daemon in enumerate(order)} | {NOBODY: NOBODY}

    def renamed(each: Invoice) -> Invoice:
        claims = {each.row.claim, each.standby.claim, *(hand.claim for hand in each.hands if hand)}
        number = {claim: place for place, claim in enumerate(sorted(claims))}
        hands = (each.hands[daemon] for daemon in order)
        return each._replace(
            row=each.row._replace(claim=number[each.row.claim], holder=names[each.row.holder]),
            standby=each.standby._replace(claim=number[each.standby.claim], holder=names[each.standby.holder]),
            hands=tuple(hand and hand._replace(claim=number[hand.claim]) for hand in hands),
        )

    return snapshot._replace(invoices=tuple(sorted(map(renamed, snapshot.invoices), key=_comparable)))


def _comparable(invoice: Invoice) -> Invoice:
    return invoice._replace(hands=tuple(hand or () for hand in invoice.hands))  # type: ignore[misc]


def exhaust(model: Model) -> Exhausted:
    """Visits every state, the nearest first, until one breaks a promise."""
    first = canonical(model.first)
    came_from: dict[Snapshot, tuple[Snapshot, str] | None] = {first: None}
    waiting = deque([first])
    finishing: set[Snapshot] = set()
    while waiting:
        snapshot = waiting.popleft()
        if promise := broken_promise(snapshot) or ("" if finish(model, snapshot, finishing) else "lost"):
            return Exhausted(len(came_from), promise, _trace(snapshot, came_from))
        for name, following in model.steps(snapshot):
            known = canonical(following)
            if known not in came_from:
                came_from[known] = snapshot, name
                waiting.append(known)
    return Exhausted(len(came_from))


def finish(model: Model, snapshot: Snapshot, finishing: set[Snapshot]) -> bool:
    """Whether all invoices can be registered from here without another fault; `finishing` is what is known to."""
    path, seen = [snapshot], {snapshot}
    while path:
        snapshot = path[-1]
        if snapshot in finishing or all(each.row.state == REGISTERED for each in snapshot.invoices):
            finishing.update(path)
            return True
        following = (canonical(each) for _, each in model.steps(snapshot, faults=False))
        step = next((each for each in following if each not in seen), None)
        if step is None:
            path.pop()
        else:
            seen.add(step)
            path.append(step)
    return False


def _trace(snapshot: Snapshot, came_from: dict[Snapshot, tuple[Snapshot, str] | None]) -> tuple[str, ...]:
    steps: list[str] = []
    while (before := came_from[snapshot]) is not None:
        snapshot, name = before
        steps.append(name)
    return tuple(reversed(steps))
