"""`billingd verify`: proves that trails and roots hold, and that readings give the stored registers and each cent."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import Annotated, Any

import typer
from sqlalchemy import Connection, Row

from billing.instants import format_instant
from billing.recomputation import recompute
from billing.segments import Segment, stored_segments
from cli.database import database
from cli.invocation import AsJson, OnlyMonth, configuration
from cli.output import print_json, print_note, print_table
from persistence.connection.database import Database
from persistence.invoices import audit
from persistence.invoices.audit import Finding, Root
from persistence.invoices.next_revisions import registered_revisions
from persistence.readings.partitions import Month, attached_months
from persistence.readings.registers import Measured, measure
from web.formatting import cell

# An import that replaces readings may have begun so long before an invoice was stored that still met the old ones.
IMPORT_AT_MOST = timedelta(hours=6)
ROOT_BYTES = 32


@dataclass
class VerificationResult:
    """What came of it. `replaced`: computed before readings were replaced, or came late, in order; no fault."""

    verified: int = 0
    findings: list[Finding] = field(default_factory=list)
    replaced: list[Finding] = field(default_factory=list)
    not_verifiable: list[Finding] = field(default_factory=list)
    root: Root | None = None
    roots: int = 0


def verify_invoices(
    opened: Database, period: str | None, known: Mapping[date, str] | None = None
) -> VerificationResult:
    """Checks every calculated invoice of a period, or of all, and the whole trail; changes nothing.

    `known` are roots that were kept elsewhere, by their days.
    """
    result = VerificationResult()
    with opened.transaction() as connection:
        result.findings += audit.broken_trails(connection, period)
        result.findings += [Finding("-", "root", what) for what in _check_roots(connection, result, known or {})]
    for rows in audit.stored_invoices(opened, period):
        result.verified += len(rows)
        with opened.transaction() as connection:
            for row in rows:
                result.findings += _computed_again(connection, row)
            _compare_readings(connection, rows, result)
    result.findings.sort(key=lambda each: (each.id, each.kind))
    return result


def _check_roots(connection: Connection, result: VerificationResult, known: Mapping[date, str]) -> Iterator[str]:
    """What is wrong with the stored roots, in words; sets the last one."""
    roots = audit.stored_roots(connection)
    stored = {root.day: root.root for root, _ in roots}
    broken = [root for root, holds in roots if not holds]
    if roots:
        result.root, result.roots = roots[-1][0], len(roots)
    if broken:
        yield (
            f"the trail up to position {broken[0].position} is not what the root of {broken[0].day} covers, or a root "
            f"before it is missing ({len(broken)} of {len(roots)} roots do not hold)"
        )
    for day in audit.days_with_work_and_no_root(connection):
        yield f"invoices were calculated on {day}, and neither that day nor the next has a root: it was removed"
    for day, root in known.items():
        if day not in stored:
            yield f"there is no root of {day}, though one is known"
        elif stored[day] != root:
            yield f"the root of {day} is {stored[day]}, not {root}: history was rewritten"


def _computed_again(connection: Connection, row: Row[Any]) -> Iterator[Finding]:
    """What differs between the stored invoice and what its own registers and prices give."""
    try:
        registered = registered_revisions(connection, row.snapshot.get("corrects", []))
        invoice = recompute(row.id, row.invoice_date, row.tax_rate_percent, row.calculations, row.snapshot, registered)
    except (KeyError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        yield Finding(row.id, "document", f"its document can't be computed from: {type(error).__name__}: {error}")
        return
    if invoice is None:
        yield Finding(row.id, "document", "its registers and prices make no invoice")
        return
    for made, stored in zip(invoice.calculations_document(), row.calculations, strict=True):
        if made != stored:
            yield Finding(row.id, "calculation", f"measurement location {stored['measurement_location_id']}: "
                          + _first_difference(made, stored))  # fmt: skip
    for line, stored in zip(invoice.lines_document(), row.lines, strict=False):
        if line != stored:
            shown = cell(stored.get("price_eur") if isinstance(stored, dict) else stored)
            yield Finding(row.id, "line", f"line {line['ordinal']} is {shown}, not {line['price_eur']}")
    if len(row.lines) != len(invoice.lines):
        yield Finding(row.id, "line", f"it has {len(row.lines)} lines")
    for name in ("total_eur", "tax_eur", "total_with_tax_eur"):
        if getattr(row, name) != getattr(invoice, name):
            yield Finding(row.id, "total", f"{name} is {getattr(row, name)}, not {getattr(invoice, name)}")
    if bytes(row.body) != invoice.body():
        yield Finding(row.id, "body", "the bytes for the ERP are not those that its lines and totals make")


def _first_difference(made: dict[str, object], stored: dict[str, Any]) -> str:
    items = zip(made["items"], stored["items"], strict=False)  # type: ignore[call-overload]
    for one, other in items:
        for name, value in one.items():
            if other.get(name) != value:
                return f"{one['item']}: {name} is {cell(other.get(name))}, not {value}"
    return "its items are not those of its catalogue's kind"


# The readings


@dataclass(frozen=True, slots=True)
class _Place:
    """A segment of an invoice: where its meter's readings are, and what was taken from them."""

    invoice: Row[Any]
    span: Segment
    stored: Measured


def _compare_readings(connection: Connection, rows: Sequence[Row[Any]], result: VerificationResult) -> None:
    places = [place for row in rows for place in _places(row, result)]
    for place, now in zip(places, measure(connection, [place.span for place in places]), strict=True):
        if now == place.stored:
            continue
        archived = _archived(connection, place.span)
        if archived or now.is_gone:
            what = f"meter {place.span.meter_id} has no readings of {archived or 'the period'} any more"
            result.not_verifiable.append(Finding(place.invoice.id, "readings", what))
        elif _was_so(connection, place):
            result.replaced.append(Finding(place.invoice.id, "readings", _who_replaced(connection, place)))
        else:
            result.findings.append(Finding(place.invoice.id, "reading", _what_differs(place, now)))


def _archived(connection: Connection, span: Segment) -> str:
    """The months of a period, which is at most one, whose readings have been taken out of billing."""
    months = {Month.of(span.start), Month.of(span.end)}
    return " and ".join(str(month) for month in sorted(months - attached_months(connection, months)))


def _places(row: Row[Any], result: VerificationResult) -> Iterator[_Place]:
    try:
        for place in row.snapshot["measurement_locations"]:
            for each in stored_segments(place, row.snapshot):
                stored = Measured(
                    each.at_start, each.at_end, each.max_t1_step_wh, each.quarter_hour_pairs, each.readings_checksum,
                    False,
                )  # fmt: skip
                yield _Place(row, each, stored)
    except (KeyError, ValueError, TypeError) as error:
        result.findings.append(Finding(row.id, "document", f"its snapshot can't be read: {error!r}"))


def _was_so(connection: Connection, place: _Place) -> bool:
    """Whether the readings, as they stood when the invoice was made, are what was taken from them."""
    at: datetime = place.invoice.calculated_at
    return any(measure(connection, [place.span], before=then) == [place.stored] for then in (at, at - IMPORT_AT_MOST))


def _who_replaced(connection: Connection, place: _Place) -> str:
    span = place.span
    found = audit.replacements(connection, span.meter_id, span.start, span.end)
    last = found[-1]
    return (
        f"{len(found)} readings of meter {span.meter_id} were replaced or came late, the last by {last.replaced_by} "
        f"at {format_instant(last.replaced_at.replace(microsecond=0))}: {last.reason}"
    )


def _what_differs(place: _Place, now: Measured) -> str:
    meter, stored = f"meter {place.span.meter_id}", place.stored
    for at, then, today in (
        (place.span.start, stored.at_start, now.at_start),
        (place.span.end, stored.at_end, now.at_end),
    ):
        if then != today:
            return f"{meter}: the reading at {format_instant(at)} is not the one that was billed"
    if now.falls:
        return f"{meter}: a register falls, which none did"
    if now.quarter_hour_pairs != stored.quarter_hour_pairs:
        return f"{meter}: there are {now.quarter_hour_pairs} quarter hours, not {stored.quarter_hour_pairs}"
    if now.max_t1_step_wh != stored.max_t1_step_wh:
        return f"{meter}: the highest quarter hour is {now.max_t1_step_wh} Wh, not {stored.max_t1_step_wh}"
    return f"{meter}: a reading within the period was changed, though no figure of the invoice rests on it"


def _known_root(text: str) -> tuple[date, str]:
    """DAY=HASH as a day and 64 digits."""
    day, _, digits = text.partition("=")
    with suppress(ValueError):
        if len(bytes.fromhex(digits)) == ROOT_BYTES:
            return date.fromisoformat(day), digits.strip().lower()
    raise typer.BadParameter("give the day and the 64 digits of its root, as in 2026-11-01=9f86d081…")


def verify(
    context: typer.Context,
    period: OnlyMonth = None,
    root: Annotated[
        list[Any] | None,
        typer.Option(parser=_known_root, metavar="DAY=HASH", help="A root that was kept elsewhere; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Compute every invoice again from readings and snapshots, and check history and roots. 1 if anything is off."""
    with database(configuration(context).settings, "verify", unlimited=True) as opened:
        result = verify_invoices(opened, period, dict(root or []))
    if as_json:
        last = result.root
        shown = last and {"day": last.day, "position": last.position, "invoices": last.invoices, "sha256": last.root}
        print_json({"intact": not result.findings, **asdict(result), "root": shown})
    else:
        _print_result(result)
    return 1 if result.findings else 0


def _print_result(result: VerificationResult) -> None:
    print_table(("invoice", "finding", "what"), [(each.id, each.kind, each.what) for each in result.findings])
    for title, notes in (("replaced since", result.replaced), ("not verifiable", result.not_verifiable)):
        for each in notes:
            print_note(f"{title}: {each.id}: {each.what}")
    if result.root is not None:
        print_note(f"{result.root} (daily roots checked: {result.roots})")
    faults = f"{len(result.findings)} findings" if result.findings else "nothing was changed"
    print_note(f"{result.verified} invoices verified: {faults}")
