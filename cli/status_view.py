"""The status document as text for a terminal: summary, months, stuck invoices, surroundings, alarms."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from alarming.formats import SEVERITIES
from billing.states import State
from cli.output import columns
from daemon.summary import next_for_alarm, next_for_stuck
from web.formatting import cell, duration, tries, utc

_BAR = 30
# What a bar is drawn with, from what is done to what is not; what a person has to see to comes last.
_MARKS: Mapping[str, str] = {
    State.REGISTERED: "█", State.ABORTED: "█", State.INITIATED: "▓", State.SENT: "▓", State.CALCULATED: "▒",
    State.DUE: "░", State.HELD: "!",
}  # fmt: skip
_MONTHS_AT_MOST, _FINAL_MONTHS, _ENTRIES_AT_MOST = 12, 3, 8
_ERP = {
    "breaker": "away",
    "credentials": "refuses our credentials",
    "local": "out of reach: nothing leaves this machine",
}
_Document = Mapping[str, Any]
# What a daemon of an earlier version doesn't say: for a while after an update it is still the one that runs.
_BEFORE: dict[str, Any] = {
    "at": None, "periods": {}, "stuck": [], "unapproved": 0, "pause": None,
    "erp": {"since": None, "in_flight": None, "queued": None, "booked_last_minute": None},
}  # fmt: skip


def status_lines(document: _Document, width: int | None, *, whole_tree: bool = False) -> Iterator[str]:
    """The lines of a status document (docs/spec/interfaces.md, "JSON"); its verdict fits the width."""
    document = {**_BEFORE, **document, "erp": {**_BEFORE["erp"], **document["erp"]}}
    yield from textwrap.wrap(cell(document["verdict"]), width) if width else [cell(document["verdict"])]
    yield from _section("", _months(document["periods"]))
    yield from _section("Stuck", _stuck(document["stuck"]))
    yield from _section("", columns(("", ""), list(_facts(document))))
    yield from _section("Alarms", _alarms(document["alarms"], document["stuck"], _at(document["at"])))
    if document["tree"] and whole_tree:
        titles = ("part", "state", "restarts", "last end")
        yield from _section("", columns(titles, list(_parts(document["tree"])), right=("restarts",)))


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    """The lines below an empty one and their title; nothing where there are none."""
    for place, line in enumerate(lines):
        if place == 0:
            yield ""
            if title:
                yield title
        yield line


def _months(periods: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    is_open = {period: any(_MARKS[state] != "█" for state in states) for period, states in periods.items()}
    final = [period for period, still in is_open.items() if not still]
    left_out = set(final[:-_FINAL_MONTHS]) | set([period for period in periods if is_open[period]][:-_MONTHS_AT_MOST])
    shown = [period for period in sorted(periods) if period not in left_out]
    rows = [(period, _bar(periods[period]), _in_words(periods[period])) for period in shown]
    if left_out:
        some_open = any(is_open[period] for period in left_out)
        yield f"{len(left_out)} more months, {'not all' if some_open else 'all'} final"
    yield from columns(("", "", ""), rows) if rows else ()
    if periods and len(final) == len(periods):
        yield "all final: `billingd reconcile` compares them with the ERP's bookings"


def _bar(states: Mapping[str, int]) -> str:
    """One mark at least for each state that there is, the rest as the numbers are."""
    present = [state for state in _MARKS if states.get(state)]
    marks = {state: max(1, round(_BAR * states[state] / sum(states.values()))) for state in present}
    marks[max(marks, key=lambda state: marks[state])] += _BAR - sum(marks.values())
    return "".join(_MARKS[state] * marks[state] for state in present)


def _in_words(states: Mapping[str, int]) -> str:
    return ", ".join(f"{states[state]} {state}" for state in _MARKS if states.get(state))


def _stuck(groups: Sequence[_Document]) -> Iterator[str]:
    for group in groups[:_ENTRIES_AT_MOST]:
        first, last = group["first_period"], group["last_period"]
        months = first if first == last else f"{first} to {last}"
        code = f" {group['code']}" if group["code"] else ""
        more = f" (and {group['reasons'] - 1} other reasons)" if group["reasons"] > 1 else ""
        yield f"  {group['invoices']} {group['state']}{code}, {months}, {_goes_on(group)}"
        yield f"      since {_since(group['since'], group['seconds'])}: {cell(group['reason'])}{more}"
        yield f"      {next_for_stuck(group)}"
    yield from _rest(len(groups), "billingd invoices list")


def _goes_on(group: _Document) -> str:
    if group["state"] == State.HELD:
        return "waiting for a person"
    if group["code"]:
        return "waiting for readings"
    return f"next try {cell(_at(group['next_attempt_at']) or 'now')}"


def _facts(document: _Document) -> Iterator[tuple[str, str]]:
    at, database, erp = _at(document["at"]), document["database"], document["erp"]
    yield "ERP", _erp(erp, at) + tries(erp, at, well=erp["state"] in ("reachable", "unknown"))
    if erp["breaker"]:
        pace = f"{erp['booked_last_minute']} booked in the last minute"
        yield "its pace", f"{pace}, {erp['in_flight']} under way, {erp['queued']} queued"
    stale = database["state"] != "connected" and database.get("seen_at")
    last = f"; invoices as last seen at {cell(_at(database['seen_at']))}" if stale else ""
    tried = tries(database, at, well=not stale)
    yield "database", database["state"] + _when(", since", database["since"], at) + tried + last
    version = f", version {document['version']}" if document.get("version") else ""
    up = _when(", up since" if document["running"] else ", gone since", document["since"], at)
    yield "daemon", f"{document['instance']}{version}{up}"
    if document["tree"]:
        yield "its parts", _of_parts(list(_parts(document["tree"])))
    configuration = document["configuration"]
    path = str(configuration["path"] or "built-in defaults")
    yield "configuration", path + _when(", in force since", configuration["loaded_at"], at)
    for name, title in (("webhook", "alarms go to"), ("heartbeat", "heartbeat")):
        if receiver := document.get(name):
            taken = _when("taken last at", receiver["delivered_at"], at) or "none taken yet"
            problem = f", now: {cell(receiver['problem'])}" if receiver["problem"] else ""
            yield title, f"{receiver['address']}, {taken}{problem}"
    if pause := document["pause"]:
        yield "delivery", f"paused until {cell(_at(pause['until']))} by {pause['by']}: {pause['reason']}"


def _erp(erp: _Document, at: datetime | None) -> str:
    words = [str(_ERP.get(erp["state"], erp["state"])) + _when(" since", erp["since"], at)]
    if erp["breaker"]:
        words.append(f"breaker {erp['breaker']}")
        words.append("last success" + (_when("", erp["last_success_at"], at) or " not yet"))
    return ", ".join(words)


def _of_parts(parts: Sequence[tuple[str, str, int, str | None]]) -> str:
    """The parts that are not up or were restarted."""
    odd = [
        f"{name.strip()} {state}, {restarts} restart{'' if restarts == 1 else 's'}" + (f" ({why})" if why else "")
        for name, state, restarts, why in parts
        if state not in ("up", "declined") or restarts
    ]
    return "; ".join([f"{len(parts)}, all up" if not odd else f"{len(parts)}", *odd[:_ENTRIES_AT_MOST]])


def _parts(node: _Document, depth: int = 0) -> Iterator[tuple[str, str, int, str | None]]:
    yield "  " * depth + node["name"], node["state"], node["restarts"], node["last_reason"]
    for child in node["children"]:
        yield from _parts(child, depth + 1)


def _alarms(alarms: Sequence[_Document], stuck: Sequence[_Document], at: datetime | None) -> Iterator[str]:
    """The most urgent first; what those of stuck invoices say stands above already."""
    explained = {group["code"] for group in stuck}
    ranked = sorted(alarms, key=lambda alarm: (SEVERITIES.index(alarm["severity"]), alarm["code"], alarm["key"]))
    for alarm in ranked[:_ENTRIES_AT_MOST]:
        noted = ", acknowledged" if alarm["acked_at"] else ""
        key = f" for {cell(alarm['key'])}" if alarm["code"] in explained else ""
        yield f"  {alarm['severity']} {cell(alarm['code'])}{key}{_when(', since', alarm['raised_at'], at)}{noted}"
        if not key:
            yield f"      {cell(alarm['summary'])}"
        yield f"      {next_for_alarm(alarm)}"
    yield from _rest(len(alarms), "billingd alarms list")


def _rest(number: int, command: str) -> Iterator[str]:
    if number > _ENTRIES_AT_MOST:
        yield f"  and {number - _ENTRIES_AT_MOST} more: {command}"


def _when(words: str, of: Any, at: datetime | None) -> str:
    """`words`, the instant, and how long ago that is; nothing where there is no instant."""
    since = _at(of)
    if since is None:
        return ""
    return f"{words} {_since(since, (at - since).total_seconds() if at else None)}"


def _since(of: Any, seconds: float | None) -> str:
    return cell(_at(of)) + (f" ({duration(seconds)})" if seconds is not None else "")


def _at(of: Any) -> datetime | None:
    return None if of is None else utc(of)
