"""Judges a drill: compares database, ledger, readings and log with each other, and with its own arithmetic."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from drills.environment import Environment
from drills.traces import first_refused
from drills.workload import ORDINALS, Debt
from testkit.daemon_log import AlarmLine
from testkit.waiting import becomes_true

TAKEN_WITHIN_SECONDS = 15.0
ALARM_LINES_AT_MOST = 3
"""Of one alarm until it is cleared (docs/spec/failures.md)."""
ARROWS = {
    "due": {"calculated", "held", "aborted"},
    "calculated": {"sent", "initiated", "registered", "aborted", "held"},
    "sent": {"initiated", "registered", "aborted", "held"},
    "initiated": {"registered", "aborted", "held", "sent"},
    "held": {"due", "calculated", "sent", "initiated", "registered", "aborted"},
}
"""Where each state may lead (docs/spec/billing.md); a step back from initiated to sent rests on the ERP's 404."""


def judge(env: Environment, *, offers_again: bool = False) -> list[str]:
    """Returns everything that is wrong at the end; an empty list if all four promises were kept.

    `offers_again`: an invoice that the ERP has may have been offered again. Otherwise billingd must have asked first,
    because not every ERP takes the same offer twice for one, as the fake ERP does.
    """
    now = datetime.fromisoformat(env.now.replace("Z", "+00:00"))
    debts = env.workload.debts(now, late=env.late)
    invoices = {row.id: row for row in env.postgres.rows("SELECT * FROM invoices")}
    bookings = env.erp.bookings()
    refused = env.workload.refused
    wrong = [f"{extra} is an invoice that nobody owes" for extra in sorted(invoices.keys() - debts.keys() - refused)]
    ended = {invoice_id for invoice_id, row in invoices.items() if row.state == "aborted"}
    wrong += [f"the ERP refused {each}, and it is not aborted" for each in sorted(refused - ended)]
    booked = Counter(booking["id"] for booking in bookings)
    wrong += [f"the ERP has {extra}, which nobody owes" for extra in sorted(booked.keys() - debts.keys() - refused)]
    if not offers_again:
        wrong += [f"{again} was offered though the ERP had it" for again in env.erp.offered_again()]
    for debt in debts.values():
        if (times := booked[debt.invoice_id]) != 1:
            wrong.append(f"the ERP has {debt.invoice_id} {times} times")
        if debt.invoice_id not in invoices:
            wrong.append(f"{debt.invoice_id} has no invoice")
    bills = Counter(row.bill_id for row in invoices.values() if row.bill_id is not None)
    wrong += [f"bill_id {bill} stands at {number} invoices" for bill, number in bills.items() if number > 1]
    of_id = {booking["id"]: booking for booking in bookings}
    documents = {row.invoice_id: row for row in env.postgres.rows("SELECT * FROM invoice_documents")}
    for invoice_id, row in invoices.items():
        if invoice_id in debts and invoice_id in of_id:
            wrong += _compare(debts[invoice_id], row, documents.get(invoice_id), of_id[invoice_id])
    wrong += [f"the alarm {code} ({key}) still stands" for code, key in sorted(env.standing_alarms())]
    becomes_true(lambda: not env.inbox_problems(), TAKEN_WITHIN_SECONDS)
    return wrong + env.inbox_problems() + _judge_history(env, invoices)


def judge_alarms(lines: Sequence[AlarmLine], codes: Collection[str], further: Collection[str]) -> list[str]:
    """Returns where a cause has more than one alarm, an alarm too many lines, or no cause.

    `codes`: those by which the fault may be told; `further`: those of further causes, each of which is one.
    What comes again after it was cleared is the same alarm, so its lines are counted together.
    """
    told = Counter((line.code, line.key) for line in lines if line.state != "cleared")
    of_cause: dict[str, list[str]] = defaultdict(list)
    for code, key in told:
        of_cause["the fault" if code in codes else code].append(f"{code} ({key})")
    causes = {"the fault", *further}
    wrong = [f"{', '.join(alarms)}: {len(alarms)} alarms of one cause" for alarms in of_cause.values() if alarms[1:]]
    wrong += [f"nothing here causes the alarm {alarms[0]}" for cause, alarms in of_cause.items() if cause not in causes]
    many = {identity: number for identity, number in told.items() if number > ALARM_LINES_AT_MOST}
    return wrong + [f"{number} lines of the alarm {code} ({key})" for (code, key), number in many.items()]


def _compare(debt: Debt, row: Any, document: Any, booking: dict[str, Any]) -> list[str]:
    """One invoice: what is owed, what the database has, what the ERP has."""
    here = [Decimal(line["price_eur"]) for line in document.lines] if document is not None else []
    body = booking["body"]
    there = {item["ordinal"]: Decimal(item["price_eur"]) for item in body["items"]}
    pairs = (
        ("state", "registered", row.state),
        ("lines", list(debt.lines), here),
        ("the ERP's lines", dict(zip(ORDINALS, debt.lines, strict=True)), there),
        ("total", debt.total_eur, row.total_eur),
        ("tax", debt.tax_eur, row.tax_eur),
        ("total with tax", debt.total_with_tax_eur, row.total_with_tax_eur),
        ("the ERP's total", str(debt.total_eur), body["total_eur"]),
        ("the ERP's tax", str(debt.tax_eur), body["tax_eur"]),
        ("the ERP's total with tax", str(debt.total_with_tax_eur), body["total_with_tax_eur"]),
        ("the ERP's state", "registered", booking["state"]),
        ("bill_id", booking["bill_id"], row.bill_id),
        ("claimed by", None, row.claimed_by),
    )
    return [f"{debt.invoice_id}: {what} is {is_!r}, not {should!r}" for what, should, is_ in pairs if is_ != should]


def _judge_history(env: Environment, invoices: dict[str, Any]) -> list[str]:
    """Each step follows from the one before, none is missing, none goes against the arrows or the delivery's model."""
    wrong: list[str] = []
    steps: dict[str, list[Any]] = {invoice_id: [] for invoice_id in invoices}
    answers: dict[str, list[tuple[str, str]]] = {invoice_id: [] for invoice_id in invoices}
    for row in env.postgres.rows("SELECT * FROM invoice_history ORDER BY invoice_id, seq"):
        steps[row.invoice_id].append(row)
    for row in env.postgres.rows("SELECT * FROM erp_exchanges WHERE instance <> '' ORDER BY invoice_id, seq"):
        refused = row.status == HTTPStatus.TOO_MANY_REQUESTS  # told by the status: no outcome of its own
        answers[row.invoice_id].append((row.method, "too_many_requests" if refused else row.outcome))
    changed = env.postgres.rows("SELECT asked_up_to FROM database_timelines WHERE asked_up_to IS NOT NULL")
    for invoice_id, rows in steps.items():
        stood: str | None = None
        for number, row in enumerate(rows, 1):
            if row.seq != number or row.from_state != stood:
                wrong.append(f"{invoice_id}: a gap in its history before step {row.seq}")
            if stood is not None and row.to_state not in ARROWS.get(stood, set()):
                wrong.append(f"{invoice_id} went from {stood} to {row.to_state}")
            stood = row.to_state
        if stood != invoices[invoice_id].state or len(rows) != invoices[invoice_id].history_length:
            wrong.append(f"{invoice_id}: its history ends in {stood}, it stands in {invoices[invoice_id].state}")
        changes = sum(invoices[invoice_id].period <= each.asked_up_to for each in changed)
        taken = [(row.from_state, row.to_state) for row in rows]
        if refused := first_refused(taken, answers[invoice_id], changes):
            wrong.append(f"the model of a delivery does not allow for {invoice_id}: {refused}")
    return wrong
