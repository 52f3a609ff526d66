"""The parts of the control room's first page, rendered from the status document."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from alarming.catalogue import CATALOGUE
from alarming.formats import SERIOUS
from billing.identity import is_invoice_id
from billing.states import State
from persistence.invoices.listing import Hour
from web.templating import render

PARTS = ("verdict", "pipeline", "charts", "alarms", "surroundings", "tree")
MAIN_STATES = (State.DUE, State.CALCULATED, State.SENT, State.INITIATED, State.REGISTERED)
_IDS_SHOWN = 8
_MONTHS_SHOWN = 6
_ALIKE_AT_MOST = 8

_Document = Mapping[str, Any]


def parts(status: _Document, hours: Sequence[Hour] | str, moving: Collection[State]) -> dict[str, Markup]:
    """Every part by its id; `hours` are the last day's, or why there are none; ways to states in `moving` move."""
    serious = any(alarm["severity"] in SERIOUS for alarm in status["alarms"])
    context = {
        "status": status,
        "health": "well" if status["well"] else "bad" if serious or not status["running"] else "poor",
        "main_states": MAIN_STATES,
        "moving": moving,
        "stuck": status.get("stuck", ()),
        "months": sorted(status.get("periods", {}).items(), reverse=True)[:_MONTHS_SHOWN],
        "hours": hours,
        "alarms": [_alarm(each) for each in sorted(status["alarms"], key=lambda each: each["severity"] not in SERIOUS)],
        "alike_children": _alike_children,
    }
    return {name: render(f"overview/{name}.html", **context) for name in PARTS}


def _alarm(alarm: _Document) -> _Document:
    """The alarm with what its code means, and the first invoices that it names."""
    entry, found = CATALOGUE.get(alarm["code"]), alarm["context"].get("invoices")
    ids = [each for each in found if is_invoice_id(str(each))] if isinstance(found, list) else []
    return {**alarm, "text": entry and entry.english, "ids": ids[:_IDS_SHOWN], "more": alarm["count"] - _IDS_SHOWN}


def _alike_children(children: Sequence[_Document]) -> Sequence[_Document]:
    """Children that are up, without restarts. If there are many, the page shows them on one line."""
    plain = [
        child for child in children
        if child["state"] == "up" and not (child["restarts"] or child["last_reason"] or child["children"])
    ]  # fmt: skip
    return plain if len(plain) > _ALIKE_AT_MOST else ()
