"""One bad row costs that row only: each statement that touches invoices, with each way in which a row can be bad."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from actors.messages import CountCrash, MakeDue, ResetBackoffs, WriteCalculations, WriteOutcome
from billing.erp_answers import Booking, Outcome, OutcomeKind
from persistence.connection.database import Database
from persistence.invoices.changes import Change
from persistence.invoices.claims import Delivery
from tests.support.slow_readings import make_user, url_of_user
from tests.support.writer_alone import WriterAlone, calculated, context_on, import_three_users, rows

TOTAL = Decimal("1.00")
IDS = ("user-004.2026-08.1", "user-008.2026-08.1", "user-012.2026-08.1")
TRIGGER = """
CREATE FUNCTION bad_page() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'invalid page in block 7 of relation base/1/2' USING ERRCODE = 'data_corrupted';
END $$;
CREATE TRIGGER bad_page BEFORE INSERT OR UPDATE ON invoices FOR EACH ROW WHEN (NEW.id = '{bad}')
    EXECUTE FUNCTION bad_page();
"""


def execute(database: Database, *statements: str) -> None:
    with database.transaction() as connection:
        for each in statements:
            connection.exec_driver_sql(each)


@contextmanager
def refused(database: Database, bad: str) -> Iterator[str]:
    """The row violates a constraint, whatever is changed of it."""
    execute(database, f"ALTER TABLE invoices ADD CONSTRAINT bad CHECK (id <> '{bad}') NOT VALID")
    yield "violates check constraint"
    execute(database, "ALTER TABLE invoices DROP CONSTRAINT bad")


@contextmanager
def corrupt(database: Database, bad: str) -> Iterator[str]:
    """Writing the row fails as on a page that is damaged."""
    execute(database, TRIGGER.format(bad=bad))
    yield "invalid page"
    execute(database, "DROP TRIGGER bad_page ON invoices; DROP FUNCTION bad_page()")


@contextmanager
def locked(database: Database, bad: str) -> Iterator[str]:
    """Somebody's transaction has the row and does nothing; a row that is not there yet it has just made."""
    with Database(database.settings) as other, other.transaction() as connection:
        found = connection.execute(text("SELECT id FROM invoices WHERE id = :id FOR UPDATE"), {"id": bad}).all()
        if not found:
            user, period, _ = bad.split(".")
            connection.execute(
                text("INSERT INTO invoices (id, network_user_id, period) VALUES (:id, :user, :period)"),
                {"id": bad, "user": user, "period": period},
            )
        yield "lock"
        connection.rollback()


WAYS = {"refused": refused, "corrupt": corrupt, "locked": locked}


@dataclass
class Case:
    """A step of billing: how it is set up, what sets it off, and which invoices have done it."""

    database: Database
    url: str
    writer: WriterAlone | None = None

    def start(self) -> WriterAlone:
        self.writer = self.writer or WriterAlone(context_on(self.url))
        return self.writer

    def set_up(self) -> None:
        """Before the row is bad."""

    def set_off(self) -> list[Callable[[], object]]:
        """The messages, made anew at each ask."""
        return []

    def done(self) -> set[str]:
        """Who has done the step."""
        return self.start().claimed()

    def finish_others(self, others: set[str]) -> None:
        """Before the row is well again: what this process holds it would claim again as lost."""

    def claim_all(self) -> dict[str, int]:
        writer = self.start()
        writer.tell(MakeDue(), writer.claim_due())
        return rows(self.database, "claim")

    def store_all(self) -> None:
        self.start().tell(WriteCalculations(calculated(self.database, self.claim_all())))

    def send_all(self) -> dict[str, int]:
        self.store_all()
        self.start().tell(self.start().claim_deliveries())
        return rows(self.database, "claim")

    def change_all(self, **values: Any) -> list[WriteCalculations]:
        return [
            WriteCalculations((), [Change(invoice_id=each, claim=claim, reason="test", **values)])
            for each, claim in self.send_all().items()
        ]

    def with_state(self, column: str, wanted: object) -> set[str]:
        return {each for each, value in rows(self.database, column).items() if value == wanted}


class MakingDue(Case):
    def set_up(self) -> None:
        self.start()

    def set_off(self) -> list[Callable[[], object]]:
        return [MakeDue]

    def done(self) -> set[str]:
        return self.with_state("state", "due")


class ClaimingDue(Case):
    def set_up(self) -> None:
        self.start().tell(MakeDue())

    def set_off(self) -> list[Callable[[], object]]:
        return [self.start().claim_due]

    def finish_others(self, others: set[str]) -> None:
        claim_of = rows(self.database, "claim")
        self.start().tell(WriteCalculations(calculated(self.database, {each: claim_of[each] for each in others})))


class Storing(Case):
    def set_up(self) -> None:
        self.message = WriteCalculations(calculated(self.database, self.claim_all()))

    def set_off(self) -> list[Callable[[], object]]:
        return [lambda: self.message]

    def done(self) -> set[str]:
        return self.with_state("state", "calculated")


class Waiting(Case):
    def set_up(self) -> None:
        self.message = WriteCalculations((), [
            Change(invoice_id=each, claim=claim, reason="no readings", held_code="readings_incomplete",
                   held_reason="no readings", delay_seconds=600.0)
            for each, claim in self.claim_all().items()
        ])  # fmt: skip

    def set_off(self) -> list[Callable[[], object]]:
        return [lambda: self.message]

    def done(self) -> set[str]:
        return self.with_state("held_code", "readings_incomplete")


class ClaimingOffers(Case):
    def set_up(self) -> None:
        self.store_all()

    def set_off(self) -> list[Callable[[], object]]:
        return [self.start().claim_deliveries]


class ClaimingQuestions(Case):
    def set_up(self) -> None:
        self.start().tell(*self.change_all(to_state="initiated", passed=True))

    def set_off(self) -> list[Callable[[], object]]:
        return [self.start().claim_deliveries]


class Probing(ClaimingQuestions):
    """One of them is taken at a time: the one that was tried least recently, which is the bad one."""

    def set_up(self) -> None:
        super().set_up()
        execute(self.database, f"UPDATE invoices SET last_attempt_at = NULL WHERE id = '{IDS[1]}'")

    def set_off(self) -> list[Callable[[], object]]:
        return [lambda: self.start().claim_deliveries(probe=True)]


def booked(invoice_id: str) -> Outcome:
    booking = Booking(invoice_id, "registered", f"B-{invoice_id}", None, TOTAL)
    return Outcome(OutcomeKind.BOOKED, "PUT", 201, "registered", booking=booking)


class Verdicts(Case):
    def set_up(self) -> None:
        self.messages = [
            WriteOutcome(Delivery(each, claim, "offer", "sent", TOTAL, b"{}", 0, 0, 0), booked(each))
            for each, claim in self.send_all().items()
        ]  # fmt: skip

    def set_off(self) -> list[Callable[[], object]]:
        return [lambda message=message: message for message in self.messages]  # type: ignore[misc]

    def done(self) -> set[str]:
        return self.with_state("state", "registered")


class Counting(Case):
    def set_up(self) -> None:
        self.claim_all()

    def set_off(self) -> list[Callable[[], object]]:
        return [lambda each=each: CountCrash((each,), "biller", "crashed", "test") for each in IDS]  # type: ignore[misc]

    def done(self) -> set[str]:
        return self.with_state("crash_count", 1)


class Forgetting(Case):
    def set_up(self) -> None:
        self.start().tell(*self.change_all(failures=3, delay_seconds=600.0))

    def set_off(self) -> list[Callable[[], object]]:
        return [ResetBackoffs]

    def done(self) -> set[str]:
        return self.with_state("failures", 0)


class FreeingAtArrival(Case):
    """A predecessor was killed with all of them in hand."""

    def set_up(self) -> None:
        self.claim_all()
        self.start().close()
        self.writer = None

    def done(self) -> set[str]:
        self.start()
        return self.with_state("claimed_by", None)


CASES = {
    "make_due": MakingDue, "claim_due": ClaimingDue, "store": Storing, "waiting": Waiting, "offer": ClaimingOffers,
    "question": ClaimingQuestions, "probe": Probing, "verdict": Verdicts, "count": Counting, "forget": Forgetting,
    "arrival": FreeingAtArrival,
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", CASES)
def test_item_5_one_bad_row_costs_that_row_only(database: Database, database_url: str, step: str, way: str) -> None:
    import_three_users(database)
    case, bad = CASES[step](database, database_url), IDS[1]
    others = set(IDS) - {bad}
    try:
        case.set_up()
        if case.writer is not None:
            case.writer.forget_claimed()
        with WAYS[way](database, bad) as words:
            asks = case.set_off()
            case.start().tell(*(ask() for ask in asks))
            again = asks if step in ("make_due", "claim_due", "offer", "question", "probe") else []
            case.start().until(lambda: (case.done() & set(IDS)) >= others, *again)
            told = case.start().until(lambda: case.start().troubled().get(bad), *again)
            assert words in told
            assert bad not in case.done()
            assert case.start().troubled().keys() == {bad}, "and nobody else is in trouble"
        case.finish_others(others)
        case.start().forget_claimed()
        asks = [*again, case.start().claim_due, case.start().claim_deliveries]
        case.start().until(lambda: bad in case.done() | case.start().claimed(), *asks)
        case.start().until(lambda: bad not in case.start().troubled(), *asks)
    finally:
        if case.writer is not None:
            case.writer.close()


UNREADABLE = """
CREATE FUNCTION unreadable() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'invalid page in block 7' USING ERRCODE = 'data_corrupted';
END $$;
ALTER TABLE invoices ENABLE ROW LEVEL SECURITY;
CREATE POLICY unreadable ON invoices USING (CASE WHEN id = '{bad}' THEN unreadable() ELSE true END);
"""


def test_item_5_a_row_that_cannot_even_be_read_keeps_no_other_from_being_claimed(
    database: Database, database_url: str
) -> None:
    import_three_users(database)
    make_user(database)
    writer, bad = WriterAlone(context_on(url_of_user(database_url))), IDS[1]
    try:
        writer.tell(MakeDue())
        execute(database, UNREADABLE.format(bad=bad))
        writer.until(lambda: writer.claimed() >= set(IDS) - {bad}, writer.claim_due)
        writer.until(lambda: "invalid page" in writer.troubled().get(bad, ""), writer.claim_due)
        claim_of = {each: claim for each, claim in rows(database, "claim").items() if each != bad}
        writer.tell(WriteCalculations(calculated(database, claim_of)))
        writer.forget_claimed()
        writer.until(lambda: writer.claimed() >= set(IDS) - {bad}, writer.claim_deliveries)
    finally:
        writer.close()


SLOW = """
CREATE FUNCTION slow_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3600); RETURN NEW; END $$;
CREATE TRIGGER slow_row BEFORE UPDATE ON invoices FOR EACH ROW WHEN (NEW.id = '{bad}') EXECUTE FUNCTION slow_row();
"""


def test_item_5_a_row_whose_change_takes_too_long_keeps_no_other_from_being_stored(
    database: Database, database_url: str
) -> None:
    import_three_users(database)
    limits = {"database": {"statement_timeout_seconds": 2, "lock_timeout_seconds": 1}}
    writer, bad = WriterAlone(context_on(database_url, limits)), IDS[1]
    try:
        writer.tell(MakeDue(), writer.claim_due())
        made = calculated(database, rows(database, "claim"))
        execute(database, SLOW.format(bad=bad))
        writer.tell(WriteCalculations(made))
        others = set(IDS) - {bad}
        writer.until(
            lambda: {each for each, state in rows(database, "state").items() if state == "calculated"} == others
        )
        writer.until(lambda: "statement timeout" in writer.troubled().get(bad, ""), seconds=20)
    finally:
        writer.close()
