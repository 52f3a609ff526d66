"""The protocol of a delivery as a model that a machine exhausts: claim, lease, fence, asking first, idempotent booking.

Daemons claim invoices, offer them to the ERP or ask it about them, and store what came of it. They crash, freeze (a
daemon that takes no step), and lose answers. The database fails over and loses what it had not replicated. Requests
arrive late. Time is not counted: a lease runs out at any moment, which includes every real order.

The model has one invoice. Several share nothing but what happens to all of them: a crash, a failover, a standby that
catches up. Between two of these the steps of one invoice touch no other. So the states of several invoices are the
combinations of states to which the same shared events lead (`tests/model/search.py`), each promise one's.

The promises (`broken_promise`; the last by the search):

- doubled: the ERP books an invoice once.
- blind: no offer leaves while the fate of an earlier one is unknown and nobody has asked since. Only what was claimed
  before a failover that lost the claim may: nobody can know of it, and there the ERP's idempotence is all there is.
- invented: what is registered is booked.
- lost: from every state in which no more faults happen the invoice can still be registered.

`RULES` are the rules of docs/spec/architecture.md, "Claims and leases". Without any one of them a promise breaks.
"""

from collections.abc import Iterator
from typing import NamedTuple

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
    """An invoice everywhere: primary, standby, daemons, network, ERP; `unknown`: an offer's fate, and nobody asked.

    `crashes` and `failovers` may still happen.
    """

    row: Row
    standby: Row
    hands: tuple[Hand | None, ...]
    crashes: int
    failovers: int
    under_way: int = 0
    booked: int = 0
    unknown: bool = False
    blind: bool = False


class Bounds(NamedTuple):
    """How much there is of each."""

    daemons: int
    crashes: int
    failovers: int


class Model:
    """The steps of the protocol without the rules that were taken away."""

    def __init__(self, bounds: Bounds, without: str = "") -> None:
        assert not without or without in RULES
        self._without = without
        self.first = Invoice(Row(), Row(), (None,) * bounds.daemons, bounds.crashes, bounds.failovers)

    def _has(self, rule: str) -> bool:
        return rule != self._without

    def shared(self, invoice: Invoice) -> Iterator[tuple[str, Invoice]]:
        """The events that happen to all invoices at once; which daemon crashes is in the name."""
        if invoice.crashes:
            for daemon in range(len(invoice.hands)):
                after = _in_hand(invoice, daemon, None)._replace(crashes=invoice.crashes - 1)
                yield f"daemon {daemon} crashes", self.reduced(after)
        if invoice.failovers:
            yield "the standby catches up", self.reduced(invoice._replace(standby=invoice.row))
            yield "the database fails over", self.reduced(self._fail_over(invoice))

    def steps(self, invoice: Invoice) -> Iterator[tuple[str, Invoice]]:
        """Every step that can be next for this invoice alone, by name."""
        return ((name, self.reduced(after)) for name, after in self._steps(invoice))

    def reduced(self, invoice: Invoice) -> Invoice:
        """The same state without what can have no effect any more, and with claims numbered from 0.

        A hand has none that can neither send nor store, and neither has the standby without a failover.
        """
        standby = invoice.standby if invoice.failovers else Row()
        current = {invoice.row.claim, standby.claim} if invoice.failovers else {invoice.row.claim}

        def is_live(hand: Hand) -> bool:
            may_send = hand.result == "to send" and (hand.lease_runs or not self._has("lease"))
            return may_send or hand.claim in current or not self._has("fence")

        hands = tuple(hand if hand and is_live(hand) else None for hand in invoice.hands)
        claims = sorted({invoice.row.claim, standby.claim, *(hand.claim for hand in hands if hand)})
        number = {claim: place for place, claim in enumerate(claims)}
        return invoice._replace(
            row=invoice.row._replace(claim=number[invoice.row.claim]),
            standby=standby._replace(claim=number[standby.claim]),
            hands=tuple(hand and hand._replace(claim=number[hand.claim]) for hand in hands),
            under_way=0 if invoice.booked and self._has("idempotent") else invoice.under_way,
        )

    def _steps(self, invoice: Invoice) -> Iterator[tuple[str, Invoice]]:
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
                yield "a daemon gets no answer", _in_hand(invoice, daemon, hand._replace(result="timeout"))
                if invoice.booked:
                    yield "a daemon gets its answer", _in_hand(invoice, daemon, hand._replace(result="booked"))
            else:
                yield "a daemon stores", self._store(invoice, daemon, hand, hand.result)
            if hand is not None and hand.lease_runs and hand.claim != invoice.row.claim:
                expired = hand._replace(lease_runs=False)
                yield "the lease of a lost claim runs out", _in_hand(invoice, daemon, expired)

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
        claimed = _in_hand(invoice._replace(row=row), daemon, Hand(number, "offer" if safe else "ask"))
        yield f"a daemon claims to {'offer' if safe else 'ask'}", claimed

    def _send(self, invoice: Invoice, daemon: int, hand: Hand) -> Iterator[tuple[str, Invoice]]:
        if hand.action == "offer":
            if invoice.under_way < 2:  # a third at once shows nothing that two do not
                blind = invoice.unknown and not hand.outlived
                unknown = invoice.unknown or not hand.outlived
                offered = invoice._replace(under_way=invoice.under_way + 1, unknown=unknown, blind=blind)
                yield "a daemon offers", _in_hand(offered, daemon, hand._replace(result="sent"))
            return
        answered = _in_hand(
            invoice._replace(unknown=False), daemon, hand._replace(result="booked" if invoice.booked else "nothing")
        )
        yield "a daemon asks", answered
        yield "a daemon asks in vain", _in_hand(invoice, daemon, hand._replace(result="timeout"))

    def _store(self, invoice: Invoice, daemon: int, hand: Hand, result: str) -> Invoice:
        row = invoice.row
        done = _in_hand(invoice, daemon, None)
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
        return invoice._replace(row=row, standby=row, hands=hands, failovers=invoice.failovers - 1)


def _in_hand(invoice: Invoice, daemon: int, hand: Hand | None) -> Invoice:
    return invoice._replace(hands=(*invoice.hands[:daemon], hand, *invoice.hands[daemon + 1 :]))


def broken_promise(invoice: Invoice) -> str:
    """The promise that this state breaks, or nothing."""
    if invoice.booked > 1:
        return "doubled"
    if invoice.blind:
        return "blind"
    return "invented" if invoice.row.state == REGISTERED and not invoice.booked else ""
