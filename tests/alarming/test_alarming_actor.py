"""The alarm actor under real supervision, with a real database that is stopped, frozen and lost."""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alarming.actor import Configure
from alarming.catalogue import Code
from alarming.conditions import ConditionActive, ConditionCleared
from alarming.documents import journal_catalogue
from persistence.alarms import find
from persistence.connection.database import Database
from persistence.connection.errors import DatabaseUnreachable
from testkit.postgres import PostgresServer
from tests.alarming.alarm_tree import SETTINGS, AlarmTree, in_table, wait_for
from tests.support.invoice_rows import add_invoices, add_users, set_state


class Lines(logging.Handler):
    """The alarm lines that were logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: value for name, value in vars(record).items() if name.isupper()}
        if fields:
            self.lines.append({"text": record.getMessage(), "level": record.levelno, **fields})

    def of(self, code: str) -> list[str]:
        return [line["BILLINGD_ALARM_STATE"] for line in self.lines if line["BILLINGD_ALARM_CODE"] == code]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("billingd.alarms")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[AlarmTree]:
    tree = AlarmTree(tmp_path / "alarms.jsonl")
    yield tree
    tree.stop()


def connect(server: PostgresServer) -> Callable[[], Database]:
    settings = dataclasses.replace(server.settings(), connect_timeout_seconds=2, statement_timeout_seconds=2)
    return lambda: Database(settings)


def test_an_alarm_reaches_log_spool_table_and_whoever_asks(tree: AlarmTree, database: Database, lines: Lines) -> None:
    tree.start(lambda: Database(database.settings))
    tree.tell(ConditionActive(Code.ERP_UNREACHABLE, "no answer from https://erp.example", subject="NU-1.2026-10.1"))
    assert wait_for(lambda: "erp_unreachable" in tree.standing(), "raised") < 1.5
    wait_for(lambda: "erp_unreachable" in in_table(database), "in the table")
    (line,) = lines.lines
    assert line["text"].startswith("erp_unreachable raised: no answer from https://erp.example, since ")
    assert line["text"].endswith("; billing goes on by itself when it returns")
    assert line["level"] == logging.ERROR
    record = tree.standing()["erp_unreachable"]
    assert {name: line[f"BILLINGD_ALARM_{name}"] for name in ("CODE", "KEY", "SEVERITY", "STATE", "ID")} == {
        "CODE": "erp_unreachable",
        "KEY": "one",
        "SEVERITY": "major",
        "STATE": "raised",
        "ID": record.id,
    }
    assert line["BILLINGD_INVOICES"] == '["NU-1.2026-10.1"]'
    assert line["MESSAGE_ID"] in journal_catalogue(croatian=False)
    assert tree.snapshot.standing == (record,)
    tree.tell(ConditionCleared(Code.ERP_UNREACHABLE))
    wait_for(lambda: in_table(database)["erp_unreachable"].cleared_at is not None, "cleared in the table")
    assert lines.of("erp_unreachable") == ["raised", "cleared"]
    assert "over after" in lines.lines[-1]["text"]


def test_a_database_that_is_away_is_an_alarm_by_itself_and_over_when_it_is_back(
    tree: AlarmTree, server: PostgresServer, lines: Lines
) -> None:
    tree.start(connect(server))
    server.stop()
    wait_for(lambda: "database_unreachable" in tree.standing(), "raised")
    tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401"))
    wait_for(lambda: "erp_credentials" in tree.standing(), "others are raised all the same")
    assert b'"erp_credentials"' in tree.spool.read_bytes()
    server.start()
    wait_for(lambda: "database_unreachable" not in tree.standing(), "cleared")
    assert lines.of("database_unreachable") == ["raised", "cleared"]
    with Database(server.settings()) as database:
        wait_for(lambda: set(in_table(database)) == {"database_unreachable", "erp_credentials"}, "stored afterwards")
        assert in_table(database)["erp_credentials"].id == tree.standing()["erp_credentials"].id


def test_trouble_that_the_next_look_misses_is_no_alarm(tree: AlarmTree, database: Database, lines: Lines) -> None:
    class CutOffOnce(Database):
        def reading(self, deadline_seconds: float | None = None) -> Any:
            if cut_off:
                cut_off.clear()
                raise DatabaseUnreachable("the connection was closed")
            return super().reading(deadline_seconds)

    cut_off: list[bool] = []
    tree.start(lambda: CutOffOnce(database.settings), dataclasses.replace(SETTINGS, look_every_seconds=2.0))
    tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401"))
    wait_for(lambda: "erp_credentials" in in_table(database), "it is stored, and the next look has time")
    cut_off.append(True)
    wait_for(lambda: tree.snapshot.transients.get("database_unreachable") == 1, "noticed, and over")
    assert lines.of("database_unreachable") == []


def test_a_frozen_database_delays_no_alarm(tree: AlarmTree, server: PostgresServer) -> None:
    tree.start(connect(server))
    with Database(server.settings()) as database:
        tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401"))
        wait_for(lambda: "erp_credentials" in in_table(database), "it works")
    server.freeze()
    tree.tell(ConditionActive(Code.ERP_UNREACHABLE, "no answer"))
    assert wait_for(lambda: "erp_unreachable" in tree.standing(), "raised") < 1.5
    wait_for(lambda: "database_unreachable" in tree.standing(), "so is the frozen one")
    server.thaw()
    wait_for(lambda: "database_unreachable" not in tree.standing(), "cleared")


def test_after_a_restart_it_is_the_same_alarm_and_the_cause_that_is_gone_is_seen(
    tree: AlarmTree, database: Database, lines: Lines
) -> None:
    tree.start(lambda: Database(database.settings))
    tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401"))
    tree.tell(ConditionActive(Code.CONFIGURATION_REJECTED, "line 3"))
    wait_for(lambda: len(in_table(database)) == 2, "stored")
    first = tree.standing()["erp_credentials"].id
    tree.stop()
    tree.start(lambda: Database(database.settings))
    wait_for(lambda: set(tree.standing()) == {"erp_credentials"}, "what a new process ends has ended")
    tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401"))
    tree.tell(ConditionCleared(Code.ERP_CREDENTIALS))
    wait_for(lambda: all(r.cleared_at for r in in_table(database).values()), "cleared in the table")
    assert in_table(database)["erp_credentials"].id == first
    assert lines.of("erp_credentials") == ["raised", "cleared"]


def test_when_the_spool_is_lost_the_id_comes_from_the_table(tree: AlarmTree, database: Database) -> None:
    tree.start(lambda: Database(database.settings))
    tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401"))
    wait_for(lambda: bool(in_table(database)), "stored")
    first = in_table(database)["erp_credentials"].id
    tree.stop()
    tree.spool.unlink()
    tree.start(None)
    tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401"))
    wait_for(lambda: bool(tree.standing()), "raised without the database")
    assert tree.standing()["erp_credentials"].id != first
    tree.stop()
    tree.start(lambda: Database(database.settings))
    wait_for(lambda: tree.standing()["erp_credentials"].id == first, "adopted")
    tree.stop()
    assert f'"id": "{first}"'.encode() in tree.spool.read_bytes()


def test_alarms_of_invoices_come_and_go_with_the_rows_over_a_restart_too(
    tree: AlarmTree, database: Database, lines: Lines
) -> None:
    with database.transaction() as connection:
        add_users(connection, 30)
        add_invoices(connection, "held", range(1, 31), held_code="erp_refused_invoice", reason="400: no")
    tree.start(lambda: Database(database.settings))
    wait_for(lambda: "erp_refused_invoice" in in_table(database), "raised")
    record = tree.standing()["erp_refused_invoice"]
    assert (record.key, record.count, len(record.context["invoices"])) == ("2026-10", 30, 20)
    tree.stop()
    tree.spool.unlink()
    tree.start(lambda: Database(database.settings))
    wait_for(lambda: "erp_refused_invoice" in tree.standing(), "there again, though nobody told it")
    assert tree.standing()["erp_refused_invoice"].id == record.id
    with database.transaction() as connection:
        set_state(connection, "sent")
    wait_for(lambda: not tree.standing(), "gone")
    wait_for(lambda: in_table(database)["erp_refused_invoice"].cleared_at is not None, "in the table too")
    assert lines.of("erp_refused_invoice")[-1] == "cleared"


def test_a_storm_of_errors_is_one_alarm_few_lines_and_the_right_count(tree: AlarmTree, lines: Lines) -> None:
    tree.start(None)
    logger = logging.Logger("noisy", logging.INFO)  # noqa: LOG001 - only the handler under test gets its records
    logger.addHandler(tree.records)
    started = time.monotonic()
    for number in range(100_000):
        logger.error("storm %d", number)
    seconds = time.monotonic() - started
    wait_for(lambda: "unexpected_error" in tree.standing(), "raised")
    wait_for(lambda: tree.standing()["unexpected_error"].count == 100_000, "counted right")
    assert seconds < 10, "nobody waits for the alarms"
    assert len(lines.lines) <= 2
    wait_for(lambda: not tree.standing(), "cleared after being quiet")
    assert lines.of("unexpected_error")[-1] == "cleared"


def test_other_settings_take_effect_at_once(tree: AlarmTree) -> None:
    tree.start(None, dataclasses.replace(SETTINGS, raise_within_seconds=3600))
    tree.tell(ConditionActive(Code.ERP_UNREACHABLE, "no answer"))
    tree.tell(Configure(SETTINGS))
    wait_for(lambda: "erp_unreachable" in tree.standing(), "raised by the shorter time")


def test_a_spool_that_cannot_be_written_is_said_once_and_stops_nothing(tree: AlarmTree, lines: Lines) -> None:
    tree.spool.mkdir()
    tree.start(None)
    tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401"))
    wait_for(lambda: set(tree.standing()) == {"erp_credentials", "alarm_spool_unwritable"}, "both stand")
    tree.spool.rmdir()
    wait_for(lambda: set(tree.standing()) == {"erp_credentials"}, "it can be written again")
    assert b'"erp_credentials"' in tree.spool.read_bytes()
    assert lines.of("alarm_spool_unwritable") == ["raised", "cleared"]


def test_a_defect_in_the_alarms_themselves_costs_no_alarm(tree: AlarmTree, lines: Lines) -> None:
    tree.start(None)
    tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401"))
    wait_for(lambda: "erp_credentials" in tree.standing(), "raised")
    first = tree.standing()["erp_credentials"].id
    tree.tell(ConditionActive(Code.ERP_ERROR, None))  # type: ignore[arg-type] # as a defect would
    tree.tell(ConditionActive(Code.ERP_UNREACHABLE, "no answer"))
    wait_for(lambda: "erp_unreachable" in tree.standing(), "its successor goes on")
    assert tree.system is not None
    assert tree.system.tree()["children"][0]["restarts"] == 1
    assert tree.standing()["erp_credentials"].id == first
    assert lines.of("erp_credentials") == ["raised"]


def test_two_daemons_on_one_database_have_one_alarm_of_an_invoice(tmp_path: Path, database: Database) -> None:
    trees = [AlarmTree(tmp_path / "one.jsonl"), AlarmTree(tmp_path / "two.jsonl", "two")]
    with database.transaction() as connection:
        add_users(connection, 1)
        add_invoices(connection, "held", range(1, 2), held_code="erp_conflict", reason="409")
    for tree in trees:
        tree.start(lambda: Database(database.settings))
    wait_for(lambda: all("erp_conflict" in tree.standing() for tree in trees), "both show it")
    wait_for(lambda: len({tree.standing()["erp_conflict"].id for tree in trees}) == 1, "under one id")
    with database.transaction() as connection:
        set_state(connection, "sent")
    wait_for(lambda: not any(tree.standing() for tree in trees), "cleared by both")
    wait_for(lambda: in_table(database)["erp_conflict"].cleared_at is not None, "and in the table")
    with database.reading() as reader:
        assert len(find(reader, cleared_too=True)) == 1
    for tree in trees:
        tree.stop()
