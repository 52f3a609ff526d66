"""Whether what an invoice's history and its exchanges with the ERP say is a trace of the delivery's model.

What leaves a row is observed: the claim that makes `sent` of `calculated`, an answer that was stored, the booking. All
else (leases that end, messages that are lost, questions in vain) may happen in between, as the model allows it. A trace
ends with the booking, or where the history leaves the model: held, ended by a person, taken back by the ERP.

A failover or a restore that loses commits takes their rows along: what was done since may have been any steps of the
model, the ERP keeps them, and the history goes on where the older state stood (docs/spec/failures.md, "Failover").
"""

from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from drills.delivery_model import CALCULATED, REGISTERED, SENT, Bounds, Invoice, Model, Row

LOSSES_AT_MOST = 2
"""More changes of the database show nothing that two do not."""
MODEL = Model(Bounds(daemons=2, crashes=0, failovers=LOSSES_AT_MOST))
BOOKED, NOTHING, TIMEOUT = "booked", "nothing", "timeout"
_TAKEN_NOTHING = {"GET": ("absent",), "PUT": ("refused", "credentials", "too_many_requests", "not_sent")}
REFUSED = f"PUT {NOTHING}"
Seen = tuple[str, ...]


class Place(NamedTuple):
    """How far a way through the model has got in what was seen; `is_lost`: a failover forgets what it does now."""

    invoice: Invoice
    step: int
    answer: int
    is_lost: bool = False


def first_refused(
    history: Sequence[tuple[str | None, str]], exchanges: Sequence[tuple[str, str]], changes: int = 0
) -> str:
    """The first step that the model does not allow; nothing if it allows all.

    `history`: from which state to which; `exchanges`: method and outcome, of which the same again may be left out;
    `changes`: how often the database may have lost what was committed last.
    """
    changes = min(changes, LOSSES_AT_MOST)
    steps, whole = _steps(history)
    answers = [(method, _result(method, outcome)) for method, outcome in exchanges]
    if not whole:  # which answers came before is not known
        return _furthest(changes, tuple(steps), None)
    booking = next((place for place, (_, result) in enumerate(answers, 1) if result == BOOKED), len(answers))
    said = tuple(f"{method} {result}" for method, result in answers[:booking])
    return _furthest(changes, tuple(steps), said)


def _result(method: str, outcome: str) -> str:
    if outcome == BOOKED:
        return BOOKED
    return NOTHING if outcome in _TAKEN_NOTHING[method] else TIMEOUT


def _steps(history: Sequence[tuple[str | None, str]]) -> tuple[list[str], bool]:
    """The steps that the model knows, and whether the history stays within it."""
    steps: list[str] = []
    for before, after in history:
        if after in ("due", CALCULATED) and before in (None, "due"):
            continue
        if (before, after) == (CALCULATED, SENT):
            steps.append(SENT)
        elif before in (CALCULATED, SENT) and after in ("initiated", REGISTERED):
            return [*steps, BOOKED], True
        else:
            return steps, False
    return steps, True


@cache
def _following(invoice: Invoice) -> tuple[tuple[Seen, str, Invoice], ...]:
    return tuple((*_observed(invoice, name, after), after) for name, after in MODEL.steps(invoice))


@cache
def _after_loss(invoice: Invoice) -> Invoice:
    after = next(after for name, after in MODEL.shared(invoice) if name == "the database fails over")
    return MODEL.reduced(after._replace(standby=Row()))


def _observed(invoice: Invoice, name: str, after: Invoice) -> tuple[Seen, str]:
    """What a step leaves in the history, and as an exchange."""
    if name.startswith("a daemon claims"):
        return ((SENT,) if (invoice.row.state, after.row.state) == (CALCULATED, SENT) else ()), ""
    stores = name in ("a daemon stores", "a daemon gives back") and invoice.row.holder != after.row.holder
    if not stores:
        return (), ""
    hand = next(hand for hand, left in zip(invoice.hands, after.hands, strict=True) if hand and left is None)
    answer = f"{'PUT' if hand.action == 'offer' else 'GET'} {hand.result}"
    if name == "a daemon gives back":  # the model's word for an ERP that has taken nothing, too
        return (), REFUSED if hand.action == "offer" else ""
    # After a loss what is only `calculated` is asked about, too, and offered once the ERP says that it is absent.
    states = {(CALCULATED, SENT): (SENT,)}
    left = (BOOKED,) if after.row.state == REGISTERED else states.get((invoice.row.state, after.row.state), ())
    return left, answer


@cache
def _furthest(changes: int, steps: Seen, answers: Seen | None) -> str:
    """Goes all ways that the model has; what none of them gets past is refused."""
    start = Place(MODEL.first._replace(failovers=changes), 0, 0)
    seen, waiting, furthest = {start}, deque([start]), (0, 0)
    while waiting:
        place = waiting.popleft()
        if not place.is_lost:
            furthest = max(furthest, (place.step, place.answer))
            if place.step == len(steps) and (answers is None or place.answer == len(answers)):
                return ""
        for found in _ways(place, steps, answers):
            if found not in seen:
                seen.add(found)
                waiting.append(found)
    missing = [*steps[furthest[0] : furthest[0] + 1], *(answers or ())[furthest[1] : furthest[1] + 1]]
    return f"{' and '.join(missing)} after {[*steps[: furthest[0]], *(answers or ())[: furthest[1]]]}"


def _ways(place: Place, steps: Seen, answers: Seen | None) -> Iterator[Place]:
    invoice, step, answer, is_lost = place
    if is_lost:  # its rows are gone, so it may have been any step
        yield from (Place(after, step, answer, is_lost=True) for _, _, after in _following(invoice))
        yield Place(_after_loss(invoice), step, answer)
        return
    if invoice.failovers:
        yield Place(invoice._replace(standby=invoice.row), step, answer, is_lost=True)
    for left, said, after in _following(invoice):
        if left != steps[step : step + len(left)]:
            continue
        place = Place(after, step + len(left), answer)
        if said in ("", REFUSED) or answers is None:
            yield place
        if answers is None or not said:
            continue
        if answers[answer : answer + 1] == (said,):
            yield place._replace(answer=answer + 1)
        elif answer and answers[answer - 1] == said:  # the same again, which only counts up
            yield place
