"""Ways to break billingd, each with the cell and the call that have to notice: the proof that the drills can fail."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One piece of source replaced by another; `cell` (failure, variant, state) must not hold then."""

    name: str
    path: str
    old: str
    new: str
    cell: tuple[str, str, str] | None = None
    because: str = ""
    """What the judge has to say, as a regular expression."""
    calls: str | None = None
    """Cases of `drill --calls` of which one must not hold, as a regular expression; empty: none holds without a fault.
    None: no such call brings it about at each try, it takes what the cell does."""
    calls_because: str = ""
    bug: str | None = None
    """The fault of other systems that it re-creates (docs/testing.md)."""


MUTATIONS = (
    Mutation(
        "deliver before commit",
        "actors/claimer.py",
        "            return found, claims.several_open(connection, approved_only=by.approved_only)\n",
        "            self._tell(ERP_GATEWAY, ClaimedDeliveries(found, request.asked_at_seconds, True, request.probe))\n"
        "            __import__('threading').Event().wait(0.3 if found else 0)\n"
        "            return found, claims.several_open(connection, approved_only=by.approved_only)\n",
        ("D1", "cut_before_commit", "calculated"),
        "was offered though the ERP had it",
        bug="an outbox is sent before its deletion is committed",
    ),
    Mutation(
        "no unique constraint on bill_id",
        "persistence/schema/sql/0001_invoices.sql",
        "    bill_id text UNIQUE,\n",
        "    bill_id text,\n",
        ("E2", "foreign_bill_id", "sending_before"),
        "stands at 2 invoices",
    ),
    Mutation(
        "no look before a repeated offer",
        "persistence/invoices/claims.py",
        'f"({in_state(State.CALCULATED)} AND NOT {ASK_FIRST} OR ',
        'f"({in_state(State.CALCULATED, State.SENT)} AND NOT {ASK_FIRST} OR ',
        ("S1", "killed", "sending_after"),
        "was offered though the ERP had it",
        calls=r"^http before answer: PUT #1: done, answer lost$",
        calls_because="was offered though the ERP had it",
        bug="Celery: an acknowledgement that is lost, and the task is run again",
    ),
    Mutation(
        "the period is taken from the clock instead of from what is missing",
        "actors/context.py",
        "due_periods(Period.parse(first), self.now(), schedule, settings.zone)]",
        "due_periods(Period.parse(first), self.now(), schedule, settings.zone)][-1:]",
        ("S1", "down_over_months", "idle"),
        "has no invoice",
        calls="",
        calls_because="a step of the month",
        bug="a cron tick is lost over a downtime",
    ),
    Mutation(
        "a restart forgets whose the claims are",
        "persistence/instances.sql",
        "    claimed_by = CASE WHEN NOT theirs THEN i.claimed_by END,\n"
        "    claimed_for = CASE WHEN NOT theirs THEN i.claimed_for END,\n"
        "    claimed_until = CASE WHEN NOT theirs THEN i.claimed_until END,\n",
        # Longer than the drill waits, and short enough that no clock is thought to have been set back.
        "    claimed_until = now() + interval '80 seconds',\n",
        ("S1", "killed", "calculating"),
        "not finished within",
        calls=r"^sql: biller: SELECT wanted.* #1: killed before$",
        calls_because="a step of the month",
        bug="a job stuck in `doing` after its worker was killed",
    ),
    Mutation(
        "alarms only in the database",
        "alarming/dispatcher.py",
        '        LOGGER.log(level, "%s", line(change, record), extra=fields(change, record))\n',
        "        del level\n",
        ("D1", "stopped_fast", "idle"),
        "no alarm database_unreachable",
        calls="",
        calls_because="no alarm is in the log",
    ),
    Mutation(
        "blame without a witness",
        "persistence/invoices/quarantine.py",
        "    return bool(fetch_value(connection, search,",
        "    return True or bool(fetch_value(connection, search,",
        ("E3", "400_long", "calculated"),
        "held though all are refused",
    ),
    Mutation(
        "a step without its history",
        "persistence/invoices/transitions.py",
        "WHERE step_reason IS NOT NULL OR state IS DISTINCT FROM from_state\n",
        "WHERE (step_reason IS NOT NULL OR state IS DISTINCT FROM from_state) AND state <> 'registered'\n",
        ("S1", "killed", "sending_before"),
        "its history",
        calls="",
        calls_because="its history",
    ),
    Mutation(
        "a booking without its exchange",
        "persistence/invoices/exchanges.sql",
        "FROM input WHERE again IS NOT TRUE",
        "FROM input WHERE again IS NOT TRUE AND outcome <> 'booked'",
        ("S1", "killed", "sending_before"),
        "the model of a delivery does not allow for",
        calls="",
        calls_because="the model of a delivery does not allow for",
    ),
    Mutation(
        "an alarm that is never cleared",
        "alarming/alarm.py",
        "            self.active_subjects.clear()\n",
        "            self.invoices.clear()\n",
        ("D1", "stopped_fast", "idle"),
        "still stands",
        calls=r"^sql: db_writer: begin transaction.* #3: slow$",
        calls_because="still stands",
    ),
    Mutation(
        "each actor's trouble with a cause is an alarm of its own",
        "alarming/register.py",
        "alarm = self._alarm(report.code, report.key or self.instance, report, now)",
        "alarm = self._alarm(report.code, report.key or report.subject or self.instance, report, now)",
        ("D1", "stopped_fast", "storing"),
        "alarms of one cause",
    ),
    Mutation(
        "an alarm is told again at each look",
        "alarming/register.py",
        "        tenfold = age_seconds >= LINE_EVERY_SECONDS and alarm.count >= 10 * alarm.line_count\n",
        "        tenfold = True\n",
        ("D1", "stopped_fast", "idle"),
        "lines of the alarm database_unreachable",
    ),
    Mutation(
        "a failover is no reason to ask",
        "persistence/timelines.py",
        'ASK_FIRST = "(period <=',
        'ASK_FIRST = "(false AND period <=',
        ("D4", "asynchronous_with_loss", "calculated"),
        "was offered though the ERP had it",
    ),
    Mutation(
        "an old primary is as good as a new one",
        "persistence/connection/seen_server.py",
        "            if system_identifier == self._system_identifier and timeline < self._timeline:\n",
        "            if timeline < 0:\n",
        ("D4", "old_primary_writable", "storing"),
        "not within",
    ),
    Mutation(
        "an outage of the database crashes who meets it",
        "actors/writer.py",
        "            report_database_error(self._conditions, error, self.name)\n            self._registration",
        "            raise RuntimeError from error\n            self._registration",
        ("D1", "stopped_fast", "storing"),
        "an actor crashed",
        calls=r"^sql: db_writer: SELECT count\(\*\) > N FROM \(SELECT FROM invoices.* #[2-5]: error$",
        calls_because="an actor crashed",
    ),
    Mutation(
        "any total is taken",
        "altibiz/outcomes.py",
        "    if total_with_tax is not None and booking.total_with_tax != total_with_tax:\n",
        "    if total_with_tax is not None and booking.total_with_tax <= 0:\n",
        ("E2", "other_total", "sending_before"),
        "no alarm erp_incorrect_data",
    ),
    Mutation(
        "the last line is billed as the second tariff",
        "billing/calculation.py",
        "        Item.SUPPLY_BUSINESS_USAGE_FEE: t0,\n",
        "        Item.SUPPLY_BUSINESS_USAGE_FEE: t2,\n",
        ("S2", "raises_once", "storing"),
        "lines is",
        calls="",
        calls_because="lines is",
    ),
    Mutation(
        "the pulse goes by the wall clock",
        "actors/clock.py",
        "        return self._START.replace(tzinfo=self) + timedelta(seconds=self._monotonic())\n",
        "        return _wall\n",
        ("S1", "clock_steps_back", "idle"),
        "arrivals at clock.receive",
    ),
    Mutation(
        "times in the database are left as they are when its clock is set back",
        "actors/instance_registration.py",
        "        if not self._clamped:\n",
        "        if not self._clamped and False:\n",
        ("S1", "database_clock_back", "initiated"),
        "not finished within",
    ),
    Mutation(
        "one refused row ends every claim",
        "actors/claimer.py",
        "            if not is_row_fault(error):\n                raise\n        return [each for search",
        "            raise\n        return [each for search",
        ("D2", "row_refused", "calculated"),
        "did not go on",
        bug="a dead letter that stops the recovery of all others",
    ),
    Mutation(
        "a crash with one invoice in hand is not counted",
        "actors/write_group.py",
        "                return [Item(ids[0], Crash(reason, since))]\n",
        "                return []\n",
        ("S2", "poison_invoice", "calculating"),
        "no alarm poison_invoice",
        bug="a poison message that kills its consumer for ever",
    ),
    Mutation(
        "a session that has become read-only is kept",
        "persistence/connection/session.py",
        'trusted and fields.get("V") == "ERROR" and fields.get("C") != READ_ONLY',
        'trusted and fields.get("V") == "ERROR"',
        cell=None,
        calls=r"^sql: db_writer: begin transaction.* #2: read-only",
        calls_because="a step of the month",
        bug="a pool that keeps its sessions to a read-only server",
    ),
)
