"""What one transaction of the db_writer stores of a group of writes, and what has to be said when it is committed."""

import logging
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from actors.context import ActorContext
from actors.messages import BILLER, ERP_GATEWAY, InvoiceHeld, Poll
from actors.points import point
from actors.write_queue import Calculated, Crash, ForgetWait, Item, Stale
from persistence.claims import forget_waits_for_the_erp
from persistence.locks import held_by_others, lock_invoices
from persistence.quarantine import (
    InvoiceFault,
    count_crash,
    count_fault,
    crashing_without_witness,
    limit_batch,
)
from persistence.writes import Change, apply_changes, end_stale, store_calculations

logger = logging.getLogger(__name__)


@dataclass
class GroupResult:
    """What came of a group: what is deferred since its row is locked, whom to tell what, and what to raise alarms for.

    `poison` maps an invoice that crashes without a witness to the reason, `contradicted` one to what the ERP says.
    """

    deferred: list[Item] = field(default_factory=list)
    nudges: list[tuple[str, object]] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    poison: dict[str, str] = field(default_factory=dict)
    contradicted: dict[str, str] = field(default_factory=dict)


class GroupWriter:
    """Applies writes within a transaction of the caller's; it has no effect but on the connection."""

    def __init__(self, context: ActorContext) -> None:
        self._context = context

    def write(
        self, connection: Connection, write_id: uuid.UUID, items: Sequence[Item], now_seconds: float
    ) -> GroupResult:
        """Stores what is not locked by somebody else. Raises what the database does; then nothing is stored."""
        result = GroupResult()
        by = self._context.claimer
        results = [item for item in items if _is_result(item)]
        self._store_results(connection, write_id, results, result)
        ready = self._lock(connection, [item for item in items if not _is_result(item)], result)
        changes = [item.write for item in ready if isinstance(item.write, Change)]
        done = apply_changes(connection, by, write_id, changes)
        if any(each.to_state == "registered" for each in changes):
            point("db_writer.store_verdict", *ready)
        self._find_contradictions(connection, changes, done, result)
        for fault in (item.write for item in ready if isinstance(item.write, InvoiceFault)):
            if count_fault(connection, by, write_id, fault):
                result.nudges.append((ERP_GATEWAY, InvoiceHeld(fault.invoice_id, fault.code)))
        crashes = [item.write for item in ready if isinstance(item.write, Crash)]
        self._count(connection, write_id, crashes, now_seconds, result)
        if waits := [item.invoice_id for item in ready if isinstance(item.write, ForgetWait)]:
            forget_waits_for_the_erp(connection, (), waits)
            result.nudges.append((ERP_GATEWAY, Poll()))
        if stale := [(item.invoice_id, item.write.claim) for item in ready if isinstance(item.write, Stale)]:
            end_stale(connection, by, stale)
            result.nudges.append((BILLER, Poll()))
        return result

    def _store_results(
        self, connection: Connection, write_id: uuid.UUID, items: Sequence[Item], result: GroupResult
    ) -> None:
        """What the biller made of due invoices: meters are locked before the first invoice."""
        writes = [item.write for item in items]
        pairs = [(write.claim, write.invoice) for write in writes if isinstance(write, Calculated)]
        waiting = [write for write in writes if isinstance(write, Change)]
        stored = store_calculations(connection, self._context.claimer, write_id, pairs, waiting)
        result.deferred += [item for item in items if item.invoice_id in stored.deferred]
        if any(str(invoice.id) in stored.done for _, invoice in pairs):
            point("db_writer.store", *(item for item in items if isinstance(item.write, Calculated)))
            result.nudges.append((ERP_GATEWAY, Poll()))
        if stored.stale:
            result.nudges.append((BILLER, Poll()))

    @staticmethod
    def _lock(connection: Connection, items: Sequence[Item], result: GroupResult) -> list[Item]:
        """Locks the rows of all that is to be written, in the one order, without waiting for anybody."""
        ids = {item.invoice_id for item in items}
        locked = held_by_others(connection, "invoices", ids, lock_invoices(connection, ids, wait=False))
        result.deferred += [item for item in items if item.invoice_id in locked]
        return [item for item in items if item.invoice_id not in locked]

    def _count(
        self,
        connection: Connection,
        write_id: uuid.UUID,
        crashes: Sequence[Crash],
        now_seconds: float,
        result: GroupResult,
    ) -> None:
        settings, by = self._context.settings, self._context.claimer
        base, most = settings.erp.retry.base_seconds, settings.erp.retry.max_seconds
        batches: dict[tuple[int, int], list[str]] = {}
        for crash in crashes:
            if crash.bisect_limit is not None:
                batches.setdefault((crash.bisect_limit, crash.half), []).append(crash.invoice_id)
                continue
            result.held += count_crash(
                connection, by, write_id, [crash.invoice_id], reason=crash.reason,
                max_attempts=settings.work.max_attempts, backoff_base_seconds=base, backoff_max_seconds=most,
                failed_seconds_ago=max(0.0, now_seconds - crash.since_seconds),
            )  # fmt: skip
            if crashing_without_witness(connection, [crash.invoice_id], settings.work.max_attempts):
                result.poison[crash.invoice_id] = crash.reason
        for (limit, half), ids in batches.items():
            limit_batch(connection, by, ids, bisect_limit=limit, delay_seconds=base * half)

    @staticmethod
    def _find_contradictions(
        connection: Connection, changes: Sequence[Change], done: set[str], result: GroupResult
    ) -> None:
        """A late booking of what is final with us changes nothing; that it differs is an alarm."""
        registered = [change for change in changes if change.to_state == "registered"]
        times = Counter(change.invoice_id for change in registered)
        for change in registered:
            if change.invoice_id in done and times[change.invoice_id] == 1:
                continue
            ours = connection.execute(
                text("SELECT state, bill_id FROM invoices WHERE id = :id"), {"id": change.invoice_id}
            ).one_or_none()
            if ours and ours.state in ("registered", "aborted") and ours.bill_id != change.bill_id:
                result.contradicted[change.invoice_id] = (
                    f"the ERP books {change.invoice_id} as {change.bill_id}, here it is {ours.bill_id or ours.state}"
                )


def _is_result(item: Item) -> bool:
    """Whether a calculation made it: what was calculated, or what waits for the data that it was calculated from."""
    write = item.write
    return isinstance(write, Calculated) or (isinstance(write, Change) and bool(write.meter_versions))
