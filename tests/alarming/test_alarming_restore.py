"""The table of alarms taken back to an earlier state, or emptied, under an alarm actor that runs."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from alarming.actor import AlarmSettings
from alarming.catalogue import Code
from alarming.conditions import ConditionActive, ConditionCleared
from persistence.connection.database import Database
from tests.alarming.alarm_tree import FORGETFUL, SETTINGS, AlarmTree, in_table, wait_for
from tests.support.invoice_rows import add_invoices, add_users, set_state

# An alarm that is over leaves the spool only after as long as this: until then the spool still knows its id.
LONG = dataclasses.replace(SETTINGS, quiet_seconds=60.0)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[AlarmTree]:
    tree = AlarmTree(tmp_path / "alarms.jsonl")
    yield tree
    tree.stop()


def run(database: Database, *statements: str) -> None:
    with database.transaction() as connection:
        for statement in statements:
            connection.execute(text(statement))


def back_up(database: Database) -> None:
    run(database, "DROP TABLE IF EXISTS backup", "CREATE TABLE backup AS SELECT * FROM alarms")


def restore(database: Database) -> None:
    run(database, "DELETE FROM alarms", "INSERT INTO alarms SELECT * FROM backup")


def stands(database: Database, code: str) -> bool:
    return code in in_table(database) and in_table(database)[code].cleared_at is None


def start_with(tree: AlarmTree, database: Database, settings: AlarmSettings = LONG) -> None:
    tree.start(lambda: Database(database.settings), settings)


@pytest.mark.parametrize("settings", [LONG, FORGETFUL], ids=["known to the spool", "long forgotten"])
def test_item_13_an_alarm_revived_by_a_restore_is_cleared_within_a_look(
    tree: AlarmTree, database: Database, settings: AlarmSettings
) -> None:
    start_with(tree, database, settings)
    tree.tell(ConditionActive(Code.ERP_UNREACHABLE, "no answer", subject="NU-1.2026-10.1"))
    wait_for(lambda: stands(database, "erp_unreachable"), "stored")
    back_up(database)
    tree.tell(ConditionCleared(Code.ERP_UNREACHABLE))
    wait_for(lambda: not stands(database, "erp_unreachable"), "cleared in the table")
    if settings is FORGETFUL:
        tree.wait_until_forgotten(database, "erp_unreachable")
    restore(database)
    assert wait_for(lambda: not stands(database, "erp_unreachable"), "the ERP is well") < 3
    assert tree.standing() == {}


def test_item_13_one_of_an_earlier_backup_that_this_process_never_knew_is_cleared_too(
    tree: AlarmTree, database: Database
) -> None:
    start_with(tree, database)
    tree.tell(ConditionActive(Code.ERP_ERROR, "503"))
    wait_for(lambda: stands(database, "erp_error"), "stored")
    back_up(database)
    tree.stop()
    tree.spool.unlink()
    run(database, "DELETE FROM alarms")
    start_with(tree, database)
    tree.tell(ConditionCleared(Code.ERP_ERROR))  # as each part of the daemon tells at its first success
    tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401"))
    wait_for(lambda: stands(database, "erp_credentials"), "it works")
    restore(database)
    wait_for(lambda: not stands(database, "erp_error"), "cleared")
    wait_for(lambda: stands(database, "erp_credentials"), "and what the backup lacks is stored again")


def test_item_13_after_a_defect_of_the_alarms_themselves_a_revived_one_is_cleared_all_the_same(
    tree: AlarmTree, database: Database
) -> None:
    start_with(tree, database, FORGETFUL)
    tree.tell(ConditionActive(Code.ERP_UNREACHABLE, "no answer"))
    wait_for(lambda: stands(database, "erp_unreachable"), "stored")
    back_up(database)
    tree.tell(ConditionCleared(Code.ERP_UNREACHABLE))
    tree.wait_until_forgotten(database, "erp_unreachable")
    tree.tell(ConditionActive(Code.ERP_ERROR, None))  # type: ignore[arg-type] # as a defect would
    assert tree.system is not None
    system = tree.system
    wait_for(lambda: system.tree()["children"][0]["restarts"] == 1, "its successor is at work")
    restore(database)
    wait_for(lambda: not stands(database, "erp_unreachable"), "cleared")


def test_item_13_one_that_is_not_over_stands_on_after_a_restore(tree: AlarmTree, database: Database) -> None:
    start_with(tree, database)
    tree.tell(ConditionActive(Code.ERP_UNREACHABLE, "no answer"))
    wait_for(lambda: stands(database, "erp_unreachable"), "stored")
    back_up(database)
    tree.tell(ConditionCleared(Code.ERP_UNREACHABLE))
    wait_for(lambda: not stands(database, "erp_unreachable"), "cleared")
    tree.tell(ConditionActive(Code.ERP_UNREACHABLE, "no answer again"))
    restore(database)
    wait_for(lambda: "erp_unreachable" in tree.standing(), "raised again")
    said = "no answer again; flapping: 2 times since"
    wait_for(lambda: in_table(database)["erp_unreachable"].summary.startswith(said), "stored under one id")
    assert stands(database, "erp_unreachable")
    assert in_table(database)["erp_unreachable"].id == tree.standing()["erp_unreachable"].id


def test_item_13_alarms_of_invoices_follow_the_restored_invoices(tree: AlarmTree, database: Database) -> None:
    with database.transaction() as connection:
        add_users(connection, 2)
        add_invoices(connection, "held", range(1, 3), held_code="erp_conflict", reason="409")
    start_with(tree, database)
    wait_for(lambda: stands(database, "erp_conflict"), "raised")
    back_up(database)
    with database.transaction() as connection:
        set_state(connection, "sent")
    wait_for(lambda: not stands(database, "erp_conflict"), "cleared")
    restore(database)
    assert wait_for(lambda: not stands(database, "erp_conflict"), "no invoice is held") < 3


@pytest.mark.parametrize("statement", ["DELETE FROM alarms", "UPDATE alarms SET cleared_at = now()"])
def test_item_13_one_that_the_table_has_lost_is_stored_again(
    tree: AlarmTree, database: Database, statement: str
) -> None:
    with database.transaction() as connection:
        add_users(connection, 1)
        add_invoices(connection, "held", range(1, 2), held_code="erp_conflict", reason="409")
    start_with(tree, database)
    tree.tell(ConditionActive(Code.ERP_UNREACHABLE, "no answer"))
    wait_for(lambda: stands(database, "erp_unreachable") and stands(database, "erp_conflict"), "stored")
    before = {code: record.id for code, record in tree.standing().items()}
    run(database, statement)
    assert wait_for(lambda: stands(database, "erp_unreachable") and stands(database, "erp_conflict"), "again") < 3
    assert {code: record.id for code, record in in_table(database).items()} == before
