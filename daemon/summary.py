"""The summary of a status document: one sentence with what is wrong and the command that comes next."""

from collections.abc import Iterator, Mapping
from typing import Any

from alarming.formats import SERIOUS, SEVERITIES
from billing.states import FINAL_STATES, State

AWAY = "the database is away"
# The database's errors in words; any other error is `AWAY`.
_DATABASE = {
    "unknown": "no word from the database yet",
    "CredentialsRefused": "the database refuses our credentials",
    "SchemaMismatch": "the database has another schema than this program",
    "DatabaseFailed": "the database refuses statements",
}
_ERP = {
    "credentials": "the ERP refuses our credentials",
    "breaker": "the ERP is away",
    "local": "no request for the ERP can leave this machine",
}
_DATABASE_ALARMS = ("database_unreachable", "database_error")
# What waits in `due` for something else than readings has an alarm at once, which says so.
_NOT_FOR_READINGS = ("energy_already_billed", "inputs_unreadable")
_ERP_ALARMS = ("erp_unreachable", "erp_credentials", "erp_trust_unusable")


def summarize(document: Mapping[str, Any]) -> tuple[bool, str]:
    """(all is well, the sentence): the most urgent first, with the command that comes next."""
    problems = [*_serious(document)]
    others = [*_lesser(document)]
    work = _work(document["invoices"])
    first, *more = [*problems, *others] or [("", "")]
    said = f"{first[0]}: `{first[1]}`" if first[1] else first[0]
    rest = [text for text, _ in more]
    if problems:
        return False, "; ".join([said, *rest, work])
    return True, "; ".join(filter(None, (f"well: {work}", said, *rest)))


def next_for_alarm(alarm: Mapping[str, Any]) -> str:
    """The command that says what to do about an alarm."""
    return f"billingd alarms explain {alarm['code']}"


def next_for_stuck(group: Mapping[str, Any]) -> str:
    """The command that shows invoices that are stuck."""
    if group["code"] is None:
        return f"billingd invoices show {group['example']}"
    return f"billingd invoices list --code {group['code']}"


def _serious(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What makes it not well: (what, the next command)."""
    standing = sorted(document["alarms"], key=lambda alarm: SEVERITIES.index(alarm["severity"]))
    alarms = {alarm["code"]: alarm for alarm in standing if alarm["severity"] in SERIOUS}
    state = document["database"]["state"]
    if state != "connected":
        yield _DATABASE.get(state, AWAY), "billingd doctor"
        alarms = {code: alarm for code, alarm in alarms.items() if code not in _DATABASE_ALARMS}
    if document["erp"]["state"] in _ERP:
        yield _ERP[document["erp"]["state"]], "billingd doctor"
        alarms = {code: alarm for code, alarm in alarms.items() if code not in _ERP_ALARMS}
    groups = [group for group in document["stuck"] if group["state"] == State.HELD]
    if groups:
        number = sum(group["invoices"] for group in groups)
        codes = ", ".join(f"{group['invoices']} {group['code']}" for group in groups)
        yield f"{_invoices(number, 'is', 'are')} held ({codes})", "billingd invoices list --state held"
        alarms = {code: alarm for code, alarm in alarms.items() if code not in {each["code"] for each in groups}}
    for code, alarm in alarms.items():
        yield f"alarm {code}", next_for_alarm(alarm)


def _lesser(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is in order and waits for somebody all the same."""
    if document["pause"]:
        yield "delivery is paused", "billingd resume"
    if document["unapproved"]:
        period = min(period for period, states in document["periods"].items() if states.get(State.CALCULATED))
        what = f"{_invoices(document['unapproved'], 'waits', 'wait')} for approval"
        yield what, f"billingd invoices approve --preview --period {period}"
    due = (each for each in document["stuck"] if each["state"] == State.DUE)
    waiting = document["waiting"] - sum(each["invoices"] for each in due if each["code"] in _NOT_FOR_READINGS)
    if waiting:
        yield f"{_invoices(waiting, 'waits', 'wait')} for readings", "billingd invoices list --state due"


def _work(counts: Mapping[str, int]) -> str:
    finished, number = sum(counts.get(state, 0) for state in FINAL_STATES), sum(counts.values())
    if not number:
        return "no invoice is due yet"
    return f"{finished} of {number} invoices are final"


def _invoices(number: int, verb: str, verbs: str) -> str:
    return f"1 invoice {verb}" if number == 1 else f"{number} invoices {verbs}"
