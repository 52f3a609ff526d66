"""Log records that become signs of trouble: by rules, or because nobody foresaw them; never the alarms' own."""

import logging
import re
import threading
import time
import tomllib
import tracemalloc
from pathlib import Path

import pytest

from alarming.actor import NAME
from alarming.background import BackgroundThread
from alarming.conditions import ConditionActive, ConditionCleared
from alarming.log_rules import DISTINCT_AT_MOST, FORESEEN, OUR_ROOMS, LogConditions, LogRule
from config.sections import AlarmRule
from persistence.alarms import Severity


def apart(name: str) -> logging.Logger:
    """A logger outside the tree, so that only the handler under test gets its records."""
    return logging.Logger(name, logging.DEBUG)  # noqa: LOG001 - outside the tree on purpose


@pytest.fixture
def logger() -> logging.Logger:
    return apart("some.library")


def listening(logger: logging.Logger, *rules: LogRule) -> LogConditions:
    signs = LogConditions(rules)
    logger.addHandler(signs)
    return signs


def taken(signs: LogConditions) -> list[ConditionActive]:
    return [sign for sign in signs.take() if isinstance(sign, ConditionActive)]


DISK = LogRule(
    re.compile(r"disk (?P<disk>\w+) is slow"),
    "disk_slow",
    logger="some",
    level=logging.WARNING,
    key="disk-{disk}",
    severity=Severity.WARNING,
    clear_after_seconds=60,
    clear_pattern=re.compile(r"disk (?P<disk>\w+) is fast"),
)


RULE = {"logger": "some", "level": "warning", "pattern": "hot", "code": "too_hot", "clear_pattern": "cool"}


def test_an_error_that_nobody_foresaw_is_grouped_by_where_it_was_raised_not_by_its_text(
    logger: logging.Logger,
) -> None:
    signs = listening(logger)
    for number in range(5):
        logger.error("number %d is odd", number)
    logger.error("elsewhere")
    first, second = taken(signs)
    assert (first.code, first.key, first.count, second.count) == ("unexpected_error", "", 5, 1)
    assert "number 0 is odd" in first.summary
    assert first.subject != second.subject
    assert sorted(first.context["where"].values()) == [1, 5]
    assert signs.take() == []


def test_an_exception_is_placed_at_our_own_innermost_frame(logger: logging.Logger) -> None:
    signs = listening(logger)
    for text in ("[", "("):
        try:
            LogRule(re.compile("x"), "x", key="{a").key_of(re.compile(text))  # type: ignore[arg-type]
        except re.error:
            logger.exception("a test's own frame is none of ours")
        try:
            LogRule(re.compile("x"), "x").key_of(None)  # type: ignore[arg-type]
        except AttributeError:
            logger.exception("ours: %s", text)
    ours = [sign for sign in taken(signs) if "alarming.log_rules:key_of" in str(sign.subject)]
    assert [(sign.count, str(sign.subject).rsplit(":", 1)[1]) for sign in ours] == [(2, "AttributeError")]


def test_lesser_records_and_what_somebody_tells_himself_are_no_errors(logger: logging.Logger) -> None:
    signs = listening(logger)
    logger.warning("hm")
    logger.error("the supervisor tells the alarms of this one", extra=FORESEEN)
    assert signs.take() == []


def test_a_rule_makes_an_alarm_of_a_record_with_the_key_of_its_named_group(logger: logging.Logger) -> None:
    signs = listening(logger, DISK)
    logger.warning("disk %s is slow", "sda")
    logger.warning("disk sda is slow")
    logger.info("disk sdb is slow")
    logger.error("disk sdc is slow")
    assert [(t.code, t.key, t.count, t.severity, t.clear_after_seconds) for t in taken(signs)] == [
        ("disk_slow", "disk-sda", 2, Severity.WARNING, 60),
        ("disk_slow", "disk-sdc", 1, Severity.WARNING, 60),
    ]


def test_another_pattern_clears_in_the_order_of_the_records(logger: logging.Logger) -> None:
    signs = listening(logger, DISK)
    logger.info("disk sda is fast")
    assert signs.take() == [ConditionCleared("disk_slow", "disk-sda")]
    logger.warning("disk sda is slow")
    logger.info("disk sda is fast")
    trouble, fine = signs.take()
    assert isinstance(trouble, ConditionActive)
    assert fine == ConditionCleared("disk_slow", "disk-sda")
    logger.warning("disk sda is slow")
    logger.info("disk sda is fast")
    logger.warning("disk sda is slow")
    (last,) = signs.take()
    assert isinstance(last, ConditionActive)


def test_the_rules_of_the_configuration_are_understood(logger: logging.Logger) -> None:
    rule = LogRule.of(AlarmRule.model_validate(RULE))
    signs = listening(logger, rule)
    logger.warning("it is hot")
    (trouble,) = taken(signs)
    assert (trouble.code, trouble.key, trouble.severity) == ("too_hot", "", Severity.MAJOR)
    logger.info("it is cool")
    assert signs.take() == [ConditionCleared("too_hot")]


def test_the_alarms_never_feed_on_what_they_log_themselves(logger: logging.Logger) -> None:
    signs = listening(logger, DISK)
    own = apart("billingd.alarms.table")
    own.addHandler(signs)
    own.error("disk sda is slow")

    worked = threading.Event()

    class Beside(BackgroundThread[None]):
        def work(self) -> float:
            logger.error("a library, called by the alarms")
            worked.set()
            return 60.0

    def log_in(name: str) -> None:
        thread = threading.Thread(target=logger.error, args=("a library",), name=name)
        thread.start()
        thread.join()

    beside = Beside("test")
    beside.start()
    assert worked.wait(5)
    beside.stop(5)
    log_in(f"{NAME}#1")
    assert signs.take() == []
    log_in("courier-1#1")
    assert len(taken(signs)) == 1


def test_a_record_whose_arguments_do_not_fit_is_counted_all_the_same(logger: logging.Logger) -> None:
    signs = listening(logger, DISK)
    logger.error("%d and %d", "one")
    assert [sign.count for sign in taken(signs)] == [1]


def test_a_storm_costs_bounded_memory_and_little_time_and_is_counted_right(logger: logging.Logger) -> None:
    signs = listening(logger, DISK)
    tracemalloc.start()
    started = time.monotonic()
    for number in range(10_000):
        logger.error("disk d%d is slow", number)
        logger.error("storm %d %s", number, "x" * 1000)
    seconds, (_, peak) = time.monotonic() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    signs_taken = taken(signs)
    assert sum(sign.count for sign in signs_taken) == 20_000
    assert len(signs_taken) <= DISTINCT_AT_MOST + 2
    assert peak < 5_000_000
    assert seconds < 60, "under the memory tracer, which slows it down tenfold"


def test_many_threads_lose_no_count(logger: logging.Logger) -> None:
    signs = listening(logger)
    counted = []

    def storm() -> None:
        for _ in range(2000):
            logger.error("storm")

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        counted += [sign.count for sign in taken(signs)]
    counted += [sign.count for sign in taken(signs)]
    assert sum(counted) == 8000


def test_every_room_counts_as_our_own_code() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert set(project["tool"]["importlinter"]["root_packages"]) == OUR_ROOMS
