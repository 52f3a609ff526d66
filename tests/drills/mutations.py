"""Ways to break billingd, each with the cell that has to notice: the proof that the drills can fail."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One piece of source replaced by another; `cell` (failure, variant, state) must not hold then."""

    name: str
    path: str
    old: str
    new: str
    cell: tuple[str, str, str]
    because: str
    """What the judge has to say, as a regular expression."""


MUTATIONS = (
    Mutation(
        "deliver before commit",
        "actors/db_writer.py",
        "                deliveries = _deliveries(connection, by, claim)\n",
        "                deliveries = _deliveries(connection, by, claim)\n"
        "                self._nudge(ERP_GATEWAY, deliveries)\n"
        "                __import__('threading').Event().wait(0.3)\n",
        ("D1", "cut_before_commit", "calculated"),
        "was offered though the ERP had it",
    ),
    Mutation(
        "no unique constraint on bill_id",
        "persistence/migrations/versions/0001_initial.py",
        "    bill_id text UNIQUE,\n",
        "    bill_id text,\n",
        ("E2", "foreign_bill_id", "sending_before"),
        "stands at 2 invoices",
    ),
    Mutation(
        "no look before a repeated offer",
        "persistence/claims.py",
        "(state = 'calculated' OR (state = 'sent'\n"
        "                    AND last_outcome = ANY(CAST(:offer_again AS text[])))) IS TRUE AS offer",
        "(state IN ('calculated', 'sent')) AS offer",
        ("S1", "killed", "sending_after"),
        "was offered though the ERP had it",
    ),
    Mutation(
        "the period is taken from the clock instead of from what is missing",
        "actors/db_writer.py",
        "            connection, self._parts.claimer, [str(period) for period in due], reason=",
        "            connection, self._parts.claimer, [str(period) for period in due][-1:], reason=",
        ("S1", "down_over_months", "idle"),
        "has no invoice",
    ),
    Mutation(
        "a restart forgets whose the claims are",
        "persistence/instances.py",
        "SET claimed_by = NULL, claimed_for = NULL, claimed_until = NULL,\n                unclean_ends",
        "SET claimed_until = 'infinity',\n                unclean_ends",
        ("S1", "killed", "calculating"),
        "not finished within",
    ),
    Mutation(
        "alarms only in the database",
        "alarming/dispatcher.py",
        '        LOGGER.log(level, "%s", line(change, record), extra=fields(change, record))\n',
        "        del level\n",
        ("D1", "stopped_fast", "idle"),
        "no alarm database_unreachable",
    ),
    Mutation(
        "blame without a witness",
        "persistence/blame.py",
        '    return bool(\n        connection.execute(\n            text(f"SELECT EXISTS ({passed}',
        '    return True or bool(\n        connection.execute(\n            text(f"SELECT EXISTS ({passed}',
        ("E3", "400_long", "calculated"),
        "held though all are refused",
    ),
    Mutation(
        "a step without its history",
        "persistence/writes.py",
        "                FROM changed WHERE to_state <> from_state\n",
        "                FROM changed WHERE to_state <> from_state AND to_state <> 'registered'\n",
        ("S1", "killed", "sending_before"),
        "its history",
    ),
    Mutation(
        "an alarm that is never cleared",
        "alarming/alarm.py",
        "            self.active_subjects.clear()\n",
        "            self.invoices.clear()\n",
        ("D1", "stopped_fast", "idle"),
        "still stands",
    ),
    Mutation(
        "an outage of the database crashes who meets it",
        "actors/db_writer.py",
        "            report_database_error(self._conditions, error, self.name)\n            self._resting = True\n",
        "            raise RuntimeError from error\n",
        ("D1", "stopped_fast", "storing"),
        "an actor crashed",
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
    ),
)
