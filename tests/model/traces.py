"""Whether what an invoice's history and its exchanges with the ERP say is a trace of the delivery's model.

What leaves a row is observed: the claim that makes `sent` of `calculated`, an answer that was stored, the booking. All
else (leases that end, messages that are lost, questions in vain) may happen in between, as the model allows it. A trace
ends with the booking, or where the history leaves the model: held, ended by a person, taken back by the ERP.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from functools import cache

from tests.model.delivery_model import CALCULATED, REGISTERED, SENT, Bounds, Invoice, Model

MODEL = Model(Bounds(daemons=2, crashes=0, failovers=0))
BOOKED, NOTHING, TIMEOUT = "booked", "nothing", "timeout"
_RESULTS = dict.fromkeys(("refused", "credentials", "too_many_requests", "absent"), NOTHING) | {BOOKED: BOOKED}
REFUSED = f"PUT {NOTHING}"
Seen = tuple[str, ...]


def first_refused(history: Sequence[tuple[str | None, str]], exchanges: Sequence[tuple[str, str]]) -> str:
    """The first step that the model does not allow; nothing if it allows all.

    `history`: from which state to which; `exchanges`: method and outcome, of which the same again may be left out.
    """
    steps, whole = _steps(history)
    answers = [(method, _RESULTS.get(outcome, TIMEOUT)) for method, outcome in exchanges]
    if not whole:  # which answers came before is not known
        return _furthest(tuple(steps), None)
    booking = next((place for place, (_, result) in enumerate(answers, 1) if result == BOOKED), len(answers))
    return _furthest(tuple(steps), tuple(f"{method} {result}" for method, result in answers[:booking]))


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
    return ((BOOKED,) if after.row.state == REGISTERED else ()), answer


@cache
def _furthest(steps: Seen, answers: Seen | None) -> str:
    """Goes all ways that the model has; what none of them gets past is refused."""
    start = (MODEL.first, 0, 0)
    seen, waiting, furthest = {start}, deque([start]), (0, 0)
    while waiting:
        invoice, step, answer = waiting.popleft()
        furthest = max(furthest, (step, answer))
        if step == len(steps) and (answers is None or answer == len(answers)):
            return ""
        for after, *place in _ways(invoice, step, answer, steps, answers):
            found = (after, *place)
            if found not in seen:
                seen.add(found)  # type: ignore[arg-type]
                waiting.append(found)  # type: ignore[arg-type]
    missing = [*steps[furthest[0] : furthest[0] + 1], *(answers or ())[furthest[1] : furthest[1] + 1]]
    return f"{' and '.join(missing)} after {[*steps[: furthest[0]], *(answers or ())[: furthest[1]]]}"


def _ways(
    invoice: Invoice, step: int, answer: int, steps: Seen, answers: Seen | None
) -> Iterator[tuple[Invoice, int, int]]:
    for left, said, after in _following(invoice):
        if left != steps[step : step + len(left)]:
            continue
        if said in ("", REFUSED) or answers is None:
            yield after, step + len(left), answer
        if answers is None or not said:
            continue
        if answers[answer : answer + 1] == (said,):
            yield after, step + len(left), answer + 1
        elif answer and answers[answer - 1] == said:  # the same again, which only counts up
            yield after, step + len(left), answer
