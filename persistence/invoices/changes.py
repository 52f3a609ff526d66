"""Every change of an invoice that calculating and delivering make: fenced by claims, each step in the history."""

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sqlalchemy import Connection, text

from billing.identity import InvoiceId
from billing.invoice import Invoice
from persistence.invoices.claims import instance_of
from persistence.locks import held_by_others, lock_invoices, lock_meters


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to the ERP and what came of it, for `invoices show`."""

    method: str
    outcome: str
    status: int | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of one invoice in hand, under the claim that it was taken up with; the claim ends with it.

    `to_state` None leaves the state; `outcome` is stored as the last outcome of an offer, None leaves it as it
    is; `delay_seconds` sets the next attempt from the database's now, None means at once. `passed` says that
    the step was done, so all counts against the invoice are over; `alone` that it is next taken up without others.
    `meter_versions` says which data a calculation rested on that found the invoice not ready (`store_calculations`).
    """

    invoice_id: str
    claim: int
    reason: str
    to_state: str | None = None
    bill_id: str | None = None
    abort_reason: str | None = None
    held_code: str | None = None
    held_reason: str | None = None
    outcome: str | None = None
    delay_seconds: float | None = None
    failures: int = 0
    polls: int = 0
    given_back: bool = False
    passed: bool = False
    alone: bool = False
    exchange: Exchange | None = None
    meter_versions: Mapping[str, int] = field(default_factory=dict, compare=False)


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


_CHANGE_FIELDS = [each.name for each in fields(Change) if each.name != "meter_versions"]
_EXCHANGE_FIELDS = [each.name for each in fields(Exchange)]
_APPLY = """
    WITH input AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(
            invoice_id text, claim bigint, reason text, to_state text, bill_id text, abort_reason text,
            held_code text, held_reason text, outcome text, delay_seconds float8, failures int,
            polls int, given_back boolean, passed boolean, alone boolean, exchange jsonb)
    ), locked AS (
        SELECT i.id, i.claim, i.state FROM invoices i JOIN input r ON r.invoice_id = i.id
        WHERE i.claim = r.claim AND i.claimed_by = :by AND i.state NOT IN ('registered', 'aborted')
        ORDER BY i.id FOR UPDATE OF i
    ), changed AS (
        UPDATE invoices i SET
            state = coalesce(r.to_state, i.state), bill_id = r.bill_id, abort_reason = r.abort_reason,
            ended_by = CASE WHEN r.to_state = 'aborted' THEN 'erp' END,
            held_code = r.held_code, held_reason = r.held_reason,
            held_from = CASE WHEN r.to_state = 'held' THEN l.state END,
            updated_at = CASE WHEN coalesce(r.to_state, l.state) <> l.state THEN clock_timestamp()
                              ELSE i.updated_at END,
            last_outcome = coalesce(r.outcome, i.last_outcome),
            next_attempt_at = now() + make_interval(secs => r.delay_seconds),
            failures = r.failures, polls = r.polls, attempts = i.attempts - r.given_back::int,
            refused_since = CASE WHEN NOT r.passed THEN i.refused_since END,
            incorrect_count = CASE WHEN r.passed THEN 0 ELSE i.incorrect_count END,
            incorrect_since = CASE WHEN NOT r.passed THEN i.incorrect_since END,
            crash_count = CASE WHEN r.passed THEN 0 ELSE i.crash_count END,
            crash_since = CASE WHEN NOT r.passed THEN i.crash_since END,
            unclean_ends = CASE WHEN r.passed THEN 0 ELSE i.unclean_ends END,
            batch_limit = CASE WHEN r.alone THEN 1 WHEN NOT r.passed THEN i.batch_limit END,
            claimed_by = NULL, claimed_for = NULL, claimed_until = NULL,
            history_length = i.history_length + (coalesce(r.to_state, l.state) <> l.state)::int
        FROM locked l JOIN input r ON r.invoice_id = l.id AND r.claim = l.claim WHERE i.id = l.id
        RETURNING i.id, i.claim, l.state AS from_state, i.state AS to_state, i.history_length, r.reason
    ), logged AS (
        INSERT INTO invoice_history (invoice_id, seq, from_state, to_state, actor, reason, write_id)
        SELECT id, history_length, from_state, to_state, :by, reason, CAST(:write_id AS uuid)
        FROM changed WHERE to_state <> from_state
    )
    SELECT id, claim FROM changed"""


def apply_changes(connection: Connection, by: str, write_id: uuid.UUID, changes: Sequence[Change]) -> set[str]:
    """Makes the changes whose claims still stand and returns their ids; the others have been taken over.

    Of several under one claim the first is made: it ends the claim. A final state never changes again.
    Raises RowRefused if a row violates a constraint.
    """
    if not changes:
        return set()
    first = {(change.invoice_id, change.claim): change for change in reversed(changes)}
    rows = connection.execute(
        text(_APPLY),
        {"rows": json.dumps([_row(change) for change in first.values()]), "by": by, "write_id": str(write_id)},
    ).all()
    made = [first[row.id, row.claim] for row in rows]
    exchanges = {change.invoice_id: change.exchange for change in made if change.exchange}
    keep_exchanges(connection, exchanges, instance_of(by))
    return {change.invoice_id for change in made}


def _row(change: Change) -> dict[str, Any]:
    """What `asdict` gives, without its copies, which cost as much as the JSON itself."""
    row = {name: getattr(change, name) for name in _CHANGE_FIELDS}
    if change.exchange is not None:
        row["exchange"] = {name: getattr(change.exchange, name) for name in _EXCHANGE_FIELDS}
    return row


def keep_exchanges(connection: Connection, exchanges: dict[str, Exchange], instance: str = "") -> None:
    """Keeps what was asked and answered; the same outcome again only counts up the last row.

    `instance` names the daemon that asked last; empty is a person, who is nobody's witness.
    """
    if not exchanges:
        return
    rows = [{"invoice_id": invoice_id, **asdict(exchange)} for invoice_id, exchange in exchanges.items()]
    connection.execute(
        text("""
            WITH input AS (
                SELECT r.*, l.seq, l.method = r.method AND l.outcome = r.outcome
                    AND l.status IS NOT DISTINCT FROM r.status AS again
                FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(
                    invoice_id text, method text, outcome text, status int, detail text)
                LEFT JOIN LATERAL (SELECT * FROM erp_exchanges e WHERE e.invoice_id = r.invoice_id
                                   ORDER BY seq DESC LIMIT 1) l ON true
            ), counted AS (
                UPDATE erp_exchanges e SET times = e.times + 1, last_at = clock_timestamp(), detail = r.detail,
                    instance = :instance
                FROM input r WHERE r.again AND e.invoice_id = r.invoice_id AND e.seq = r.seq
            )
            INSERT INTO erp_exchanges (invoice_id, seq, method, outcome, status, detail, instance)
            SELECT invoice_id, coalesce(seq, 0) + 1, method, outcome, status, detail, :instance
            FROM input WHERE again IS NOT TRUE"""),
        {"rows": json.dumps(rows), "instance": instance},
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
    results = [*(_result(claim, invoice) for claim, invoice in calculated), *map(_waiting_result, waiting)]
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
    return Stored(frozenset(done), frozenset(stale), frozenset(deferred))


def end_stale(connection: Connection, by: str, claims: Collection[tuple[str, int]]) -> None:
    """Ends claims, of invoice id and number, on due invoices whose result is stale: they are to be had at once."""
    if not claims:
        return
    connection.execute(
        text("""UPDATE invoices i SET claimed_by = NULL, claimed_for = NULL, claimed_until = NULL,
                    next_attempt_at = NULL
                FROM unnest(CAST(:ids AS text[]), CAST(:claims AS bigint[])) AS r(id, claim)
                WHERE i.id = r.id AND i.claim = r.claim AND i.claimed_by = :by AND i.state = 'due'"""),
        {"ids": [each for each, _ in claims], "claims": [claim for _, claim in claims], "by": by},
    )


@dataclass(frozen=True, slots=True)
class _Result:
    """What a calculation rested on, and which time of its meters it bills (None: none)."""

    invoice_id: str
    claim: int
    meter_versions: Mapping[str, int]
    starts_at: object = None
    ends_at: object = None


def _result(claim: int, invoice: Invoice) -> _Result:
    span = invoice.snapshot.get("period_start"), invoice.snapshot.get("period_end")
    return _Result(str(invoice.id), claim, invoice.meter_versions, *span)


def _waiting_result(change: Change) -> _Result:
    return _Result(change.invoice_id, change.claim, change.meter_versions)


def _stale(connection: Connection, results: Sequence[_Result]) -> set[str]:
    """Those whose meters, which are locked, have other data now or are billed by another debt."""
    rows = [
        {
            "id": each.invoice_id, "user": debt.network_user_id, "period": str(debt.period), "meter": meter,
            "version": version, "starts": each.starts_at, "ends": each.ends_at,
        }
        for each in results
        for debt in (InvoiceId.parse(each.invoice_id),)
        for meter, version in each.meter_versions.items()
    ]  # fmt: skip
    if not rows:
        return set()
    found = connection.execute(
        text("""SELECT DISTINCT r.id FROM jsonb_to_recordset(CAST(:rows AS jsonb))
                    AS r(id text, "user" text, period text, meter text, version bigint, starts timestamptz,
                        ends timestamptz)
                LEFT JOIN meters m ON m.id = r.meter
                WHERE m.version IS DISTINCT FROM r.version OR EXISTS (
                    SELECT FROM billed_spans b WHERE b.meter_id = r.meter AND b.starts_at < r.ends
                    AND b.ends_at > r.starts AND (b.network_user_id, b.period) <> (r."user", r.period))"""),
        {"rows": json.dumps(rows)},
    )
    return set(found.scalars())


def _store(connection: Connection, by: str, write_id: uuid.UUID, calculated: Sequence[tuple[int, Invoice]]) -> set[str]:
    if not calculated:
        return set()
    first = {(claim, str(invoice.id)): invoice for claim, invoice in reversed(calculated)}
    # One by one, as the JSON encoder lets no other thread run while it is at work.
    rows = [json.dumps(_stored(claim, invoice)) for (claim, _), invoice in first.items()]
    stored = connection.execute(
        text("""
            WITH input AS (
                SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(
                    id text, claim bigint, invoice_date date, total_eur numeric, tax_rate_percent numeric,
                    tax_eur numeric, total_with_tax_eur numeric, calculations jsonb, snapshot jsonb, body text)
            ), locked AS (
                SELECT i.id, i.claim FROM invoices i JOIN input r ON r.id = i.id
                WHERE i.claim = r.claim AND i.claimed_by = :by AND i.state = 'due' ORDER BY i.id FOR UPDATE OF i
            ), changed AS (
                UPDATE invoices i SET state = 'calculated', updated_at = clock_timestamp(),
                    invoice_date = r.invoice_date, total_eur = r.total_eur, tax_rate_percent = r.tax_rate_percent,
                    tax_eur = r.tax_eur, total_with_tax_eur = r.total_with_tax_eur,
                    held_code = NULL, held_reason = NULL, next_attempt_at = NULL, failures = 0,
                    crash_count = 0, crash_since = NULL, unclean_ends = 0, batch_limit = NULL,
                    claimed_by = NULL, claimed_for = NULL, claimed_until = NULL,
                    history_length = i.history_length + 1
                FROM locked l JOIN input r ON r.id = l.id AND r.claim = l.claim WHERE i.id = l.id
                RETURNING i.id, i.claim, i.history_length
            ), logged AS (
                INSERT INTO invoice_history (invoice_id, seq, from_state, to_state, actor, reason, write_id)
                SELECT id, history_length, 'due', 'calculated', :by, 'calculated from the readings',
                       CAST(:write_id AS uuid) FROM changed
            )
            INSERT INTO invoice_documents (invoice_id, lines, calculations, snapshot, body)
            SELECT r.id, CAST(r.body AS jsonb) -> 'items', r.calculations, r.snapshot, convert_to(r.body, 'UTF8')
            FROM changed c JOIN input r ON r.id = c.id AND r.claim = c.claim RETURNING invoice_id"""),
        {"rows": f"[{','.join(rows)}]", "by": by, "write_id": str(write_id)},
    ).scalars()
    return set(stored)


def insert_calculated(connection: Connection, by: str, write_id: uuid.UUID, invoice: Invoice, reason: str) -> None:
    """Makes a new invoice that is calculated already, with its document: the revision that an operator asked for."""
    connection.execute(
        text("""
            WITH input AS (
                SELECT * FROM jsonb_to_record(CAST(:row AS jsonb)) AS r(
                    id text, invoice_date date, total_eur numeric, tax_rate_percent numeric, tax_eur numeric,
                    total_with_tax_eur numeric, calculations jsonb, snapshot jsonb, body text)
            ), made AS (
                INSERT INTO invoices (id, network_user_id, period, revision, state, invoice_date, total_eur,
                    tax_rate_percent, tax_eur, total_with_tax_eur, history_length)
                SELECT id, :user, :period, :revision, 'calculated', invoice_date, total_eur,
                    tax_rate_percent, tax_eur, total_with_tax_eur, 1 FROM input
            ), logged AS (
                INSERT INTO invoice_history (invoice_id, seq, from_state, to_state, actor, reason, write_id)
                SELECT id, 1, NULL, 'calculated', :by, :reason, CAST(:write_id AS uuid) FROM input
            )
            INSERT INTO invoice_documents (invoice_id, lines, calculations, snapshot, body)
            SELECT id, CAST(body AS jsonb) -> 'items', calculations, snapshot, convert_to(body, 'UTF8') FROM input"""),
        {
            "row": json.dumps(_stored(0, invoice)),
            "user": invoice.id.network_user_id,
            "period": str(invoice.id.period),
            "revision": invoice.id.revision,
            "by": by,
            "reason": reason,
            "write_id": str(write_id),
        },
    )


def _stored(claim: int, invoice: Invoice) -> dict[str, Any]:
    return {
        "id": str(invoice.id),
        "claim": claim,
        "invoice_date": invoice.invoice_date.isoformat(),
        "total_eur": str(invoice.total_eur),
        "tax_rate_percent": str(invoice.tax_rate_percent),
        "tax_eur": str(invoice.tax_eur),
        "total_with_tax_eur": str(invoice.total_with_tax_eur),
        "calculations": invoice.calculations_document(),
        "snapshot": invoice.snapshot,
        "body": invoice.body().decode("utf-8"),
    }


def was_written(connection: Connection, write_id: uuid.UUID) -> bool:
    """Whether the transaction with this id has happened, for a COMMIT whose answer was lost."""
    return bool(
        connection.execute(
            text("SELECT EXISTS (SELECT FROM invoice_history WHERE write_id = CAST(:write_id AS uuid))"),
            {"write_id": str(write_id)},
        ).scalar()
    )
