"""One invoice followed through a real daemon by its log, from the clock's tick to `registered`.

The steps have to be those of ARCHITECTURE.md, "The life of one invoice", in that order, and no others.
"""

import ast
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

from billing.states import State
from persistence.connection.database import Database
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from testkit.daemon_log import log_entries
from testkit.deployment import Deployment
from testkit.waiting import wait_until
from tests.support.small_load import write_load
from tests.test_tidy import LINES_PER_FUNCTION

ROOT = Path(__file__).resolve().parents[2]
INVOICE = "user-00001.2026-10.1"
# Its month ends this long after the daemon's start, so that the clock's tick finds the daemon at rest.
BEFORE_THE_TICK = "2026-10-31T22:59:45Z"


class Step(NamedTuple):
    """One step as the document has it: a function in a file, and the state that it leads to, if any."""

    function: str
    file: str
    state: str | None

    @property
    def in_log(self) -> tuple[str, str]:
        """Logger and function."""
        return self.file.removesuffix(".py").replace("/", "."), self.function.rpartition(".")[2]


def steps_of(document: str) -> list[Step]:
    section = document.partition("## The life of one invoice")[2].partition("\n## ")[0]
    items = re.findall(r"^\d+\. (.*?)(?=^\d+\. |\n\n)", section, flags=re.M | re.S)
    steps = []
    for item in items:
        link = re.match(r"\[`([\w.]+)`\]\(([\w/]+\.py)\)", item)
        assert link is not None, f"a step begins with its function and file: {item}"
        state = re.search(r"\*\*State `(\w+)`", item)
        steps.append(Step(link[1], link[2], state and state[1]))
    return steps


STEPS = steps_of((ROOT / "ARCHITECTURE.md").read_text("utf-8"))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.function)
def test_a_step_is_one_function_of_a_screen_at_most(step: Step) -> None:
    body: list[ast.stmt] = ast.parse((ROOT / step.file).read_text("utf-8")).body
    *classes, name = step.function.split(".")
    for class_name in classes if classes[:1] != [Path(step.file).stem] else ():
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == class_name)
    (found,) = (node for node in body if isinstance(node, ast.FunctionDef) and node.name == name)
    assert found.end_lineno is not None
    assert found.end_lineno - found.lineno < LINES_PER_FUNCTION


@pytest.fixture
def deployment(database: Database, database_url: str, tmp_path: Path) -> Iterator[Deployment]:
    master, readings = write_load(tmp_path / "load", users=1, first="2026-10", months=1)
    with database.transaction() as connection:
        import_master(connection, master)
    with database.transaction() as connection:
        import_readings(connection, readings)
    settings = {"log": {"level": "debug"}, "billing": {"schedule": "* * * * *"}}
    deployment = Deployment(tmp_path / "deployment", database_url=database_url, settings=settings, now=BEFORE_THE_TICK)
    yield deployment
    deployment.close()


def walked(log_path: Path) -> list[tuple[str, str]]:
    """Logger and function of each debug line from the clock's tick on, without requests that nothing answers."""
    entries = [entry for entry in log_entries(log_path) if "function" in entry]
    logged = [(entry["logger"], entry["function"]) for entry in entries if entry["logger"] != "daemon.status"]
    logged = logged[logged.index(("actors.clock", "on_receive")) :]
    request = ("actors.erp_gateway", "_claim")  # it asks every two seconds, too
    answer = ("persistence.invoices.claims", "claim_deliveries")
    following = [*logged[1:], None]
    return [line for line, after in zip(logged, following, strict=True) if line != request or after == answer]


def test_an_invoice_takes_the_steps_of_the_document(deployment: Deployment, database: Database) -> None:
    deployment.erp.start()
    deployment.daemon.start()
    assert deployment.counts() == {}, "the daemon was up before the tick"
    wait_until(lambda: deployment.all_registered(1))
    assert walked(deployment.daemon.log_path) == [step.in_log for step in STEPS]
    with database.transaction() as connection:
        sql = f"SELECT to_state FROM invoice_history WHERE invoice_id = '{INVOICE}' ORDER BY seq"
        history = [state for state, _ in groupby(connection.exec_driver_sql(sql).scalars())]
    assert history == [step.state for step in STEPS if step.state is not None]
    assert history[-1] == State.REGISTERED
