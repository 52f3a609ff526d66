"""Stores calculated invoices with the documents that never change, unless their data has changed since."""

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from billing.identity import InvoiceId
from billing.invoice import Invoice
from billing.segments import Segment
from billing.states import State
from persistence.connection.statements import fetch_column
from persistence.invoices.changes import Change, apply_changes, end_stale
from persistence.invoices.conditions import in_state
from persistence.invoices.transitions import Creation, Step, change_state
from persistence.locks import held_by_others, lock_invoices, lock_meters
from persistence.sql import Queries

logger = logging.getLogger(__name__)
_SQL = Queries(__file__)


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of calculations, by invoice id.

    `deferred`: somebody else has locked the invoice or one of its meters; to be stored later. `stale`: the data has
    changed since; the claim has ended, and the invoice is calculated again at once. Those in none of the three have
    been taken over under another claim.
    """

    done: frozenset[str] = frozenset()
    stale: frozenset[str] = frozenset()
    deferred: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Result:
    """What a calculation rested on, and which time of its meters it bills."""

    invoice_id: str
    claim: int
    meter_versions: Mapping[str, int]
    segments: Sequence[Segment] = ()


_STORE = Step(
    input=_SQL.input,
    where=in_state(State.DUE, prefix="i."),
    to_state="r.state",
    reason="'calculated from the readings'",
    sets=_SQL.sets,
    then=_SQL.store_documents,
)
_INSERT = Creation(
    input=_SQL.input,
    columns="""id, claim, energy_kwh, remarked, network_user_id, period, revision, state, invoice_date, total_eur,
        tax_rate_percent, tax_eur, total_with_tax_eur""",
    then=_SQL.store_documents,
)


def store_calculations(
    connection: Connection,
    by: str,
    write_id: uuid.UUID,
    calculated: Sequence[tuple[int, Invoice]],
    waiting: Sequence[Change] = (),
) -> Stored:
    """Stores calculated invoices under their claims, with the documents that never change, and what has to wait.

    It waits for no row. It keeps the meters and the invoices locked until the transaction ends, so that an import
    that changes their data comes either before, and makes them stale, or after, and finds them stored. Raises
    RowRefused as `apply_changes` does, and where two invoices of one call bill the same energy.
    """
    results = [_result(claim, invoice) for claim, invoice in calculated]
    results += [_Result(each.invoice_id, each.claim, each.meter_versions) for each in waiting]
    meters = {meter for each in results for meter in each.meter_versions}
    busy_meters = held_by_others(connection, "meters", meters, lock_meters(connection, meters, wait=False))
    free = [each for each in results if busy_meters.isdisjoint(each.meter_versions)]
    ids = {each.invoice_id for each in free}
    ready = set(lock_invoices(connection, ids, wait=False))
    deferred = {each.invoice_id for each in results} - ids | held_by_others(connection, "invoices", ids, ready)
    stale = _stale(connection, [each for each in free if each.invoice_id in ready])
    end_stale(connection, by, [(each.invoice_id, each.claim) for each in results if each.invoice_id in stale])
    valid = ready - stale
    done = _store(connection, by, write_id, [pair for pair in calculated if str(pair[1].id) in valid])
    done |= apply_changes(connection, by, write_id, [each for each in waiting if each.invoice_id in valid])
    if results:
        logger.debug("stored %s, stale %s, deferred %s", sorted(done), sorted(stale), sorted(deferred))
    return Stored(frozenset(done), frozenset(stale), frozenset(deferred))


def insert_calculated(connection: Connection, by: str, write_id: uuid.UUID, invoice: Invoice, reason: str) -> None:
    """Makes a new invoice that is calculated already, with its document: the revision that an operator asked for."""
    change_state(connection, _INSERT, by, write_id, rows=f"[{_row(0, invoice)}]", reason=reason)


def _store(connection: Connection, by: str, write_id: uuid.UUID, calculated: Sequence[tuple[int, Invoice]]) -> set[str]:
    if not calculated:
        return set()
    first = {(claim, str(invoice.id)): invoice for claim, invoice in reversed(calculated)}
    rows = [_row(claim, invoice) for (claim, _), invoice in first.items()]
    stored = change_state(connection, _STORE, by, write_id, rows=f"[{','.join(rows)}]")
    return {row.invoice_id for row in stored}


def _row(claim: int, invoice: Invoice) -> str:
    """A row of `_SQL.input`; one by one, as the JSON encoder lets no other thread run while it is at work."""
    values = {
        "id": str(invoice.id), "claim": claim, "network_user_id": invoice.id.network_user_id,
        "period": str(invoice.id.period), "revision": invoice.id.revision, "state": State.CALCULATED,
        "invoice_date": invoice.invoice_date.isoformat(), "calculations": invoice.calculations_document(),
        "energy_kwh": str(invoice.energy_kwh), "remarked": invoice.remarked,
        "snapshot": invoice.snapshot, "body": invoice.body().decode("utf-8"), "total_eur": str(invoice.total_eur),
        "tax_rate_percent": str(invoice.tax_rate_percent), "tax_eur": str(invoice.tax_eur),
        "total_with_tax_eur": str(invoice.total_with_tax_eur),
    }  # fmt: skip
    return json.dumps(values)


def _result(claim: int, invoice: Invoice) -> _Result:
    segments = [each for calculation in invoice.calculations for each in calculation.segments]
    return _Result(str(invoice.id), claim, invoice.meter_versions, segments)


def _times(result: _Result, meter_id: str) -> list[tuple[str | None, str | None]]:
    """Which times of a meter it bills; one of None and None if it bills none."""
    mine = [each for each in result.segments if each.meter_id == meter_id]
    return [(each.start.isoformat(), each.end.isoformat()) for each in mine] or [(None, None)]


def _stale(connection: Connection, results: Sequence[_Result]) -> set[str]:
    """Those whose meters, which are locked, have other data now or are billed by another debt."""
    rows = [
        {
            "id": each.invoice_id, "user": debt.network_user_id, "period": str(debt.period), "meter": meter,
            "version": version, "starts": starts, "ends": ends,
        }
        for each in results
        for debt in (InvoiceId.parse(each.invoice_id),)
        for meter, version in each.meter_versions.items()
        for starts, ends in _times(each, meter)
    ]  # fmt: skip
    if not rows:
        return set()
    return set(fetch_column(connection, _SQL.stale, rows=json.dumps(rows)))
