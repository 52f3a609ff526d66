"""The first page of the control room in parts, each made anew when what it shows has changed."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from alarming.catalogue import CATALOGUE
from billing.states import State
from persistence.browsing import Hour
from web import charts
from web.formatting import about, at, cell, chip, number
from web.markup import Html, join, tag

INVOICE_ID = re.compile(r"[A-Za-z0-9-]{1,64}\.[0-9]{4}-[0-9]{2}\.[0-9]{1,9}")
_SERIOUS = ("critical", "major")
_IDS_SHOWN = 8
_MONTHS_SHOWN = 6
_ALIKE = 8

_Document = Mapping[str, Any]


def parts(status: _Document, hours: Sequence[Hour] | str, moving: Collection[State]) -> dict[str, Html]:
    """Every part by its id; `hours` are the last day's, or why there are none."""
    return {
        "verdict": _verdict(status),
        "pipeline": join(
            tag("h2", "Invoices"),
            charts.pipeline(status["invoices"], status["oldest_seconds"], status["waiting"], moving),
            _stuck(status.get("stuck", ())),
            _months(status.get("periods", {})),
        ),
        "charts": join(tag("h2", "The last day"), _charts(hours)),
        "alarms": _alarms(status["alarms"]),
        "surroundings": _surroundings(status),
        "tree": join(tag("h2", "Supervision tree"), _tree(status["tree"])),
    }


def _verdict(status: _Document) -> Html:
    serious = any(alarm["severity"] in _SERIOUS for alarm in status["alarms"])
    how = "well" if status["well"] else "bad" if serious or not status["running"] else "poor"
    return tag(
        "p",
        tag("span", class_="lamp", aria_hidden="true"),
        tag("span", _commands(cell(status["verdict"]))),
        class_=f"verdict {how}",
    )


def _stuck(groups: Sequence[_Document]) -> Html | None:
    """What does not go on as it should, by state and code."""
    rows = [
        tag(
            "li",
            tag("a", f"{number(each['invoices'])} {each['state']}", href=f"/room/invoices?state={each['state']}"),
            f" for {about(each['seconds'])}: ",
            tag("code", each["code"] or "tried again"),
            f", {cell(each['reason'])}",
            f" and {each['reasons'] - 1} other reasons" if each["reasons"] > 1 else None,
        )
        for each in groups
    ]
    return tag("ul", rows, class_="stuck", aria_label="What does not go on by itself") if rows else None


def _months(periods: Mapping[str, Mapping[str, int]]) -> Html | None:
    """How far each of the last months is."""
    rows = [
        tag(
            "li",
            tag("a", period, href=f"/room/invoices?period={period}"),
            charts.shares(counts),
            tag("span", f"{number(counts.get(State.REGISTERED, 0))} of {number(sum(counts.values()))}", class_="count"),
        )
        for period, counts in sorted(periods.items(), reverse=True)[:_MONTHS_SHOWN]
    ]
    return tag("ul", rows, class_="months", aria_label="Registered, by month") if rows else None


def _charts(hours: Sequence[Hour] | str) -> Html:
    if isinstance(hours, str):
        return tag("p", f"not known: {hours}", class_="quiet")
    return join(tag("div", charts.throughput(hours), charts.age(hours), class_="charts"), charts.hours_table(hours))


def _alarms(alarms: Sequence[_Document]) -> Html:
    title = tag("h2", "Alarms ", tag("span", number(len(alarms)), class_="count") if alarms else None)
    if not alarms:
        return join(title, tag("p", "none stands", class_="quiet"))
    ordered = sorted(alarms, key=lambda each: each["severity"] not in _SERIOUS)
    return join(title, tag("ul", [tag("li", list(_alarm(each)), class_=each["severity"]) for each in ordered]))


def _alarm(alarm: _Document) -> Iterator[Html]:
    entry = CATALOGUE.get(alarm["code"])
    text = entry.english if entry else None
    yield tag("h3", chip(alarm["severity"]), " ", text.title if text else alarm["code"])
    yield tag("p", cell(alarm["summary"]))
    if text:
        yield tag("p", tag("b", "What to do: "), _commands(text.action), class_="action")
        yield tag("p", tag("b", "Meanwhile: "), _commands(text.effect), class_="quiet")
    found = alarm["context"].get("invoices")
    ids = [each for each in found if INVOICE_ID.fullmatch(str(each))] if isinstance(found, list) else []
    if ids:
        links = [(tag("a", each, href=f"/room/invoices/{each}"), " ") for each in ids[:_IDS_SHOWN]]
        more = f"and {number(alarm['count'] - _IDS_SHOWN)} more" if alarm["count"] > _IDS_SHOWN else None
        yield tag("p", links, more, class_="ids")
    acknowledged = (", acknowledged ", at(alarm["acked_at"])) if alarm["acked_at"] else None
    counted = f", {number(alarm['count'])} times" if alarm["count"] > 1 and not ids else None
    words = ("code ", tag("code", alarm["code"]), " for ", cell(alarm["key"]), ", since ", at(alarm["raised_at"]))
    yield tag("p", words, counted, acknowledged, class_="small")


def _commands(text: str) -> Html:
    """What stands between backquotes is a command."""
    return join(tag("code", each) if place % 2 else each for place, each in enumerate(text.split("`")))


def _surroundings(status: _Document) -> Html:
    erp, database, configured = status["erp"], status["database"], status["configuration"]
    traffic = (
        None
        if erp["in_flight"] is None
        else f"{number(erp['in_flight'])} under way, {number(erp['queued'] or 0)} queued"
    )
    rows: list[tuple[str, Any]] = [
        ("ERP", (_lamp(erp["state"] == "reachable"), erp["state"], erp["breaker"] and f", breaker {erp['breaker']}")),
        ("requests", traffic),
        ("last success", at(erp["last_success_at"])),
        ("database", (_lamp(database["state"] == "connected"), database["state"], " since ", at(database["since"]))),
        ("running since", at(status["since"])),
        ("configuration", (configured["path"] or "built-in defaults", ", read ", at(configured["loaded_at"]))),
        ("version", status["version"]),
    ]
    shown = [(tag("dt", name), tag("dd", value or "-")) for name, value in rows]
    return join(tag("h2", "Surroundings"), tag("dl", shown))


def _lamp(good: bool) -> Html:
    return tag("span", class_=f"lamp {'well' if good else 'bad'}", aria_hidden="true")


def _tree(node: _Document) -> Html:
    return tag("ul", _branch(node), class_="tree")


def _branch(node: _Document) -> Html:
    up = node["state"] == "up"
    restarts = node["restarts"]
    said = (
        tag("span", tag("span", node["name"], class_="who"), None if up else (" ", node["state"]), class_="node"),
        tag("small", f" {number(restarts)} restart{'s' * (restarts != 1)}", class_="restarts") if restarts else None,
        tag("small", f" last end: {cell(node['last_reason'])}", class_="reason") if node["last_reason"] else None,
    )
    below = tag("ul", _branches(node["children"])) if node["children"] else None
    return tag("li", _lamp(up), said, below, class_=None if below else "leaf")


def _branches(children: Sequence[_Document]) -> Iterator[Html]:
    """Each of them, but many of whom there is nothing to say on one line."""
    plain = [
        child for child in children
        if child["state"] == "up" and not (child["restarts"] or child["last_reason"] or child["children"])
    ]  # fmt: skip
    if len(plain) <= _ALIKE:
        plain = []
    yield from (_branch(child) for child in children if child not in plain)
    if plain:
        lamps = [tag("span", _lamp(good=True), title=child["name"]) for child in plain]
        said = tag("span", f"{plain[0]['name']} … {plain[-1]['name']}, {len(plain)} up")
        yield tag("li", lamps, " ", said, class_="alike")
