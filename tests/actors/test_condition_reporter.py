"""What the alarms are told, and when a trouble is over for everybody."""

from typing import Any

import pytest

from actors.attribution import Attribution
from actors.condition_reporter import ConditionReporter
from alarming.catalogue import Code
from alarming.conditions import ConditionCleared
from supervision.errors import MailboxFull
from supervision.events import Exited
from supervision.reasons import Crashed


def reporter() -> tuple[ConditionReporter, list[Any]]:
    """One that has seen all well once, and what it tells from now on."""
    told: list[Any] = []
    found = ConditionReporter(lambda _, sign: told.append(sign), (Code.ERP_ERROR,))
    found.clear(Code.ERP_ERROR)
    told.clear()
    return found, told


def fine(told: list[Any]) -> list[str | None]:
    return [sign.subject for sign in told if isinstance(sign, ConditionCleared)]


def test_the_trouble_of_one_alone_is_over_when_that_one_is_fine() -> None:
    found, told = reporter()
    found.raise_condition(Code.ERP_ERROR, "500", "a")
    found.clear_common(Code.ERP_ERROR)
    found.clear(Code.ERP_ERROR, "b")
    assert fine(told) == []
    found.clear(Code.ERP_ERROR, "a")
    assert fine(told) == ["a"]


def test_the_trouble_of_several_is_over_for_all() -> None:
    found, told = reporter()
    found.raise_condition(Code.ERP_ERROR, "500", "a")
    found.raise_condition(Code.ERP_ERROR, "500", "b")
    found.clear_common(Code.ERP_ERROR)
    assert fine(told) == [None]


def test_the_trouble_of_nobody_in_particular_is_over_for_all() -> None:
    found, told = reporter()
    found.raise_condition(Code.ERP_ERROR, "500")
    found.clear_common(Code.ERP_ERROR)
    assert fine(told) == [None]


@pytest.mark.parametrize("codes", [(Code.ERP_ERROR,), ()], ids=["named", "not_named"])
def test_the_first_success_ends_what_stood_before_the_start(codes: tuple[Code, ...]) -> None:
    told: list[Any] = []
    found = ConditionReporter(lambda _, sign: told.append(sign), codes)
    found.clear_common(Code.ERP_ERROR)
    found.clear_common(Code.ERP_ERROR)
    assert fine(told) == [None]


def test_item_13_good_news_that_did_not_arrive_is_told_again() -> None:
    told: list[Any] = []
    full = True

    def tell(_: str, sign: Any) -> None:
        if full:
            raise MailboxFull("the alarms have no room")
        told.append(sign)

    found = ConditionReporter(tell, (Code.ERP_ERROR,))
    found.clear(Code.ERP_ERROR, "a")
    found.raise_condition(Code.DATABASE_ERROR, "lock", "a")
    found.raise_condition(Code.DATABASE_ERROR, "lock", "b")
    found.clear(Code.DATABASE_ERROR, "a")
    full = False
    found.clear_all("a")
    assert [(sign.code, sign.subject) for sign in told] == [("erp_error", None), ("database_error", "a")]
    found.clear_all("a")
    assert len(told) == 2


def test_item_13_an_actor_that_works_well_again_is_told_until_it_arrives() -> None:
    told: list[Any] = []
    full, seconds = True, 0.0

    def tell(_: str, sign: Any) -> None:
        if full:
            raise MailboxFull("the alarms have no room")
        told.append(sign)

    attribution = Attribution(tell, lambda: seconds, window_seconds=60)
    attribution.listen(Exited("biller", 1, Crashed(ValueError("no"))))
    seconds = 61
    attribution.look()
    full = False
    attribution.look()
    attribution.look()
    assert told == [ConditionCleared(Code.ACTOR_CRASHED, subject="biller")]
