"""What the alarms are told, and when a trouble is over for everybody."""

from typing import Any

from actors.tidings import Tidings
from alarming.catalogue import Code
from alarming.signs import Fine


def tidings() -> tuple[Tidings, list[Any]]:
    """One that has seen all well once, and what it tells from now on."""
    told: list[Any] = []
    found = Tidings(lambda _, sign: told.append(sign), (Code.ERP_ERROR,))
    found.fine(Code.ERP_ERROR)
    told.clear()
    return found, told


def fine(told: list[Any]) -> list[str | None]:
    return [sign.subject for sign in told if isinstance(sign, Fine)]


def test_the_trouble_of_one_alone_is_over_when_that_one_is_fine() -> None:
    found, told = tidings()
    found.trouble(Code.ERP_ERROR, "500", "a")
    found.over(Code.ERP_ERROR)
    found.fine(Code.ERP_ERROR, "b")
    assert fine(told) == []
    found.fine(Code.ERP_ERROR, "a")
    assert fine(told) == ["a"]


def test_the_trouble_of_several_is_over_for_all() -> None:
    found, told = tidings()
    found.trouble(Code.ERP_ERROR, "500", "a")
    found.trouble(Code.ERP_ERROR, "500", "b")
    found.over(Code.ERP_ERROR)
    assert fine(told) == [None]


def test_the_trouble_of_nobody_in_particular_is_over_for_all() -> None:
    found, told = tidings()
    found.trouble(Code.ERP_ERROR, "500")
    found.over(Code.ERP_ERROR)
    assert fine(told) == [None]


def test_the_first_success_ends_what_stood_before_the_start() -> None:
    told: list[Any] = []
    found = Tidings(lambda _, sign: told.append(sign), (Code.ERP_ERROR,))
    found.over(Code.ERP_ERROR)
    found.over(Code.ERP_ERROR)
    assert fine(told) == [None]
