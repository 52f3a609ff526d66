"""The table of failures as data: it is whole, samples are even, and what is asked for by a wrong name is refused."""

from inspect import signature

import pytest

from drills.faults import database, erp, failover
from drills.faults.fault import Fault
from drills.states import STATES
from drills.table import FAILURES, Cell, UnknownCell, choose, make, sample
from testkit.daemon_process import DaemonProcess
from testkit.erp import FakeErp
from testkit.postgres import PostgresServer


def test_the_table_has_each_variant_of_each_failure_in_each_state() -> None:
    cells = choose([], [], [])
    assert len(cells) == sum(map(len, FAILURES.values())) * len(STATES)
    assert len(set(cells)) == len(cells)
    assert set(FAILURES) == {"D1", "D2", "D3", "D4", "S1", "S2", "E1", "E2", "E3"}
    assert len(STATES) == 12


@pytest.mark.parametrize("failure", FAILURES)
def test_what_breaks_something_is_there_to_be_called(failure: str) -> None:
    """Only a drill calls it: the table is data, and no type checker reads it."""
    stations = {"postgres": PostgresServer, "erp": FakeErp, "daemon": DaemonProcess, "former": PostgresServer}
    for variant, fields in FAILURES[failure].items():
        assert isinstance(make(failure, variant), Fault)
        for name in ("breaks", "mends", "comes_back"):
            called, *arguments = fields.get(name, "erp.kill").split()
            if "." in called:
                *_, station, method = called.split(".")
                parameters = signature(getattr(stations[station], method)).parameters
                assert len(arguments) < len(parameters), variant
            else:
                assert any(callable(vars(module).get(called)) for module in (database, erp, failover)), variant


def test_each_status_strikes_once_for_long_and_for_one_invoice() -> None:
    for which in ("once", "long", "one"):
        assert sum(variant.endswith(f"_{which}") for variant in FAILURES["E3"]) == 15


@pytest.mark.parametrize("seed", range(20))
def test_a_sample_meets_each_failure_and_each_state(seed: int) -> None:
    cells = sample(choose([], [], []), 18, seed)
    assert len(set(cells)) == 18
    assert {cell.failure for cell in cells} == set(FAILURES)
    assert {cell.state for cell in cells} == set(STATES)


def test_the_same_seed_gives_the_same_sample_and_another_one_another() -> None:
    cells = choose([], [], [])
    assert sample(cells, 18, 5) == sample(cells, 18, 5) != sample(cells, 18, 6)


def test_a_cell_can_be_chosen_alone() -> None:
    assert choose(["S1"], ["killed"], ["storing"]) == [Cell("S1", "killed", "storing")]


@pytest.mark.parametrize("names", [(["X9"], [], []), ([], ["nonsense"], []), ([], [], ["thinking"])])
def test_an_unknown_name_is_refused(names: tuple[list[str], list[str], list[str]]) -> None:
    with pytest.raises(UnknownCell, match="there are"):
        choose(*names)
