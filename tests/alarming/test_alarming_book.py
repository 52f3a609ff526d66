"""The book of alarms: when a trouble becomes an alarm, stays the same one, is muted, and is over."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from alarming.alarm import Group, Moment, Record
from alarming.book import Action, Blip, Book, Change, Outcome, Timing
from alarming.catalogue import Code
from alarming.signs import Fine, Severity, Trouble

START = datetime(2026, 11, 15, tzinfo=UTC)
A, B, C = "NU-1.2026-10.1", "NU-2.2026-10.1", "NU-3.2026-10.1"


def at(seconds: float) -> Moment:
    return Moment(1000 + seconds, START + timedelta(seconds=seconds))


def changes(outcomes: Iterable[Outcome]) -> list[Change]:
    return [outcome.change for outcome in outcomes if isinstance(outcome, Action)]


def database(subject: str | None = None) -> Trouble:
    return Trouble(Code.DATABASE_UNREACHABLE, "no connection", subject=subject)


def erp(subject: str | None = None) -> Trouble:
    return Trouble(Code.ERP_UNREACHABLE, "no answer", subject=subject)


def test_a_trouble_that_stays_is_raised_with_a_margin_before_it_is_due() -> None:
    book = Book("one")
    assert book.trouble(database(), at(0)) == []
    assert book.tick(at(3.9)) == []
    (action,) = book.tick(at(4.0))
    assert isinstance(action, Action)
    assert (action.change, action.record.code, action.record.key) == (Change.RAISED, "database_unreachable", "one")
    assert action.record.severity is Severity.CRITICAL


def test_a_trouble_that_is_over_before_is_a_blip_and_counted() -> None:
    book = Book("one")
    book.trouble(database(), at(0))
    (blip,) = book.fine(Fine(Code.DATABASE_UNREACHABLE), at(2))
    assert blip == Blip("database_unreachable", "one", "no connection", 2.0)
    assert book.blips == {"database_unreachable": 1}
    assert book.tick(at(100)) == []
    assert book.standing() == ()


def test_the_clock_of_a_sign_starts_when_it_was_seen() -> None:
    book = Book("one")
    book.trouble(Trouble(Code.ERP_ERROR, "503", seen_at=at(0).at), at(3))
    assert changes(book.tick(at(4.1))) == [Change.RAISED]


def test_what_does_not_wait_is_raised_at_once() -> None:
    book = Book("one")
    assert changes(book.trouble(Trouble(Code.ERP_CREDENTIALS, "401"), at(0))) == [Change.RAISED]
    assert changes(book.trouble(Trouble(Code.ERP_ERROR, "late", immediately=True), at(0))) == [Change.RAISED]


def test_an_outage_that_touches_many_invoices_is_one_alarm_with_a_count_and_examples() -> None:
    book = Book("one")
    outcomes: list[Outcome] = []
    for number in range(500):
        outcomes += book.trouble(erp(f"NU-{number}.2026-10.1"), at(number / 100))
    assert changes(outcomes) == [Change.RAISED]
    (record,) = book.standing()
    assert record.count == 500
    assert len(record.context["invoices"]) == 20


def test_one_that_was_in_trouble_and_succeeds_speaks_for_all_when_the_cause_is_common() -> None:
    book = Book("one")
    book.trouble(erp(A), at(0))
    book.trouble(erp(B), at(0))
    book.tick(at(4))
    assert book.fine(Fine(Code.ERP_UNREACHABLE, subject=C), at(5)) == [], "it was never in trouble"
    assert changes(book.fine(Fine(Code.ERP_UNREACHABLE, subject=B), at(6))) == [Change.CLEARED]


def test_each_speaks_for_itself_where_the_cause_is_its_own() -> None:
    book = Book("one")
    for invoice in (A, B):
        book.trouble(Trouble(Code.ERP_INCORRECT_DATA, "another total", key="2026-10", subject=invoice), at(0))
    book.tick(at(4))
    assert book.fine(Fine(Code.ERP_INCORRECT_DATA, "2026-10", A), at(5)) == []
    assert changes(book.fine(Fine(Code.ERP_INCORRECT_DATA, "2026-10", B), at(6))) == [Change.CLEARED]


def test_the_wait_counts_from_the_first_sign_of_those_still_in_trouble() -> None:
    book = Book("one")
    book.trouble(Trouble(Code.DATABASE_ERROR, "lock", subject="biller"), at(0))
    book.trouble(Trouble(Code.DATABASE_ERROR, "lock", subject="db_writer"), at(3))
    book.fine(Fine(Code.DATABASE_ERROR, subject="biller"), at(3.5))
    assert book.tick(at(5)) == []
    assert changes(book.tick(at(7.1))) == [Change.RAISED]


def test_a_fine_for_everybody_ends_it() -> None:
    book = Book("one")
    book.trouble(Trouble(Code.DATABASE_ERROR, "lock", subject="biller"), at(0))
    book.tick(at(4))
    assert changes(book.fine(Fine(Code.DATABASE_ERROR), at(5))) == [Change.CLEARED]


def test_an_invoice_that_is_final_is_no_trouble_any_more() -> None:
    book = Book("one")
    book.trouble(Trouble(Code.ERP_ERROR, "500", subject=A), at(0))
    book.tick(at(4))
    assert book.pending_invoices() == [A]
    assert changes(book.final([A, B], at(5))) == [Change.CLEARED]
    late = Trouble(Code.ERP_INCORRECT_DATA, "booking changed", "2026-10", B, immediately=True, clear_after_seconds=60)
    assert changes(book.trouble(late, at(6))) == [Change.RAISED]
    assert book.pending_invoices() == []
    assert book.final([B], at(7)) == [], "a late answer is about a final invoice: being quiet ends it"
    assert changes(book.tick(at(67))) == [Change.CLEARED]


def test_the_root_cause_mutes_what_follows_from_it_and_lets_it_speak_afterwards() -> None:
    book = Book("one")
    book.trouble(database("biller"), at(0))
    book.trouble(Trouble(Code.ACTOR_CRASHED, "boom", subject="biller"), at(0))
    assert [action.record.code for action in book.tick(at(4)) if isinstance(action, Action)] == ["database_unreachable"]
    assert book.tick(at(60)) == []
    book.fine(Fine(Code.DATABASE_UNREACHABLE), at(61))
    assert book.tick(at(64)) == [], "it gets the time to pass once the root cause is gone"
    assert changes(book.tick(at(65.1))) == [Change.RAISED]


def test_what_comes_back_soon_is_the_same_alarm_and_stays_longer_each_time() -> None:
    book = Book("one")
    book.trouble(database(), at(0))
    (first,) = book.tick(at(4))
    assert changes(book.fine(Fine(Code.DATABASE_UNREACHABLE), at(10))) == [Change.CLEARED]
    book.trouble(database(), at(20))
    (again,) = book.tick(at(24))
    assert isinstance(first, Action)
    assert isinstance(again, Action)
    assert (again.change, again.record.id, again.record.reopened) == (Change.RAISED, first.record.id, 1)
    assert again.record.raised_at == first.record.raised_at
    assert book.fine(Fine(Code.DATABASE_UNREACHABLE), at(30)) == []
    assert changes(book.tick(at(91))) == [Change.CLEARED]
    book.trouble(database(), at(1000))
    (new,) = book.tick(at(1004))
    assert isinstance(new, Action)
    assert new.record.id != first.record.id


@given(
    st.lists(
        st.tuples(st.floats(0.05, 30), st.booleans(), st.sampled_from(["biller", "db_writer", None])), max_size=300
    )
)
def test_no_flapping_writes_more_than_ten_lines_in_ten_minutes(steps: list[tuple[float, bool, str | None]]) -> None:
    book, now, lines = Book("one"), 0.0, []
    for pause, trouble, subject in steps:
        now += pause
        outcomes = book.tick(at(now))
        if trouble:
            outcomes += book.trouble(database(subject), at(now))
        else:
            outcomes += book.fine(Fine(Code.DATABASE_UNREACHABLE, subject=subject), at(now))
        lines += [now for _ in changes(outcomes)]
    for line in lines:
        assert sum(line <= other < line + 600 for other in lines) <= 10


@given(st.lists(st.tuples(st.floats(0.05, 500), st.integers(0, 2), st.sampled_from([A, B, "x", None])), max_size=100))
def test_each_raise_has_its_clear_and_stands_alone(steps: list[tuple[float, int, str | None]]) -> None:
    book, now, standing = Book("one"), 0.0, set[str]()
    for pause, kind, subject in [*steps, (1.0, 1, None), (2000.0, 2, None)]:
        now += pause
        outcomes = book.tick(at(now))
        if kind == 0:
            outcomes += book.trouble(Trouble(Code.ERP_ERROR, "503", subject=subject), at(now))
        elif kind == 1:
            outcomes += book.fine(Fine(Code.ERP_ERROR, subject=subject), at(now))
        for outcome in outcomes:
            if isinstance(outcome, Action) and outcome.change is Change.RAISED:
                assert not standing
                standing.add(outcome.record.id)
            elif isinstance(outcome, Action) and outcome.change is Change.CLEARED:
                standing.remove(outcome.record.id)
    assert not standing


def test_a_storm_is_two_lines_with_the_right_count() -> None:
    book = Book("one")
    outcomes: list[Outcome] = []
    for second in range(100):
        storm = Trouble(Code.UNEXPECTED_ERROR, "boom", count=1000)
        outcomes += book.trouble(storm, at(second / 10)) + book.tick(at(second / 10))
    outcomes += book.tick(at(61))
    assert changes(outcomes) == [Change.RAISED, Change.UPDATED]
    assert book.standing()[0].count == 100_000
    assert changes(book.tick(at(3700))) == [Change.CLEARED], "it ends by being quiet"


def group(count: int, standing_id: str | None = None) -> Group:
    return Group("erp_conflict", "2026-10", count, f"{count} invoices", {"invoices": [A]}, standing_id, at(-60).at)


def test_alarms_of_invoices_follow_from_what_the_database_says() -> None:
    book = Book("one")
    assert changes(book.look([group(3)], at(0))) == [Change.RAISED]
    assert book.look([group(5)], at(2)) == []
    assert book.standing()[0].count == 5
    assert changes(book.look([], at(4))) == [Change.CLEARED]
    (again,) = book.look([group(1, "from-table")], at(6))
    assert isinstance(again, Action)
    assert (again.record.id, again.record.raised_at) == ("from-table", at(-60).at)


def restored(code: str, key: str = "one", **more: object) -> Record:
    severity = Severity.MAJOR
    return Record("abc", code, key, severity, "it was so", 1, at(-60).at, at(-30).at, "one", **more)  # type: ignore[arg-type]


def test_after_a_restart_the_alarm_stands_until_somebody_finds_all_well() -> None:
    book = Book("one")
    book.restore(restored("database_unreachable"), at(0))
    assert book.tick(at(1000)) == []
    assert changes(book.trouble(database("biller"), at(1001))) == [Change.UPDATED], "it stands already"
    (cleared,) = book.fine(Fine(Code.DATABASE_UNREACHABLE, subject="biller"), at(1002))
    assert isinstance(cleared, Action)
    assert (cleared.change, cleared.record.id) == (Change.CLEARED, "abc")


def test_after_a_restart_what_only_the_old_process_saw_is_over_in_its_time() -> None:
    book = Book("one", Timing(quiet_seconds=3600, stable_seconds=60))
    book.restore(restored("configuration_rejected"), at(0))
    book.restore(restored("actor_crashed", context={"subjects": ["biller"]}), at(0))
    book.restore(restored("unexpected_error"), at(0))
    book.restore(restored("erp_conflict", "2026-10"), at(0))
    assert [o.record.code for o in book.tick(at(0.1)) if isinstance(o, Action)] == ["configuration_rejected"]
    assert [o.record.code for o in book.tick(at(61)) if isinstance(o, Action)] == ["actor_crashed"]
    assert [o.record.code for o in book.look([], at(62)) if isinstance(o, Action)] == ["erp_conflict"]
    assert [o.record.code for o in book.tick(at(3571)) if isinstance(o, Action)] == ["unexpected_error"]


def test_a_restart_that_tells_of_it_again_writes_a_line_but_not_each_of_many() -> None:
    lines, now, kept = 0, 1000.0, restored("daemon_was_down")
    for _ in range(20):
        book, now = Book("one"), now + 20
        book.restore(kept, at(now))
        for outcome in book.trouble(Trouble(Code.DAEMON_WAS_DOWN, "down for 9 s"), at(now)):
            assert isinstance(outcome, Action)
            assert outcome.change is Change.UPDATED
            lines, kept = lines + 1, outcome.record
    assert lines == 4, "the first, then not more often than every two minutes"


def test_a_rules_own_code_has_the_severity_it_was_given_and_ends_by_being_quiet() -> None:
    book = Book("one", Timing(quiet_seconds=100))
    book.trouble(Trouble("disk_slow", "sda is slow", key="sda", severity=Severity.WARNING), at(0))
    (raised,) = book.tick(at(4))
    assert isinstance(raised, Action)
    assert (raised.record.key, raised.record.severity) == ("sda", Severity.WARNING)
    assert changes(book.tick(at(100))) == [Change.CLEARED]
