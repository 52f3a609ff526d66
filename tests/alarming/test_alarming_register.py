"""The register of alarms: when a trouble becomes an alarm, stays the same one, is muted, and is over."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from alarming.alarm import Now
from alarming.catalogue import Code
from alarming.conditions import ConditionActive, ConditionCleared
from alarming.formats import line
from alarming.register import Action, AlarmRegister, Change, Outcome, Timing, Transient
from persistence.alarms import AlarmRecord, Group, Severity

START = datetime(2026, 11, 15, tzinfo=UTC)
A, B, C = "NU-1.2026-10.1", "NU-2.2026-10.1", "NU-3.2026-10.1"


def at(seconds: float) -> Now:
    return Now(1000 + seconds, START + timedelta(seconds=seconds))


def changes(outcomes: Iterable[Outcome]) -> list[Change]:
    return [outcome.change for outcome in outcomes if isinstance(outcome, Action)]


def database(subject: str | None = None) -> ConditionActive:
    return ConditionActive(Code.DATABASE_UNREACHABLE, "no connection", subject=subject)


def erp(subject: str | None = None) -> ConditionActive:
    return ConditionActive(Code.ERP_UNREACHABLE, "no answer", subject=subject)


def test_a_trouble_that_stays_is_raised_with_a_margin_before_it_is_due() -> None:
    register = AlarmRegister("one")
    assert register.activate(database(), at(0)) == []
    assert register.tick(at(3.9)) == []
    (action,) = register.tick(at(4.0))
    assert isinstance(action, Action)
    assert (action.change, action.record.code, action.record.key) == (Change.RAISED, "database_unreachable", "one")
    assert action.record.severity is Severity.CRITICAL


def test_a_trouble_that_is_over_before_is_a_blip_and_counted() -> None:
    register = AlarmRegister("one")
    register.activate(database(), at(0))
    (transient,) = register.clear(ConditionCleared(Code.DATABASE_UNREACHABLE), at(2))
    assert transient == Transient("database_unreachable", "no connection", 2.0)
    assert register.transients == {"database_unreachable": 1}
    assert register.tick(at(100)) == []
    assert register.standing() == ()


def test_the_clock_of_a_sign_starts_when_it_was_seen() -> None:
    register = AlarmRegister("one")
    register.activate(ConditionActive(Code.ERP_ERROR, "503", seen_at=at(0).at), at(3))
    assert changes(register.tick(at(4.1))) == [Change.RAISED]


def test_what_does_not_wait_is_raised_at_once() -> None:
    register = AlarmRegister("one")
    assert changes(register.activate(ConditionActive(Code.ERP_CREDENTIALS, "401"), at(0))) == [Change.RAISED]
    assert changes(register.activate(ConditionActive(Code.ERP_ERROR, "late", immediately=True), at(0))) == [
        Change.RAISED
    ]


def test_an_outage_that_touches_many_invoices_is_one_alarm_with_a_count_and_examples() -> None:
    register = AlarmRegister("one")
    outcomes: list[Outcome] = []
    for number in range(500):
        outcomes += register.activate(erp(f"NU-{number}.2026-10.1"), at(number / 100))
    assert changes(outcomes) == [Change.RAISED]
    (record,) = register.standing()
    assert record.count == 500
    assert len(record.context["invoices"]) == 20


def test_one_that_was_in_trouble_and_succeeds_speaks_for_all_when_the_cause_is_common() -> None:
    register = AlarmRegister("one")
    register.activate(erp(A), at(0))
    register.activate(erp(B), at(0))
    register.tick(at(4))
    assert register.clear(ConditionCleared(Code.ERP_UNREACHABLE, subject=C), at(5)) == [], "it was never in trouble"
    assert changes(register.clear(ConditionCleared(Code.ERP_UNREACHABLE, subject=B), at(6))) == [Change.CLEARED]


def test_each_speaks_for_itself_where_the_cause_is_its_own() -> None:
    register = AlarmRegister("one")
    for invoice in (A, B):
        register.activate(
            ConditionActive(Code.ERP_INCORRECT_DATA, "another total", key="2026-10", subject=invoice), at(0)
        )
    register.tick(at(4))
    assert register.clear(ConditionCleared(Code.ERP_INCORRECT_DATA, "2026-10", A), at(5)) == []
    assert changes(register.clear(ConditionCleared(Code.ERP_INCORRECT_DATA, "2026-10", B), at(6))) == [Change.CLEARED]


def test_the_wait_counts_from_the_first_sign_of_those_still_in_trouble() -> None:
    register = AlarmRegister("one")
    register.activate(ConditionActive(Code.DATABASE_ERROR, "lock", subject="biller"), at(0))
    register.activate(ConditionActive(Code.DATABASE_ERROR, "lock", subject="db_writer"), at(3))
    register.clear(ConditionCleared(Code.DATABASE_ERROR, subject="biller"), at(3.5))
    assert register.tick(at(5)) == []
    assert changes(register.tick(at(7.1))) == [Change.RAISED]


def test_a_fine_for_everybody_ends_it() -> None:
    register = AlarmRegister("one")
    register.activate(ConditionActive(Code.DATABASE_ERROR, "lock", subject="biller"), at(0))
    register.tick(at(4))
    assert changes(register.clear(ConditionCleared(Code.DATABASE_ERROR), at(5))) == [Change.CLEARED]


def test_an_invoice_that_is_final_is_no_trouble_any_more() -> None:
    register = AlarmRegister("one")
    register.activate(ConditionActive(Code.ERP_ERROR, "500", subject=A), at(0))
    register.tick(at(4))
    assert register.pending_invoices() == [A]
    assert changes(register.clear_final([A, B], at(5))) == [Change.CLEARED]
    late = ConditionActive(
        Code.ERP_INCORRECT_DATA, "booking changed", "2026-10", B, immediately=True, clear_after_seconds=60
    )
    assert changes(register.activate(late, at(6))) == [Change.RAISED]
    assert register.pending_invoices() == []
    assert register.clear_final([B], at(7)) == [], "a late answer is about a final invoice: being quiet ends it"
    assert changes(register.tick(at(67))) == [Change.CLEARED]


def test_the_root_cause_mutes_what_follows_from_it_and_lets_it_speak_afterwards() -> None:
    register = AlarmRegister("one")
    register.activate(database("biller"), at(0))
    register.activate(ConditionActive(Code.ACTOR_CRASHED, "boom", subject="biller"), at(0))
    assert [action.record.code for action in register.tick(at(4)) if isinstance(action, Action)] == [
        "database_unreachable"
    ]
    assert register.tick(at(60)) == []
    register.clear(ConditionCleared(Code.DATABASE_UNREACHABLE), at(61))
    assert register.tick(at(64)) == [], "it gets the time to pass once the root cause is gone"
    assert changes(register.tick(at(65.1))) == [Change.RAISED]


def test_what_comes_back_soon_is_the_same_alarm_and_stays_longer_each_time() -> None:
    register = AlarmRegister("one")
    register.activate(database(), at(0))
    (first,) = register.tick(at(4))
    assert changes(register.clear(ConditionCleared(Code.DATABASE_UNREACHABLE), at(10))) == [Change.CLEARED]
    register.activate(database(), at(20))
    (again,) = register.tick(at(24))
    assert isinstance(first, Action)
    assert isinstance(again, Action)
    assert (again.change, again.record.id, again.record.reopened) == (Change.RAISED, first.record.id, 1)
    assert again.record.raised_at == first.record.raised_at
    assert register.clear(ConditionCleared(Code.DATABASE_UNREACHABLE), at(30)) == []
    assert changes(register.tick(at(91))) == [Change.CLEARED]
    register.activate(database(), at(1000))
    (new,) = register.tick(at(1004))
    assert isinstance(new, Action)
    assert new.record.id != first.record.id


def test_an_alarm_that_flaps_says_so_for_as_long_as_it_stands() -> None:
    register = AlarmRegister("one")

    def summary() -> str:
        (standing,) = register.standing()
        return standing.summary.removeprefix("no connection")

    def clear(seconds: float) -> list[Outcome]:
        return register.clear(ConditionCleared(Code.DATABASE_UNREACHABLE), at(seconds))

    register.activate(database(), at(0))
    register.tick(at(4))
    assert summary() == "", "the first time it is no flapping"
    clear(10)
    register.activate(database(), at(20))
    (again,) = register.tick(at(24))
    assert isinstance(again, Action)
    said = f"; flapping: 2 times since {at(4).at:%H:%M:%SZ}"
    assert line(again.change, again.record).count(f"no connection{said}, cleared once it stays away for 60 s") == 1
    clear(30)
    assert (
        summary() == f"{said}, away since {at(30).at:%H:%M:%SZ}, cleared at {at(90).at:%H:%M:%SZ} unless it comes back"
    )
    register.activate(database(), at(40))
    assert summary() == f"{said.replace('2', '3', 1)}, cleared once it stays away for 60 s"
    (before,) = register.standing()
    restarted = AlarmRegister("one")
    assert restarted.restore(before, at(41))
    assert restarted.standing()[0].summary.count("flapping") == 1
    clear(50)
    (cleared,) = register.tick(at(110))
    assert isinstance(cleared, Action)
    assert line(cleared.change, cleared.record).endswith(f"(no connection{said.replace('2', '3', 1)})")


@given(
    st.lists(
        st.tuples(st.floats(0.05, 30), st.booleans(), st.sampled_from(["biller", "db_writer", None])), max_size=300
    )
)
def test_no_flapping_writes_more_than_ten_lines_in_ten_minutes(steps: list[tuple[float, bool, str | None]]) -> None:
    register, now, lines = AlarmRegister("one"), 0.0, []
    for pause, trouble, subject in steps:
        now += pause
        outcomes = register.tick(at(now))
        if trouble:
            outcomes += register.activate(database(subject), at(now))
        else:
            outcomes += register.clear(ConditionCleared(Code.DATABASE_UNREACHABLE, subject=subject), at(now))
        lines += [now for _ in changes(outcomes)]
    for each in lines:
        assert sum(each <= other < each + 600 for other in lines) <= 10


@given(st.lists(st.tuples(st.floats(0.05, 500), st.integers(0, 2), st.sampled_from([A, B, "x", None])), max_size=100))
def test_each_raise_has_its_clear_and_stands_alone(steps: list[tuple[float, int, str | None]]) -> None:
    register, now, standing = AlarmRegister("one"), 0.0, set[str]()
    for pause, kind, subject in [*steps, (1.0, 1, None), (2000.0, 2, None)]:
        now += pause
        outcomes = register.tick(at(now))
        if kind == 0:
            outcomes += register.activate(ConditionActive(Code.ERP_ERROR, "503", subject=subject), at(now))
        elif kind == 1:
            outcomes += register.clear(ConditionCleared(Code.ERP_ERROR, subject=subject), at(now))
        for outcome in outcomes:
            if isinstance(outcome, Action) and outcome.change is Change.RAISED:
                assert not standing
                standing.add(outcome.record.id)
            elif isinstance(outcome, Action) and outcome.change is Change.CLEARED:
                standing.remove(outcome.record.id)
    assert not standing


def test_a_storm_is_two_lines_with_the_right_count() -> None:
    register = AlarmRegister("one")
    outcomes: list[Outcome] = []
    for second in range(100):
        storm = ConditionActive(Code.UNEXPECTED_ERROR, "boom", count=1000)
        outcomes += register.activate(storm, at(second / 10)) + register.tick(at(second / 10))
    outcomes += register.tick(at(61))
    assert changes(outcomes) == [Change.RAISED, Change.UPDATED]
    assert register.standing()[0].count == 100_000
    assert changes(register.tick(at(3700))) == [Change.CLEARED], "it ends by being quiet"


def group(count: int, standing_id: str | None = None) -> Group:
    return Group("erp_conflict", "2026-10", count, (A,), "409", 1, standing_id, at(-60).at)


def test_alarms_of_invoices_follow_from_what_the_database_says() -> None:
    register = AlarmRegister("one")
    assert changes(register.follow([group(3)], at(0))) == [Change.RAISED]
    assert register.follow([group(5)], at(2)) == []
    assert register.standing()[0].count == 5
    assert changes(register.follow([], at(4))) == [Change.CLEARED]
    (again,) = register.follow([group(1, "from-table")], at(6))
    assert isinstance(again, Action)
    assert (again.record.id, again.record.raised_at) == ("from-table", at(-60).at)


def restored(code: str, key: str = "one", **more: object) -> AlarmRecord:
    severity = Severity.MAJOR
    return AlarmRecord("abc", code, key, severity, "it was so", 1, at(-60).at, at(-30).at, "one", **more)  # type: ignore[arg-type]


def test_after_a_restart_the_alarm_stands_until_somebody_finds_all_well() -> None:
    register = AlarmRegister("one")
    register.restore(restored("database_unreachable"), at(0))
    assert register.tick(at(1000)) == []
    assert changes(register.activate(database("biller"), at(1001))) == [Change.UPDATED], "it stands already"
    (cleared,) = register.clear(ConditionCleared(Code.DATABASE_UNREACHABLE, subject="biller"), at(1002))
    assert isinstance(cleared, Action)
    assert (cleared.change, cleared.record.id) == (Change.CLEARED, "abc")


def test_after_a_restart_what_only_the_old_process_saw_is_over_in_its_time() -> None:
    register = AlarmRegister("one", Timing(quiet_seconds=3600, window_seconds=60))
    register.restore(restored("configuration_rejected"), at(0))
    register.restore(restored("actor_crashed", context={"subjects": ["biller"]}), at(0))
    register.restore(restored("unexpected_error"), at(0))
    register.restore(restored("erp_conflict", "2026-10"), at(0))
    assert [o.record.code for o in register.tick(at(0.1)) if isinstance(o, Action)] == ["configuration_rejected"]
    assert [o.record.code for o in register.tick(at(61)) if isinstance(o, Action)] == ["actor_crashed"]
    assert [o.record.code for o in register.follow([], at(62)) if isinstance(o, Action)] == ["erp_conflict"]
    assert [o.record.code for o in register.tick(at(3571)) if isinstance(o, Action)] == ["unexpected_error"]


def test_a_restart_that_tells_of_it_again_writes_a_line_but_not_each_of_many() -> None:
    lines, now, kept = 0, 1000.0, restored("daemon_was_down")
    for _ in range(20):
        register, now = AlarmRegister("one"), now + 20
        register.restore(kept, at(now))
        for outcome in register.activate(ConditionActive(Code.DAEMON_WAS_DOWN, "down for 9 s"), at(now)):
            assert isinstance(outcome, Action)
            assert outcome.change is Change.UPDATED
            lines, kept = lines + 1, outcome.record
    assert lines == 4, "the first, then not more often than every two minutes"


def test_a_rules_own_code_has_the_severity_it_was_given_and_ends_by_being_quiet() -> None:
    register = AlarmRegister("one", Timing(quiet_seconds=100))
    register.activate(ConditionActive("disk_slow", "sda is slow", key="sda", severity=Severity.WARNING), at(0))
    (raised,) = register.tick(at(4))
    assert isinstance(raised, Action)
    assert (raised.record.key, raised.record.severity) == ("sda", Severity.WARNING)
    assert changes(register.tick(at(100))) == [Change.CLEARED]


def test_an_alarm_that_turns_up_in_the_table_is_cleared_if_its_end_was_seen() -> None:
    cleared: set[tuple[str, str]] = set()
    AlarmRegister("one", cleared=cleared).clear(ConditionCleared(Code.DATABASE_UNREACHABLE), at(0))
    register = AlarmRegister("one", cleared=cleared)
    assert register.adopt(restored("database_unreachable"), at(1))
    assert not register.adopt(restored("database_unreachable"), at(1)), "it is here already"
    assert changes(register.tick(at(1))) == [Change.CLEARED]


def test_an_alarm_that_turns_up_in_the_table_stands_if_it_came_back_since() -> None:
    cleared: set[tuple[str, str]] = set()
    before = AlarmRegister("one", cleared=cleared)
    before.clear(ConditionCleared(Code.DATABASE_UNREACHABLE), at(0))
    before.activate(database(), at(1))
    register = AlarmRegister("one", cleared=cleared)
    assert register.adopt(restored("database_unreachable"), at(2))
    assert register.tick(at(1000)) == []
    before.clear(ConditionCleared(Code.DATABASE_UNREACHABLE), at(3))
    again = AlarmRegister("one", cleared=cleared)
    again.adopt(restored("database_unreachable"), at(4))
    assert changes(again.tick(at(4))) == [Change.CLEARED], "what was over before it was raised was seen, too"


def test_an_alarm_takes_the_id_under_which_it_stands_in_the_table() -> None:
    register = AlarmRegister("one")
    register.activate(database(), at(0))
    kept = restored("database_unreachable", acked_at=at(-10).at)
    assert register.adopt_id(kept, kept) is kept, "it does not stand yet"
    (raised,) = register.tick(at(4))
    assert isinstance(raised, Action)
    assert len(raised.record.id) == 12
    assert register.adopt_id(raised.record, kept) == register.standing()[0]
    (record,) = register.standing()
    assert (record.id, record.raised_at, record.acked_at) == ("abc", kept.raised_at, kept.acked_at)
    assert record.instance == "one"


def test_what_follows_from_the_invoices_is_told_of_all_alarms() -> None:
    register = AlarmRegister("one")
    others = Group("erp_conflict", "2026-11", 1, (B,), "409", 1, None, at(-60).at)
    assert changes(register.follow([group(3), others], at(0))) == [Change.RAISED] * 2
    assert changes(register.follow([], at(4))) == [Change.CLEARED] * 2
    for invoice in (A, B):
        period = f"period of {invoice}"
        register.activate(ConditionActive(Code.ERP_INCORRECT_DATA, "total", key=period, subject=invoice), at(10))
    assert changes(register.tick(at(14))) == [Change.RAISED] * 2
    assert register.clear_final([], at(15)) == []
    assert changes(register.clear_final([A, B], at(16))) == [Change.CLEARED] * 2


def test_each_return_is_counted_and_makes_it_stay_three_times_as_long() -> None:
    register, seconds = AlarmRegister("one"), 0.0
    stays: list[tuple[int, float]] = []
    for _ in range(4):
        register.activate(database(), at(seconds))
        (raised,) = register.tick(at(seconds + 4))
        assert isinstance(raised, Action)
        outcomes = register.clear(ConditionCleared(Code.DATABASE_UNREACHABLE), at(seconds + 4))
        began = seconds = seconds + 4
        while not outcomes:
            seconds += 1
            outcomes = register.tick(at(seconds))
        stays.append((raised.record.reopened, seconds - began))
    assert stays == [(0, 0), (1, 60), (2, 180), (3, 540)]


def test_an_alarm_cleared_before_a_restart_is_the_same_for_ten_minutes() -> None:
    for since, same in ((-600.0, True), (-601.0, False)):
        register = AlarmRegister("one")
        assert register.restore(restored("database_unreachable", cleared_at=at(since).at), at(0))
        register.activate(ConditionActive(Code.DATABASE_UNREACHABLE, "no", immediately=True, seen_at=at(0).at), at(0))
        (record,) = register.standing()
        assert (record.id == "abc") is same


def test_transients_are_counted_and_no_alarm_of_later() -> None:
    register = AlarmRegister("one")
    for seconds in (0, 10):
        register.activate(database(), at(seconds))
        (transient,) = register.clear(ConditionCleared(Code.DATABASE_UNREACHABLE), at(seconds + 0.5))
        assert transient == Transient("database_unreachable", "no connection", 0.5)
    assert register.transients == {"database_unreachable": 2}
    register.activate(database(), at(20))
    (raised,) = register.tick(at(24))
    assert isinstance(raised, Action)
    assert raised.record.reopened == 0
