"""What the kernel's events mean here: crashes counted against the invoices in hand, alarms raised and cleared."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

from actors.messages import ALARMS, DB_WRITER, CountCrash, invoices_in_hand, try_tell
from alarming.catalogue import Code
from alarming.conditions import ConditionActive, ConditionCleared
from supervision import Actor
from supervision.events import Event, Exited
from supervision.reasons import Crashed, FailedToStart, Hung, Reason, StartOverdue, ThreadNotStarted

logger = logging.getLogger(__name__)


class Attribution:
    """Listens to the kernel, in its thread; `look` is called by the main loop every second or so.

    An exit is told before the next incarnation starts, so what db_writer hears of it is ahead of that one's looks.
    """

    def __init__(self, tell: Callable[[str, Any], None], monotonic: Callable[[], float], window_seconds: float) -> None:
        self._tell = tell
        self._monotonic = monotonic
        self._window_seconds = window_seconds
        self._lock = threading.Lock()
        self._since: dict[tuple[Code, str], float] = {}

    def listen(self, event: Event) -> None:
        """Takes an event; anything but an unexpected exit is nothing to do here."""
        if not isinstance(event, Exited):
            return
        code = _code_of(event.reason)
        # An actor that was told to stop may fail because its I/O was cut off for that: that is no crash.
        if code is None or event.expected:
            return
        how: Literal["crashed", "hung"] = "hung" if code is Code.ACTOR_HUNG else "crashed"
        invoices = invoices_in_hand(event.in_hand)
        with self._lock:
            self._since[code, event.name] = self._monotonic()
        what = str(event.reason)[:300]
        context = {"actor": event.name, "invoices": list(invoices[:20])}
        try_tell(
            self._tell,
            ALARMS,
            ConditionActive(code, f"{event.name} {how}: {what}", subject=event.name, context=context),
        )
        if invoices:
            try_tell(self._tell, DB_WRITER, CountCrash(invoices, event.name, how, what))

    def look(self) -> None:
        """An actor whose successor has worked well for the window is fine again."""
        now = self._monotonic()
        with self._lock:
            over = {each: since for each, since in self._since.items() if now - since >= self._window_seconds}
        for each, since in over.items():
            code, name = each
            if try_tell(self._tell, ALARMS, ConditionCleared(code, subject=name)):
                with self._lock:
                    if self._since[each] == since:  # it has not crashed again meanwhile
                        del self._since[each]


def tell_of_exception(actor: Actor, error: Exception, invoice_ids: Sequence[str], window_seconds: float) -> str:
    """Logs and reports an exception that an actor has met in work on these invoices, and that doesn't end the actor.

    Returns the error in words. The alarm is that of a crash; it is over when no other came within the window.
    """
    what = f"{type(error).__name__}: {error}"[:300]
    logger.warning("%s raised in work on %s invoices: %s", actor.name, len(invoice_ids), what, exc_info=error)
    context = {"actor": actor.name, "invoices": list(invoice_ids[:20])}
    summary = f"{actor.name} crashed in work on {', '.join(invoice_ids[:3])}: {what}"
    condition = ConditionActive(
        Code.ACTOR_CRASHED, summary, subject=actor.name, context=context, clear_after_seconds=window_seconds
    )
    try_tell(actor.tell, ALARMS, condition)
    return what


def _code_of(reason: Reason) -> Code | None:
    if isinstance(reason, Hung | StartOverdue):
        return Code.ACTOR_HUNG
    return Code.ACTOR_CRASHED if isinstance(reason, Crashed | FailedToStart | ThreadNotStarted) else None
